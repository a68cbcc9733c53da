"""Paths of files as data: which format they have, and which table they belong to.

A folder of a Delta, Iceberg or Hudi table is read as that table or not at all: as plain Parquet files it would show
rows that were deleted.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from fdl_spark.errors import DataError

FORMATS = {
    "parquet": "parquet",
    "parq": "parquet",
    "pq": "parquet",
    "orc": "orc",
    "csv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
}
PACKED = (".gz", ".bz2", ".zst", ".lz4", ".snappy", ".deflate")
OPTIONS = {"csv": {"header": True, "inferSchema": True}}
LOGS = {"_delta_log": "delta", ".hoodie": "hudi"}  # folders that make another one a table


@dataclass(frozen=True)
class Files:
    """Files of one format, or of one table.

    Attributes:
      frame: the DataFrame of their rows, whose partitions come in no certain order.
      paths: of the files on this machine, in order; None if they are elsewhere, or more than plain files.
    """

    frame: DataFrame
    paths: tuple[str, ...] | None = None


def are_paths(data: Any) -> bool:
    """Whether data is a path or a list of paths."""
    if isinstance(data, str | os.PathLike):
        return True
    return isinstance(data, list | tuple) and bool(data) and all(isinstance(path, str | os.PathLike) for path in data)


def open_files(data: Any, spark: SparkSession) -> Files:
    """The files at one or more paths: files, folders, patterns, URIs of any file system that Spark reads.

    Raises:
      DataError: there are none, or they are of several formats, of one that is not known, or of a table whose reader
        this session does not have.
    """
    paths = [os.fspath(path) for path in ([data] if isinstance(data, str | os.PathLike) else data)]
    if not all(isinstance(path, str) and path for path in paths):
        raise DataError(f"data: a path must be text that is not empty; one is {min(paths, key=len)!r}")
    files = sorted(_listed(spark, paths))
    if not files:
        raise DataError(f"data: there are no files at {_told(paths)}")
    table = _table(spark, paths, files)
    if table is not None:
        return Files(table)
    kinds = {_format(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"data: the files at {_told(paths)} are of several formats, {sorted(kinds)}; name those of one")
    (kind,) = kinds
    frame = spark.read.format(kind).options(**OPTIONS.get(kind, {})).load(paths)
    near = kind == "parquet" and all(urlsplit(file).scheme == "file" and "=" not in file for file in files)
    return Files(frame, tuple(map(_path, files)) if near else None)


def _listed(spark: SparkSession, paths: Sequence[str]) -> list[str]:
    """The URIs of all files at some paths; Spark leaves out those whose names begin with "_" or "."."""
    return spark.read.format("binaryFile").option("recursiveFileLookup", True).load(list(paths)).inputFiles()


def _format(file: str) -> str:
    name = _path(file).lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    kind = FORMATS.get(PurePosixPath(name).suffix.removeprefix("."))
    if kind is None:
        raise DataError(
            f"data: the name of {_path(file)} does not end with {', '.join(sorted(FORMATS))}; read it with "
            f"spark.read.format(...).load(...), and pass the DataFrame"
        )
    return kind


def _table(spark: SparkSession, paths: Sequence[str], files: Sequence[str]) -> DataFrame | None:
    """The table that files belong to, if they do."""
    for root in sorted({_root(file) for file in files}):
        for log, kind in LOGS.items():
            with suppress(AnalysisException):
                if _listed(spark, [f"{unquote(root)}/{log}"]):
                    return _read_table(spark, kind, paths, root)
    logs = [file for file in files if file.endswith(".metadata.json") and "/metadata/" in file]
    return _read_table(spark, "iceberg", paths, logs[0].rpartition("/metadata/")[0]) if logs else None


def _root(file: str) -> str:
    """The folder of a file, without the folders of partitions (column=value)."""
    parts = file.split("/")[:-1]
    while "=" in parts[-1] or "%3D" in parts[-1]:
        parts.pop()
    return "/".join(parts)


def _read_table(spark: SparkSession, kind: str, paths: Sequence[str], root: str) -> DataFrame:
    if len(paths) > 1 or _absolute(paths[0]) != _path(root):
        raise DataError(
            f"data: {_told(paths)} are files of a {kind} table, which may hold rows that were deleted; give the folder "
            f"of the table, {_path(root)}, alone"
        )
    try:
        table = spark.read.format(kind).load(paths[0])
        table.schema  # noqa: B018  Spark Connect looks at the path now
    except Exception as error:
        raise DataError(
            f"data: {paths[0]} is a {kind} table, and this session cannot read one; start it with the jar of {kind} "
            f"(spark.jars.packages), or write the rows to plain Parquet. Spark says: {str(error).splitlines()[0][:200]}"
        ) from None
    return table


def _absolute(path: str) -> str:
    return _path(path).rstrip("/") if urlsplit(path).scheme else os.path.abspath(path)


def _path(uri: str) -> str:
    """The path of a URI."""
    return unquote(urlsplit(uri).path)


def _told(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
