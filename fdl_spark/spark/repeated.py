"""Spark jobs that run again and again: their functions are pickled once, and the JVM is asked a few things a job.

What differs from job to job travels apart from the functions: numbers in a local property of the job, arrays in
broadcasts. Spark reads both when it submits a stage, so the list of broadcasts that all functions refer to may change
between jobs.
"""

import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from fdl_spark.spark.broadcasts import lend
from fdl_spark.spark.classic import SparkContext
from fdl_spark.spark.disks import told_of_disk
from fdl_spark.spark.failures import NoRoom
from fdl_spark.spark.wire import Payload, dtype_name

PROPERTY = "fdl.told"
# The file of a broadcast is a pickle of bytes, which start at a whole cache line: PROTO 5, a string for padding, POP,
# BINBYTES8 and the length; then the bytes and STOP. So PySpark reads it as any other, and a task can map it.
HEAD = b"\x80\x05C\x32" + bytes(50) + b"0\x8e"
START = len(HEAD) + 8
STOP = b"."


@dataclass(frozen=True)
class Told:
    """What the tasks of a job are told.

    Attributes:
      numbers: as given to `Repeated.told`.
      arrays: as given there, but flat and read-only.
    """

    numbers: tuple[int, ...]
    arrays: tuple[np.ndarray, ...]


class Repeated:
    """Jobs of one SparkContext whose functions ask `told()` for what is new."""

    def __init__(self, context: SparkContext):
        self.context: Any = context
        jvm = self.context._jvm
        # Each of these names is looked up in the JVM once, not once a job.
        self.python_rdd, self.pairs, self._function = jvm.PythonRDD, jvm.PairwiseRDD, jvm.SimplePythonFunction
        self.values, self._serve = self.python_rdd.valueOfPair, self.python_rdd.collectAndServe
        self._set_up_broadcast = self.python_rdd.setupBroadcast
        self._broadcasts = jvm.java.util.ArrayList()  # those that functions hold, then those of the last job
        self._lasting = self._passing = 0  # how many of either

    def function(self, function: Callable[[int, Iterator], Iterable[Payload]], deserializer: Any) -> Any:
        """A function for `rdd`; what it holds of `Dataset.share` goes with it. Make all of them before the first job.

        Args:
          function: (task, iterator) -> payloads.
          deserializer: PySpark's, of the elements that it iterates over.
        """
        from pyspark.core.rdd import _prepare_for_python_RDD
        from pyspark.serializers import NoOpSerializer

        command = function, None, deserializer, NoOpSerializer()
        pickled, broadcasts, environment, includes = _prepare_for_python_RDD(self.context, command)
        for broadcast in broadcasts:
            if not self._broadcasts.contains(broadcast):
                self._broadcasts.add(broadcast)
                self._lasting += 1
        python = self.context.pythonExec, self.context.pythonVer
        return self._function(
            bytearray(pickled), environment, includes, *python, self._broadcasts, self.context._javaAccumulator
        )

    def rdd(self, function: Any, parent: Any, preserves_partitioning: bool = False) -> Any:
        """What a function makes of the partitions of a Scala RDD."""
        return self.python_rdd(parent, function, preserves_partitioning, False)

    def collect(self, rdd: Any) -> list[bytes]:
        """The elements of a Scala RDD of byte arrays, in order."""
        from pyspark.serializers import NoOpSerializer
        from pyspark.util import _load_from_socket

        with _load_from_socket(self._serve(rdd), NoOpSerializer()) as stream:
            return list(stream)

    @contextmanager
    def told(self, numbers: Iterable[int], *arrays: np.ndarray) -> Iterator[None]:
        """Tell the tasks of the jobs inside.

        Args:
          numbers: a few.
          arrays: contiguous ones, which are broadcast and freed at the end.
        """
        sent: list[_Sent] = []
        try:
            for array in arrays:
                sent.append(_Sent(self.context, self._set_up_broadcast, array))
            for place, one in enumerate(sent):
                if place < self._passing:
                    self._broadcasts.set(self._lasting + place, one.broadcast)
                else:
                    self._broadcasts.add(one.broadcast)
                    self._passing += 1
            while self._passing > len(sent):
                self._passing -= 1
                del self._broadcasts[self._lasting + self._passing]
            words = [*map(str, numbers), *(one.name for one in sent)]
            self.context._jsc.setLocalProperty(PROPERTY, " ".join(words))
            yield
        finally:
            for one in sent:
                one.free()

    def close(self) -> None:
        """Forget what the last job was told."""
        with suppress(Exception):  # a session that was stopped knows nothing more
            self.context._jsc.setLocalProperty(PROPERTY, None)


class _Sent:
    """An array that is broadcast."""

    def __init__(self, context: Any, set_up: Callable[[str], Any], array: np.ndarray):
        self._lent = None
        array = np.ascontiguousarray(array)
        if context._encryption_enabled:
            self._lent = lend(context, array)
            self.broadcast = self._lent._jbroadcast
        else:
            self._path = self._written(context._temp_dir, array.reshape(-1).view(np.uint8).data)
            self.broadcast = context._jsc.broadcast(set_up(self._path))
        self.name = f"{self.broadcast.id()}:{dtype_name(array.dtype)}"

    def _written(self, folder: str, data: memoryview) -> str:
        with NamedTemporaryFile(delete=False, dir=folder, buffering=0) as file:
            try:
                file.write(HEAD + struct.pack("<Q", len(data)))
                while data:
                    data = data[file.write(data) :]
                file.write(STOP)
            except OSError as error:
                os.unlink(file.name)
                text = told_of_disk(folder, len(data), error)
                raise NoRoom(f"the driver cannot write what it sends to the executors: {text}") from error
        return file.name

    def free(self) -> None:
        """Delete it, here and on the executors; whatever fails in doing so must not hide why the job ended."""
        with suppress(Exception):
            if self._lent is not None:
                self._lent.destroy()
            else:
                os.unlink(self._path)
                self.broadcast.destroy(False)


def told() -> Told:
    """What this task's job was told."""
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    words = (context.getLocalProperty(PROPERTY) or "").split()
    named = [word.split(":") for word in words if ":" in word]
    numbers = tuple(int(word) for word in words if ":" not in word)
    return Told(numbers, tuple(_array(int(number), dtype) for number, dtype in named))


def _array(number: int, dtype: str) -> np.ndarray:
    from pyspark.core.broadcast import _from_id

    broadcast = _from_id(number)
    path = getattr(broadcast, "_path", None)
    if path is None:  # Spark has deciphered it
        return np.asarray(broadcast.value).reshape(-1)
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(memoryview(mapped)[START : -len(STOP)], dtype)
