"""Gathers of elements that are neighbours in the result: as many index vectors at once as a register has lanes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.steps import View
from fdl.compile.kernels.places import dot, located, nested
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.compile.loopnest.team import Team


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

            def body(counters: list[Value], begin: int = begin, lanes: int = lanes) -> None:
                within, places = counters[: len(axes)], [*counters[len(axes) : -1], counters[-1] * lanes + begin]
                read, written = (dot(build, within, [s[a] for a in axes]) for s in (self.steps, self.target_steps))
                first, inside = located(
                    build, self.windows, self.indices, index, self.mode, places, self.x.strides, lanes
                )
                found = build.load(source, register, first + read, lanes)
                if inside is not None:
                    filler = np.frombuffer(self.filler, register)[0]
                    found = build.select(inside, found, build.constant(filler, register, lanes))
                build.store(found, y, written + dot(build, places, self.place_steps))

            if 0 not in extents:
                nested(build, extents, body, team)
