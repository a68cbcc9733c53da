"""Chunks in a file of the executor that made them, between the survey of the data and the dealing of its rows.

Rows are read and encoded once, and neither the JVM nor the Python worker keeps them in memory. The file is deleted when
the rows have been dealt. If they have to be dealt once more, because an executor was lost, Spark makes it again from
lineage, and whoever reads it then deletes it.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pyspark import TaskContext
from pyspark.sql import SparkSession

from fdl.trust import open_trusted
from fdl_spark.data.block import STAGED, BlockMissing
from fdl_spark.data.chunks import Found
from fdl_spark.data.columns import Problem
from fdl_spark.data.layout import Layout
from fdl_spark.data.survey import Summary, summaries
from fdl_spark.spark.classic import SparkContext
from fdl_spark.spark.directories import made_locally

TAGS = "spark.job.tags"  # where tasks see the tags of their job


@dataclass(frozen=True)
class Staged:
    """The chunks of a partition.

    Attributes:
      dataset: name of the data set.
      path: the file.
      summaries: of the chunks, which stand in the file in this order.
    """

    dataset: str
    path: str
    summaries: tuple[Summary, ...]

    def chunks(self, keep: bool = True) -> Iterator[Found]:
        """The chunks, one at a time; afterwards the file is deleted, unless it is kept while the data is `loading`.

        Raises:
          BlockMissing: the file is not on this host, or another user's.
        """
        try:
            yield from self._chunks()
        finally:
            if not (keep and _is_loading(self.dataset)):
                with suppress(OSError):
                    os.unlink(self.path)

    def _chunks(self) -> Iterator[Found]:
        try:
            with open_trusted(self.path) as file:
                for run, rows, cells, problem in self.summaries:
                    if problem is not None:
                        yield run, problem
                        continue
                    layout = Layout(tuple((dtype, (rows, *shape)) for dtype, shape in cells.values()))
                    content = np.fromfile(file, np.uint8, layout.size)
                    if content.size < layout.size:
                        raise BlockMissing(f"{self.path} ends before its chunks")
                    yield run, dict(zip(cells, layout.views(content), strict=True))
        except OSError as missing:
            raise BlockMissing(str(missing)) from missing


def stage(dataset: str, chunks: Iterable[Found]) -> Staged:
    """Write chunks to a new file of this executor.

    Args:
      dataset: name of the data set, whose files begin with it.
      chunks: with their runs.

    Raises:
      DiskFull: no local directory takes the file.
      OSError: it is full later on.
    """
    path, handle = made_locally(partial(_create_in, dataset), 0, "the rows that were read")
    found: list[Summary] = []
    try:
        with os.fdopen(handle, "wb") as file:
            for run, chunk in chunks:
                found += summaries([(run, chunk)])
                if not isinstance(chunk, Problem):
                    arrays = list(chunk.values())
                    file.write(Layout.of(arrays).pack(arrays).data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Staged(dataset, str(path), tuple(found))


@contextmanager
def loading(where: SparkContext | SparkSession, dataset: str) -> Iterator[None]:
    """Let the tasks of the jobs inside know that they load a data set: others may read what they have staged."""
    classic = isinstance(where, SparkContext)
    add, remove = (where.addJobTag, where.removeJobTag) if classic else (where.addTag, where.removeTag)
    add(_tag(dataset))
    try:
        yield
    finally:
        with suppress(Exception):  # a session that was stopped has no tags
            remove(_tag(dataset))


def _tag(dataset: str) -> str:
    return f"fdl-loading-{dataset}"


def _is_loading(dataset: str) -> bool:
    context = TaskContext.get()
    return context is not None and _tag(dataset) in (context.getLocalProperty(TAGS) or "")


def _create_in(dataset: str, root: Path) -> tuple[Path, int]:
    path = root / f"fdl-{dataset}-{uuid.uuid4().hex}.{STAGED}"
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
