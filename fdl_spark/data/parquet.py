"""Parquet files that the executors read themselves: their columns become arrays without being rows in the JVM.

It is done where that gives what Spark would give: columns of numbers, arrays of them, text and binary, the same in all
files. What is left, as ML vectors, decimals or times, Spark reads. Spark has no unsigned numbers: they become the next
larger signed ones here too, so that a dtype does not depend on who reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type

from fdl_spark.data.chunks import CHUNK_BYTES, Found, chunks_of, of_partition
from fdl_spark.data.columns import BadColumn, has_numbers, is_number
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.selection import Selection
from fdl_spark.data.survey import Survey, summaries
from fdl_spark.errors import DataError
from fdl_spark.spark.classic import RDD, SparkContext

PART_BYTES = 64 << 20
BUFFER = 1 << 20  # bytes of a column that are read at once
FOOTERS = 16  # files whose ends are read at once
SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}


class Piece(NamedTuple):
    """A part of a file: the row groups whose middle is between two offsets, as Spark cuts files."""

    path: str
    start: int = 0
    stop: int = 1 << 63


@dataclass(frozen=True)
class RowGroups:
    """Row groups of a file that follow each other.

    Attributes:
      path: the file.
      groups: their numbers.
      count: how many rows they have.
      rows: how many rows are decoded at once.
      size: their bytes, without compression.
    """

    path: str
    groups: range
    count: int
    rows: int
    size: int


def parquet_chunks(
    pieces: Sequence[Piece],
    schema: T.StructType | None,
    context: SparkContext,
    columns: Sequence[str] | None,
    features: Encoder | None,
) -> tuple[RDD, Selection, Survey | None] | None:
    """The chunks of Parquet files, which columns they have, and how many rows there are, as far as the files tell; None
    if Spark should read them.

    Args:
      pieces: of the files, in the order of the data.
      schema: of the DataFrame whose rows they are, if they are to be those of one.
      context, columns, features: as of `open_source`.
    """
    paths = list(dict.fromkeys(piece.path for piece in pieces))
    try:
        with ThreadPoolExecutor(FOOTERS) as pool:
            files = dict(zip(paths, pool.map(pq.read_metadata, paths), strict=True))
    except (pa.ArrowException, OSError):
        return None  # Spark says what is wrong, or has the key
    first, *others = (file.schema.to_arrow_schema() for file in files.values())
    if any(not other.equals(first) for other in others):
        return None
    there = first.names if schema is None else schema.names
    selection = Selection.of(there, columns, features)
    if not all(_is_plain(name, first, schema) for name in selection.read):
        return None
    if not all(has_numbers(first.field(name).type) for name in selection.numeric):
        return None  # the schema of Spark's DataFrame tells it without reading a row
    groups = [group for piece in pieces for group in _row_groups(piece, files[piece.path], selection)]
    size = min(PART_BYTES, sum(group.size for group in groups) // context.defaultParallelism)
    parts = list(_parts(groups, size))
    chunks = context.parallelize(parts, max(1, len(parts))).mapPartitions(partial(_read, selection))
    return chunks, selection, _promised(parts, selection) if features is None else None


def _promised(parts: Sequence[Sequence[RowGroups]], selection: Selection) -> Survey | None:
    """What the files hold if all rows are as the first one."""
    if not parts:
        return None
    try:
        row = next(_batches(selection, replace(parts[0][0], rows=1))).slice(0, 1)
        summary = next(summaries([((), selection.arrays(row))]))
    except (BadColumn, DataError, pa.ArrowException, OSError):
        return None  # reading all of them says which row is the first bad one
    counts = (sum(group.count for group in part) for part in parts)
    return Survey(tuple((number, (), count) for number, count in enumerate(counts)), summary.cells)


def _is_plain(name: str, there: pa.Schema, schema: T.StructType | None) -> bool:
    """Whether Arrow and Spark see the same in a column."""
    if "." in name or there.names.count(name) != 1 or not _is_plain_type(there.field(name).type):
        return False
    return schema is None or _same(from_arrow_type(signed(there.field(name).type)), schema[name].dataType)


def _same(one: T.DataType, other: T.DataType) -> bool:
    if isinstance(one, T.ArrayType) and isinstance(other, T.ArrayType):
        return _same(one.elementType, other.elementType)
    return one == other


def signed(kind: pa.DataType) -> pa.DataType:
    """The type in which Spark sees the values of one."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = signed(kind.value_type)
        return kind if inner == kind.value_type else pa.list_(inner)
    return SIGNED.get(kind, kind)


def _is_plain_type(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_plain_type(kind.value_type)
    if kind == pa.uint64():  # a decimal in Spark
        return False
    binary = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
    return (is_number(kind) and kind != pa.float16()) or binary or pa.types.is_large_binary(kind)


def _row_groups(piece: Piece, file: pq.FileMetaData, selection: Selection) -> Iterator[RowGroups]:
    read = set(selection.read)
    leaves = [n for n in range(file.num_columns) if file.schema.column(n).path.split(".")[0] in read]
    for number in range(file.num_row_groups):
        group = file.row_group(number)
        if group.num_rows and piece.start <= _middle(group) < piece.stop:
            size = sum(_decoded(group.column(leaf)) for leaf in leaves)
            rows = min(max(1, CHUNK_BYTES * group.num_rows // max(1, size)), 1 << 16)
            yield RowGroups(piece.path, range(number, number + 1), group.num_rows, rows, size)


def _middle(group: pq.RowGroupMetaData) -> int:
    """The offset by which Spark's reader (parquet-java's `filterFileMetaDataByMidpoint`) knows whose a row group is."""
    chunks = [group.column(number) for number in range(group.num_columns)]
    first = chunks[0].data_page_offset
    if chunks[0].has_dictionary_page and chunks[0].dictionary_page_offset:
        first = min(first, chunks[0].dictionary_page_offset)
    return first + sum(chunk.total_compressed_size for chunk in chunks) // 2


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
        # Not mapped: a file that is cut while it is read must give an error, and not kill the process.
        with pq.ParquetFile(group.path, buffer_size=BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(group.rows, list(group.groups), names, use_threads=False):
                columns = [batch.column(name) for name in selection.read]
                columns = [column.cast(signed(column.type)) for column in columns]
                yield pa.RecordBatch.from_arrays(columns, list(selection.read))
    except FileNotFoundError as missing:
        raise DataError(
            f"the executors do not see {group.path}, which the driver saw: it is not on their hosts, or was deleted "
            f"since: {missing}"
        ) from None
    except (pa.ArrowException, OSError, IndexError) as wrong:
        raise DataError(f"{group.path} is damaged, or changed while it was read: {wrong}") from None
