"""Bodies of requests and answers: JSON and NumPy's files, read without running code; Arrow's are in `arrow`."""

import io
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl.serve import arrow
from fdl.serve.refusal import Refusal
from fdl.serve.signature import NamedType

#: Numbers that JSON has no literals for, as the JSON mapping of Protocol Buffers writes them.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What NumPy raises of headers that it has not written.
_NO_NPY = (
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    tokenize.TokenError,
    MemoryError,
    RecursionError,
    OverflowError,
    EOFError,
)


@dataclass(frozen=True)
class BodyFormat:
    """A media type of bodies.

    Attributes:
        media_type: its name.
        read: (types, whether the input is one bare array, body, most bytes) -> arrays by name.
        write: (types, whether the output is one bare array, arrays) -> body.
    """

    media_type: str
    read: Callable[[Sequence[NamedType], bool, bytes, int], dict[str, np.ndarray]]
    write: Callable[[Sequence[NamedType], bool, Sequence[np.ndarray]], bytes]


def read_json(types: Sequence[NamedType], bare: bool, body: bytes, most_bytes: int) -> dict[str, np.ndarray]:
    """Nested lists of numbers by name; of a bare array also without its name.

    Raises:
        Refusal: it is no such JSON.
    """

    def no_number(literal: str) -> Any:
        raise ValueError(f"{literal} is no number of JSON; write it as a string")

    try:
        value = json.loads(body, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}") from None
    if bare and not isinstance(value, dict):
        value = {types[0].name: value}
    if not isinstance(value, dict):
        raise Refusal(422, "the body must be a JSON object of arrays by name", expected=", ".join(map(str, types)))
    known = {type.name: type for type in types}
    return {name: _from_json(known.get(name), name, given) for name, given in value.items()}


def _from_json(type: NamedType | None, name: str, value: Any) -> np.ndarray:
    if type is not None and type.has_rows and value == []:
        return np.zeros((0, *type.shape), type.dtype)
    try:
        if type is not None and type.dtype.kind in "fV":
            value = _numbers(value)
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError, TypeError):  # ragged lists, objects, more axes than NumPy has
        array = np.empty((), object)
    if array.dtype.kind not in "biuf":
        error = f"input {name[:80]!r} is no array of numbers: nested lists of equal lengths make one"
        raise Refusal(422, error, input=name[:80], expected=str(type or "nothing"), got=array.dtype.name)
    return array


def _numbers(value: Any) -> Any:
    """Nested lists with floats in the place of what `_NOT_FINITE` names."""
    if isinstance(value, list):
        return [_numbers(x) for x in value] if any(isinstance(x, str | list) for x in value) else value
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def write_json(types: Sequence[NamedType], bare: bool, arrays: Sequence[np.ndarray]) -> bytes:
    """Nested lists by name; a bare array without its name.

    Raises:
        Refusal: an array has complex numbers.
    """
    values = {}
    for type, array in zip(types, arrays, strict=True):
        if array.dtype.kind == "c":
            raise Refusal(406, f"JSON has no complex numbers, which {type.name!r} has: accept {NPZ.media_type}")
        value = array.tolist()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            value = _written(value)
        values[type.name] = value
    return json.dumps(values[types[0].name] if bare else values, allow_nan=False, separators=(",", ":")).encode()


def _written(value: Any) -> Any:
    """Nested lists with strings in the place of numbers that are not finite."""
    if isinstance(value, list):
        return [_written(x) for x in value]
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def read_npy(types: Sequence[NamedType], bare: bool, body: bytes, most_bytes: int) -> dict[str, np.ndarray]:
    """The array of a file of `numpy.save`, for a function of one array.

    Raises:
        Refusal: it is no such file, or the function takes several arrays.
    """
    if len(types) != 1:
        names = ", ".join(type.name for type in types)
        raise Refusal(422, f"{NPY.media_type} holds one array; send {NPZ.media_type}", expected=names)
    return {types[0].name: _array(body)}


def _array(content: bytes) -> np.ndarray:
    """The array of an .npy file, as a view of its bytes; its header is a literal, and objects are refused."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is not read here")
        shape, by_columns, dtype = readers[version](file)
        if dtype.hasobject or dtype.kind not in "biufc":
            raise ValueError(f"it has dtype {dtype}; numbers and booleans are read")
        size, rest = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
        if size != rest or any(extent < 0 for extent in shape):
            raise ValueError(f"shape {shape} of {dtype} takes {size} bytes, and {rest} follow")
        array = np.frombuffer(content, dtype, math.prod(shape), file.tell()) if size else np.empty(shape, dtype)
        array = array.reshape(shape, order="F" if by_columns else "C")
    except _NO_NPY as error:
        raise Refusal(400, f"the body is no .npy file: {error}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def write_npy(types: Sequence[NamedType], bare: bool, arrays: Sequence[np.ndarray]) -> bytes:
    """A file of `numpy.save`.

    Raises:
        Refusal: there are several arrays.
    """
    if len(arrays) != 1:
        names = ", ".join(type.name for type in types)
        raise Refusal(406, f"{NPY.media_type} holds one array, and the outputs are {names}: accept {NPZ.media_type}")
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(arrays[0]), allow_pickle=False)
    return file.getvalue()


def read_npz(types: Sequence[NamedType], bare: bool, body: bytes, most_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of a file of `numpy.savez`.

    Raises:
        Refusal: it is no such file, or longer than so many bytes when it is decompressed.
    """
    known = {f"{type.name}.npy" for type in types}
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries if entry.filename in known) > most_bytes:
                raise Refusal(413, f"the arrays of the body have more than {most_bytes} bytes")
            if len(entries) > len(known) or any(entry.filename not in known for entry in entries):
                names, wanted = ", ".join(entry.filename for entry in entries)[:400], ", ".join(sorted(known))
                raise Refusal(422, "the file has other arrays than the inputs", expected=wanted, got=names)
            if any(entry.flag_bits & 1 or entry.compress_type not in _COMPRESSIONS for entry in entries):
                raise ValueError("an array is encrypted, or compressed in another way than by numpy.savez_compressed")
            return {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, EOFError, OSError, NotImplementedError) as error:
        raise Refusal(400, f"the body is no .npz file: {error}") from None


def write_npz(types: Sequence[NamedType], bare: bool, arrays: Sequence[np.ndarray]) -> bytes:
    """A file of `numpy.savez`, arrays by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for type, array in zip(types, arrays, strict=True):
            archive.writestr(f"{type.name}.npy", write_npy((type,), True, (array,)))
    return file.getvalue()


JSON = BodyFormat("application/json", read_json, write_json)
NPY = BodyFormat("application/x-npy", read_npy, write_npy)
NPZ = BodyFormat("application/x-npz", read_npz, write_npz)
ARROW = BodyFormat("application/vnd.apache.arrow.stream", arrow.read, arrow.write)
FORMATS = {found.media_type: found for found in (JSON, NPY, NPZ, ARROW)}


def sent(content_type: str | None) -> BodyFormat:
    """The format of a body.

    Raises:
        Refusal: there is no such format.
    """
    name = (content_type or "").partition(";")[0].strip().lower()
    if name not in FORMATS:
        raise Refusal(415, f"Content-Type must be one of {', '.join(FORMATS)}; got {name[:80] or 'none'}")
    return FORMATS[name]


def accepted(accept: str | None, sent: BodyFormat) -> BodyFormat:
    """The format of the answer: that which the client likes best, and of equals the one that it sends.

    Raises:
        Refusal: the client takes none of them.
    """
    likes = dict[str, float]()
    for part in (accept or "*/*").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        try:
            likes[name] = next((float(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        except ValueError:
            raise Refusal(400, "Accept has a q that is no number") from None

    def quality(found: BodyFormat) -> float:
        return likes.get(found.media_type, likes.get("application/*", likes.get("*/*", 0.0)))

    best = max([sent, *FORMATS.values()], key=quality)
    if quality(best) <= 0:
        raise Refusal(406, f"answers are {', '.join(FORMATS)}")
    return best
