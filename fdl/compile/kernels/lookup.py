"""Gathers of elements that are neighbours in the result: as many places at once as a register has lanes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.ir.steps import View
from fdl.compile.kernels.places import Places, dot, nested
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.compile.loopnest.team import Team


@dataclass(frozen=True)
class Lookup:
    """A gather whose last axis of places is the last one of the result.

    Windows are walked element by element around the loops over places, so that a column is not read and written with
    its strides: rows stay in the cache while all places read from them.

    Attributes:
      x: the operand.
      places: where windows lie.
      filler: the element, as bytes, that stands for those out of bounds.
      sizes, steps, target_steps: of a window: its extents, and its strides in the operand and in the result.
      place_steps: strides of places in the result.
    """

    x: View
    places: Places
    filler: bytes
    sizes: Sequence[int]
    steps: Sequence[int]
    target_steps: Sequence[int]
    place_steps: Sequence[int]

    @property
    def applies(self) -> bool:
        """Whether there is code for it."""
        extents, register = self.places.extents, transport_dtype(self.x.type.dtype)
        return bool(extents) and extents[-1] > 1 and self.place_steps[-1] == 1 and register is not None

    def emit(self, build: Build, team: Team, y: ir.Value, source: ir.Value, *columns: ir.Value) -> None:
        """The loops, whose longest one a team divides."""
        register = transport_dtype(self.x.type.dtype)
        assert register is not None
        most = max(build.target.lanes(register), 4)
        *leading, last = self.places.extents
        axes = [a for a, size in enumerate(self.sizes) if size != 1]
        for begin, lanes, chunks in ((0, most, last // most), (last - last % most, 1, last % most)):
            extents = [*(self.sizes[a] for a in axes), *leading, chunks]

            def body(counters: list[Value], begin: int = begin, lanes: int = lanes) -> None:
                within, places = counters[: len(axes)], [*counters[len(axes) : -1], counters[-1] * lanes + begin]
                read, written = (dot(build, within, [s[a] for a in axes]) for s in (self.steps, self.target_steps))
                first, inside = self.places.locate(build, columns, places, self.x.strides, lanes)
                found = build.load(build.at(source, read, register), register, first, lanes)
                if inside is not None:
                    filler = np.frombuffer(self.filler, register)[0]
                    found = build.select(inside, found, build.constant(filler, register, lanes))
                build.store(found, y, written + dot(build, places, self.place_steps))

            if 0 not in extents:
                nested(build, extents, body, team)
