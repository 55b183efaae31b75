"""The allowlist of graph operations in a SavedModel."""

from pathlib import Path

import pytest
import tensorflow as tf

from emotion.inference import op_allowlist
from emotion.inference.op_allowlist import disallowed_ops
from emotion.runtime.errors import UserError
from support.versions import FromTable, table, wrong_in

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


def test_a_serving_graph_that_calls_the_save_function_is_disallowed(tmp_path: Path) -> None:
    """Save and restore functions access files, so only the loader may call them."""
    module = FromTable(table(wrong_in(0.1)), tf.identity)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.serve)
    assert not disallowed_ops(tmp_path / "model")
    parsed = op_allowlist._parse(tmp_path / "model")
    (graph,) = parsed.meta_graphs
    saver = next(f.signature.name for f in graph.graph_def.library.function if "save" in f.signature.name)
    serving = next(f for f in graph.graph_def.library.function if "serve" in f.signature.name)
    call = serving.node_def.add()
    call.name = "innocent"
    call.op = "StatefulPartitionedCall"
    call.attr["f"].func.name = saver
    (tmp_path / "model/saved_model.pb").write_bytes(parsed.SerializeToString())
    assert "SaveV2" in disallowed_ops(tmp_path / "model")
    call.ClearField("attr")
    call.op = saver  # a function may also be called by its name
    (tmp_path / "model/saved_model.pb").write_bytes(parsed.SerializeToString())
    assert "SaveV2" in disallowed_ops(tmp_path / "model")


def test_a_tensorflow_1_graph_is_disallowed(tmp_path: Path) -> None:
    module = FromTable(table(wrong_in(0.1)), tf.identity)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.serve)
    parsed = op_allowlist._parse(tmp_path / "model")
    parsed.meta_graphs[0].ClearField("object_graph_def")
    (tmp_path / "model/saved_model.pb").write_bytes(parsed.SerializeToString())
    assert "a graph of TensorFlow 1" in disallowed_ops(tmp_path / "model")
    (tmp_path / "model/saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(UserError, match="is not a SavedModel"):
        disallowed_ops(tmp_path / "model")
