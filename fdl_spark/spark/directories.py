"""The local directories that Spark gives an executor, one on each of its disks: there our files are beside its own."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fdl_spark.spark.disks import DiskFull, told_of_disk

SUBFOLDERS = 64  # of each of Spark's local directories (`spark.diskStore.subDirectories`)
Made = TypeVar("Made")


def made_locally(make: Callable[[Path], Made], size: int, what: str) -> Made:
    """What is made in the first of this executor's local directories that takes it, the one with the most room first.

    Args:
      make: makes it in a directory, or raises OSError.
      size: its bytes.
      what: it is, for the message.

    Raises:
      DiskFull: none of them takes it.
    """
    refused = []
    for root in sorted(local_directories(), key=free_bytes, reverse=True):
        try:
            return make(root)
        except OSError as error:
            refused.append(told_of_disk(str(root), size, error))
    raise DiskFull(f"no local directory of Spark takes {what}: {'; '.join(refused)}")


def local_directories() -> list[Path]:
    """Spark's local directories of this executor, which are made again if somebody deleted them."""
    if "SPARK_LOCAL_DIRS" not in os.environ:  # a worker that sees nothing of its executor's disks
        return [Path(tempfile.gettempdir())]
    roots = [Path(root) for root in os.environ["SPARK_LOCAL_DIRS"].split(",")]
    for root in roots:
        with suppress(OSError):
            root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the executor's own, as far as it was deleted
        restore_directory(root)
    return roots


def restore_directory(root: Path) -> None:
    """Make one of Spark's local directories again if somebody deleted it; without it Spark can run no task there."""
    if not root.exists() and root.parent.is_dir():  # else it is another host's
        with suppress(OSError):
            root.mkdir(mode=0o700)
            beside = root.name.startswith("spark-")  # a folder that Spark has for other things
            for number in range(0 if beside else SUBFOLDERS):  # Spark remembers which of them it has made
                (root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)


def free_bytes(root: Path) -> int:
    """How many bytes are free on the disk of a directory."""
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return 0
