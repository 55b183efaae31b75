"""Files for other runtimes, held to the SavedModel's answers."""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import Faces, Images, subset
from emotion.data.labels import SIZE
from emotion.evaluation.significance import paired
from emotion.inference.litert import LiteRT
from emotion.inference.load import load_saved_model, measure_speed, predict
from emotion.inference.op_allowlist import size
from emotion.runtime.errors import UserError
from emotion.runtime.paths import whole
from emotion.runtime.tensorflow import silent_stderr

Kind = Literal["litert", "int8", "onnx"]

LARGEST_DIFFERENCE = 1e-4  # of a probability, where numbers keep their precision
LARGEST_LOSS = 0.02  # of validation accuracy, where they do not
SIGNIFICANCE = 0.05  # a loss that chance explains with a higher p-value is no loss: on 35 images, one is 2.9 %
EXAMPLES = 300  # training images from which int8 learns its ranges
ASKED = 1000  # validation images, at most
BATCH = 32
OPSET = 18  # of ONNX


@dataclass(frozen=True)
class Parity:
    """An exported file beside its SavedModel."""

    size_mib: float
    size_before_mib: float  # the SavedModel's
    largest_difference: float  # of any probability
    same_answers: float  # share
    accuracy: float  # on validation images
    accuracy_before: float  # the SavedModel's, on the same
    p_value: float  # of the difference in accuracy (McNemar's exact test)
    speed: dict[str, float]  # see `measure_speed`
    speed_before: dict[str, float]


def export(saved_model: Path, kind: Kind, target: Path, faces: Faces) -> Parity:
    """Write a file, and ask it and the SavedModel about the same validation images.

    Args:
        saved_model: the folder.
        kind: litert (float32), int8 (LiteRT with 8-bit numbers inside, float32 outside) or onnx.
        target: the file.
        faces: what it learns its ranges from, and is asked about.

    Raises:
        UserError: where the answers differ too much; nothing is written then.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder; name the file to write.")
    before = load_saved_model(saved_model)
    validation = subset(faces.split("validation"), min(1.0, ASKED / len(faces.split("validation"))), seed=0)
    train = faces.split("train")
    examples = subset(train, min(1.0, EXAMPLES / len(train)), seed=0).images
    with whole(target) as part:
        part.write_bytes(_converted(saved_model, before, kind, examples))
        sizes = part.stat().st_size / 2**20, size(saved_model) / 2**20
        parity = _compare(before, _loaded(part, kind), sizes, validation.images, validation.labels)
        _check(parity, kind)
    return parity


def _converted(saved_model: Path, model: Any, kind: Kind, examples: Images) -> bytes:
    with warnings.catch_warnings(), silent_stderr():
        warnings.simplefilter("ignore")  # the converters use what TensorFlow and numpy will drop
        return _onnx(model) if kind == "onnx" else _litert(saved_model, examples if kind == "int8" else None)


def _litert(saved_model: Path, examples: Images | None) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if examples is not None:

        def representative() -> Iterator[list[NDArray[np.float32]]]:
            for face in examples:
                yield [face[None, ..., None].astype(np.float32)]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content: bytes = converter.convert()
    return content


def _onnx(model: Any) -> bytes:
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = [tf.TensorSpec((None, SIZE, SIZE, 1), tf.float32, name="pixels")]
    function = tf.function(lambda pixels: model.serve(pixels), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    content: bytes = proto.SerializeToString()
    return content


class _Onnx:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path.read_bytes())
        self._name = self._session.get_inputs()[0].name

    def serve(self, pixels: NDArray[np.float32]) -> Any:
        return self._session.run(None, {self._name: pixels})[0]


def _loaded(path: Path, kind: Kind) -> Any:
    load: Callable[[Path], Any] = _Onnx if kind == "onnx" else LiteRT
    return load(path)


def _compare(before: Any, after: Any, sizes: tuple[float, float], images: Images, labels: NDArray[np.int64]) -> Parity:
    ours, theirs = predict(before, images, BATCH), predict(after, images, BATCH)
    correct = [probabilities.argmax(axis=1) == labels for probabilities in (ours, theirs)]
    return Parity(
        size_mib=sizes[0],
        size_before_mib=sizes[1],
        largest_difference=float(np.abs(ours - theirs).max()),
        same_answers=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        accuracy=float(correct[1].mean()),
        accuracy_before=float(correct[0].mean()),
        p_value=paired(*correct)["p_value"],
        speed=measure_speed(after, images, BATCH),
        speed_before=measure_speed(before, images, BATCH),
    )


def _check(parity: Parity, kind: Kind) -> None:
    if kind == "int8":
        loss = parity.accuracy_before - parity.accuracy
        if loss > LARGEST_LOSS and parity.p_value < SIGNIFICANCE:
            raise UserError(
                f"int8 costs {loss:.1%} of validation accuracy (p = {parity.p_value:.2g}), more than"
                f" {LARGEST_LOSS:.0%}: nothing was written. `--format litert` keeps all of it."
            )
    elif parity.largest_difference > LARGEST_DIFFERENCE:
        raise UserError(
            f"the file's probabilities differ from the SavedModel's by up to {parity.largest_difference:.2g}, more"
            f" than {LARGEST_DIFFERENCE:g}: nothing was written."
        )
