"""Files that only this run can read, for sessions whose Spark encrypts what it writes (`spark.io.encryption.enabled`).

A file is a random salt and then AES-256-GCM records, under a key that follows from the run's key, the salt and the
file's name: a file that was cut off, changed, or has another one's name does not open.
"""

import os
from typing import BinaryIO

import numpy as np

from fdl_spark.net.cipher import FRAME, HEADER, RECORD, TAG, Direction, derive

SALT = 16  # bytes


def sealed_size(size: int) -> int:
    """How many bytes a file has that holds so many."""
    return SALT + size + -(-size // RECORD) * (HEADER.size + TAG)


def write_sealed(file: BinaryIO, key: bytes, name: str, content: np.ndarray) -> None:
    """Write bytes, uint8 array (n,), to a new file with a name, under the run's key of 32 bytes."""
    salt = os.urandom(SALT)
    direction, frame = Direction(derive(key, salt, name.encode())), memoryview(bytearray(FRAME))
    file.write(salt)
    for start in range(0, content.size, RECORD):
        plain = content[start : start + RECORD]
        length = HEADER.size + plain.size + TAG
        direction.seal(plain.data, frame[:length])
        file.write(frame[:length])


def read_sealed(data: memoryview, key: bytes, name: str, size: int) -> np.ndarray | None:
    """The bytes, uint8 array (size,), of a file's content; None if it is not what was written under this name."""
    content = np.empty(size, np.uint8)
    direction, place = Direction(derive(key, bytes(data[:SALT]), name.encode())), SALT
    for start in range(0, size, RECORD):
        plain = content[start : start + RECORD]
        length = HEADER.size + plain.size + TAG
        if not direction.open(data[place : place + length], plain.data):
            return None
        place += length
    return content
