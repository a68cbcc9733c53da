"""What runs on the workers: functions from Arrow record batches to record batches, for `mapInArrow`."""

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import TaskContext

from fdl_spark.data.chunks import Found, rows_of
from fdl_spark.data.columns import Problem
from fdl_spark.data.dealing import CHANGED, delete_rows, route_rows, write_rows
from fdl_spark.data.selection import Selection
from fdl_spark.data.shards import Schedule
from fdl_spark.data.source import found_in
from fdl_spark.data.staged import Staged, stage
from fdl_spark.data.survey import Cells, Survey
from fdl_spark.errors import DataError
from fdl_spark.spark.connect.share import arrived
from fdl_spark.spark.connect.upload import pieces
from fdl_spark.spark.wire import Payload

Batches = Iterable[pa.RecordBatch]

SENT = "task int, content binary"
HANDLES = "task int, handle binary"
SENT_SCHEMA = pa.schema([("task", pa.int32()), ("content", pa.binary())])
HANDLES_SCHEMA = pa.schema([("task", pa.int32()), ("handle", pa.binary())])
ANSWERS = "task int, source int, number int, piece int, content binary"
ANSWERS_SCHEMA = pa.schema(
    [(name, pa.int32()) for name in ("task", "source", "number", "piece")] + [("content", pa.binary())]
)


def partition() -> int:
    """The number of the task's partition."""
    return TaskContext.get().partitionId()


def stage_rows(name: str, selection: Selection, by_run: bool, batches: Batches) -> Iterator[pa.RecordBatch]:
    """Write the chunks of a DataFrame's columns to a file, and hand on where it is."""
    handle = stage(name, found_in(selection, by_run, batches))
    yield _batch([(partition(), pickle.dumps(handle, protocol=5))], HANDLES_SCHEMA)


def assembled(batches: Batches) -> Iterator[pa.RecordBatch]:
    """The chunks of a client's arrays from the pieces that they were sent in."""
    found = sorted(_rows(batches, "number", "piece", "content"))
    for _, group in groupby(found, itemgetter(0)):
        yield _batch([(partition(), b"".join(content for _, _, content in group))], HANDLES_SCHEMA)


def route(survey: Survey, schedule: Schedule, tasks: int, keep: bool, batches: Batches) -> Iterator[pa.RecordBatch]:
    """Send each row to the task that owns its shard; and a row of nothing to each task, so that none is left out.

    Args:
      survey, schedule: what the data consists of, and which row is in which shard.
      tasks: into how many tasks the shards are grouped.
      keep: whether files of chunks are read again; else they are deleted.
      batches: the chunks, or the handles of their files.
    """
    mine = partition()
    expected = sum(rows for other, _, rows in survey.parts if other == mine)
    if mine == survey.parts[0][0]:
        yield _batch([(task, b"") for task in range(tasks)], SENT_SCHEMA)
    seen = 0

    def counted() -> Iterator[Found]:
        nonlocal seen
        for run, chunk in _chunks(batches, keep):
            seen += 0 if isinstance(chunk, Problem) else rows_of(chunk)
            yield run, chunk

    for task, content in route_rows(schedule, tasks, survey.first_rows(), mine, counted()):
        yield _batch([(task, content)], SENT_SCHEMA)
    if seen != expected:
        raise DataError(CHANGED)


def write(name: str, schedule: Schedule, tasks: int, columns: Cells, batches: Batches) -> Iterator[pa.RecordBatch]:
    """Write the block of a task, and hand on where it is."""
    payloads = (content for (content,) in _rows(batches, "content") if content)
    for block in write_rows(name, schedule, tasks, columns, partition(), payloads):
        yield _batch([(partition(), pickle.dumps(block, protocol=5))], HANDLES_SCHEMA)


def run_on_input(content: bytes, shares: Mapping[str, tuple[int, int]], batches: Batches) -> Iterator[pa.RecordBatch]:
    """As `run`, on an input of bytes, of which each row has a part; nothing if there is none."""
    task, parts, values = -1, dict[int, bytes](), defaultdict[int, dict[int, bytes]](dict)
    for row in _rows(batches, "task", "part", "handle", *(("number", "piece", "content") if shares else ())):
        task, parts[row[1]] = row[0], row[2]
        if shares:
            values[row[3]][row[4]] = row[5]
    if parts:
        whole = {key: b"".join(values[number][n] for n in range(count)) for key, (number, count) in shares.items()}
        values.clear()
        with arrived(whole):
            one = b"".join(parts[n] for n in range(len(parts)))
            yield from _answers(task, pickle.loads(content)(task, iter([one])))


def run(
    content: bytes, shares: Mapping[str, tuple[int, int]], batches: Batches, *, keep: bool
) -> Iterator[pa.RecordBatch]:
    """Call a function on a task's block.

    Args:
      content: the pickled function (task, iterator over the one block) -> (destination, payload) pairs.
      shares: of the large values that the function refers to, by their keys, the numbers in the rows and of pieces.
      batches: one row, the block's handle; with large values, one row for each of their pieces.
      keep: whether the block is used again; else its file is deleted.
    """
    values: dict[int, dict[int, bytes]] = defaultdict(dict)
    task = block = None
    for row in _rows(batches, "task", "handle", *(("number", "piece", "content") if shares else ())):
        if block is None:
            task, block = row[0], pickle.loads(row[1])
        if shares:
            values[row[2]][row[3]] = row[4]
    if task is None or block is None:
        return
    try:
        whole = {key: b"".join(values[number][n] for n in range(count)) for key, (number, count) in shares.items()}
        values.clear()
        with arrived(whole):
            yield from _answers(task, pickle.loads(content)(task, iter([block])))
    finally:
        if not keep:
            Path(block.path).unlink(missing_ok=True)


def gather(content: bytes, batches: Batches) -> Iterator[pa.RecordBatch]:
    """Call a function (destination, iterator of payloads) -> payloads on what tasks sent to a destination."""
    found = sorted(_rows(batches, "source", "number", "piece", "content"), key=itemgetter(0, 1, 2))
    payloads = (b"".join(row[3] for row in group) for _, group in groupby(found, itemgetter(0, 1)))
    here = partition()
    yield from _answers(here, ((here, payload) for payload in pickle.loads(content)(here, payloads)))


def delete(name: str, kinds: tuple[str, ...], batches: Batches) -> Iterator[pa.RecordBatch]:
    """Delete the files of a data set from this host."""
    delete_rows(name, None, batches, kinds)
    yield _batch([], ANSWERS_SCHEMA)


def _chunks(batches: Batches, keep: bool) -> Iterator[Found]:
    for (content,) in _rows(batches, "handle"):
        handle = pickle.loads(content)
        if isinstance(handle, Staged):
            yield from handle.chunks(keep)
        else:
            yield (), handle


def _answers(source: int, payloads: Iterable[tuple[int, Payload]]) -> Iterator[pa.RecordBatch]:
    for number, (task, payload) in enumerate(payloads):
        for piece, content in enumerate(pieces(payload)):
            yield _batch([(task, source, number, piece, content)], ANSWERS_SCHEMA)


def _rows(batches: Batches, *names: str) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
