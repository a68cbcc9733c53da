"""Processes of several frameworks that take turns."""

import json
import math
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Any


class Failed(Exception):
    """A worker broke down or took too long; the text says which and why."""


class Worker:
    """A process in which one framework runs."""

    def __init__(self, framework: str, threads: int, cache: str) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "FDL_NUM_THREADS": str(threads),
            "FDL_CACHE_DIR": f"{cache}/fdl",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
        }
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", framework, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
        )  # fmt: skip
        self.name = framework

    def answer(self, limit: float) -> Any:
        """The next line, within `limit` seconds."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], limit)[0]:
            raise Failed(f"{self.name}: no answer in {limit:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            lines = self.log.read().strip().splitlines()
            raise Failed(f"{self.name}: {next((x for x in reversed(lines) if 'Error' in x), lines and lines[-1])}")
        return json.loads(line)

    def ask(self, request: str, limit: float = 600.0) -> Any:
        assert self.process.stdin is not None
        print(request, file=self.process.stdin, flush=True)
        return self.answer(limit)

    def close(self) -> None:
        """End the process; once is enough."""
        if self.log.closed:
            return
        self.process.kill()
        self.process.communicate()
        self.log.close()


class Team:
    """Workers that started at the same time; `left_out` says why others are missing.

    Args:
        frameworks: fdl, which has to work, and its peers.
        threads: of each worker, pinned to as many cores.
        cache: directory of all disk caches.
    """

    def __init__(self, frameworks: Iterable[str], threads: int, cache: str) -> None:
        self.workers = [Worker(framework, threads, cache) for framework in frameworks]
        self.left_out: dict[str, str] = {}

    def __enter__(self) -> "Team":
        for worker in list(self.workers):
            try:
                worker.answer(120)
            except Failed as failure:
                self.leave(worker, str(failure))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self.workers:
            worker.close()

    def each(self, request: str, limit: float) -> dict[str, Any]:
        """Ask one worker after the other; those that fail leave the team."""
        answers = {}
        for worker in list(self.workers):
            try:
                answers[worker.name] = worker.ask(request.format(name=worker.name.replace(" ", "_")), limit)
            except Failed as failure:
                self.leave(worker, str(failure))
        return answers

    def leave(self, worker: Worker, reason: str) -> None:
        """Do without a peer; there is nothing to compare without fdl."""
        worker.close()
        self.workers.remove(worker)
        self.left_out[worker.name] = reason
        if worker.name == "fdl":
            for other in self.workers:
                other.close()
            raise Failed(reason)

    def alternate(self, names: Collection[str], rounds: int, seconds: float) -> dict[str, float]:
        """Median seconds of a call in alternated blocks of about `seconds`.

        Args:
            names: of the frameworks that take part.
            rounds: blocks of each framework; fewer, but three, where a call takes longer than a block.
        """
        taking_part = [worker for worker in self.workers if worker.name in names]
        once: dict[str, float] = {}
        for worker in taking_part:  # early calls may be much slower than later ones
            count, call = 1, worker.ask("block 1")
            if call < 1:  # the third call may be the one that compiles
                call = min(worker.ask("block 1") for _ in range(3))
            while call * count < seconds / 2:
                count *= 4
                call = worker.ask(f"block {count}")
            once[worker.name] = call
        counts = {name: max(1, math.floor(seconds / time)) for name, time in once.items()}
        turns = {name: max(3, min(rounds, math.ceil(2 * rounds * seconds / time))) for name, time in once.items()}
        blocks: dict[str, list[float]] = {name: [] for name in once}
        for turn in range(rounds):
            for worker in taking_part:
                if turn < turns[worker.name]:
                    time.sleep(0.01)  # the previous framework's threads stop spinning
                    blocks[worker.name].append(worker.ask(f"block {counts[worker.name]}"))
        return {name: statistics.median(times) for name, times in blocks.items()}
