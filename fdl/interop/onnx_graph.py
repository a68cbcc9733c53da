"""ONNX models as graphs that need no onnx package. Opening a file runs no code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fdl.numpy as fnp
from fdl.errors import InteropError
from fdl.interop.graph import Graph, Node, ValueName
from fdl.interop.onnx_versions import modern

#: ONNX's numbers of dtypes. Integers of 64 bits stay what they are: shapes are computed with them.
DTYPES = {
    1: np.dtype("float32"), 2: np.dtype("uint8"), 3: np.dtype("int8"), 4: np.dtype("uint16"), 5: np.dtype("int16"),
    6: np.dtype("int32"), 7: np.dtype("int64"), 9: np.dtype("bool"), 10: np.dtype("float16"), 11: np.dtype("float64"),
    12: np.dtype("uint32"), 13: np.dtype("uint64"), 14: np.dtype("complex64"), 15: np.dtype("complex128"),
    16: np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip

#: Those of which fdl has no arrays: weights can be kept in them, to be cast when the model is traced.
NARROW = {
    number: np.dtype(getattr(ml_dtypes, name))
    for number, name in {
        17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4",
        23: "float4_e2m1fn", 24: "float8_e8m0fnu", 25: "uint2", 26: "int2",
    }.items()
    if hasattr(ml_dtypes, name)
}  # fmt: skip


def dtype_of(number: int) -> np.dtype:
    """The dtype that ONNX has a number for."""
    if number not in DTYPES and number not in NARROW:
        raise InteropError(f"from_onnx: fdl has no arrays of ONNX's element type {number}")
    return DTYPES[number] if number in DTYPES else NARROW[number]


def is_narrow(value: Any) -> bool:
    """Whether a dtype, or that of an array, is one of which fdl has no arrays."""
    return getattr(value, "dtype", value) in NARROW.values()


def as_array(value: Any) -> Any:
    """An array of fdl; what is narrow stays."""
    return value if is_narrow(value) else fnp.asarray(value)


def read(model: Any) -> tuple[Any, str]:
    """A parsed model from a path, bytes or a model, with its weights; and what messages call it.

    Raises:
        InteropError: it is no ONNX model, or has weights in files outside of its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(model, onnx.ModelProto):
        return model, "the model"
    if isinstance(model, bytes | bytearray):
        data, folder, name = bytes(model), None, "the bytes"
    elif isinstance(model, str | os.PathLike):
        path = Path(model)
        data, folder, name = path.read_bytes(), path.parent.resolve(), str(path)
    else:
        raise InteropError(f"from_onnx: model must be a path, bytes or a ModelProto, got {type(model).__name__}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise InteropError(f"from_onnx: {name} is no ONNX model: {error}") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise InteropError(f"from_onnx: {name} is no ONNX model: it has no graph, or no version of operators")
    for tensor in tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            load_external(tensor, folder, name)
    return proto, name


def tensors(graph: Any) -> Iterator[Any]:
    """The tensors of a parsed graph, also those among the attributes of its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for value in node.attribute:
            if value.HasField("t"):
                yield value.t
            yield from value.tensors
            for inner in [value.g] if value.HasField("g") else value.graphs:
                yield from tensors(inner)


def load_external(tensor: Any, folder: Path | None, name: str) -> None:
    """Read the bytes of a tensor from the file beside the model that it names."""
    import onnx

    settings = {entry.key: entry.value for entry in tensor.external_data}
    location = settings.get("location", "")
    if folder is None:
        raise InteropError(f"from_onnx: {name} keep weights in the file {location!r}; give the path of the model")
    path = (folder / location).resolve()
    if not location or not path.is_relative_to(folder) or not path.is_file():
        raise InteropError(f"from_onnx: {name} keeps weights in {location!r}, which is no file in its folder")
    start = int(settings.get("offset", 0))
    with path.open("rb") as file:
        file.seek(start)
        length = int(settings["length"]) if "length" in settings else -1
        tensor.raw_data = file.read(length)
    if length >= 0 and len(tensor.raw_data) != length:
        raise InteropError(f"from_onnx: {location} ends before the weights {tensor.name} of {name}")
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def array_of(tensor: Any) -> np.ndarray:
    """A tensor as an array; integers keep their width."""
    import onnx

    dtype_of(tensor.data_type)
    return np.array(onnx.numpy_helper.to_array(tensor))


def attribute(value: Any, version: int) -> Any:
    """An attribute as Python's numbers, text, arrays and graphs."""
    import onnx

    kinds = onnx.AttributeProto
    if value.type == kinds.TENSOR:
        return array_of(value.t)
    if value.type == kinds.GRAPH:
        return graph_of(value.g, version)
    if value.type in (kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS):
        raise InteropError("from_onnx: fdl does not read sparse tensors")
    plain = onnx.helper.get_attribute_value(value)
    if isinstance(plain, bytes):
        return plain.decode()
    if isinstance(plain, list | tuple) or hasattr(plain, "extend"):
        return [item.decode() if isinstance(item, bytes) else item for item in plain]
    return plain


def operator_name(node: Any) -> str:
    """The operator with its domain, where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def node_of(node: Any, version: int) -> Node:
    """A node of a version of the operators; operands that are left out are None."""
    where = f"{operator_name(node)} {node.name}".strip() if node.name else ""
    settings = {a.name: attribute(a, version) for a in node.attribute}
    args: tuple[Any, ...] = tuple([ValueName(name) if name else None for name in node.input])
    args, settings = modern(operator_name(node), args, settings, len(node.output), version)
    return Node(operator_name(node), args, tuple(node.output), settings, where)


def graph_of(graph: Any, version: int = 13) -> Graph:
    """A graph of a version of the operators (13 or a newer one), without the functions of the model written out."""
    constants = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    inputs = tuple([value.name for value in graph.input if value.name not in constants])
    nodes = tuple([node_of(node, version) for node in graph.node])
    return Graph(inputs, nodes, tuple([value.name for value in graph.output]), constants)


def version_of(model: Any) -> int:
    """The version of ONNX's own operators; 1 if a model has operators of others alone."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def inlined(model: Any) -> Any:
    """The model with its functions, which are graphs of their own, written out."""
    import onnx

    return onnx.inliner.inline_local_functions(model) if model.functions else model
