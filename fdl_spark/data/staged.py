"""Chunks in a file of the executor that made them, between the survey of the data and the dealing of its rows.

Rows are read and encoded once, and neither the JVM nor the Python worker keeps them in memory. The file is deleted when
the rows have been dealt; Spark makes it again from lineage if they have to be dealt once more.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fdl.trust import open_trusted
from fdl_spark.data.block import STAGED, BlockMissing
from fdl_spark.data.chunks import Found
from fdl_spark.data.columns import Problem
from fdl_spark.data.layout import Layout
from fdl_spark.data.survey import Summary, summaries
from fdl_spark.spark.directories import made_locally


@dataclass(frozen=True)
class Staged:
    """The chunks of a partition.

    Attributes:
      path: the file.
      summaries: of the chunks, which stand in the file in this order.
    """

    path: str
    summaries: tuple[Summary, ...]

    def chunks(self) -> Iterator[Found]:
        """The chunks, one at a time.

        Raises:
          BlockMissing: the file is not on this host, or another user's.
        """
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
    return Staged(str(path), tuple(found))


def _create_in(dataset: str, root: Path) -> tuple[Path, int]:
    path = root / f"fdl-{dataset}-{uuid.uuid4().hex}.{STAGED}"
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
