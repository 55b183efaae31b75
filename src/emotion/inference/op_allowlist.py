"""Check which operations a SavedModel contains, without running it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import load_tensorflow

# Computations that depend only on their inputs and the model's own variables. Everything else is
# refused, because it could read or write files, run other programs, or draw random numbers.
ALLOWED_OPS = frozenset({
    "Add", "AddN", "AddV2", "All", "Any", "ArgMax", "AvgPool", "BatchMatMulV2", "BatchToSpaceND", "BiasAdd",
    "BroadcastArgs", "BroadcastTo", "Cast", "Concat", "ConcatV2", "Const", "Conv2D", "DepthToSpace",
    "DepthwiseConv2dNative", "Div", "DivNoNan", "Elu", "Equal", "Erf", "Exp", "ExpandDims", "Fill", "Floor",
    "FloorDiv", "FloorMod", "FusedBatchNormV3", "GatherV2", "Greater", "GreaterEqual", "Identity", "IdentityN",
    "LeakyRelu", "Less", "LessEqual", "Log", "Log1p", "LogSoftmax", "LogicalAnd", "LogicalNot", "LogicalOr",
    "MatMul", "Max", "MaxPool", "Maximum", "Mean", "Min", "Minimum", "MirrorPad", "Mul", "Neg", "NoOp", "NotEqual",
    "OneHot", "OnesLike", "Pack", "Pad", "PadV2", "PartitionedCall", "Placeholder", "PlaceholderWithDefault", "Pow",
    "Prod", "Range", "ReadVariableOp", "RealDiv", "Reciprocal", "Relu", "Relu6", "Reshape", "ResizeBilinear",
    "ResizeNearestNeighbor", "ResourceGather", "ReverseV2", "Round", "Rsqrt", "Select", "SelectV2", "Selu", "Shape",
    "Sigmoid", "Sign", "Slice", "Softmax", "Softplus", "SpaceToBatchND", "Split", "SplitV", "Sqrt", "Square",
    "SquaredDifference", "Squeeze", "StatefulPartitionedCall", "StatelessIf", "StopGradient",
    "StridedSlice", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unpack", "VarHandleOp", "VarIsInitializedOp",
    "Where", "ZerosLike",
})  # fmt: skip
# Needed by the functions that save and restore the variables; not allowed elsewhere.
SAVER_OPS = frozenset({
    "AssignVariableOp", "DisableCopyOnRead", "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename",
    "StaticRegexFullMatch", "StringJoin",
})  # fmt: skip


def disallowed_ops(folder: Path) -> dict[str, str]:
    """The operations in a SavedModel's graph and functions that are not allowed, and where they are.

    Args:
        folder: the folder with saved_model.pb, which is parsed but not run.

    Returns:
        The names of operations, each with a function that contains it (or "the graph"); assets, which are
        files that an operation reads, have the key "asset".

    Raises:
        UserError: if the file is not a SavedModel.
    """
    found: dict[str, str] = {}
    graphs = _parse(folder).meta_graphs
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        return {"a graph of TensorFlow 1": "saved_model.pb"}  # its loader runs initializers
    for graph in graphs:
        functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
        nodes = graph.graph_def.node
        saver = {graph.saver_def.save_tensor_name.split(":")[0], graph.saver_def.restore_op_name.split(":")[0]}
        savers = set(_called(node for node in nodes if node.name in saver))
        # A saving function is allowed its operations only if nothing else calls it.
        others = set(_called(node for node in nodes if node.name not in saver))
        others |= {name for body in functions.values() for name in _called(body)}
        others |= set(graph.object_graph_def.concrete_functions)
        for place, body in [("the graph", nodes), *functions.items()]:
            allowed = ALLOWED_OPS | SAVER_OPS if place in savers - others else ALLOWED_OPS
            found |= {node.op: place for node in body if node.op not in allowed and node.op not in functions}
        if graph.asset_file_def:
            found["asset"] = graph.asset_file_def[0].filename
    return found


def _parse(folder: Path) -> Any:
    load_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    try:
        return saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{path} is not a SavedModel, or is damaged. Export the model again.") from None
    except FileNotFoundError:
        raise UserError(f"no SavedModel in {folder}. Run `dvc repro train`.") from None


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """The functions that nodes call."""
    for node in nodes:
        yield node.op  # a function may be called by its name
        for value in node.attr.values():
            if value.WhichOneof("value") == "func":
                yield value.func.name
            elif value.WhichOneof("value") == "list":
                yield from (function.name for function in value.list.func)
