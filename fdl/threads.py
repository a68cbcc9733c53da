"""How many threads a compiled function may use."""

import math
import os
from functools import cache
from pathlib import Path

from fdl.config import SETTINGS

_chosen: int | None = None


def set_num_threads(count: int) -> None:
    """Set how many threads compiled functions of this process use; this overrides the environment.

    Results do not depend on it, not even in the last bit. A function that takes less than about a tenth of a
    millisecond runs on one thread anyway, and so does a call while the threads are busy with another Python thread's
    call.

    Args:
        count: at least 1.

    Raises:
        ValueError: `count` is less than 1.
        TypeError: `count` is not an integer.

    >>> before = get_num_threads()
    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    >>> set_num_threads(before)
    """
    global _chosen
    if isinstance(count, bool) or not hasattr(count, "__index__"):
        raise TypeError(f"set_num_threads takes an integer, not {count!r}")
    if count < 1:
        raise ValueError(f"set_num_threads({count}): give at least one thread")
    _chosen = int(count)


def get_num_threads() -> int:
    """The number of threads that a compiled function may use.

    Returns:
        The number given to :func:`set_num_threads`; else the environment variable ``FDL_NUM_THREADS`` or
        ``OMP_NUM_THREADS``; else the number of processors that this process may use: those of its affinity mask, or
        fewer if its control group has a CPU quota.

    >>> get_num_threads() >= 1
    True
    """
    return _chosen or _default()


@cache
def _default() -> int:
    for given in (SETTINGS["num_threads"].read(), os.environ.get("OMP_NUM_THREADS")):
        # OpenMP allows a list, one number for each level of nesting.
        text = (given or "").split(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
    return max(1, math.ceil(min(_affinity(), quota())))


def _affinity() -> int:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float:
    """The CPU quota of this process's control group, in processors; infinite without a limit.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    least = math.inf
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            mounts = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        # A limit of any group above holds as well. Inside a container the path may name a group that is not shown.
        group = Path(path.strip().lstrip("/"))
        least = min(least, *(_limit(mount / place) for mount in mounts for place in (group, *group.parents)))
    return least


def _limit(folder: Path) -> float:
    """The quota of one group, in either version of control groups."""
    maximum, _, period = _read(folder / "cpu.max").partition(" ")
    if not period:
        maximum, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    try:
        share = int(maximum) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
