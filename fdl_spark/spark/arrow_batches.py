"""How many bytes Spark puts into an Arrow batch for a Python function: its own limit is one of rows, however wide."""

from collections.abc import Iterator
from contextlib import contextmanager

from fdl_spark.spark.classic import SparkContext

LIMIT = "spark.sql.execution.arrow.maxBytesPerBatch"


@contextmanager
def batches_of(context: SparkContext, size: int) -> Iterator[None]:
    """Let Arrow batches of the jobs inside end with the row that makes them this large.

    The tasks of a query that runs as an RDD read Spark's settings from the job's properties, so those of the user's
    session need not change.

    Args:
      context: whose jobs are meant, those of this thread.
      size: bytes.
    """
    before = context.getLocalProperty(LIMIT)
    context.setLocalProperty(LIMIT, str(size))
    try:
        yield
    finally:
        context.setLocalProperty(LIMIT, before)
