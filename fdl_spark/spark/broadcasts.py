"""Broadcasts of arrays: no copy on the way, read-only on arrival, with Spark's encryption of files on or off.

PySpark pickles a broadcast straight into a file, which costs no copy of a contiguous array. With
`spark.io.encryption.enabled` that file is a stream to the JVM whose `write` takes bytes only, and pickle hands it
whatever buffer a large array has: here a thin file between the two turns buffers into bytes-like views.
"""

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from fdl_spark.spark.classic import Broadcast, SparkContext
from fdl_spark.spark.disks import told_of_disk
from fdl_spark.spark.failures import NoRoom


def lend(context: SparkContext, value: Any) -> Broadcast:
    """Send a value to the executors that ask for it.

    Args:
      context: where to.
      value: an array, bytes, or a list of them. Arrays are read-only in the tasks.

    Returns:
      The Broadcast.

    Raises:
      NoRoom: the driver's temporary folder cannot take it.
    """
    return _Arrays(context, value, context._pickled_broadcast_vars)


def lend_again(context: SparkContext, broadcast: Any) -> Broadcast:
    """A further handle of a broadcast that the JVM has, to be sent with a function.

    Args:
      context: its context.
      broadcast: the JVM's object.
    """
    again = Broadcast.__new__(Broadcast)
    again._jbroadcast, again._pickle_registry = broadcast, context._pickled_broadcast_vars
    return again


class _Arrays(Broadcast):
    def destroy(self, blocking: bool = False) -> None:
        try:
            super().destroy(blocking)
        finally:
            with suppress(OSError):  # where the session is over this is all there is to free
                os.unlink(self._path)

    def dump(self, value: Any, f: Any) -> None:
        try:
            _Pickler(f.write).dump(value)
            f.close()
        except OSError as error:
            with suppress(OSError):
                f.close()
            os.unlink(self._path)
            text = told_of_disk(os.path.dirname(self._path), _size(value), error)
            raise NoRoom(f"the driver cannot write what it sends to the executors: {text}") from error


class _Pickler(pickle.Pickler):
    """Pickles arrays as a header and their bytes, which it hands on uncopied."""

    def __init__(self, write: Callable[[Any], Any]):
        super().__init__(_Views(write), protocol=5)

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        array = value if value.flags.forc else np.ascontiguousarray(value)
        order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
        content: Any = array.reshape(-1, order=order).view(np.uint8)
        content.flags.writeable = False  # else a bytearray would arrive
        return _array, (pickle.PickleBuffer(content), value.dtype, value.shape, order)


class _Views:
    """A file for a pickler, which passes on what has a length and can be sliced."""

    def __init__(self, write: Callable[[Any], Any]):
        self._write = write

    def write(self, content: Any) -> None:
        self._write(content.raw() if isinstance(content, pickle.PickleBuffer) else content)


def _array(content: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray:
    return np.ndarray(shape, dtype, content, order=order)


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_size, value))
    return value.nbytes if isinstance(value, np.ndarray) else len(value)
