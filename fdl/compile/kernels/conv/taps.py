"""Convolution with (tap, channel) as the rows of the tile: the gradient by the weights.

In the vocabulary of `convolution` this is the convolution whose *batch* has unit stride in x (it is the channels of the
forward pass) and whose window is large: the tile's rows are elements of the batch, next to each other in memory, its
columns output features, and the sum runs over the window and, in memory, over the channels (the images of the
forward pass) one after the other. Units of work are pairs of a panel of output features and an output position (all
positions along the last axis together, if they are joined).
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from fdl.compile.kernels.conv.geometry import Geometry
from fdl.compile.kernels.conv.image import Image
from fdl.compile.kernels.conv.pixels import summed
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.kernel import pieces, table
from fdl.compile.kernels.panel import Panel
from fdl.compile.kernels.tile import Tile
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.dtypes import int8


def fits(spec: Convolution) -> bool:
    """Whether this algorithm can serve `spec`."""
    return (
        spec.x[0] == 1 and spec.batch > 1 and spec.groups == 1 and spec.in_features > 0 and 0 not in spec.window
        and spec.dtype != int8 and spec.result == spec.sums and all(d == 1 for d in spec.lhs_dilation)
    )  # fmt: skip


def exchanged(spec: Convolution, target: Target) -> Convolution | None:
    """The convolution of w by x, with the taps of y in reverse order, where x has more of what fills the lanes.

    It serves a gradient by the weights of few output channels, of stride 1.
    """
    few = spec.out_features <= target.tuning.dotted_features and spec.out_features < spec.batch
    if not few or any(d > 1 for d in (*spec.stride, *spec.rhs_dilation)):
        return None
    return replace(
        spec, batch=spec.out_features, out_features=spec.batch, in_spatial=spec.window, window=spec.in_spatial,
        low=tuple(n - 1 - low for n, low in zip(spec.out_spatial, spec.low, strict=True)),
        x=(spec.w[-1], *spec.w[:-1]), w=(*spec.x[1:], spec.x[0]),
        y=(spec.y[-1], *(-step for step in spec.y[1:-1]), spec.y[0]),
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Sizes that follow from the convolution and the processor."""

    spec: Convolution
    target: Target

    @cached_property
    def image(self) -> Image:
        s = self.spec
        slot = -(-self.rows // self.lanes) * self.lanes if self.blocked else 0
        return Image(Geometry(s), s.sums, s.dtype, s.batch, s.x[1:-1], s.x[0], self.rows if self.blocked else 0, slot)

    @cached_property
    def blocked(self) -> bool:
        """Whether x is copied in blocks of as many channels as the tile has rows.

        Positions that are far apart would use few sets of the first-level cache.
        """
        return self.spec.batch * self.spec.sums.itemsize >= self.target.tuning.far_bytes

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(self.spec.sums)

    @cached_property
    def width(self) -> int:
        """Columns of a tile."""
        return min(self.target.tile()[1], -(-self.spec.out_features // self.lanes)) * self.lanes

    @cached_property
    def joined(self) -> bool:
        """Whether outputs along the last axis follow each other like the batch does, in x and in y."""
        s = self.spec
        if self.blocked:
            return False
        dense = s.stride[-1] * self.image.strides[-1] == s.batch and (s.batch == 1 or s.y[-2] == s.batch * s.y[0])
        return dense and len(s.out_spatial) > 1

    @cached_property
    def row(self) -> int:
        """Distance of two rows of a tile in y."""
        return self.spec.y[-2] if self.joined and self.spec.batch == 1 else self.spec.y[0]

    @cached_property
    def run(self) -> int:
        """Rows of one run of tiles."""
        return self.spec.batch * (self.spec.out_spatial[-1] if self.joined else 1)

    @cached_property
    def rows(self) -> int:
        """Rows of a tile."""
        most = self.target.tile_rows(self.width // self.lanes)
        run = self.spec.batch if self.blocked else self.run
        return -(-run // -(-run // most))

    @cached_property
    def places(self) -> int:
        """Output positions that are done one after the other."""
        return math.prod(self.spec.out_spatial[:-1] if self.joined else self.spec.out_spatial)

    @cached_property
    def work(self) -> int:
        return -(-self.spec.out_features // self.width) * self.places

    @property
    def scratch_bytes(self) -> int:
        return (self.image.elements + math.prod(self.spec.window) * self.width) * self.spec.sums.itemsize


class Taps:
    """Emits the kernel, of the convolution as it is or `exchanged`."""

    def __init__(self, build: Build, plan: Plan, exchanged: bool = False) -> None:
        self.build, self.plan, self.spec = build, plan, plan.spec
        self.x, self.w, self.y = build.function.args[:3]
        if exchanged:
            last = sum((n - 1) * step for n, step in zip(self.spec.out_spatial, self.spec.y[1:-1], strict=True))
            self.x, self.w, self.y = self.w, self.x, build.at(self.y, -last, self.spec.sums)
        self.scratch = build.function.args[-3]

    def emit(self) -> None:
        """The whole function."""
        b, plan, spec = self.build, self.plan, self.spec
        begin, end = b.argument(-2, "int64"), b.argument(-1, "int64")
        plan.image.clear(b, self.scratch)
        places = plan.places
        with b.loop(0, spec.in_features) as image, b.if_(begin < end):
            source = b.at(self.x, image * spec.x[-1], spec.dtype)
            pixels = plan.image.place(b, source, self.scratch)
            start, stop = b.quotient(begin, places, seldom=True), b.quotient(end + (places - 1), places, seldom=True)
            with pieces(
                b, start * plan.width, b.min(stop * plan.width, spec.out_features), plan.width, spec.out_features
            ) as panel:
                for f, columns in panel():
                    self._pack(image, f, columns)
                    unit = b.quotient(f, plan.width, seldom=True) * places
                    part = b.max(begin - unit, 0), b.min(end - unit, places)
                    self._outputs(pixels, part, f, columns, image > 0)
        b.ret()

    @property
    def _packed(self) -> Any:
        return self.build.at(self.scratch, self.plan.image.elements, self.spec.sums)

    def _pack(self, image: Value, f: Value, columns: int) -> None:
        """Copy one panel of w for one image: a row for each position of the window."""
        b, plan, spec = self.build, self.plan, self.spec
        source = b.at(self.w, image * spec.w[-2] + f * spec.w[-1], spec.dtype)
        panel = Panel(spec.dtype, columns, plan.width, spec.w[-3], spec.w[-1], spec.sums)
        outer = summed([[t * s for t in range(n)] for n, s in zip(spec.window[:-1], spec.w, strict=False)])
        depth = spec.window[-1]
        if outer == [i * depth * spec.w[-3] for i in range(len(outer))]:
            panel.call(b, source, self._packed, depth * len(outer))
            return
        with b.loop(0, len(outer)) as i:
            offset = b.load(table(b, outer), "int64", i)
            panel.call(
                b, b.at(source, offset, spec.dtype), b.at(self._packed, i * (depth * plan.width), spec.sums), depth
            )

    def _outputs(self, pixels: Any, part: tuple[Value, Value], f: Value, columns: int, accumulate: Value) -> None:
        """The outputs at some positions, band by band of the window."""
        b, plan, spec = self.build, self.plan, self.spec
        strides = plan.image.strides
        origin = sum(-low * s for low, s in zip(spec.low, strides, strict=True))
        steps = [rhs * s for rhs, s in zip(spec.rhs_dilation, strides, strict=True)]
        offsets = summed([[t * s for t in range(n)] for n, s in zip(spec.window[:-1], steps, strict=False)])
        axes = range(len(spec.window) - plan.joined)
        a_moves = summed([[o * spec.stride[d] * strides[d] for o in range(spec.out_spatial[d])] for d in axes])
        c_moves = summed([[o * spec.y[1 + d] for o in range(spec.out_spatial[d])] for d in axes])
        a, c = b.at(pixels, origin, spec.sums), b.at(self.y, f * spec.y[-1], spec.sums)
        band = max(1, b.target.tuning.band_rows // spec.window[-1])
        with b.loop(0, len(offsets), band) as segment:
            count = b.min(len(offsets) - segment, band)
            add = accumulate | (segment > 0)
            with b.loop(*part) as place:
                a_move, c_move = (b.load(table(b, m), "int64", place) for m in (a_moves, c_moves))
                start = (b.at(a, a_move, spec.sums), b.at(c, c_move, spec.sums))
                self._run(*start, columns, segment, count, offsets, add)

    def _run(
        self, a: Any, c: Any, columns: int, segment: Value, count: Value, offsets: list[int], accumulate: Value
    ) -> None:
        b, plan, spec = self.build, self.plan, self.spec
        packed = b.at(self._packed, segment * (spec.window[-1] * plan.width), spec.sums)
        with pieces(b, 0, plan.run, plan.rows, plan.run) as piece:
            for m, rows in piece():
                tile = Tile(
                    spec.sums, rows, columns, a_row=1, a_step=spec.rhs_dilation[-1] * plan.image.strides[-1],
                    b_step=plan.width, b_whole=True, c_row=plan.row, c_column=spec.y[-1], segments=True,
                )  # fmt: skip
                read = b.quotient(m, plan.rows) * plan.image.block_stride if plan.blocked else m
                here, there = b.at(a, read, spec.sums), b.at(c, m * plan.row, spec.sums)
                parts = b.at(table(b, offsets), segment, "int64")
                tile.call(b, here, packed, there, spec.window[-1], accumulate, count, parts)
