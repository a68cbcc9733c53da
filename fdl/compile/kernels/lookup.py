"""Gathers of elements that are neighbours in the result: as many index vectors at once as a register has lanes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.steps import View
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.compile.loopnest.team import Team
from fdl.dtypes import int32, int64, uint64


@dataclass(frozen=True)
class Lookup:
    """A gather whose last axis of index vectors is the last one of the result.

    Windows are walked element by element around the loops over index vectors, so that a column is not read and written
    with its strides: rows stay in the cache while all index vectors read from them.

    Attributes:
      x, indices: the operands.
      windows: where windows lie.
      mode, filler: what is done with index vectors out of bounds; the element as bytes.
      sizes, steps, target_steps: of a window: its extents, and its strides in the operand and in the result.
      place_steps: strides of index vectors in the result.
    """

    x: View
    indices: View
    windows: Any
    mode: str
    filler: bytes
    sizes: Sequence[int]
    steps: Sequence[int]
    target_steps: Sequence[int]
    place_steps: Sequence[int]

    @property
    def applies(self) -> bool:
        """Whether there is code for it."""
        places, register = self.indices.type.shape[:-1], transport_dtype(self.x.type.dtype)
        return bool(places) and places[-1] > 1 and self.place_steps[-1] == 1 and register is not None

    def emit(self, build: Build, team: Team, y: ir.Value, source: ir.Value, index: ir.Value) -> None:
        """The loops, whose longest one a team divides."""
        register = transport_dtype(self.x.type.dtype)
        assert register is not None
        most = max(build.target.lanes(register), 4)
        *leading, last = self.indices.type.shape[:-1]
        axes = [a for a, size in enumerate(self.sizes) if size != 1]
        for begin, lanes, chunks in ((0, most, last // most), (last - last % most, 1, last % most)):
            extents = [*(self.sizes[a] for a in axes), *leading, chunks]
            if 0 in extents:
                continue
            divided = extents.index(max(extents))

            def enter(counters: list[Value], extents: list[int] = extents, begin: int = begin, lanes: int = lanes,
                      divided: int = divided) -> None:  # fmt: skip
                if len(counters) < len(extents):
                    level = len(counters)
                    bounds = team.share(extents[level]) if level == divided else (0, extents[level])
                    with build.loop(*bounds) as i:
                        enter([*counters, i])
                    return
                within, places = counters[: len(axes)], [*counters[len(axes) : -1], counters[-1] * lanes + begin]
                read, written = (dot(build, within, [s[a] for a in axes]) for s in (self.steps, self.target_steps))
                first, inside = self._locate(build, index, places, lanes)
                found = build.load(source, register, first + read, lanes)
                if inside is not None:
                    filler = np.frombuffer(self.filler, register)[0]
                    found = build.select(inside, found, build.constant(filler, register, lanes))
                build.store(found, y, written + dot(build, places, self.place_steps))

            enter([])

    def _locate(self, build: Build, index: ir.Value, places: Sequence[Value], lanes: int) -> tuple[Value, Value | None]:
        """The first elements of the windows of some index vectors, and whether they lie inside, if that matters."""
        windows, steps, dtype = self.windows, self.indices.strides, self.indices.type.dtype
        base = dot(build, places, steps[:-1])
        first, inside = build.constant(0, int64, lanes), None
        for number, axis in enumerate(windows.index_map):
            given = build.load(index, dtype, base + number * steps[-1], lanes, steps[-2])
            if dtype == uint64:
                given = build.min(given, 2**62)
            # Half as wide where all numbers fit.
            wide = int64 if dtype.itemsize > 4 or dtype == np.uint32 else int32
            given = build.convert(given, wide)
            last = windows.shape[axis] - windows.sizes[axis]
            held = build.min(build.max(given, 0), min(last, np.iinfo(wide).max))
            if self.mode == "fill":
                same = build.eq(held, given)
                inside = same if inside is None else build.and_(inside, same)
            first = first + build.convert(held, int64) * self.x.strides[axis]
        for axis, other in zip(windows.batching, windows.indices_batching, strict=True):
            place = build.broadcast(places[other], lanes) if lanes > 1 else places[other]
            if lanes > 1 and other == len(places) - 1:
                place = place + build.iota(int64, lanes)
            first = first + place * self.x.strides[axis]
        return first, inside


def dot(build: Build, counters: Sequence[Value], steps: Sequence[int]) -> Value:
    """The sum of counters times steps."""
    total = build.index(0)
    for counter, step in zip(counters, steps, strict=True):
        total = total + counter * step
    return total
