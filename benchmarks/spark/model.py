"""Measure steps, fit the constants of `fdl_spark.cost` to them, and say how far the model is off on steps held out.

    python -m benchmarks.spark.model --measure --write [--seconds 0.4] [--minutes 9]

measures the points of `cases` in one session of 16 slots, keeps them in spark/model.json, and writes the constants into
fdl_spark/cost.py, the tables into benchmarks/README.md and the plot into spark/scaling.png. Without --measure it takes
the points that are kept; without --write it prints. It writes nothing if the fit is not to be trusted (`refusals`).
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import cpu, table
from benchmarks.spark import engines, simulate
from benchmarks.spark.engines import Case
from benchmarks.spark.fit import FREE, HERE, Fit, Point, fit, refusals
from benchmarks.spark.report import BEGIN_MODEL, END_MODEL, milliseconds, rank, write
from fdl_spark import cost
from fdl_spark.cost import PHASE_OF, Constants, best_slices

RESULTS = Path(__file__).with_name("model.json")
#: Megabytes and ranks of the points that are fitted, with the numbers of slices of the engines that cut slices; several
#: numbers say which one is the fastest.
FITTED = {
    (0.1, 2): (1, 2), (1.0, 2): (1,), (4.0, 2): (1, 2), (28.0, 2): (1, 2), (100.0, 2): (2,),
    (4.0, 1): (1,), (0.1, 4): (1,), (4.0, 4): (4,), (28.0, 4): (2,), (4.0, 8): (1, 2, 8), (0.1, 16): (1,),
    (4.0, 16): (2, 16),
}  # fmt: skip
#: Of those that only check.
CHECKED = {(0.4, 2): (1,), (12.0, 2): (2,), (60.0, 2): (2,), (1.0, 8): (4,), (12.0, 4): (2, 4), (0.4, 12): (1,)}


def cases() -> list[tuple[Case, bool]]:
    """What is measured, and whether it is held out; the numbers of slices of a case follow each other."""
    found = []
    for held_out, group in ((False, FITTED), (True, CHECKED)):
        for (megabytes, ranks), slices in group.items():
            for name in cost.ENGINES:
                several = (1,) if name == "driver" else slices
                found += [(Case(name, ranks, 1e6 * megabytes, count), held_out) for count in several]
    return found


def measure(seconds: float, minutes: float) -> dict[str, Any]:
    """The numbers of all cases, or of those that there is time for, and what they depend on."""
    mixed = [case for case, _ in cases()]
    random.Random(0).shuffle(mixed)  # what there is no time for, or disturbs some minutes, is of any kind
    found = engines.measure(mixed, "adam", seconds, 2, 1, one_session=True, most=60 * minutes)
    return {"processor": cpu(), "sum_byte": added(), "cases": found}


def points(results: dict[str, Any]) -> list[Point]:
    """The points of what was measured."""
    found = []
    for case, held_out in cases():
        numbers = results["cases"].get(str(case), {})
        if "step" in numbers:
            alone, slices = numbers["alone"], numbers["slices"]
            how = numbers["group"], alone["forward_backward"], alone["update"], numbers["step"]
            found.append(Point(case.engine, case.ranks, case.size, slices, *how, held_out))
    return found


def added(count: int = 1 << 20, rounds: int = 50) -> float:
    """Seconds to add a byte of a gradient to another."""
    left, right = np.ones(count, np.float32), np.ones(count, np.float32)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        np.add(left, right, out=left)
        times.append(time.perf_counter() - started)
    return median(times) / left.nbytes


def summary(found: Fit, measured: Sequence[Point]) -> str:
    """The constants, and how far predictions are off, as markdown."""
    constants = found.constants
    units = {name: ("ns", 1e9) if name.endswith("byte") else ("ms", 1e3) for name in PHASE_OF}
    rows = []
    for name in PHASE_OF:
        source = f"±{100 * found.errors[name]:.0f} %" if name in found.errors else "assumed"
        if name not in FREE:
            source = "BigDL's" if name == "launch" else "measured by itself"
        rows.append([name, f"{getattr(constants, name) * units[name][1]:.3g} {units[name][0]}", PHASE_OF[name], source])
    parts = ["Constants: seconds of one of each.", table(["constant", "", "phase", "standard error"], rows)]
    if found.held:
        parts.append(f"The points do not tell {', '.join(found.held)}: held at what they were thought to be.")
    fitted, checked = ([p for p in measured if p.held_out == held_out] for held_out in (False, True))
    for label, group in (("fitted", fitted), ("held out", checked)):
        if group:
            parts.append(errors(label, constants, group))
    if checked:
        lines = [
            [
                p.engine, f"{p.ranks}", f"{p.slices}", f"{p.size / 1e6:g}", milliseconds(p.step),
                milliseconds(p.predicted(constants)), f"{100 * p.error(constants):+.0f} %",
            ]
            for p in sorted(checked, key=lambda p: (*rank(p.engine), p.size, p.ranks))
        ]  # fmt: skip
        parts += [
            "Points that were held out:",
            table(["engine", "ranks", "slices", "MB", "measured ms", "predicted ms", ""], lines),
        ]
    return "\n\n".join(parts + slices(constants, measured))


def errors(label: str, constants: Constants, group: Sequence[Point]) -> str:
    found = [abs(point.error(constants)) for point in group]
    worst = max(group, key=lambda point: abs(point.error(constants)))
    middle, most = (100 * float(np.quantile(found, share)) for share in (0.5, 0.9))
    return (
        f"{len(found)} points that were {label}: the median error of a step is {middle:.0f} %, nine in ten are below "
        f"{most:.0f} %, the largest is {100 * worst.error(constants):+.0f} % "
        f"({worst.engine}, {worst.ranks} ranks, {worst.size / 1e6:g} MB)."
    )


def slices(constants: Constants, measured: Sequence[Point]) -> list[str]:
    """A table of steps in several numbers of slices: which one was the fastest, and which one the model says."""
    rows, losses = [], []
    for (engine, size, ranks), group in groupby(
        sorted(measured, key=lambda p: (*rank(p.engine), p.size, p.ranks)), lambda p: (p.engine, p.size, p.ranks)
    ):
        steps = {point.slices: point.step for point in group}
        if len(steps) < 2:
            continue
        said = best_slices(engine, ranks, size, constants, cluster=HERE)
        nearest = min(steps, key=lambda count: abs(np.log(count / said)))
        losses.append(steps[nearest] / min(steps.values()) - 1)
        found = ", ".join(f"{count}: {milliseconds(seconds)}" for count, seconds in sorted(steps.items()))
        rows.append(
            [engine, f"{ranks}", f"{size / 1e6:g}", found, f"{min(steps, key=steps.__getitem__)}", f"{said}",
             f"{100 * losses[-1]:.0f} %"]
        )  # fmt: skip
    if not rows:
        return []
    return [
        f"The number of slices that the model chooses: it loses {100 * np.mean(losses):.0f} % of a step on average "
        f"against the fastest one that was measured, {100 * max(losses):.0f} % at most.",
        table(["engine", "ranks", "MB", "ms a step by slices", "fastest", "chosen", "lost"], rows),
    ]


def write_constants(constants: Constants) -> None:
    """Put the constants into fdl_spark/cost.py."""
    path = Path(cost.__file__)
    text = path.read_text()
    for name, value in asdict(constants).items():
        text, count = re.subn(rf"(?m)^    {name}: float = .*$", f"    {name}: float = {value:.3g}", text)
        assert count == 1, name
    path.write_text(text)


def main() -> None:
    """Measure, fit, check and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the points anew")
    parser.add_argument("--write", action="store_true", help="write constants, tables and the plot")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of the points")
    parser.add_argument("--seconds", type=float, default=0.4, help="of a block of steps; each case has two")
    parser.add_argument("--minutes", type=float, default=9.0, help="for measuring; further cases are left out")
    options = parser.parse_args()
    if options.measure:
        options.results.write_text(json.dumps(measure(options.seconds, options.minutes), indent=1) + "\n")
    results = json.loads(options.results.read_text())
    measured = points(results)
    if not measured:
        raise SystemExit(f"no step was measured: {[numbers['left out'] for numbers in results['cases'].values()]}")
    found = fit(measured, results["sum_byte"])
    count = f"{len(measured)} of {len(cases())} points were measured."
    text = f"{results['processor']}, two cores; {count}\n\n" + summary(found, measured)
    left_out = {name: numbers["left out"] for name, numbers in results["cases"].items() if "left out" in numbers}
    if left_out:
        text += "\n\nLeft out:\n\n" + "\n".join(f"* {name}: {why}" for name, why in left_out.items())
    text += "\n\n![Inception-v1 on 2 to 1,024 nodes](spark/scaling.png)\n\n" + simulate.report(found.constants)
    print(text)
    reasons = refusals(found, measured)
    if reasons:
        print("The constants are not to be trusted:", *reasons, sep="\n* ", file=sys.stderr)
        raise SystemExit(1)
    if options.write:
        write_constants(found.constants)
        write(text, BEGIN_MODEL, END_MODEL)
        simulate.plot(found.constants, simulate.PLOT)


if __name__ == "__main__":
    main()
