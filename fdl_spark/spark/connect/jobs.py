"""Our operations on a session of Spark Connect: tagged, and interrupted when the user interrupts the call."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

from pyspark.sql import SparkSession

from fdl_spark.spark.connect.failures import ended

_lost: WeakSet[SparkSession] = WeakSet()  # sessions whose server does not answer any more


@contextmanager
def own_jobs(spark: SparkSession) -> Iterator[None]:
    """Leave none of the operations inside running on the server, whatever ends the call."""
    tag = f"fdl-{uuid.uuid4().hex}"
    spark.addTag(tag)
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if reachable(spark):
            with suppress(Exception):
                spark.interruptTag(tag)
        raise
    finally:
        with suppress(Exception):  # a session that was stopped has no operations
            spark.removeTag(tag)


@contextmanager
def asking(spark: SparkSession) -> Iterator[None]:
    """Note inside whether the server can be asked anything more.

    A client asks a server that does not answer for ten minutes (`spark.client.set_retry_policies` says otherwise);
    cleaning up must not wait so long for each thing once more.
    """
    try:
        yield
    except Exception as error:
        if ended(str(error)) is not None:
            _lost.add(spark)
        raise
    _lost.discard(spark)


def reachable(spark: SparkSession) -> bool:
    """Whether the server answered when it was last asked."""
    return spark not in _lost
