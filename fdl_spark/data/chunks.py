"""Chunks: rows that follow each other, as equally long arrays by column name, of some megabytes at most.

Where the rows of a chunk belong in the data is told by their *run* and, within a run, by the order in which they come.
The runs of most data have no name, `()`: its order is that of the partitions. Rows of files that Spark reads belong to
runs (path, offset), which come in any partition, so that their order does not depend on how Spark cuts and packs files.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import Arrays, BadColumn, Problem

CHUNK_BYTES = 8 << 20

Run = tuple[str, int] | tuple[()]
Found = tuple[Run, Arrays | Problem]  # a chunk with its run, or what is wrong with it


def rows_of(arrays: Arrays) -> int:
    """Number of rows of a chunk."""
    return len(next(iter(arrays.values())))


def nbytes_of(arrays: Arrays) -> int:
    """Number of bytes of a chunk."""
    return sum(array.nbytes for array in arrays.values())


def chunks_of(
    batches: Iterable[pa.RecordBatch], convert: Callable[[pa.RecordBatch], Arrays]
) -> Iterator[Arrays | Problem]:
    """The chunks of Arrow record batches, which are joined and cut to about CHUNK_BYTES each.

    Args:
      batches: all of one schema.
      convert: gives the arrays of a record batch, or raises BadColumn.
    """
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        for piece in _pieces(batch):
            waiting.append(piece)
            size += piece.nbytes
            if size > CHUNK_BYTES // 2:
                yield or_problem(partial(convert, _joined(waiting)))
                waiting, size = [], 0
    if waiting:
        yield or_problem(partial(convert, _joined(waiting)))


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A record batch in pieces of CHUNK_BYTES at most, or of one row; rows may differ much in their bytes."""
    if batch.nbytes <= CHUNK_BYTES or batch.num_rows == 1:
        if batch.num_rows:
            yield batch
        return
    middle = batch.num_rows // 2
    yield from _pieces(batch.slice(0, middle))
    yield from _pieces(batch.slice(middle))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def or_problem(convert: Callable[[], Arrays]) -> Arrays | Problem:
    """What a conversion gives, or what is wrong with a column."""
    try:
        return convert()
    except BadColumn as bad:
        return bad.problem


def of_partition(chunks: Iterable[Arrays | Problem]) -> Iterator[Found]:
    """Chunks whose order is that of the partitions."""
    return (((), chunk) for chunk in chunks)


def chunks_by_run(batches: Iterable[pa.RecordBatch], convert: Callable[[pa.RecordBatch], Arrays]) -> Iterator[Found]:
    """As `chunks_of`, of record batches whose last two columns are the path and the offset of a row's run."""
    pieces = (piece for batch in batches for piece in _runs(batch))
    for run, group in groupby(pieces, itemgetter(0)):
        yield from ((run, chunk) for chunk in chunks_of((piece for _, piece in group), convert))


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[Run, pa.RecordBatch]]:
    if not batch.num_rows:
        return
    rows, (paths, offsets) = batch.select(range(batch.num_columns - 2)), batch.columns[-2:]
    keys = np.stack([paths.dictionary_encode().indices.to_numpy(), offsets.to_numpy()])
    changes = np.flatnonzero((np.diff(keys) != 0).any(axis=0)) + 1
    for start, end in pairwise([0, *changes.tolist(), batch.num_rows]):
        yield (paths[start].as_py(), offsets[start].as_py()), rows.slice(start, end - start)
