"""Fit the constants of `fdl_spark.cost` to what was measured, and say how far the model is off on what was not fitted.

    python -m benchmarks.spark.model [--write] [--results FILE]

takes the points of `python -m benchmarks.spark --only engines ranks model` from spark/results.json. With --write the
constants go into fdl_spark/cost.py and the table into benchmarks/README.md.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.report import table
from benchmarks.spark.report import BEGIN_MODEL, END_MODEL, milliseconds, rank, write
from fdl_spark import cost
from fdl_spark.cost import PHASE_OF, Cluster, Constants

RESULTS = Path(__file__).with_name("results.json")
HERE = Cluster(hosts=1, cores=2)
GROUP = 1.0  # seconds that a group of the resident engine takes
#: Megabytes and ranks of further points to fit, and of those that only check.
FITTED = [(0.1, 4), (0.1, 16), (1.0, 2), (28.0, 4)]
CHECKED = [(0.4, 2), (12.0, 2), (60.0, 2), (1.0, 8), (12.0, 4), (0.4, 12)]
#: What is known or measured by itself, since no engine does it here without something else that is in proportion.
DIRECT = ("launch", "sum_byte", "update_byte")


@dataclass(frozen=True)
class Point:
    """A measured step.

    Attributes:
      engine: its name.
      ranks: number of tasks.
      size: bytes of parameters.
      compute: seconds of a rank's forward-backward alone.
      step: seconds of the step.
      update: seconds of the update of a slice alone.
      slices: into how many the parameters were cut.
    """

    engine: str
    ranks: int
    size: float
    compute: float
    step: float
    update: float
    slices: int = 1

    @property
    def group(self) -> int:
        """Steps of a group, if the engine takes groups."""
        return max(1, round(GROUP / self.step))

    @property
    def above(self) -> float:
        """Seconds besides forward-backward."""
        return self.step - self.compute * max(1.0, self.ranks / HERE.cores)

    def counts(self) -> dict[str, float]:
        """What the step does, by name of the constant."""
        found = cost.counts(self.engine, self.ranks, self.size, self.slices, cluster=HERE, group=self.group)
        return {name: found.get(name, 0.0) for name in PHASE_OF}

    def predicted(self, constants: Constants) -> dict[str, float]:
        """Seconds by phase."""
        return cost.predict(
            self.engine,
            self.ranks,
            self.size,
            self.compute,
            constants,
            cluster=HERE,
            slices=self.slices,
            group=self.group,
        )

    def error(self, constants: Constants) -> float:
        """The predicted step over the measured one, less one."""
        return sum(self.predicted(constants).values()) / self.step - 1


def points(results: dict[str, dict[str, Any]]) -> list[Point]:
    """The points of what was measured, of engines that the model knows."""
    return [
        Point(
            f["engine"],
            f["ranks"],
            f["size"],
            f["alone"]["forward_backward"],
            f["step"],
            f["alone"]["update"],
            f.get("slices", 1),
        )
        for f in results.values()
        if "step" in f and f["engine"] in cost.ENGINES
    ]


def is_checked(point: Point) -> bool:
    """Whether a point is kept from fitting."""
    return (point.size / 1e6, point.ranks) in CHECKED


def added(count: int = 1 << 20, rounds: int = 50) -> float:
    """Seconds to add a byte of a gradient to another."""
    left, right = np.ones(count, np.float32), np.ones(count, np.float32)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        np.add(left, right, out=left)
        times.append(time.perf_counter() - started)
    return median(times) / left.nbytes


def fit(measured: Sequence[Point], sum_byte: float) -> Constants:
    """The constants that come nearest to the measured steps.

    Non-negative least squares of the relative errors (Lawson and Hanson, 1974), so that a step of a millisecond counts
    as much as one of a second.

    Args:
      measured: the points.
      sum_byte: seconds to add a byte, measured by itself.
    """
    update = [p.update / (p.size / p.ranks) for p in measured if p.size >= 1e6]
    known = replace(Constants(), sum_byte=sum_byte, update_byte=median(update) if update else Constants().update_byte)
    names = [name for name in PHASE_OF if name not in DIRECT]
    rows, rest = [], []
    for point in measured:
        counts = point.counts()
        turns = max(1.0, point.ranks / HERE.cores)
        rows.append([counts[name] / point.step for name in names])
        direct = sum(counts[name] * getattr(known, name) for name in DIRECT)
        straggle = point.compute * turns * known.spread * cost.expected_maximum(point.ranks)
        rest.append((point.above - direct - straggle) / point.step)
    seen = [n for n in range(len(names)) if any(row[n] for row in rows)]
    scale = np.array([max(row[n] for row in rows) for n in seen])  # columns of like size, for the solver's sake
    solution, _ = nnls(np.array(rows)[:, seen] / scale, np.array(rest))
    return replace(known, **dict(zip([names[n] for n in seen], (solution / scale).tolist(), strict=True)))


def summary(constants: Constants, fitted: Sequence[Point], checked: Sequence[Point]) -> str:
    """The constants, and how far predictions are off, as markdown."""
    units = {name: ("ns", 1e9) if name.endswith("byte") else ("ms", 1e3) for name in PHASE_OF}
    rows = [
        [name, f"{getattr(constants, name) * units[name][1]:.3g} {units[name][0]}", PHASE_OF[name]] for name in PHASE_OF
    ]
    parts = ["Fitted constants: seconds of one of each.", table(["constant", "", "phase"], rows)]
    for label, group in (("fitted", fitted), ("not fitted", checked)):
        if group:
            parts.append(errors(label, constants, group))
    if checked:
        lines = [
            [
                p.engine, f"{p.ranks}", f"{p.size / 1e6:g}", milliseconds(p.step),
                milliseconds(sum(p.predicted(constants).values())), f"{100 * p.error(constants):+.0f} %",
            ]
            for p in sorted(checked, key=lambda p: (*rank(p.engine), p.size, p.ranks))
        ]  # fmt: skip
        parts += [
            "Points that were not fitted:",
            table(["engine", "ranks", "MB", "measured ms", "predicted ms", ""], lines),
        ]
    return "\n\n".join(parts)


def errors(label: str, constants: Constants, group: Sequence[Point]) -> str:
    found = [abs(point.error(constants)) for point in group]
    worst = max(group, key=lambda point: abs(point.error(constants)))
    middle, most = (100 * float(np.quantile(found, share)) for share in (0.5, 0.9))
    return (
        f"{len(found)} points that were {label}: the median error of a step is {middle:.0f} %, nine in ten are below "
        f"{most:.0f} %, the largest is {100 * worst.error(constants):+.0f} % "
        f"({worst.engine}, {worst.ranks} ranks, {worst.size / 1e6:g} MB)."
    )


def write_constants(constants: Constants) -> None:
    """Put the constants into fdl_spark/cost.py."""
    path = Path(cost.__file__)
    text = path.read_text()
    for name, value in asdict(constants).items():
        text, count = re.subn(rf"(?m)^    {name}: float = .*$", f"    {name}: float = {value:.3g}", text)
        assert count == 1, name
    path.write_text(text)


def main() -> None:
    """Fit, check and say."""
    from benchmarks.spark import simulate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write constants, tables and the plot")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    measured = points(json.loads(options.results.read_text())["engines"])
    fitted = [point for point in measured if not is_checked(point)]
    checked = [point for point in measured if is_checked(point)]
    constants = fit(fitted, added())
    text = summary(constants, fitted, checked) + "\n\n" + simulate.report(constants)
    print(text)
    if options.write:
        write_constants(constants)
        write(text, BEGIN_MODEL, END_MODEL)
        simulate.plot(constants, simulate.PLOT)


if __name__ == "__main__":
    main()
