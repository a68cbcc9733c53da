"""What a call of `train` was asked to do, with what, and where, as JSON values for its history."""

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from inspect import isfunction
from types import FunctionType
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

import fdl
from fdl_spark.compute.program import Program
from fdl_spark.credentials import masked
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.engine import Snapshot
from fdl_spark.spark.classic import RDD, SparkContext
from fdl_spark.training.callback import Callback

LONGEST = 500  # characters of a value's text
MOST = 100  # entries of a dict or list, and functions that an optimizer is made of
ARRAYS = 1000  # of the parameters that are listed one by one
PACKAGES = ("pyspark", "numpy", "pyarrow", "pandas", "llvmlite")
DATA = ("data", "validation")  # arguments of which no value may be told
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def described(
    arguments: Mapping[str, Any],
    where: SparkContext | SparkSession | None,
    dataset: Dataset,
    program: Program,
    start: Snapshot,
) -> dict[str, Any]:
    """All that a session's record says of its call before the first step.

    Args:
      arguments: of `train`, by name.
      where: the SparkContext of a classic session, or the session of Spark Connect; None in a task.
      dataset: the data.
      program: the user's functions.
      start: the parameters and the state before the first step.
    """
    dtype = start.weights.dtype
    gradient = program.exchanged * (2 if program.rounded else dtype.itemsize)
    state = sum(np.asarray(leaf).nbytes for leaf in start.leaves)
    schedule = dataset.schedule
    row = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for kind, shape in dataset.columns.values())
    return {
        "name": _name(arguments.get("checkpoint")),
        "settings": {
            name: _without_rows(value) if name in DATA else plain(value)
            for name, value in arguments.items()
            if name != "params"
        },
        "versions": versions(where),
        "host": platform.node(),
        "cluster": _cluster(where, dataset),
        "data": {
            "rows": schedule.rows,
            "columns": {
                name: f"{np.dtype(kind)}{list(shape) or ''}" for name, (kind, shape) in dataset.columns.items()
            },
            "shards": schedule.shards,
            "tasks": dataset.tasks,
            "steps of an epoch": schedule.steps_per_epoch,
        },
        "parameters": _parameters(program),
        "bytes": {
            "parameters": start.weights.nbytes,
            "state": state,
            "gradient": gradient,
            "gradients": gradient * dataset.tasks,
            "broadcast": start.weights.nbytes * dataset.tasks,
            "data": row * schedule.rows,
        },
    }


def _name(checkpoint: str | os.PathLike[str] | None) -> str | None:
    """What to call a run: after the folder of its checkpoints.

    >>> _name("s3://key:secret@bucket/runs/digits/?token=secret"), _name("s3://key:secret@bucket"), _name(None)
    ('digits', '...@bucket', None)
    """
    text = _text(os.fspath(checkpoint or ""))
    if "://" in text:
        text = text.partition("?")[0]
    return os.path.basename(text.rstrip("/")) or None


def plain(value: Any) -> Any:
    """An argument as a JSON value: what it is, where it cannot be the value itself.

    >>> plain({"x": np.zeros((3, 2)), "f": max, "uri": "s3://key:secret@bucket/run"})
    {'x': 'float64[3, 2]', 'f': 'builtins.max', 'uri': 's3://...@bucket/run'}
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, str | os.PathLike):
        return _text(os.fspath(value))
    if isinstance(value, DataFrame):
        return _text(f"DataFrame[{', '.join(value.columns)}]")
    if isinstance(value, RDD):
        return f"{type(value).__name__} of {value.getNumPartitions()} partitions"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return plain(value.item()) if value.shape == () else f"{value.dtype}{list(value.shape)}"
    if isfunction(getattr(value, "update", None)):
        return _text(_made(value.update))
    if isinstance(value, Callback):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in list(value.items())[:MOST]}
    if isinstance(value, Sequence) and not hasattr(value, "_fields"):
        return [plain(inner) for inner in value[:MOST]]
    if callable(value) or hasattr(value, "_fields"):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return _text(ADDRESS.sub("", repr(value)))


def _without_rows(data: Any) -> Any:
    """What data is, without a value of its rows: a history is read by others than the data.

    >>> _without_rows({"x": np.zeros((3, 2)), "y": [1, 2, 3]}), _without_rows(["a.parquet"])
    ({'x': 'float64[3, 2]', 'y': 'list'}, ['a.parquet'])
    """
    if isinstance(data, Mapping):
        return {str(key): _without_rows(inner) for key, inner in list(data.items())[:MOST]}
    if isinstance(data, Sequence) and all(isinstance(path, str | os.PathLike) for path in data):
        return plain(data)
    if data is None or isinstance(data, DataFrame | RDD | os.PathLike):
        return plain(data)
    if hasattr(data, "dtype") and hasattr(data, "shape"):
        return f"{data.dtype}{list(data.shape)}"
    return type(data).__qualname__


def _made(function: FunctionType, left: Iterator[int] | None = None) -> str:
    """What a function was made by and of, as its closure tells: that is where an optimizer has its numbers.

    >>> _made(fdl.optim.sgd(0.5).update)
    'chain(identity, scale(step_size=-0.5))'
    """
    left = iter(range(MOST)) if left is None else left  # a function may stand in many closures
    told, functions = [], []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a name that was never bound
            value = cell.cell_contents
            if value is None or isinstance(value, bool | int | float | str) or getattr(value, "shape", None) == ():
                told.append(f"{name}={value}")
            parts = value if isinstance(value, tuple | list) else [value]
            parts = [getattr(part, "update", part) for part in parts]
            functions += [part for part in parts if isfunction(part)]
    inner = [_made(part, left) for part in functions if next(left, None) is not None]
    if len(inner) == 1 and not told:
        return inner[0]
    name = re.split(r"\.<locals>|\(", function.__qualname__)[0]  # a schedule's tells its arguments
    return f"{name}({', '.join(told + inner)})" if told or inner else name


def versions(where: SparkContext | SparkSession | None) -> dict[str, str]:
    """Of what computes: fdl, Python, the packages below it, Spark, Java, the processor."""
    found = {"fdl": fdl.__version__, "Python": sys.version.split()[0]}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    if where is not None:
        found["Spark"] = where.version
    if isinstance(where, SparkContext):
        found["Java"] = str(where._jvm.java.lang.System.getProperty("java.version"))
    return found | {"system": platform.platform(), "processor": _processor()}


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cluster(where: SparkContext | SparkSession | None, dataset: Dataset) -> dict[str, Any]:
    cluster = dataset.cluster()
    found: dict[str, Any] = {"hosts": cluster.hosts, "cores of a host": cluster.cores}
    if not isinstance(where, SparkContext):
        return {"session": "Spark Connect" if where else "a task of a search", **found}
    return {"master": _text(where.master), "application": where.applicationId, **found}


def _parameters(program: Program) -> list[dict[str, Any]]:
    """The arrays of the parameters; of very many, their subtrees."""
    pairs, _ = fdl.tree.flatten_with_path(program.params)
    records = [
        {
            "subtree": fdl.tree.keystr(path[:1]) or "params",
            "path": fdl.tree.keystr(path) or "params",
            "dtype": str(leaf.dtype),
            "shape": list(leaf.shape),
            "size": leaf.size,
            "bytes": leaf.nbytes,
        }
        for path, leaf in pairs
    ]
    return records if len(records) <= ARRAYS else _joined(records)


def _joined(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    subtrees: dict[str, dict[str, Any]] = {}
    for record in records:
        whole = subtrees.setdefault(
            record["subtree"], {**record, "path": f"{record['subtree']}...", "shape": [], "size": 0, "bytes": 0}
        )
        whole["size"] += record["size"]
        whole["bytes"] += record["bytes"]
    return list(subtrees.values())


def _text(text: str) -> str:
    hidden = masked(text)
    return hidden if len(hidden) <= LONGEST else hidden[:LONGEST] + "..."
