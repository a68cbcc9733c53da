"""Places of the windows of gathers and scatters: loops over them, and where windows begin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.moves import start_of
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.compile.loopnest.team import Team
from fdl.dtypes import int32, int64, uint32
from fdl.ops.windows import Windows


@dataclass(frozen=True)
class Column:
    """Numbers of one axis along which windows move, one for each place.

    Attributes:
        dtype, strides: of the numbers; a stride for each axis of places.
        offset: of the first one in the array that holds them.
        extent: what is added to negative ones, which count from the end; 0 if nothing is.
    """

    dtype: np.dtype
    strides: tuple[int, ...]
    offset: int = 0
    extent: int = 0

    def load(self, build: Build, pointer: ir.Value, counters: Sequence[Value], lanes: int, last: int) -> Value:
        """The number of a place, or of as many places along the last axis as there are lanes.

        Several are half as wide where all of them, and `last`, fit.
        """
        narrow = lanes > 1 and self.dtype.itemsize <= 4 and self.dtype != uint32 and max(self.extent, last) < 2**31
        index = dot(build, counters, self.strides) + self.offset
        step = self.strides[-1] if lanes > 1 else 1
        found = start_of(build, pointer, self.dtype, index, lanes, step, int32 if narrow else int64)
        return build.select(found < 0, found + self.extent, found) if self.extent else found


@dataclass(frozen=True)
class Places:
    """Where windows lie.

    Attributes:
        extents: of the axes of places.
        windows: their sizes, and along which axes they move.
        columns: the numbers for each of these.
        mode: "fill" asks whether windows lie inside; otherwise they are moved there.
    """

    extents: tuple[int, ...]
    windows: Windows
    columns: tuple[Column, ...]
    mode: str

    @property
    def from_front(self) -> "Places":
        """The same without numbers that count from the end."""
        return replace(self, columns=tuple(replace(c, extent=0) for c in self.columns))

    def locate(
        self, build: Build, pointers: Sequence[ir.Value], counters: Sequence[Value], steps: Sequence[int],
        lanes: int = 1,
    ) -> tuple[Value, Value | None]:  # fmt: skip
        """Where a window begins.

        Args:
            build: where the code goes.
            pointers: to the numbers of each column.
            counters: of a place, which with others along the last axis fills the lanes.
            steps: strides of the operand.
            lanes: places at once.

        Returns:
            The first element of each window once it is moved inside; and whether it lay there, if that matters.
        """
        windows = self.windows
        # Half as wide where every element has such a number.
        small = lanes > 1 and sum((n - 1) * abs(s) for n, s in zip(windows.shape, steps, strict=True)) < 2**31
        wide = int32 if small else int64
        first, inside = build.constant(0, wide, lanes), None
        for column, pointer, axis in zip(self.columns, pointers, windows.index_map, strict=True):
            last = windows.shape[axis] - windows.sizes[axis]
            start = column.load(build, pointer, counters, lanes, last)
            held = build.min(build.max(start, 0), last)
            if self.mode == "fill":
                same = build.eq(held, start)
                inside = same if inside is None else build.and_(inside, same)
            first = first + build.convert(held, wide) * steps[axis]
        for axis, other in zip(windows.batching, windows.indices_batching, strict=True):
            start = counters[other]
            if lanes > 1:
                start = build.broadcast(start, lanes)
                start = start + build.iota(int64, lanes) if other == len(counters) - 1 else start
            first = first + build.convert(start * steps[axis], wide)
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
