"""Parquet files that the executors read themselves: their columns become arrays without being rows in the JVM.

It is done where that gives what Spark would give: columns of numbers, arrays of them, text and binary, the same in all
files. What is left, as ML vectors, decimals or times, Spark reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from fdl_spark.data.chunks import CHUNK_BYTES, Found, chunks_of, of_partition
from fdl_spark.data.columns import is_number
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.selection import Selection
from fdl_spark.errors import DataError
from fdl_spark.spark.classic import RDD, SparkContext

PART_BYTES = 64 << 20
FOOTERS = 16  # files whose ends are read at once


@dataclass(frozen=True)
class RowGroups:
    """Row groups of a file that follow each other.

    Attributes:
      path: the file.
      groups: their numbers.
      rows: how many rows are decoded at once.
      size: their bytes, without compression.
    """

    path: str
    groups: range
    rows: int
    size: int


def parquet_chunks(
    paths: Sequence[str], context: SparkContext, columns: Sequence[str] | None, features: Encoder | None
) -> tuple[RDD, Selection] | None:
    """The chunks of Parquet files, and which columns they have; None if Spark should read them.

    Args:
      paths: of the files, in the order of the data.
      context, columns, features: as of `open_source`.
    """
    with ThreadPoolExecutor(FOOTERS) as pool:
        files = list(pool.map(pq.read_metadata, paths))
    schemas = [file.schema.to_arrow_schema() for file in files]
    if any(not schema.equals(schemas[0]) for schema in schemas):
        return None
    selection = Selection.of(schemas[0].names, columns, features)
    if not all(_is_plain(schemas[0].field(name).type) and "." not in name for name in selection.read):
        return None
    groups = [group for path, file in zip(paths, files, strict=True) for group in _row_groups(path, file, selection)]
    size = min(PART_BYTES, sum(group.size for group in groups) // context.defaultParallelism)
    parts = list(_parts(groups, size))
    return context.parallelize(parts, max(1, len(parts))).mapPartitions(partial(_read, selection)), selection


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow and Spark see the same in a column."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type)
    binary = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
    return (is_number(kind) and kind != pa.float16()) or binary or pa.types.is_large_binary(kind)


def _row_groups(path: str, file: pq.FileMetaData, selection: Selection) -> Iterator[RowGroups]:
    read = set(selection.read)
    leaves = [n for n in range(file.num_columns) if file.schema.column(n).path.split(".")[0] in read]
    for number in range(file.num_row_groups):
        group = file.row_group(number)
        if group.num_rows:
            size = sum(_decoded(group.column(leaf)) for leaf in leaves)
            rows = min(max(1, CHUNK_BYTES * group.num_rows // max(1, size)), 1 << 16)
            yield RowGroups(path, range(number, number + 1), rows, size)


def _decoded(column: pq.ColumnChunkMetaData) -> int:
    """The bytes of a column's values; those of text that stands in a dictionary can only be guessed."""
    numbers = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}
    return max(column.num_values * numbers.get(column.physical_type, 16), column.total_uncompressed_size)


def _parts(groups: Iterable[RowGroups], size: int) -> Iterator[list[RowGroups]]:
    """Row groups by partition, of at least so many bytes each."""
    part: list[RowGroups] = []
    for group in groups:
        part.append(group)
        if sum(one.size for one in part) >= size:
            yield part
            part = []
    if part:
        yield part


def _read(selection: Selection, parts: Iterable[list[RowGroups]]) -> Iterator[Found]:
    batches = (batch for part in parts for group in part for batch in _batches(selection, group))
    return of_partition(chunks_of(batches, selection.arrays))


def _batches(selection: Selection, group: RowGroups) -> Iterator[pa.RecordBatch]:
    names = list(dict.fromkeys(selection.read))
    try:
        with pq.ParquetFile(group.path, memory_map=True, pre_buffer=False) as file:
            for batch in file.iter_batches(group.rows, list(group.groups), names, use_threads=False):
                columns = [batch.column(name) for name in selection.read]
                yield pa.RecordBatch.from_arrays(columns, list(selection.read))
    except FileNotFoundError as missing:
        raise DataError(f"the executors do not see {group.path}, which the driver sees: {missing}") from None
