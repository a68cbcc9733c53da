"""Hadoop's sequence files, record by record: as BigDL's ImageNetSeqFileGenerator writes them, and with JPEGs.

The format is that of org.apache.hadoop.io.SequenceFile, version 6. BigDL's records have a key of text, the class from 1
or "name, line feed, class", and a value of 32 bits of width, 32 bits of height (big-endian) and the pixels, blue first.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

MAGIC = b"SEQ\x06"
ESCAPE = -1  # in place of a record's length: a sync mark follows
ZLIB = ("org.apache.hadoop.io.compress.DefaultCodec", "org.apache.hadoop.io.compress.GzipCodec")
WRITABLES = ("org.apache.hadoop.io.Text", "org.apache.hadoop.io.BytesWritable")


class SequenceFileError(ValueError):
    """A file is no sequence file, or one of a kind that is not read."""


def records(file: BinaryIO, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The records of a sequence file, one in memory at a time.

    Args:
      file: its bytes, which are read once from the start to the end.
      name: of the file, for messages.

    Yields:
      The content of key and value.

    Raises:
      SequenceFileError: it is no such file, its records are in compressed blocks or by a codec other than zlib's, its
        keys or values are neither Text nor BytesWritable, or it ends within a record.
    """
    if _read(file, 4, name) != MAGIC:
        raise SequenceFileError(f"{name} is no sequence file of version 6")
    key_class, value_class = (_text(file, name).decode() for _ in range(2))
    for written in (key_class, value_class):
        if written not in WRITABLES:
            raise SequenceFileError(f"{name} has {written}; keys and values must be Text or BytesWritable")
    compressed, in_blocks = _read(file, 1, name) != b"\0", _read(file, 1, name) != b"\0"
    if in_blocks:
        raise SequenceFileError(f"{name} is compressed in blocks of records; write it without or by records")
    codec = _text(file, name).decode() if compressed else ""
    if compressed and codec not in ZLIB:
        raise SequenceFileError(f"{name} is compressed by {codec}; only {' and '.join(ZLIB)} are read")
    for _ in range(2 * _int(file, name)):  # metadata: names and values
        _text(file, name)
    sync = _read(file, 16, name)
    key_of, value_of = (_text_of if "Text" in one else _bytes_of for one in (key_class, value_class))
    while head := file.read(4):
        length = struct.unpack(">i", head + _read(file, 4 - len(head), name))[0]
        if length == ESCAPE:
            if _read(file, 16, name) != sync:
                raise SequenceFileError(f"{name} is damaged: a sync mark is another one")
            continue
        size = _int(file, name)
        content = _read(file, length, name)
        value = content[size:]
        if compressed:
            value = zlib.decompress(value, wbits=47)  # zlib's or gzip's header
        yield key_of(content[:size]), value_of(value)


def labelled_images(file: BinaryIO, name: str, encode: Callable[[np.ndarray], bytes]) -> Iterator[tuple[bytes, int]]:
    """The images of a sequence file with their classes from 0.

    Args:
      file, name: as of `records`.
      encode: makes a file of pixels (height, width, 3) uint8, red first. Values that are encoded already stay as they
        are.

    Raises:
      SequenceFileError: as `records`, or a record is no image with a class.
    """
    for number, (key, value) in enumerate(records(file, name)):
        label = key.rpartition(b"\n")[2]
        if not label.isdigit() or label == b"0":
            raise SequenceFileError(f"record {number} of {name} has the key {key!r}, which is no class from 1 on")
        yield _encoded(value, encode, f"record {number} of {name}"), int(label) - 1


def _encoded(value: bytes, encode: Callable[[np.ndarray], bytes], what: str) -> bytes:
    if value.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return value
    width, height = struct.unpack(">ii", value[:8].ljust(8, b"\0"))
    if width < 1 or height < 1 or len(value) != 8 + 3 * width * height:
        raise SequenceFileError(f"{what} is neither a JPEG or PNG nor pixels with a width and a height before them")
    pixels = np.frombuffer(value, np.uint8, offset=8).reshape(height, width, 3)
    return encode(np.ascontiguousarray(pixels[..., ::-1]))


def _read(file: BinaryIO, count: int, name: str) -> bytes:
    found = file.read(count)
    while len(found) < count:
        more = file.read(count - len(found))
        if not more:
            raise SequenceFileError(f"{name} ends within a record or its header")
        found += more
    return found


def _int(file: BinaryIO, name: str) -> int:
    return int(struct.unpack(">i", _read(file, 4, name))[0])


def _text(file: BinaryIO, name: str) -> bytes:
    """A text that stands in a file: its length, and so many bytes."""
    first = _read(file, 1, name)
    length, _ = _number(first + _read(file, _width(first[0]) - 1, name))
    return _read(file, length, name)


def _text_of(content: bytes) -> bytes:
    length, start = _number(content)
    return content[start : start + length]


def _bytes_of(content: bytes) -> bytes:
    return content[4 : 4 + struct.unpack(">i", content[:4])[0]]


def _width(first: int) -> int:
    """How many bytes a number takes, by its first byte: itself from -112 to 127, else the count of what follows."""
    signed = first - 256 if first > 127 else first
    return 1 if signed >= -112 else -111 - signed if signed >= -120 else -119 - signed


def _number(content: bytes) -> tuple[int, int]:
    """A number that is not negative, of Hadoop's variable length, and how many bytes it takes."""
    width = _width(content[0])
    if width == 1:
        return content[0], 1
    return int.from_bytes(content[1:width], "big"), width
