"""What a SavedModel holds, read from its files: their digests, its size, and what its graph may do."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import load_tensorflow

# Computations that depend on nothing but their inputs and the model's own variables. What is not
# named here is refused: it may read or write files, run other programs, or answer by chance.
PURE = frozenset({
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
# What the functions that save and restore the variables need besides; nobody else may have it.
SAVER = frozenset({
    "AssignVariableOp", "DisableCopyOnRead", "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename",
    "StaticRegexFullMatch", "StringJoin",
})  # fmt: skip


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by its path within it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files."""
    lines = (f"{name}\0{content}\n" for name, content in digests(folder).items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def forbidden_operations(folder: Path) -> dict[str, str]:
    """The operations of a SavedModel's graph and functions that are not allowed, with where they are.

    Args:
        folder: with saved_model.pb. Nothing of it is run.

    Returns:
        Names of operations, each with the name of a function that has it (or "the graph"); of
        assets, which are files that an operation reads, the key is "asset".

    Raises:
        UserError: where the file cannot be read as a SavedModel.
    """
    found: dict[str, str] = {}
    graphs = _parsed(folder).meta_graphs
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        return {"a graph of TensorFlow 1": "saved_model.pb"}  # its loader runs what it holds
    for graph in graphs:
        functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
        nodes = graph.graph_def.node
        saver = {graph.saver_def.save_tensor_name.split(":")[0], graph.saver_def.restore_op_name.split(":")[0]}
        savers = set(_called(node for node in nodes if node.name in saver))
        # A function that saves is left to the saver only where nobody else calls it.
        others = set(_called(node for node in nodes if node.name not in saver))
        others |= {name for body in functions.values() for name in _called(body)}
        others |= set(graph.object_graph_def.concrete_functions)
        for place, body in [("the graph", nodes), *functions.items()]:
            allowed = PURE | SAVER if place in savers - others else PURE
            found |= {node.op: place for node in body if node.op not in allowed and node.op not in functions}
        if graph.asset_file_def:
            found["asset"] = graph.asset_file_def[0].filename
    return found


def _parsed(folder: Path) -> Any:
    load_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    try:
        return saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{path} is no SavedModel.") from None
    except FileNotFoundError:
        raise UserError(f"no SavedModel in {folder}.") from None


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """The functions that nodes name in their attributes."""
    for node in nodes:
        yield node.op  # a function may be called by its name
        for value in node.attr.values():
            if value.WhichOneof("value") == "func":
                yield value.func.name
            elif value.WhichOneof("value") == "list":
                yield from (function.name for function in value.list.func)
