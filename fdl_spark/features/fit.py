"""Encoders learn from data what they need, in one reading of it, and the same however it is cut into partitions."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.errors import ColumnError
from fdl_spark.features.column_encoder import ColumnEncoder, learners, rebuilt
from fdl_spark.features.features import Features, check_encoders, local_table, read
from fdl_spark.features.statistics import merged
from fdl_spark.features.summary import BATCH_ROWS, PROBLEM, ROWS, summarised


def fit(encoders: Sequence[ColumnEncoder], data: Any) -> Features:
    """Let encoders learn from data, in one query, exactly: the result does not depend on partitions.

    Args:
      encoders: of `fdl_spark.features`. One that needs to learn nothing, or has been given it, reads no data here.
      data: a DataFrame of Spark (classic or Connect); or, without Spark, a pyarrow Table, a pandas DataFrame or a dict
        of columns.

    Returns:
      The Features.

    Raises:
      ArgumentError: no encoders, or two that give arrays of one name.
      ColumnError, MissingColumnError: a column is not there, has a row that cannot be encoded, or no value at all.
      DataError: the data is of no such kind, or the DataFrame's query fails.

    >>> from fdl_spark import features
    >>> table = pa.table({"age": [20, 30, 40], "city": ["Bonn", "Köln", "Köln"]})
    >>> fitted = features.fit([features.standardise("age"), features.vocabulary("city")], table)
    >>> fitted.encode(table)
    {'age': array([-1.,  0.,  1.], dtype=float32), 'city': array([2, 1, 1], dtype=int32)}
    """
    check_encoders(encoders)
    learning = list(dict.fromkeys(leaf for encoder in encoders for leaf in learners(encoder)))
    names = tuple(dict.fromkeys(name for encoder in encoders for name in encoder.inputs))
    table = local_table(data)
    if table is None:
        from fdl_spark.features.on_spark import counts_of

        counts = counts_of(data, learning, names)
    else:
        read(table, names)
        counts = merged(list(map(pa.Table.from_batches, ([b] for b in summarised(learning, 0, _batches(table))))))
    _raise_first(counts)
    found = {
        encoder: encoder.learned(counts.filter(pc.equal(counts["statistic"], number)))
        for number, encoder in enumerate(learning)
    }
    return Features(tuple(rebuilt(encoder, found) for encoder in encoders))


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    return iter(table.to_batches(max_chunksize=BATCH_ROWS))


def _raise_first(counts: pa.Table) -> None:
    """Raise for the first row with which something is wrong, if there is one."""
    problems = counts.filter(pc.equal(counts["statistic"], PROBLEM)).to_pylist()
    if not problems:
        return
    first = min(problems, key=lambda found: found["place"])
    sizes = counts.filter(pc.equal(counts["statistic"], ROWS)).to_pylist()
    before = sum(found["count"] for found in sizes if found["place"] < first["place"])
    column, text = json.loads(first["text"])
    raise ColumnError(column, text, before + int(first["number"]))
