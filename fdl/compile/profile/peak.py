"""What this machine can do at most, measured: floating-point operations and bytes a second.

It is measured while nothing else takes the processor: a trial counts if its threads ran for nearly all of its time.
"""

import ctypes
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import I64
from fdl.compile.runtime.machine import compile_object, load_objects
from fdl.dtypes import float32, int64

#: Sums that grow side by side, enough to hide how long a multiplication and addition takes.
_CHAINS = 12

#: Seconds of one measurement, and how many there are.
_SECONDS, _TRIALS = 0.005, 15

#: A trial counts if each of its threads had the processor for this share of its time.
_QUIET = 0.9

_measured: dict[tuple[str, int], float] = {}

#: Bytes that are copied, more than caches hold.
_BYTES = 1 << 26


def peak_flops(threads: int) -> float:
    """Most float32 operations a second: multiplications with additions in registers that do not wait for each other.

    NaN if the machine was busy with something else; then the next call measures again.
    """
    return _once("flops", threads, _measure_flops)


def peak_bytes(threads: int) -> float:
    """Most bytes a second, read and written, of a copy of more than the caches hold; NaN as for operations."""
    return _once("bytes", threads, _measure_bytes)


def _once(what: str, threads: int, measure: Callable[[int], float]) -> float:
    key = what, threads
    if key not in _measured:
        found = measure(threads)
        if np.isnan(found):
            return found
        _measured[key] = found
    return _measured[key]


def _measure_flops(threads: int) -> float:
    function, count = _compiled_chains(), 1000
    while _elapsed(partial(function, count)) < _SECONDS:
        count *= 2
    operations = 2 * _CHAINS * host_target().lanes(float32) * count
    return operations * threads / quiet_seconds([partial(function, count)] * threads)


def _measure_bytes(threads: int) -> float:
    source, target = np.ones((2, threads, _BYTES // 8 // threads))
    return 2 * target.nbytes / quiet_seconds([partial(np.copyto, t, s) for t, s in zip(target, source, strict=True)])


def quiet_seconds(functions: Sequence[Callable[[], object]]) -> float:
    """Until all of the functions, each in a thread of its own, are done: the best of quiet trials, or NaN."""
    best = float("nan")

    def processor_seconds(function: Callable[[], object]) -> float:
        start = time.thread_time()
        function()
        return time.thread_time() - start

    with ThreadPoolExecutor(len(functions)) as pool:
        for _ in range(_TRIALS):
            start = time.perf_counter()
            ran = [future.result() for future in [pool.submit(processor_seconds, f) for f in functions]]
            seconds = time.perf_counter() - start
            if min(ran) > _QUIET * seconds:
                best = min(seconds, best)  # in this order NaN gives way
    return best


def _elapsed(function: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@cache
def _compiled_chains() -> Callable[[int], float]:
    library = load_objects([compile_object(_chains(), host_target().optimized())], ["chains"])
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(library.addresses["chains"])
    function.library = library  # type: ignore[attr-defined]  # the code lives as long as this does
    return function


def _chains() -> ir.Module:
    """``float chains(i64 count)``."""
    module, target = ir.Module("peak"), host_target()
    build = Build(module, target, new_function(module, "chains", [I64], ir.FloatType(), exported=True))
    lanes = target.lanes(float32)
    sums = [build.variable(build.constant(float(n), float32, lanes)) for n in range(_CHAINS)]
    with build.loop(0, build.argument(0, int64)):
        for total in sums:
            total.set(build.fma(total.get(), 0.999, 0.001))
    whole = sums[0].get()
    for total in sums[1:]:
        whole = build.add(whole, total.get())
    build.ret(build.reduce("sum", whole))
    return module
