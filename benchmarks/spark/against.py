"""fdl on Spark against TorchDistributor: the same rows, batches and parameters, in processes that take turns."""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.spark.channel import Closed
from benchmarks.spark.side import Side
from benchmarks.spark.turns import sizes
from benchmarks.spark.work import Work, prepare

CHECKED = 3  # steps whose losses must be equal before anything is timed
LONGEST = 300.0  # seconds for a block: the first one starts everything and compiles


def start(name: str, data: Path, folder: str) -> Side:
    """The side of a name such as "auto", "torch", "torch-dense", or "auto/1" for one rank."""
    kind, _, ranks = name.partition("/")
    if kind.startswith("torch"):
        return Side(name, "benchmarks.spark.torch_side", [str(data), ranks or "2", kind], folder)
    return Side(name, "benchmarks.spark.fdl_side", [str(data), kind, ranks or "2"], folder)


def measure(work: Work, names: list[str], rounds: int, seconds: float, warm: float) -> dict[str, dict[str, Any]]:
    """Numbers of every side.

    Args:
      work: what is trained.
      names: of the sides, the first one fdl's.
      rounds: blocks of each.
      seconds: of a block.
      warm: seconds for which each trains before it is timed.

    Returns:
      By side: "step" (seconds), "blocks" (seconds of a step in each), "first" (seconds until the first steps were
      done, data and compilation included), "phases", "python" and "java" (bytes at the peak), "losses", "engine" (that
      took the last steps); or "left out" with the reason.
    """
    results: dict[str, dict[str, Any]] = {}
    sides: dict[str, Side] = {}

    @contextmanager
    def attempt(name: str) -> Iterator[None]:
        """Leave a side out that does not answer, as PyTorch's ranks may fall over at any time."""
        try:
            yield
        except Closed as closed:
            results[name] = {"left out": str(closed)}
            if name in sides:
                sides.pop(name).close()

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        prepare(work, data)
        try:
            for name in names:
                with attempt(name):
                    sides[name] = start(name, data, folder)
                    started = time.perf_counter()
                    answer = sides[name].ask({"block": CHECKED}, LONGEST)
                    results[name] = {"first": time.perf_counter() - started, "losses": answer["losses"]}
                    check(work, results, name)
            counts: dict[str, int] = {}
            for name in list(sides):
                with attempt(name):
                    counts[name] = warmed(sides[name], seconds, warm)
            taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
            for _ in range(rounds):
                for name in list(sides):
                    time.sleep(0.05)  # what the side before has running in the background ends
                    with attempt(name):
                        taken[name].append(sides[name].ask({"block": counts[name]}, LONGEST))
            for name, side in sides.items():
                blocks = [found["seconds"] / counts[name] for found in taken[name]]
                with side.watched() as peak:
                    side.ask({"block": counts[name]}, LONGEST)
                phases = {
                    phase: statistics.median(found["phases"].get(phase, 0.0) for found in taken[name])
                    for phase in taken[name][-1]["phases"]
                }
                engine = taken[name][-1].get("engine", "")
                results[name] |= {"step": statistics.median(blocks), "blocks": blocks, "phases": phases, **peak}
                results[name] |= {"engine": engine}
        finally:
            for side in sides.values():
                side.close()
    return results


def check(work: Work, results: dict[str, dict[str, Any]], name: str) -> None:
    """Raise Closed unless a side's losses are those of the first side: the same bits if both are fdl's."""
    ours = next(iter(results.values())).get("losses")
    theirs = results[name]["losses"]
    if ours is None:
        return
    exact = not name.startswith("torch")
    if not all(
        a == b if exact else math.isclose(a, b, rel_tol=work.tolerance) for a, b in zip(ours, theirs, strict=True)
    ):
        raise Closed(f"{name}: losses {theirs}, those of {next(iter(results))} {ours}")


def warmed(side: Side, seconds: float, warm: float) -> int:
    """How many steps take about `seconds`, after training for `warm` seconds."""
    started = time.perf_counter()
    while True:
        sizing = sizes(seconds)
        count = next(sizing)
        try:
            while True:
                count = sizing.send(side.ask({"block": count}, LONGEST)["seconds"])
        except StopIteration as end:
            if time.perf_counter() - started > warm:
                count = int(end.value)
                print(f"      {side.name}: blocks of {count} steps", file=sys.stderr)
                return count
