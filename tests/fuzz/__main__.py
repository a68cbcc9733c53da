"""``python -m tests.fuzz --programs 1000 --seed 0``: check that many random programs, and print those that fail.

The exit status is 1 if a program failed. ``--seconds`` stops after a time, ``--jobs`` works in several processes,
``--every-processor`` compiles each program for all vector widths, else for this processor and one other in turn. A
seed's program is the same on every machine: ``--seed 17 --programs 1`` repeats it.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every-processor", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fdl-fuzz-") as cache:
        os.environ["FDL_CACHE_DIR"] = cache  # before fdl is imported
        return run(options)


def run(options: argparse.Namespace) -> int:
    from tests.fuzz.search import work

    context = multiprocessing.get_context("spawn")
    seeds = range(options.seed, options.seed + options.programs)
    following, compared, done = (context.Value("q", n) for n in (options.seed, 0, 0))
    failed = context.Queue()
    stop = time.time() + options.seconds
    # Code that writes outside of its memory ends the process; the search goes on in another one.
    workers: dict[Any, Any] = {}
    failures: list[int] = []

    def start() -> None:
        own = context.Value("q", -1)
        worker = context.Process(
            target=work, args=(following, own, seeds.stop, stop, options.every_processor, compared, done, failed)
        )
        worker.start()
        workers[worker] = own

    for _ in range(options.jobs):
        start()
    while workers:
        time.sleep(0.2)
        for worker in [w for w in workers if not w.is_alive()]:
            own = workers.pop(worker)
            if worker.exitcode:
                if own.value < 0:
                    raise RuntimeError("a worker could not start")
                name = signal.Signals(-worker.exitcode).name if worker.exitcode < 0 else f"status {worker.exitcode}"
                print(f"seed {own.value}: the process ended with {name}", flush=True)
                failures.append(own.value)
                start()
        while not failed.empty():
            failures.append(failed.get())
    text = " ".join(map(str, sorted(failures)))
    print(
        f"{done.value} programs from seed {options.seed}, {compared.value} comparisons, {len(failures)} failures {text}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
