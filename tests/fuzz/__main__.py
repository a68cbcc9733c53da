"""``python -m tests.fuzz --programs 1000 --seed 0``: check that many random programs, and print those that fail.

The exit status is 1 if a program failed. ``--seconds`` stops after a time, ``--every-processor`` compiles each program
for all vector widths, else for this processor and one other in turn. A seed's program is the same on every machine:
``--seed 17 --programs 1`` repeats it.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--every-processor", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fdl-fuzz-") as cache:
        os.environ["FDL_CACHE_DIR"] = cache  # before fdl is imported
        return run(arguments.programs, arguments.seed, arguments.seconds, arguments.every_processor)


def run(programs: int, first: int, seconds: float, every: bool) -> int:
    from tests.fuzz.compare import PROCESSORS
    from tests.fuzz.search import search

    warnings.simplefilter("error")
    start, compared, failures, done = time.monotonic(), 0, [], 0
    for seed in range(first, first + programs):
        if time.monotonic() - start > seconds:
            break
        others = PROCESSORS if every else (PROCESSORS[seed % len(PROCESSORS)],)
        count, failure = search(seed, ("native", *others))
        compared, done = compared + count, done + 1
        if failure is not None:
            failures.append(failure)
            print(failure, flush=True)
    print(f"{done} programs from seed {first}, {compared} comparisons, {len(failures)} failures: "
          f"{' '.join(str(f.seed) for f in failures)}")  # fmt: skip
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
