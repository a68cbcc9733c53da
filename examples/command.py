"""The command line that the applications share."""

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fdl_spark


def parser(name: str, description: str | None, *, epochs: int | None = None) -> argparse.ArgumentParser:
    """A parser of the options that an application has because it trains on Spark and shows a figure.

    Args:
      name: of the application's folder; its figure is saved as NAME.png.
      description: the first line of the help.
      epochs: the default; None leaves it to the application.
    """
    made = argparse.ArgumentParser(prog=f"python -m examples.{name}", description=description)
    made.add_argument("--master", help="Spark's, such as local[2] or spark://host:7077")
    made.add_argument("--partitions", type=int, help="tasks; as many as the cluster runs at once")
    made.add_argument("--shards", type=int, help="logical shards, which decide the last bits")
    made.add_argument("--epochs", type=int, default=epochs)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--checkpoint", help="folder or URI; the same command goes on from there")
    made.add_argument("--plot", default=f"{name}.png", help="file of the figure")
    return made


def training(given: argparse.Namespace, description: str) -> dict[str, Any]:
    """The arguments of `fdl_spark.train` that the options name, and a progress bar."""
    found = {name: getattr(given, name) for name in ("partitions", "shards", "seed", "checkpoint")}
    return {**found, "callbacks": [fdl_spark.Progress(desc=description)]}


@contextmanager
def without_pandas_warning() -> Iterator[None]:
    """Do without PySpark's warning of pandas 3, which it looks for wherever it meets Arrow; the examples use none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        yield
