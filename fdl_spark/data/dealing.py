"""From chunks to blocks: which task owns a row, where in its block it belongs, and how it comes there."""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from fdl_spark.data.block import KINDS, Block, NewBlock, delete_files
from fdl_spark.data.chunks import Found, Run, nbytes_of, rows_of
from fdl_spark.data.columns import Arrays, Problem
from fdl_spark.data.shards import Schedule, owned
from fdl_spark.data.survey import Cells, Summary, summaries
from fdl_spark.errors import DataError
from fdl_spark.spark.directories import local_directories, restore_directory

FirstRows = dict[int, dict[Run, int]]  # by partition and run

PIECE_ROWS, PIECE_BYTES = 65536, 64 << 20  # a payload must fit an array of the JVM, whatever the rows are

KEPT_SECONDS = 5.0  # how long a worker maps blocks for the next task that writes to them

_mapped: dict[str, dict[str, np.ndarray]] = {}  # the columns of the blocks of one data set, by path
_forgetting: list[Timer] = []

CHANGED = (
    "the rows changed between two readings of the data: cache() or checkpoint the DataFrame or RDD, "
    "make the query that it comes from deterministic, or write no files while they are read"
)


def route_rows(
    schedule: Schedule, tasks: int, first_rows: FirstRows, partition: int, chunks: Iterable[Found]
) -> Iterator[tuple[int, bytes]]:
    """Send each row, with its place in the block, to the task that owns its shard."""
    for owners, places, piece in _dealt(schedule, tasks, first_rows.get(partition, {}), chunks):
        order = np.argsort(owners, kind="stable")
        cuts = np.searchsorted(owners[order], np.arange(tasks + 1))
        places = places[order]
        arrays = {name: array[order] for name, array in piece.items()}
        for task in np.flatnonzero(np.diff(cuts)):
            mine = slice(cuts[task], cuts[task + 1])
            content = places[mine], {name: array[mine] for name, array in arrays.items()}
            yield int(task), pickle.dumps(content, protocol=5)


def _dealt(
    schedule: Schedule, tasks: int, first_rows: dict[Run, int], chunks: Iterable[Found]
) -> Iterator[tuple[np.ndarray, np.ndarray, Arrays]]:
    """Which task owns each row of a piece, and the row's place in that task's block; and the piece."""
    runs = [owned(task, tasks, schedule.shards) for task in range(tasks)]
    owners = np.repeat(np.arange(tasks), [len(shards) for shards in runs])
    firsts = np.array([schedule.first_row(shard) for shard in range(schedule.shards)], np.int64)
    starts = firsts - firsts[np.array([shards.start for shards in runs])[owners]]
    next_row = dict(first_rows)
    for run, chunk in chunks:
        if isinstance(chunk, Problem) or next_row.get(run, schedule.rows) + rows_of(chunk) > schedule.rows:
            raise DataError(CHANGED)
        for piece in _pieces(chunk):
            row = next_row[run]
            next_row[run] += rows_of(piece)
            shards, slots = schedule.deal(np.arange(row, next_row[run]))
            yield owners[shards], starts[shards] + slots, piece


def _pieces(chunk: Arrays) -> Iterator[Arrays]:
    rows = rows_of(chunk)
    step = max(1, min(PIECE_ROWS, PIECE_BYTES * rows // max(1, nbytes_of(chunk))))
    for start in range(0, rows, step):
        yield {name: array[start : start + step] for name, array in chunk.items()}


def write_rows(
    dataset: str, schedule: Schedule, tasks: int, columns: Cells, task: int, payloads: Iterable[bytes]
) -> Iterator[Block]:
    """Write each arriving row at its place; nothing is sorted or kept in memory."""
    shards = owned(task, tasks, schedule.shards)
    with NewBlock(dataset, shards, schedule, columns) as new:
        written = 0
        for places, piece in map(pickle.loads, payloads):
            written += len(places)
            for name, array in new.arrays.items():
                array[places] = piece[name]
        if written != new.block.rows:
            raise DataError(CHANGED)
        yield new.written()


def new_block(dataset: str, schedule: Schedule, tasks: int, columns: Cells, task: int) -> Block:
    """The block of a task, for `scatter_rows`."""
    return NewBlock(dataset, owned(task, tasks, schedule.shards), schedule, columns).block


def scatter_rows(
    blocks: Sequence[Block], first_rows: FirstRows, partition: int, chunks: Iterable[Found]
) -> Iterator[tuple[int, Summary]]:
    """Write the rows of a partition to the blocks of all tasks, which are on this host, and tell what they hold.

    Each row is read and dealt once, which is less than a shuffle costs: Python sends what it shuffles through the JVM
    twice.
    """
    schedule, columns = blocks[0].schedule, blocks[0].columns
    arrays = _writable(blocks)
    told: list[tuple[int, Summary]] = []

    def good() -> Iterator[Found]:
        """The chunks that blocks take; the driver raises an error for the others."""
        for run, chunk in chunks:
            found = next(summaries([(run, chunk)]))
            told.append((partition, found))
            if found.problem is None and all(found.cells[name][1] == shape for name, (_, shape) in columns.items()):
                yield run, chunk

    try:
        for owners, places, piece in _dealt(schedule, len(blocks), first_rows.get(partition, {}), good()):
            for task, columns_of in enumerate(arrays):
                mine = np.flatnonzero(owners == task)
                for name, array in columns_of.items():
                    array[places[mine]] = piece[name][mine]
    finally:
        _forget_later()
    yield from told


def _writable(blocks: Sequence[Block]) -> list[dict[str, np.ndarray]]:
    """The columns of blocks, to write to.

    The rows of a task go to nearly all pages of all blocks, and mapping each page takes about as long as writing to it:
    so a worker maps them once for all of its tasks.
    """
    while _forgetting:
        _forgetting.pop().cancel()
    found = dict(_mapped)  # a timer that went off already may clear the other one now
    if any(block.path not in found for block in blocks):
        found = {block.path: block.writable() for block in blocks}
        _mapped.clear()
        _mapped.update(found)
    return [found[block.path] for block in blocks]


def _forget_later() -> None:
    """Unmap the blocks soon: a deleted file takes its disk for as long as a process maps it."""
    timer = Timer(KEPT_SECONDS, _mapped.clear)
    timer.daemon = True
    timer.start()
    _forgetting.append(timer)


def delete_rows(dataset: str, gone: str | None, handles: Iterable[Any], kinds: tuple[str, ...] = KINDS) -> None:
    """Delete the files of a data set from this host; make a directory again that is gone, if it was this executor's."""
    for _ in handles:  # a task that leaves some of its input unread loses its worker
        pass
    if gone and any(root.parent == Path(gone).parent for root in local_directories()):
        restore_directory(Path(gone))
    delete_files(dataset, kinds)
