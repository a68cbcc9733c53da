"""What this machine can do at most, measured: floating-point operations and bytes a second."""

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

#: Bytes that are copied, more than caches hold.
_BYTES = 1 << 26


@cache
def peak_flops(threads: int) -> float:
    """Most float32 operations a second: multiplications with additions in registers that do not wait for each other."""
    library = load_objects([compile_object(_chains(), host_target())], ["chains"])
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(library.addresses["chains"])
    count = 1000
    while _seconds([partial(function, count)]) < _SECONDS:
        count *= 2
    operations = 2 * _CHAINS * host_target().lanes(float32) * count
    return operations * threads / _seconds([partial(function, count)] * threads)


@cache
def peak_bytes(threads: int) -> float:
    """Most bytes a second, read and written, of a copy of more than the caches hold."""
    source, target = np.ones((2, threads, _BYTES // 8 // threads))
    return 2 * target.nbytes / _seconds([partial(np.copyto, t, s) for t, s in zip(target, source, strict=True)])


def _seconds(functions: Sequence[Callable[[], object]]) -> float:
    """Until all of the functions, each in a thread of its own, are done; the best of a few trials."""
    best = float("inf")
    with ThreadPoolExecutor(len(functions)) as pool:
        for _ in range(_TRIALS):
            start = time.perf_counter()
            for future in [pool.submit(function) for function in functions]:
                future.result()
            best = min(best, time.perf_counter() - start)
    return best


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
