"""Bytes on their way from the client to the server, in requests that every server takes.

A local relation that is larger than a threshold would be kept by the server until the session ends; temporary views
of small ones are freed when they are dropped, and plans that refer to a view are short, whatever it holds.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from fdl_spark.spark.connect.jobs import asking, reachable

PIECE = 2 << 20  # bytes of a row: the server's batches of rows have 4 MB
REQUEST = 16 << 20  # bytes of a request, of the 128 MB that a server takes if nobody has lowered it

UPLOADED = pa.schema([("number", pa.int32()), ("piece", pa.int32()), ("content", pa.binary())])


class Upload:
    """Values as rows (number of the value, number of the piece, piece of its bytes).

    Args:
      spark: a session of Spark Connect.
      values: the values' bytes.

    Attributes:
      frame: the rows, in no particular order.
      pieces: number of pieces of each value.
    """

    def __init__(self, spark: SparkSession, values: Iterable[bytes]):
        self._spark, self._views = spark, list[str]()
        self.pieces: list[int] = []
        try:
            waiting: list[tuple[int, int, memoryview]] = []
            for number, value in enumerate(values):
                found = list(pieces(value))
                self.pieces.append(len(found))
                for piece, content in enumerate(found):
                    waiting.append((number, piece, content))
                    if sum(len(row[2]) for row in waiting) + PIECE > REQUEST:
                        self._send(waiting)
                        waiting = []
            if waiting:
                self._send(waiting)
        except BaseException:
            self.drop()
            raise
        self.frame = union(list(map(spark.table, self._views)))

    def drop(self) -> None:
        """Free the views; plans that came from `frame` keep what they need."""
        for view in self._views if reachable(self._spark) else ():
            with suppress(Exception):  # of a server that is gone nothing is left to free
                self._spark.catalog.dropTempView(view)

    def _send(self, rows: list[tuple[int, int, memoryview]]) -> None:
        from pyspark.sql.connect.dataframe import DataFrame as ConnectFrame
        from pyspark.sql.connect.plan import LocalRelation

        columns = zip(zip(*rows, strict=True), UPLOADED.types, strict=True)
        table = pa.table([pa.array(column, kind) for column, kind in columns], UPLOADED)
        with asking(self._spark):
            self._views.append(new_view(ConnectFrame(LocalRelation(table), self._spark)))


def union(frames: Sequence[DataFrame]) -> DataFrame:
    """The rows of all DataFrames. As a tree: a server reads only so many operations within each other."""
    half = len(frames) // 2
    return union(frames[:half]).union(union(frames[half:])) if half else frames[0]


def new_view(frame: DataFrame) -> str:
    """The name of a new temporary view of a DataFrame."""
    name = f"fdl_{uuid.uuid4().hex}"
    frame.createOrReplaceTempView(name)
    return name


def pieces(value: bytes | memoryview) -> Iterator[memoryview]:
    """A value's bytes in pieces that fit a row; an empty value is one empty piece."""
    view = memoryview(value)
    for start in range(0, max(1, len(view)), PIECE):
        yield view[start : start + PIECE]
