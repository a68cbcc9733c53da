"""Measure fdl and its peers, keep the numbers in benchmarks/results.json and write the tables of benchmarks/README.md.

    python -m benchmarks.run [--only models|kernels] [--models mlp lenet ...] [--kernels 'matmul*' ...] [--threads 1 2]
                             [--rounds 7] [--seconds 0.2] [--limit 120] [--dry]

What is measured replaces its rows of the tables, the other rows stay. Blocks of calls alternate between the frameworks,
so that a noisy moment touches all of them, and medians are compared. Before anything is timed, the results must agree.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import kernels, models, report

RESULTS = Path(__file__).with_name("results.json")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["models", "kernels"])
    parser.add_argument("--models", nargs="+", choices=models.MODELS, default=list(models.MODELS))
    parser.add_argument("--kernels", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each framework")
    parser.add_argument("--seconds", type=float, default=0.2, help="of one block")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a peer's first call is given up")
    parser.add_argument("--dry", action="store_true", help="print the tables, write nothing")
    return parser.parse_args()


def main() -> None:
    """Measure, merge, print and write."""
    options = arguments()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    fresh = report.machine()
    if results.get("machine") != fresh:  # numbers of another machine or version say nothing beside these
        results = {"machine": fresh, "models": {}, "kernels": {}}
    start = time.perf_counter()

    def keep(kind: str, name: str, threads: int, numbers: dict) -> None:
        results[kind].setdefault(name, {})[str(threads)] = numbers
        if not options.dry:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")

    if options.only != "kernels":
        for model in options.models:
            print(f"{time.perf_counter() - start:5.0f} s: {model}", file=sys.stderr)
            found = models.measure(model, options.threads, options.rounds, options.seconds, options.limit)
            for threads, numbers in found.items():
                keep("models", model, threads, numbers)
    if options.only != "models":
        with tempfile.TemporaryDirectory() as cache:
            for threads in options.threads:
                print(f"{time.perf_counter() - start:5.0f} s: kernels, {threads} threads", file=sys.stderr)
                for name, numbers in kernels.measure(options.kernels, threads, options.rounds, options.limit, cache):
                    keep("kernels", name, threads, numbers)
    text = report.tables(results)
    print(text)
    if not options.dry:
        report.write(text)


if __name__ == "__main__":
    main()
