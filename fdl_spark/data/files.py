"""Paths of files as data: which format they have, and which table they belong to.

A folder stands for all files in it and in the folders below, each once, whoever reads them. Spark by itself reads
those of folders below only where their names say `column=value`, and a path that is given twice twice.

A folder of a Delta, Iceberg or Hudi table is read as that table or not at all: as plain Parquet files it would show
rows that were deleted.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from fdl_spark.credentials import masked
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
      read: gives the DataFrame of their rows, whose partitions come in no certain order; Spark looks into files for it.
      paths: of the files on this machine, in order; None if they are elsewhere, or more than plain files.
    """

    read: Callable[[], DataFrame]
    paths: tuple[str, ...] | None = None

    @cached_property
    def frame(self) -> DataFrame:
        """The DataFrame."""
        return self.read()


def are_paths(data: Any) -> bool:
    """Whether data is a path or a list of paths."""
    if isinstance(data, str | os.PathLike):
        return True
    return isinstance(data, list | tuple) and bool(data) and all(isinstance(path, str | os.PathLike) for path in data)


def open_files(data: Any, spark: SparkSession) -> Files:
    """The files at one or more paths: files, folders, patterns, URIs of any file system that Spark reads.

    Raises:
      DataError: there are none, or they are of several formats, of one that is not known, of a table whose reader this
        session does not have, or some lie in folders `column=value` and others do not.
    """
    paths = [os.fspath(path) for path in ([data] if isinstance(data, str | os.PathLike) else data)]
    if not all(isinstance(path, str) and path for path in paths):
        raise DataError(f"data: a path must be text that is not empty; one is {min(paths, key=len)!r}")
    files = sorted(_listed(spark, paths))
    if not files:
        raise DataError(f"data: there are no files at {_told(paths)}")
    table = _table(spark, paths, files)
    if table is not None:
        return Files(lambda: table)
    kinds = {_format(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"data: the files at {_told(paths)} are of several formats, {sorted(kinds)}; name those of one")
    (kind,) = kinds
    keys = {_keys(file, paths) for file in files}
    if len(keys) > 1:
        raise DataError(
            f"data: the files at {_told(paths)} lie in folders that name different columns (column=value): "
            f"{sorted(map(list, keys))}; give those of one kind alone"
        )
    near = kind == "parquet" and keys == {()} and all(urlsplit(file).scheme == "file" for file in files)
    read = partial(_frame, spark, kind, paths, files, keys != {()})
    return Files(read, tuple(map(_path, files)) if near else None)


def _frame(spark: SparkSession, kind: str, paths: Sequence[str], files: Sequence[str], keyed: bool) -> DataFrame:
    """The DataFrame of the files at some paths; `keyed` says that folders may have names of columns."""
    reader = spark.read.format(kind).options(**OPTIONS.get(kind, {}))
    if keyed:
        frame = reader.load(_apart(paths))
        if set(frame.inputFiles()) == set(files):
            return frame  # else such folders are above the paths, and no columns
    return reader.option("recursiveFileLookup", True).load(list(paths))


def _keys(file: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The columns that the folders of a file below the path that it lies in give values of."""
    parts = _path(file).split("/")
    depths = (len(above) for above in (_absolute(path).split("/") for path in paths) if _lies_in(parts, above))
    folders = parts[min(depths, default=0) : -1]
    return tuple(folder.partition("=")[0] for folder in folders if "=" in folder)


def _lies_in(parts: Sequence[str], above: Sequence[str]) -> bool:
    """Whether the parts of a path begin with those of another one, which may be a pattern."""
    return len(parts) >= len(above) and all(map(fnmatchcase, parts, above))


def _apart(paths: Sequence[str]) -> list[str]:
    """Each path once, and none that lies in another one."""
    places = {path.rstrip("/") if urlsplit(path).scheme else os.path.abspath(path): path for path in paths}
    return [path for place, path in places.items() if not any(place.startswith(f"{above}/") for above in places)]


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
    return masked(", ".join(paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
