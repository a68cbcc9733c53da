"""The call of an epilogue on a block of a kernel's output that is complete, by rows as they lie in memory."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import Epilogue
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I64, POINTER, Value


def finish(
    build: Build, epilogue: Epilogue, dtype: np.dtype, pointers: Sequence[ir.Value], strides: Sequence[int],
    starts: Sequence[Any], counts: Sequence[Any], size: int | None,
) -> None:  # fmt: skip
    """Emit the call; the function that does it is emitted once for each kernel.

    Args:
        build: where the call goes.
        epilogue: what to apply.
        dtype: of the output.
        pointers: the output and the extra operands.
        strides: of the output along every axis.
        starts, counts: the block along every axis, integers or `Value`.
        size: of the output along the last axis, if all blocks are whole vectors of it but those at its end; else None.
    """
    name = f"{build.function.name}.epilogue"
    function = build.module.globals.get(name)
    if function is None:
        function = new_function(build.module, name, [POINTER] * len(pointers) + [I64] * (2 * len(strides)))
        function.attributes.add("noinline")
        _emit(Build(build.module, build.target, function), epilogue, dtype, strides, size)
    build.call_function(function, [*pointers, *starts, *counts])


def _emit(build: Build, epilogue: Epilogue, dtype: np.dtype, strides: Sequence[int], size: int | None) -> None:
    axes, lanes = len(strides), build.target.lanes(dtype)
    output, *extras = build.function.args[: -2 * axes]
    starts, counts = ([build.argument(i - k * axes, "int64") for i in range(axes)] for k in (2, 1))
    with ExitStack() as stack:
        loops = zip(starts[:-1], counts[:-1], strict=True)
        index = [stack.enter_context(build.loop(start, start + count)) for start, count in loops]
        row = build.index(0)
        for i, step in zip(index, strides, strict=False):
            row = row + i * step

        def vector(last: Value, mask: Value | None) -> None:
            where = row + last * strides[-1]
            value = build.load(output, dtype, where, lanes, strides[-1], mask)
            result = epilogue(build, value, (*index, last), extras, mask)
            if result is not None:
                build.store(result, output, where, strides[-1], mask)

        whole = build.quotient(counts[-1], lanes) * lanes
        with build.loop(starts[-1], starts[-1] + whole, lanes) as last:
            vector(last, None)
        if size is None or size % lanes:
            with build.if_(whole < counts[-1]):
                rest = counts[-1] - whole if size is None else size % lanes
                vector(starts[-1] + whole, build.first_lanes(rest, lanes))
    build.ret()
