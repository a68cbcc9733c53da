"""DataFrames whose rows are those of Parquet files, as they are there and in the order in which Spark would read them.

Spark turns each of their values into a row's and each row's into Arrow's before Python sees it, which takes most of the
time of loading. What the physical plan says suffices to read the files instead; where it says anything else than which
columns of which files, Spark computes the rows.
"""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from fdl_spark.data.parquet import Piece
from fdl_spark.spark.classic import Py4JError, is_connect

AROUND = ("WholeStageCodegenExec", "InputAdapter", "ColumnarToRowExec")  # what changes no row
SCAN = "org.apache.spark.sql.execution.FileSourceScanExec"
PARQUET = "org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat"
IGNORING = ("spark.sql.files.ignoreCorruptFiles", "spark.sql.files.ignoreMissingFiles")
FILE = re.compile(r"path: (\S+), range: (\d+)-(\d+), partition values")  # paths are URIs, without spaces


def scanned_files(frame: DataFrame) -> tuple[list[Piece], T.StructType] | None:
    """The pieces of Parquet files whose rows a DataFrame has, in its order, and its schema; None if it is more."""
    if is_connect(frame) or frame.isStreaming:
        return None
    try:
        scan = _scan(frame)
        partitions = () if scan is None else scan.inputRDD().partitions()
        files = [file.toString() for partition in partitions for file in partition.files()]
    except Py4JError:  # another Spark, whose plans say it otherwise
        return None
    pieces = []
    for uri, start, stop in (match.groups() for match in map(FILE.match, files) if match):
        address = urlsplit(uri)
        if address.scheme == "file":
            pieces.append(Piece(unquote(address.path), int(start), int(stop)))
    return (pieces, frame.schema) if files and len(pieces) == len(files) else None


def _chooses(project: Any) -> bool:
    """Whether a projection gives columns as they are, under their names."""
    columns = project.projectList()
    return all(columns.apply(n).getClass().getSimpleName() == "AttributeReference" for n in range(columns.size()))


def _scan(frame: DataFrame) -> Any:
    """The scan of Parquet files that is all of a DataFrame's physical plan, or None."""
    plan = frame._jdf.queryExecution().executedPlan()
    while (kind := plan.getClass().getSimpleName()) in AROUND or (kind == "ProjectExec" and _chooses(plan)):
        plan = plan.child()
    if plan.getClass().getName() != SCAN:
        return None
    relation = plan.relation()
    if relation.fileFormat().getClass().getName() != PARQUET:  # a table's own, which may leave rows out
        return None
    if not relation.partitionSchema().isEmpty() or plan.bucketedScan() or not plan.dataFilters().isEmpty():
        return None
    options = relation.options().toString().lower()
    if any(name.rpartition(".")[2].lower() in options for name in IGNORING):
        return None
    if any(frame.sparkSession.conf.get(name, "false") != "false" for name in IGNORING):
        return None
    return plan
