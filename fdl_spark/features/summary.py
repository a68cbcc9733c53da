"""What encoders learn from one partition."""

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import BadColumn, Problem
from fdl_spark.features.column_encoder import ColumnEncoder
from fdl_spark.features.features import read
from fdl_spark.features.statistics import SCHEMA, merged

ROWS, PROBLEM = -1, -2  # in place of the number of what learns: how many rows a partition has, and what is wrong there
BATCH_ROWS = 1 << 16
MERGE_ROWS = 1 << 18
FLUSH_ROWS = 1 << 20


def summarised(
    learning: Sequence[ColumnEncoder], partition: int, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """What encoders learn from a partition, as counts by keys, some of which may come twice.

    Args:
      learning: the encoders.
      partition: its number; partitions are in the order of the rows.
      batches: its rows.

    Yields:
      Record batches of SCHEMA.
    """
    names = tuple(dict.fromkeys(name for encoder in learning for name in encoder.inputs))
    rows, problem = 0, None
    waiting: list[pa.Table] = []
    limit = MERGE_ROWS
    for batch in batches:  # to the end in any case: Spark would have to begin another worker
        if problem is None:
            columns = read(batch, names)
            for number, encoder in enumerate(learning):
                try:
                    waiting.append(_numbered(encoder.count(columns), number))
                except BadColumn as bad:
                    if problem is None or rows + bad.problem.row < problem.row:
                        problem = Problem(bad.problem.column, bad.problem.text, rows + bad.problem.row)
        rows += batch.num_rows
        if sum(table.num_rows for table in waiting) > limit:
            waiting = [merged(waiting)]
            if waiting[0].num_rows > FLUSH_ROWS:
                yield from waiting.pop().to_batches(max_chunksize=BATCH_ROWS)
            limit = MERGE_ROWS + sum(
                2 * table.num_rows for table in waiting
            )  # so that a row is merged a few times only
    said = [(ROWS, "", partition, 0.0, rows)]
    if problem is not None:
        text = json.dumps([problem.column, problem.text])
        said.append((PROBLEM, text, partition, float(problem.row), 1))
    told = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in said], SCHEMA)
    yield from pa.concat_tables([merged(waiting), told]).combine_chunks().to_batches(max_chunksize=BATCH_ROWS)


def _numbered(counts: pa.Table, number: int) -> pa.Table:
    column = pa.array(np.full(counts.num_rows, number, np.int32))
    return counts.set_column(0, SCHEMA.field(0), column)
