"""The data set on the executors: a task's shards as one .npy file a column, memory-mapped by every worker of the host.

Iterations send only file handles through the workers' sockets. The RDD of handles is cached, so Spark prefers the
executor that wrote the files, and it is made again from lineage, files and all, when that executor is lost.
"""

import os
import pickle
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from pyspark import RDD, SparkContext, StorageLevel

import fdl
from fdl_spark.columns import Arrays, Problem
from fdl_spark.errors import DataError
from fdl_spark.shards import Schedule, owned
from fdl_spark.source import Source
from fdl_spark.survey import Cells, Survey
from fdl_spark.wire import raw_input, raw_shuffle

SLICE_ROWS = 65536


class BlockMissing(Exception):
    """A task ran where its block is not; Spark tries it elsewhere, or the driver makes the blocks again."""


@dataclass(frozen=True)
class Block:
    """The shards of one task in the local directory of one executor.

    Attributes:
      folder: where the columns' files are.
      shards: the run of shards, in the files' order.
      starts: the first row of each of these shards in the files.
      columns: the columns' names, in the files' order.
    """

    folder: str
    shards: range
    starts: tuple[int, ...]
    columns: tuple[str, ...]

    def rows(self, shard: int, slots: np.ndarray | slice, template: Any) -> Any:
        """A batch of a shard's rows as the pytree that the template describes."""
        start = self.starts[shard - self.shards.start]
        index = slice(slots.start + start, slots.stop + start) if isinstance(slots, slice) else slots + start
        columns = _mapped(self.folder, self.columns)
        return fdl.tree.map(lambda name: columns[name][index], template)


class Dataset:
    """Data cut into shards, on the executors.

    Args:
      source: the user's data.
      survey: what it consists of.
      schedule: which row is in which shard and which step.
      tasks: into how many tasks the shards are grouped.
    """

    def __init__(self, source: Source, survey: Survey, schedule: Schedule, tasks: int):
        self.template, self.columns, self.schedule, self.tasks = source.template, survey.columns, schedule, tasks
        first_rows = [survey.first_row(partition) for partition in range(len(survey.rows))]
        routed = raw_shuffle(source.chunks, partial(_route, schedule, tasks, first_rows), tasks)
        context = source.chunks.ctx
        writer = partial(_write, schedule, tasks, survey.columns)
        self.blocks: RDD = raw_input(routed, context).mapPartitionsWithIndex(writer)
        self.blocks.persist(StorageLevel.MEMORY_ONLY)
        self.blocks.count()

    @property
    def context(self) -> SparkContext:
        """Where the blocks are."""
        return self.blocks.ctx

    def example(self) -> Any:
        """A batch's types: the pytree of ShapeDtypeStructs of a shard's largest part of a batch."""
        rows = -(-min(self.schedule.batch_size, self.schedule.rows) // self.schedule.shards)

        def column(name: str) -> fdl.ShapeDtypeStruct:
            dtype, shape = self.columns[name]
            return fdl.ShapeDtypeStruct((rows, *shape), np.dtype(dtype))

        return fdl.tree.map(column, self.template)

    def rebuild(self) -> None:
        """Forget the blocks; the next job makes them again from lineage."""
        self.blocks.unpersist(blocking=True)
        self.blocks.persist(StorageLevel.MEMORY_ONLY)

    def close(self) -> None:
        """Delete the blocks' files."""
        self.blocks.foreachPartition(_delete)
        self.blocks.unpersist()


def _route(
    schedule: Schedule, tasks: int, first_rows: list[int], partition: int, chunks: Iterable[Arrays]
) -> Iterator[tuple[int, bytes]]:
    """Send each row, with its shard and slot, to the task that owns its shard."""
    owner = np.array([task for task in range(tasks) for _ in owned(task, tasks, schedule.shards)])
    row = first_rows[partition]
    for chunk in chunks:
        if isinstance(chunk, Problem) or row + len(next(iter(chunk.values()))) > schedule.rows:
            raise DataError(_CHANGED)
        for piece in _pieces(chunk):
            count = len(next(iter(piece.values())))
            shards, slots = schedule.deal(np.arange(row, row + count))
            row += count
            for task in np.unique(owner[shards]):
                mine = owner[shards] == task
                arrays = {name: array[mine] for name, array in piece.items()}
                yield int(task), pickle.dumps((shards[mine], slots[mine], arrays), protocol=5)


def _pieces(chunk: Arrays) -> Iterator[Arrays]:
    for start in range(0, len(next(iter(chunk.values()))), SLICE_ROWS):
        yield {name: array[start : start + SLICE_ROWS] for name, array in chunk.items()}


def _write(schedule: Schedule, tasks: int, columns: Cells, task: int, payloads: Iterable[bytes]) -> Iterator[Block]:
    """Write each arriving row at its place; nothing is sorted or kept in memory."""
    shards = owned(task, tasks, schedule.shards)
    ends = np.cumsum([schedule.shard_rows(shard) for shard in shards], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(shards)]
    rows = int(ends[-1]) if len(shards) else 0
    folder = _new_folder()
    files = _create(folder, columns, rows)
    written = 0
    for payload in payloads:
        piece_shards, slots, arrays = pickle.loads(payload)
        places = starts[piece_shards - shards.start] + slots
        written += len(places)
        for name, file in files.items():
            file[places] = arrays[name]
    for file in files.values():
        file.flush()
    if written != rows:
        raise DataError(_CHANGED)
    yield Block(str(folder), shards, tuple(int(start) for start in starts), tuple(columns))


_CHANGED = (
    "the rows changed between two readings of the data: cache() or checkpoint the DataFrame or RDD, "
    "or make the query that it comes from deterministic"
)


def _new_folder() -> Path:
    """A new folder in the executor's local directories: the emptiest of those that can be written."""
    roots = [Path(root) for root in os.environ["SPARK_LOCAL_DIRS"].split(",") if os.access(root, os.W_OK)]
    root = max(roots, key=lambda root: shutil.disk_usage(root).free)
    folder = root / f"fdl-{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def _create(folder: Path, columns: Cells, rows: int) -> dict[str, np.memmap]:
    files = {}
    for position, (name, (dtype, shape)) in enumerate(columns.items()):
        path = folder / f"{position}.npy"
        if rows and np.prod(shape, dtype=int):
            files[name] = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (rows, *shape))
        else:
            np.save(path, np.empty((rows, *shape), dtype))
    return files


@lru_cache(maxsize=64)
def _mapped(folder: str, columns: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """The columns of a folder, mapped once per worker."""
    try:
        return {name: _open(Path(folder) / f"{position}.npy") for position, name in enumerate(columns)}
    except FileNotFoundError as missing:
        raise BlockMissing(str(missing)) from missing


def _open(path: Path) -> np.ndarray:
    array = np.load(path, mmap_mode=None if path.stat().st_size < 4096 else "r")
    return array.view(np.ndarray)


def _delete(blocks: Iterable[Block]) -> None:
    for block in blocks:
        shutil.rmtree(block.folder, ignore_errors=True)
