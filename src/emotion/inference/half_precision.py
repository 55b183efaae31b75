"""Store the weights of a SavedModel in half the size."""

from pathlib import Path
from typing import Any

import numpy as np

from emotion.data.labels import write_labels
from emotion.inference.load import load_saved_model
from emotion.runtime.errors import UserError

MIN_SIZE = 1024  # elements; smaller arrays stay as they are, as do those with values beyond the range of float16


def write_half_precision(saved_model: Path, target: Path) -> None:
    """Write a SavedModel with the endpoints `serve` and `assess` and float16 weights; it still computes in float32.

    Its weights are constants of the graph. TensorFlow converts them once, when it optimizes the graph.

    Args:
        saved_model: the folder of a SavedModel that `train` wrote.
        target: the folder to write.

    Raises:
        UserError: if the SavedModel has no endpoint `assess`.
    """
    model = load_saved_model(saved_model)
    if not hasattr(model, "assess"):
        raise UserError(f"the SavedModel in {saved_model} does not measure novelty. Train it again.")
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = model.loaded.signatures["assess"]
    (pixels,) = signature.structured_input_signature[1].values()
    frozen = convert_variables_to_constants_v2(signature)
    graph = _with_float16_constants(frozen.graph.as_graph_def())
    outputs = dict(zip(sorted(signature.structured_outputs), [it.name for it in frozen.outputs], strict=True))

    def run(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = tf.import_graph_def(graph, {frozen.inputs[0].name: pixels}, list(outputs.values()))
        return dict(zip(outputs, tensors, strict=True))

    module = tf.Module()
    module.assess = tf.function(run, input_signature=[pixels], autograph=False)
    module.serve = tf.function(lambda it: module.assess(it)["probabilities"], input_signature=[pixels], autograph=False)
    tf.saved_model.save(module, str(target), signatures={"serving_default": module.serve, "assess": module.assess})
    write_labels(target, model.emotions)


def _with_float16_constants(graph: Any) -> Any:
    """A graph whose large float32 constants are float16 constants that are cast to float32."""
    import tensorflow as tf

    result = tf.compat.v1.GraphDef()
    for node in graph.node:
        is_weight = node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum
        values = tf.make_ndarray(node.attr["value"].tensor) if is_weight else np.empty(0)
        if values.size < MIN_SIZE or np.abs(values).max() > np.finfo(np.float16).max:
            result.node.append(node)
            continue
        half = result.node.add(op="Const", name=f"{node.name}/float16")
        half.attr["dtype"].type = tf.float16.as_datatype_enum
        half.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values.astype(np.float16)))
        cast = result.node.add(op="Cast", name=node.name, input=[half.name])
        cast.attr["SrcT"].type, cast.attr["DstT"].type = tf.float16.as_datatype_enum, tf.float32.as_datatype_enum
    return result
