"""Functions and parameters on their way to the tasks: equal ones are sent once, and freed when nothing uses them."""

import gc
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pyspark.sql import SparkSession

from fdl_spark.spark.broadcasts import lend, lend_again
from fdl_spark.spark.classic import SparkContext
from fdl_spark.spark.connect.share import Received, session_file

SMALL = 256 << 10  # bytes that go with the task's function, which Spark itself sends to each executor once
COLLECT = 64 << 20  # bytes of new broadcasts after which the JVM is asked to collect garbage


class Readable(Protocol):
    """Bytes that tasks can read."""

    @property
    def value(self) -> Any: ...


@dataclass(frozen=True)
class Sent:
    """A broadcast that the plans of DataFrames refer to; only the JVM knows whether any still does.

    Attributes:
      reference: a weak reference of the JVM to the broadcast.
      path: its file on the driver, which Spark does not delete with it.
    """

    reference: Any
    path: str

    def broadcast(self) -> Any:
        """The JVM's broadcast; None if it was collected, or the JVM is gone."""
        with suppress(Exception):
            return self.reference.get()
        return None


_sent: dict[tuple[str, str], Sent] = {}  # by Spark application and digest
_new = 0  # bytes of broadcasts since the JVM was last asked to collect garbage


def send(where: SparkContext | SparkSession, digest: str, content: bytes) -> Readable:
    """Bytes for the tasks that evaluate a DataFrame, whenever that is.

    Args:
      where: a classic context, or a session of Spark Connect.
      digest: names the content.
      content: the bytes.

    Returns:
      What a function that goes to the tasks can hold on to. The executors keep the content as long as the plan of a
      DataFrame has such a function; over Spark Connect, whose client cannot know that, until the session ends.
    """
    if len(content) <= SMALL:
        free_unused()
        return Received(content)
    if not isinstance(where, SparkContext):
        return session_file(where, content)
    key = where.applicationId, digest
    if key in _sent and (broadcast := _sent[key].broadcast()) is not None:
        return lend_again(where, broadcast)
    _collect(where, len(content))
    free_unused()
    lent = lend(where, content)
    _sent[key] = Sent(where._jvm.java.lang.ref.WeakReference(lent._jbroadcast), lent._path)
    return lent


def free_unused() -> None:
    """Delete the driver's files of broadcasts that the JVM has collected, as Spark does with those of the executors."""
    for key, sent in list(_sent.items()):
        if sent.broadcast() is None:
            with suppress(OSError):
                Path(sent.path).unlink(missing_ok=True)
            _sent.pop(key, None)


def _collect(context: SparkContext, size: int) -> None:
    """Let the JVM notice what is used no more: by itself it would only when its heap is full, and disks fill first."""
    global _new
    _new += size
    if _new > COLLECT:
        gc.collect()  # what PySpark makes for a plan holds on to the JVM's objects, and may be a cycle
        context._jvm.java.lang.System.gc()
        _new = size
