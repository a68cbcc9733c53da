"""Helpers of the compiler's tests: run an emitted kernel or function on NumPy arrays."""

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import Kernel
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I64, POINTER
from fdl.compile.runtime.machine import compile_object, load_objects


def native(module: ir.Module, target: Target, name: str, pointers: int, integers: int = 0) -> Callable[..., None]:
    """The exported function `name` of `module`, called with arrays and integers."""
    library = load_objects([compile_object(module, target)], [name])
    kinds = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * integers
    call = ctypes.CFUNCTYPE(None, *kinds)(library.addresses[name])

    def run(*arguments: Any) -> None:
        assert library is not None
        call(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))

    return run


def kernel(
    emit: Callable[[ir.Module], Kernel], target: Target, operands: int
) -> tuple[Kernel, Callable[[Sequence[np.ndarray], int], None]]:
    """Compile what `emit` makes; the result runs it on arrays, with its work cut into the given number of parts.

    Every run is repeated in other parts, the last one first, and must give the same bits: threads cut work anywhere.
    """
    module = ir.Module("test")
    emitted = emit(module)
    function = new_function(module, "run", [POINTER] * (operands + 1) + [I64, I64], exported=True)
    build = Build(module, target, function)
    build.call_function(emitted.function, list(function.args))
    build.ret()
    call = native(module, target, "run", operands + 1, 2)

    def once(arrays: Sequence[np.ndarray], cuts: Sequence[int]) -> None:
        # A guard behind the scratch memory shows writes beyond its end; it starts out as NaN.
        room = np.full(emitted.scratch_bytes + 128, 255, np.uint8)
        start = -room.ctypes.data % 64
        for begin, end in reversed(list(itertools.pairwise(cuts))):
            call(*arrays, room.ctypes.data + start, begin, end)
        assert (room[start + emitted.scratch_bytes :] == 255).all()

    def run(arrays: Sequence[np.ndarray], parts: int = 1) -> None:
        before = [a.copy() for a in arrays]
        others = min(emitted.work, 61)
        once(arrays, [emitted.work * i // others for i in range(others + 1)] if others else [0, 0])
        cut = [a.copy() for a in arrays]
        for array, values in zip(arrays, before, strict=True):
            if array.flags.writeable:
                array[...] = values
        once(arrays, [emitted.work * i // parts for i in range(parts + 1)])
        for array, values in zip(arrays, cut, strict=True):
            assert array.tobytes() == values.tobytes(), "parts of the work depend on how it is cut"

    return emitted, run
