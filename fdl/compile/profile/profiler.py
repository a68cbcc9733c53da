"""Running a Program with a stopwatch at every step."""

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdl.compile.codegen.emission import Emission
from fdl.compile.fallback import Skip, with_fewer_passes
from fdl.compile.ir.plan import Plan, nbytes
from fdl.compile.pipeline import Compiled, Interpreted, build_archive
from fdl.compile.profile.report import CostReport
from fdl.compile.profile.stopwatch import CELLS, Stopwatch, count_steps
from fdl.core.program import Program
from fdl.threads import get_num_threads

#: At least so many runs are tried, and for so long; the fastest counts.
_RUNS, _SECONDS = 3, 0.3


@dataclass(frozen=True)
class Measured:
    """What was seen of one kernel in one run of the program.

    Attributes:
        what: operations and shapes.
        source: the line that most of it comes from.
        calls: how often it ran.
        seconds: in all of its calls.
        flops, bytes: in all of its calls.
    """

    what: str
    source: str
    calls: int
    seconds: float
    flops: int
    bytes: int


@dataclass(frozen=True)
class Measurement:
    """What was seen in the fastest run of a program.

    Attributes:
        kernels: in the order of the program.
        seconds: of the call.
        threads: that it ran on.
        memory_bytes: that the call works in and returns.
    """

    kernels: list[Measured]
    seconds: float
    threads: int
    memory_bytes: int


def measure(program: Program, donate: tuple[bool, ...], arrays: Sequence[np.ndarray]) -> Measurement:
    """Compile a Program with a stopwatch and run it some times.

    Args:
        program: what to compute.
        donate: which inputs' memory the compiled function may overwrite; it is given copies.
        arrays: its inputs.
    """
    watches: list[Stopwatch] = []

    def watch(emission: Emission, plan: Plan) -> None:
        watches.append(Stopwatch(emission, count_steps(plan)))
        emission.lap = watches[-1].lap

    def attempt(skip: Skip) -> Compiled | Interpreted:
        return Compiled(program, donate, build_archive(program, donate, skip, watch), [CELLS])

    compiled = with_fewer_passes(program, attempt, lambda: Interpreted(program, donate))
    cells = np.zeros((0, 2), np.int64)  # of a program that is interpreted
    if isinstance(compiled, Compiled):
        count, address = len(watches[-1].laps), compiled.executable.addresses[CELLS]
        cells = np.ctypeslib.as_array((ctypes.c_int64 * (2 * count)).from_address(address)).reshape(count, 2)
    best, found = float("inf"), cells.copy()
    started, runs = time.perf_counter(), 0
    while runs <= _RUNS or time.perf_counter() - started < _SECONDS:
        given = [a.copy() if mark else a for a, mark in zip(arrays, donate or (False,) * len(arrays), strict=True)]
        cells[:] = 0
        start = time.perf_counter()
        compiled.run(given)
        seconds = time.perf_counter() - start
        if runs and seconds < best:  # the first run meets cold caches and untouched memory
            best, found = seconds, cells.copy()
        runs += 1
    if not isinstance(compiled, Compiled):
        return Measurement([], best, 1, sum(map(nbytes, program.output_types)))
    archive = compiled.archive
    threads = get_num_threads() if archive.parallel else 1
    reused = {number for number, _ in archive.reused}
    results = sum(nbytes(t) for n, t in enumerate(program.output_types) if n not in reused)
    memory = archive.arena_bytes + threads * archive.scratch_bytes + results
    return Measurement(_kernels(watches[-1], found), best, threads, memory)


def _kernels(watch: Stopwatch, cells: np.ndarray) -> list[Measured]:
    """One entry for all steps that do the same for the same line; time inside of inner steps is theirs."""
    own = cells[:, 0].astype(float)
    for number, lap in enumerate(watch.laps):
        if lap.parent is not None:
            own[lap.parent] -= cells[number, 0]
    reports: dict[int, CostReport] = {}
    found: dict[tuple[str, str], Measured] = {}
    for lap, nanoseconds, calls in zip(watch.laps, own, cells[:, 1], strict=True):
        if not calls:
            continue
        report = reports.get(id(lap.plan)) or reports.setdefault(id(lap.plan), CostReport(lap.plan))
        cost = report.of(lap.step)
        key = cost.what, cost.source
        before = found.get(key, Measured(*key, 0, 0.0, 0, 0))
        found[key] = Measured(
            *key,
            before.calls + int(calls),
            before.seconds + nanoseconds / 1e9,
            before.flops + cost.flops * int(calls),
            before.bytes + cost.bytes * int(calls),
        )
    return list(found.values())
