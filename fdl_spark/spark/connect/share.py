"""Values that functions on their way to the tasks refer to: small ones go along, large ones come as rows.

As PySpark does with its broadcasts, pickling a function notes which values it refers to; on the worker the function
finds them in this module, where the task put them before it called the function.
"""

import pickle
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle
import numpy as np
from pyspark.sql import DataFrame, SparkSession

from fdl_spark.spark.connect.upload import Upload

INLINE = 16 << 20  # bytes up to which a value goes with the function; a request may have 128 MB

_noted: ContextVar[dict[str, "Share"] | None] = ContextVar("fdl_spark_shares", default=None)
_arrived: dict[str, Any] = {}  # on a worker, while a task runs


class Share:
    """A value for the tasks.

    Args:
      spark: a session of Spark Connect.
      value: an array, bytes, or a list of them.
    """

    def __init__(self, spark: SparkSession, value: Any):
        self.key, self.value = uuid.uuid4().hex, value
        content = pickle.dumps(value, protocol=5)
        large = len(content) > INLINE
        self.content = None if large else content
        self.upload = Upload(spark, [content]) if large else None

    @property
    def pieces(self) -> int:
        """In how many pieces the server holds it."""
        return self.upload.pieces[0] if self.upload else 0

    def numbered(self, number: int) -> DataFrame:
        """The DataFrame of the pieces on the server, with a number of the value."""
        assert self.upload is not None
        return self.upload.frame.selectExpr(f"{number} as number", "piece", "content")

    def destroy(self) -> None:
        """Free what the server holds."""
        if self.upload is not None:
            self.upload.drop()

    def __reduce__(self) -> Any:
        if self.content is not None:
            return _unpacked, (self.content,)
        noted = _noted.get()
        if noted is None:
            raise pickle.PicklingError("a shared value can only be sent by the map of its data set")
        noted[self.key] = self
        return Arrived, (self.key,)


@dataclass(frozen=True)
class Received:
    """A small value on a worker."""

    value: Any


@dataclass(frozen=True)
class Arrived:
    """A large value on a worker."""

    key: str

    @property
    def value(self) -> Any:
        """The value, while the task runs."""
        return _arrived[self.key]


def _unpacked(content: bytes) -> Received:
    return Received(_read_only(pickle.loads(content)))


def dumps(function: Callable[..., Any]) -> tuple[bytes, list[Share]]:
    """A function's bytes, and the large values that it refers to."""
    noted: dict[str, Share] = {}
    token = _noted.set(noted)
    try:
        return cloudpickle.dumps(function, protocol=5), list(noted.values())
    finally:
        _noted.reset(token)


@contextmanager
def arrived(values: dict[str, bytes]) -> Iterator[None]:
    """Let functions find large values by their keys inside."""
    _arrived.update({key: _read_only(pickle.loads(content)) for key, content in values.items()})
    values.clear()
    try:
        yield
    finally:
        _arrived.clear()


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, list | tuple):
        for item in value:
            _read_only(item)
    return value


_files: WeakKeyDictionary[SparkSession, set[str]] = WeakKeyDictionary()  # names of those that a session has


def session_file(spark: SparkSession, content: bytes) -> "SessionFile":
    """Bytes for the tasks that evaluate a DataFrame, whenever that is.

    They are a file of the session, which its server sends to each executor once and deletes when the session ends.
    """
    name = f"fdl-{sha256(content).hexdigest()}"
    if name not in (known := _files.setdefault(spark, set())):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(content)
            spark.addArtifact(str(path), file=True)
        known.add(name)
    return SessionFile(name)


@dataclass(frozen=True)
class SessionFile:
    """The content of a file of the session, on a worker."""

    name: str

    @property
    def value(self) -> bytes:
        """Its bytes."""
        from pyspark import SparkFiles

        return Path(SparkFiles.get(self.name)).read_bytes()
