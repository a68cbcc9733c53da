"""Bodies that are Arrow IPC streams: a column for each array, lists of equal lengths for its axes after the rows."""

import struct
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fdl.serve.refusal import Refusal
from fdl.serve.signature import NamedType

_SCHEMA, _RECORD_BATCH = 1, 3  # of MessageHeader in Arrow's Message.fbs


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise Refusal(415, "Arrow bodies need pyarrow on the server: pip install pyarrow") from None
    return pyarrow


def read(types: Sequence[NamedType], bare: bool, body: bytes, most_bytes: int) -> dict[str, np.ndarray]:
    """The columns of a stream as arrays.

    Raises:
        Refusal: it is no such stream, is compressed or encoded by dictionaries, or has missing values.
    """
    pa = _pyarrow()
    try:
        _check_messages(pa, body)
        with pa.ipc.open_stream(body) as reader:
            names = reader.schema.names
            if len({*names}) < len(names):
                raise Refusal(422, "the stream has two columns of the same name", got=", ".join(names)[:400])
            for column in reader.schema:
                _check_type(pa, column)
            table = reader.read_all()
        table.validate(full=True)
        table = table.combine_chunks()
        known = {type.name: type for type in types}
        return {name: _array(pa, known.get(name), name, table[name], table.num_rows) for name in names}
    except (pa.ArrowException, ValueError, struct.error, IndexError, OSError, EOFError, MemoryError) as error:
        raise Refusal(400, f"the body is no Arrow IPC stream: {error}") from None


def _check_messages(pa: ModuleType, body: bytes) -> None:
    """Refuse messages whose arrays may be longer than their bytes."""
    for message in pa.ipc.MessageReader.open_stream(body):
        content = message.metadata.to_pybytes()
        root = _offset(content, 0)
        (kind,) = struct.unpack_from("<B", content, _field(content, root, 1) or 0)
        if kind not in (_SCHEMA, _RECORD_BATCH):
            raise Refusal(422, "columns of the stream are encoded by dictionaries; send plain arrays")
        if kind == _RECORD_BATCH:
            header = _field(content, root, 2)
            if header is None or _field(content, _offset(content, header), 3) is not None:
                raise Refusal(422, "the stream is compressed; send it without compression")


def _offset(content: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", content, place)[0])


def _field(content: bytes, table: int, number: int) -> int | None:
    """The place of a field of a table of FlatBuffers (https://flatbuffers.dev/internals/), or None if it is absent."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    (size,) = struct.unpack_from("<H", content, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", content, vtable + 4 + 2 * number)
    return table + offset if offset else None


def _levels(pa: ModuleType, type: Any) -> Iterator[Any]:
    """A type, and the types of the elements of lists, from the outside."""
    yield type
    while pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type):
        type = type.value_type
        yield type


def _check_type(pa: ModuleType, column: Any) -> None:
    tensor = isinstance(column.type, pa.FixedShapeTensorType)
    *_, number = _levels(pa, column.type.storage_type if tensor else column.type)
    known = pa.types.is_integer(number) or pa.types.is_floating(number) or pa.types.is_boolean(number)
    permuted = tensor and list(column.type.permutation or ()) not in ([], [*range(len(column.type.shape))])
    if not known or permuted:
        error = f"input {column.name[:80]!r} must be a column of numbers, or of lists of them"
        raise Refusal(422, error, input=column.name[:80], got=str(column.type)[:200])


def _array(pa: ModuleType, type: NamedType | None, name: str, column: Any, rows: int) -> np.ndarray:
    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    tensor = values.type.shape if isinstance(values.type, pa.FixedShapeTensorType) else None
    values = values.storage if tensor is not None else values
    shape, count = [rows], rows
    while True:
        if values.null_count:
            raise Refusal(422, f"input {name[:80]!r} has missing values", input=name[:80])
        if pa.types.is_fixed_size_list(values.type):
            extent = values.type.list_size
        elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            lengths = np.diff(values.offsets.to_numpy())
            if len({*lengths.tolist()}) > 1:
                raise Refusal(422, f"input {name[:80]!r} has lists of different lengths", input=name[:80])
            extent = int(lengths[0]) if len(lengths) else 0
        else:
            break
        shape.append(extent)
        count *= extent
        values = values.flatten()
    array = values.to_numpy(zero_copy_only=False)
    if type is not None and not rows:
        return np.zeros((0, *type.shape), array.dtype)
    return array.reshape((rows, *tensor) if tensor is not None else shape)


def write(types: Sequence[NamedType], bare: bool, arrays: Sequence[np.ndarray]) -> bytes:
    """A stream of one record batch.

    Raises:
        Refusal: Arrow has no columns for these arrays.
    """
    pa = _pyarrow()
    columns = {}
    for type, array in zip(types, arrays, strict=True):
        if not array.ndim or 0 in array.shape[1:] or array.shape[0] != arrays[0].shape[0] or array.dtype.kind == "c":
            raise Refusal(406, f"output {type.name!r} is no column of Arrow: {type}")
        column = pa.array(np.ascontiguousarray(array).reshape(-1))
        for extent in reversed(array.shape[1:]):
            column = pa.FixedSizeListArray.from_arrays(column, extent)
        columns[type.name] = column
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
