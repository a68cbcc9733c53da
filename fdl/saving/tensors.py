"""The format safetensors (https://github.com/huggingface/safetensors): arrays by name, and texts, in one file.

The length of a header, the header as JSON, the arrays. Complex numbers and random keys, which the format has no names
for, are written as pairs of their parts along one more axis.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from itertools import chain
from math import prod
from mmap import mmap
from typing import Any

import numpy as np

from fdl.core.types import TensorType
from fdl.dtypes import bfloat16, complex64, complex128, key

_NAMES = {np.dtype(name): f"{name[0].upper()}{8 * np.dtype(name).itemsize}" for name in (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"
)} | {np.dtype(bool): "BOOL", bfloat16: "BF16"}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_PARTS = {complex64: "float32", complex128: "float64", key: "uint32"}
LONGEST_HEADER = 100_000_000


def write_tensors(tensors: Mapping[str, Any], texts: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Arrays and texts by name, as the bytes of a file, piece by piece.

    Raises:
        ValueError: the texts are longer than readers of the format take.
    """
    header: dict[str, Any] = {"__metadata__": dict(texts)}
    arrays, end = [], 0
    found = {name: np.asarray(value) for name, value in tensors.items()}
    aligned = sorted(found.items(), key=lambda item: (-_part_bytes(item[1]), item[0]))
    for name, array in ((name, _in_parts(array)) for name, array in aligned):
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        arrays.append(array)
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise ValueError(f"names and metadata take {len(text)} bytes, and a file has room for {LONGEST_HEADER}")
    return chain([struct.pack("<Q", len(text)), text], map(buffer, arrays))


def can_write(dtype: Any) -> bool:
    """Whether the format has arrays of a dtype."""
    return dtype in _NAMES or dtype in _PARTS


def buffer(array: Any) -> memoryview:
    """The bytes of an array."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _part_bytes(array: np.ndarray) -> int:
    return (np.dtype(_PARTS[array.dtype]) if array.dtype in _PARTS else array.dtype).itemsize


def _in_parts(array: np.ndarray) -> np.ndarray:
    if array.dtype not in _PARTS:
        return array
    return np.ascontiguousarray(array).reshape(*array.shape, 1).view(_PARTS[array.dtype])


def read_tensors(content: bytes | mmap, copy: bool = True) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The inverse of `write_tensors`, but for arrays in parts, which `joined` puts together.

    Args:
        content: the file's.
        copy: whether the arrays have memory of their own; otherwise they are views of `content`.

    Raises:
        ValueError, LookupError, TypeError, AttributeError, struct.error: these are no such bytes.
    """
    (length,) = struct.unpack_from("<Q", content)
    start, size = 8 + length, memoryview(content).nbytes
    if length > LONGEST_HEADER or start > size:
        raise ValueError("the header is cut off")
    header = json.loads(bytes(memoryview(content)[8:start]))
    texts = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("the metadata is no text")
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name!r} has dtype {entry['dtype']}, which fdl has not")
        dtype, shape, (first, last) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        whole = all(type(extent) is int and extent >= 0 for extent in shape)
        if not whole or first != end or last - first != prod(shape) * dtype.itemsize or start + last > size:
            raise ValueError(f"the place of {name!r} is wrong")
        count = prod(shape)
        array = np.frombuffer(content, dtype, count, start + first) if count else np.empty(0, dtype)
        array = array.reshape(shape)
        tensors[name] = array.copy() if copy else array
        end = last
    if start + end != size:
        raise ValueError("there are bytes of no array")
    return tensors, texts


def fits(array: np.ndarray, type: TensorType) -> bool:
    """Whether `joined` can make an array of a type, of what was read of it."""
    if (array.shape, array.dtype) == (type.shape, type.dtype):
        return True
    return type.dtype in _PARTS and (array.shape, array.dtype) == ((*type.shape, 2), _PARTS[type.dtype])


def joined(array: np.ndarray, type: TensorType) -> np.ndarray:
    """An array of a type, of what was read of it.

    Raises:
        ValueError: it is of another type.
    """
    if not fits(array, type):
        raise ValueError(f"there is {TensorType(array.shape, array.dtype)} in the place of {type}")
    return array if array.dtype == type.dtype else array.view(type.dtype)[..., 0]
