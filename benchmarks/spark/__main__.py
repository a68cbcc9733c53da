"""Measure training on Spark, keep the numbers in spark/results.json and write the tables of benchmarks/README.md.

    python -m benchmarks.spark [--only engines ranks lenet resnet ncf ncf_large start] [--engines driver ...]
                               [--sizes 0.1 4 28 100] [--rounds 5] [--seconds 1] [--small] [--dry]

What is measured replaces its rows of the tables, the other rows stay. Results must agree before anything is timed;
sides take turns, so that a noisy moment touches all of them, and medians are compared. An engine that `train` does not
know, or that fails, is left out, which the tables say.
"""

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.report import cpu
from benchmarks.spark import against, engines, report, start
from benchmarks.spark.work import WORKS

RESULTS = Path(__file__).with_name("results.json")
ENGINES = ["driver", "shuffle", "blocks", "resident"]
MEGABYTES = [0.1, 4.0, 28.0, 100.0]
RANKS = [1, 2, 4, 8, 16]
#: Which sides take part in which work: auto is what users get; the others say what it is worth.
SIDES = {
    "lenet": ["auto", "resident", "shuffle", "blocks", "driver", "torch"],
    "resnet": ["auto", "auto/1", "torch", "torch/1"],
    "ncf": ["auto", "torch", "torch-dense"],
    "ncf_large": ["auto", "torch", "torch-dense"],
}
PARTS = ["engines", "ranks", *WORKS, "start"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--engines", nargs="+", help="names for sync; those of the works may end in /1, for one rank")
    parser.add_argument("--sizes", nargs="+", type=float, default=MEGABYTES, help="megabytes of parameters")
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS, help="numbers of ranks, at 4 MB")
    parser.add_argument("--optimizer", default="adam", choices=["adam", "sgd"], help="of the engines")
    parser.add_argument("--rounds", type=int, default=4, help="blocks of each side")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one block")
    parser.add_argument("--warm", type=float, default=8.0, help="seconds that each side trains before it is timed")
    parser.add_argument("--small", action="store_true", help="a quick try with little data")
    parser.add_argument("--dry", action="store_true", help="print the tables, write nothing")
    return parser.parse_args()


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    found = {"processor": cpu(), "Python": platform.python_version()}
    for name in ("fdl", "pyspark", "numpy", "torch"):
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # fdl runs from a folder, or a part without PyTorch is measured
            continue
    return found


def main() -> None:
    """Measure, merge, print and write."""
    options = arguments()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if results.get("machine", {}).get("processor") != cpu():  # numbers of another machine say nothing beside these
        results = {}
    results["machine"] = machine()
    began = time.perf_counter()
    for part in options.only:
        print(f"{time.perf_counter() - began:5.0f} s: {part}", file=sys.stderr)
        group = "against" if part in WORKS else "start" if part == "start" else "engines"
        found = measure(part, options)
        if part in WORKS:
            found = {part: found}
        if part == "start":
            results[group] = found
        else:
            results.setdefault(group, {}).update(found)
        if not options.dry:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{time.perf_counter() - began:5.0f} s", file=sys.stderr)
    text = report.tables(results)
    print(text)
    if not options.dry:
        report.write(text)


def measure(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """The numbers of a part."""
    if part in WORKS:
        work = WORKS[part].smaller() if options.small else WORKS[part]
        names = options.engines or SIDES[part]
        return against.measure(work, names, options.rounds, options.seconds, options.warm)
    if part == "start":
        return start.measure((options.engines or ["auto"])[0], 1 if options.small else 2)
    names = options.engines or ENGINES
    if part == "engines":
        cases = [engines.Case(name, 2, 1e6 * megabytes) for megabytes in options.sizes for name in names]
    else:
        cases = [engines.Case(name, ranks, 4e6) for ranks in options.ranks for name in names]
    rounds = 2 if part == "engines" and not options.small else 1
    blocks = max(1, -(-options.rounds // 2))
    return engines.measure(cases, options.optimizer, options.seconds, blocks, rounds)


if __name__ == "__main__":
    main()
