"""Index vectors of gathers and scatters: loops over them, and where the windows that they name begin."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.steps import View
from fdl.compile.kernels.moves import start_of
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.compile.loopnest.team import Team
from fdl.dtypes import int32, int64, uint32


def located(
    build: Build, windows: Any, indices: View, pointer: ir.Value, mode: str, counters: Sequence[Value],
    steps: Sequence[int], lanes: int = 1,
) -> tuple[Value, Value | None]:  # fmt: skip
    """Where windows begin.

    Args:
        build: where the code goes.
        windows: where windows lie.
        indices: index vectors, whose last axis is that of a vector.
        pointer: to their numbers.
        mode: "fill" asks whether windows lie inside; otherwise they are moved there.
        counters: of an index vector, which with others along the last axis of them fills the lanes.
        steps: strides of the operand.
        lanes: index vectors at once.

    Returns:
        The first element of each window once it is moved inside; and whether it lay there, if that matters.
    """
    dtype, strides = indices.type.dtype, indices.strides
    # Half as wide where all numbers fit.
    wide = int32 if lanes > 1 and dtype.itemsize <= 4 and dtype != uint32 else int64
    base, step = dot(build, counters, strides[:-1]), strides[-2] if lanes > 1 else 1
    first, inside = build.constant(0, int64, lanes), None
    for number, axis in enumerate(windows.index_map):
        start = start_of(build, pointer, dtype, base + number * strides[-1], lanes, step, wide)
        last = min(windows.shape[axis] - windows.sizes[axis], np.iinfo(wide).max)
        held = build.min(build.max(start, 0), last)
        if mode == "fill":
            same = build.eq(held, start)
            inside = same if inside is None else build.and_(inside, same)
        first = first + build.convert(held, int64) * steps[axis]
    for axis, other in zip(windows.batching, windows.indices_batching, strict=True):
        start = counters[other]
        if lanes > 1:
            start = build.broadcast(start, lanes)
            start = start + build.iota(int64, lanes) if other == len(counters) - 1 else start
        first = first + start * steps[axis]
    return first, inside


def dot(build: Build, counters: Sequence[Value], steps: Sequence[int]) -> Value:
    """The sum of counters times steps."""
    total = build.index(0)
    for counter, step in zip(counters, steps, strict=True):
        total = total + counter * step
    return total


def nested(build: Build, extents: Sequence[int], body: Callable[[list[Value]], None], team: Team | None = None) -> None:
    """``body(counters)`` in loops over `extents`, of which a team divides the longest."""
    divided = extents.index(max(extents)) if team is not None else None

    def enter(counters: list[Value]) -> None:
        if len(counters) == len(extents):
            body(counters)
            return
        axis = len(counters)
        bounds = team.share(extents[axis]) if team is not None and axis == divided else (0, extents[axis])
        with build.loop(*bounds) as i:
            enter([*counters, i])

    enter([])
