"""Convolution by 3x3 windows with a quarter of the multiplications: Winograd's F(4x4, 3x3), see `toom_cook`.

For each of 36 points the values of the image's tiles, a row for each tile, are multiplied by those of the weights on
the register tile. Tiles of 4x4 results are counted through all images, and a block of them is a unit of work: its
transformed tiles stay in the second-level cache while panels of weights come and go.

Sums over channels are cut into short ones: they are longer than the results, in which they cancel, so that without
that their rounding would be most of the error.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

from llvmlite import ir

from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.conv.toom_cook import (
    POINTS,
    RESULTS,
    TAPS,
    transform_data,
    transform_results,
    transform_window,
)
from fdl.compile.kernels.finish import finish
from fdl.compile.kernels.kernel import Epilogue
from fdl.compile.kernels.panel import Panel
from fdl.compile.kernels.tile import Tile
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.dtypes import float32

#: Tiles of a block: all heights of the register tile that are used divide them.
_TILES = 24

#: Products for each tile of the image.
_SQUARE = POINTS * POINTS


def fits(spec: Convolution, target: Target) -> bool:
    """Whether this algorithm can serve `spec` and gains.

    That depends on one image and its channels, neither on the number of images nor on that of threads, so that an
    image has the same results in every batch.
    """
    tuning = target.tuning
    plain = {*spec.stride, *spec.lhs_dilation, *spec.rhs_dilation, spec.groups, spec.batch_groups} == {1}
    if spec.window != (TAPS, TAPS) or not plain:
        return False
    if spec.direct or spec.dtype != float32 or not target.fma or target.vector_bits < 256 or spec.x[-1] != 1:
        return False
    if spec.in_features < tuning.winograd_channels or spec.out_features < target.lanes(float32):
        return False
    tiles, positions = (math.prod(-(-n // size) for n in spec.out_spatial) for size in (RESULTS, 1))
    return tiles >= tuning.winograd_tiles and _SQUARE * tiles <= tuning.winograd_share * TAPS * TAPS * positions


class EqualPanels(NamedTuple):
    """Panels of output channels that are alike, next to each other.

    Attributes:
        first: the first channel.
        number: panels.
        width: columns of the register tile, whole vectors.
        columns: channels of a panel.
    """

    first: int
    number: int
    width: int
    columns: int


@dataclass(frozen=True)
class WinogradPlan:
    """Sizes that follow from the convolution and the processor."""

    spec: Convolution
    target: Target

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(float32)

    @cached_property
    def panels(self) -> list[EqualPanels]:
        """All panels, as wide as they can be when they divide the vectors evenly, wider ones first."""
        outputs, most = self.spec.out_features, self.target.tile()[1]
        vectors = -(-outputs // self.lanes)
        count = -(-vectors // most)
        found, first = [], 0
        for number in range(count):
            width = (vectors // count + (number < vectors % count)) * self.lanes
            found.append(EqualPanels(first, 1, width, min(width, outputs - first)))
            first += width
        alike = ([*panels] for _, panels in groupby(found, lambda p: p[2:]))
        return [panels[0]._replace(number=len(panels)) for panels in alike]

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """Images, and tiles of each along both axes."""
        down, along = (-(-n // RESULTS) for n in self.spec.out_spatial)
        return self.spec.batch, down, along

    @cached_property
    def tiles(self) -> int:
        return math.prod(self.grid)

    @cached_property
    def block(self) -> int:
        """Tiles of a unit of work."""
        tile = _SQUARE * (self.channels + self.panels[0].width) * float32.itemsize
        large = 4 * _TILES * tile <= 3 * self.target.tuning.right_bytes
        return min(self.tiles, 2 * _TILES if large else _TILES)

    def rows(self, width: int) -> int:
        """Rows of the register tile: a divisor of a block."""
        most = self.target.tile_rows(width // self.lanes)
        if self.block < _TILES:
            return -(-self.block // -(-self.block // most))
        return max(n for n in range(1, most + 1) if _TILES % n == 0)

    @cached_property
    def work(self) -> int:
        return -(-self.tiles // self.block)

    @cached_property
    def channels(self) -> int:
        """Input channels, filled up to whole vectors."""
        return -(-self.spec.in_features // self.lanes) * self.lanes

    @cached_property
    def steps(self) -> int:
        """Channels that are summed at once: a quarter of them where they are few."""
        channels = self.spec.in_features
        most = min(-(-channels // 4), self.target.tuning.winograd_depth)
        return -(-channels // -(-channels // most))

    @cached_property
    def held(self) -> int:
        """Rows of a block that registers tiles may read or write."""
        return max(-(-self.block // self.rows(p.width)) * self.rows(p.width) for p in self.panels)

    @cached_property
    def data_plane(self) -> int:
        """Elements between the values of a block at two points: no multiple of a page, all of which share lines."""
        return self.held * self.channels + 5 * 16

    @cached_property
    def result_plane(self) -> int:
        """The same of products."""
        return self.held * self.panels[0].width + 3 * 16

    @cached_property
    def places(self) -> list[int]:
        """Where the parts of the scratch memory start, and its end.

        They are zeros in place of what lies outside, transformed weights, packed ones, values of a block, products.
        """
        width = self.panels[0].width
        columns = sum(p.number * p.width for p in self.panels)
        sizes = [
            self.channels,
            _SQUARE * self.spec.in_features * columns,
            TAPS * TAPS * self.steps * width,
            _SQUARE * self.data_plane,
            _SQUARE * self.result_plane,
        ]
        return [sum(-(-size // 16) * 16 for size in sizes[:n]) for n in range(len(sizes) + 1)]

    @property
    def scratch_bytes(self) -> int:
        return self.places[-1] * float32.itemsize


class Winograd:
    """Emits the kernel; units of work are blocks of tiles.

    Sizes stand where kernels of other sizes can share the code: they are second operands (see `llvm.sharing`).
    """

    def __init__(self, build: Build, plan: WinogradPlan, epilogue: Epilogue | None, extras: int) -> None:
        self.build, self.plan, self.spec, self.epilogue = build, plan, plan.spec, epilogue
        self.x, self.w, self.y = build.function.args[:3]
        self.extras = build.function.args[3 : 3 + extras]
        scratch = build.function.args[-3]
        self.zeros, self.weights, self.packed, self.values, self.products = (
            build.at(scratch, place, float32) for place in plan.places[:-1]
        )

    def emit(self) -> None:
        """The whole function."""
        b, plan = self.build, self.plan
        b.clear(self.zeros, plan.channels * float32.itemsize)
        place, places = 0, []
        for panels in plan.panels:
            places.append(b.at(self.weights, place, float32))
            self._weights(panels, places[-1])
            place += panels.number * self._size(panels)
        with b.loop(b.argument(-2, "int64"), b.argument(-1, "int64")) as unit:
            first = unit * plan.block
            count = b.min(-first + plan.tiles, plan.block)
            self._data(first, count)
            for panels, weights in zip(plan.panels, places, strict=True):
                with b.loop(0, panels.number) as number:
                    self._products(panels, b.at(weights, number * self._size(panels), float32), count)
                    self._results(panels, number * panels.width + panels.first, first, count)

    def _size(self, panels: EqualPanels) -> int:
        """Elements of the transformed weights of a panel."""
        return _SQUARE * self.spec.in_features * panels.width

    def _weights(self, panels: EqualPanels, weights: Any) -> None:
        """Pack and transform the weights of panels, some channels at a time."""
        b, plan, spec = self.build, self.plan, self.spec
        panel = Panel(float32, panels.columns, panels.width, spec.w[-2], spec.w[-1])
        whole = plan.steps * panels.width
        with b.loop(0, panels.number) as number, b.loop(0, spec.in_features, plan.steps) as channel:
            source = (number * panels.width + panels.first) * spec.w[-1] + channel * spec.w[-2]
            depth = b.min(-channel + spec.in_features, plan.steps)
            for tap in range(TAPS * TAPS):
                down, along = divmod(tap, TAPS)
                read = b.at(self.w, source + (down * spec.w[0] + along * spec.w[1]), float32)
                panel.call(b, read, b.at(self.packed, tap * whole, float32), depth)
            place = b.at(weights, number * self._size(panels) + channel * panels.width, float32)
            transform_window(b, self.packed, place, (depth * panels.width, whole, spec.in_features * panels.width))

    def _corner(self, number: Value) -> tuple[Value, Value, Value]:
        """The image of a tile, and where the tile's results start."""
        b, (_, down, along) = self.build, self.plan.grid
        row = b.quotient(number, along, seldom=True)
        n = b.quotient(row, down, seldom=True)
        return n, (row - n * down) * RESULTS, (number - row * along) * RESULTS

    def _data(self, first: Value, count: Value) -> None:
        """Transform the tiles of a block."""
        b, plan, spec = self.build, self.plan, self.spec
        height, width = spec.in_spatial
        rest = spec.in_features % plan.lanes
        sizes = height, width, *spec.x[1:3], spec.in_features - rest, plan.data_plane
        with b.loop(0, count) as t:
            n, top, left = self._corner(first + t)
            top, left = top - spec.low[0], left - spec.low[1]
            operands = b.at(self.x, n * spec.x[0], float32), self.zeros, b.at(self.values, t * plan.channels, float32)
            whole = (top >= 0) & (left >= 0) & (top + POINTS <= height) & (left + POINTS <= width)
            with b.if_else(whole) as (inside, edge):
                with inside:
                    transform_data(b, operands, (top, left), sizes, rest, True)
                with edge:
                    transform_data(b, operands, (top, left), sizes, rest, False)

    def _products(self, panels: EqualPanels, weights: ir.Value, count: Value) -> None:
        """The products of a block by a panel, at all pairs of points."""
        b, plan, spec = self.build, self.plan, self.spec
        width, rows, channels = panels.width, plan.rows(panels.width), spec.in_features
        tile = Tile(float32, rows, width, plan.channels, 1, width, True, width)
        with b.loop(0, _SQUARE) as point, b.loop(0, channels, plan.steps) as channel:
            right = b.at(weights, (point * channels + channel) * width, float32)
            depth = b.min(-channel + channels, plan.steps)
            with b.loop(0, count, rows) as t:
                left = b.at(self.values, point * plan.data_plane + t * plan.channels + channel, float32)
                into = b.at(self.products, point * plan.result_plane + t * width, float32)
                tile.call(b, left, right, into, depth, b.ne(channel, 0))

    def _results(self, panels: EqualPanels, channel: Value, first: Value, count: Value) -> None:
        """The results of a block in the channels of a panel."""
        b, plan, spec = self.build, self.plan, self.spec
        with b.loop(0, count) as t:
            n, top, left = self._corner(first + t)
            height, width = (b.min(-at + size, RESULTS) for size, at in zip(spec.out_spatial, (top, left), strict=True))
            place = n * spec.y[0] + top * spec.y[1] + left * spec.y[2] + channel
            sizes = plan.result_plane, *spec.y[1:3], height, width
            products = b.at(self.products, t * panels.width, float32)
            transform_results(b, products, b.at(self.y, place, float32), sizes, panels.columns)
            if self.epilogue is not None:
                starts, counts = (n, top, left, channel), (1, height, width, panels.columns)
                finish(b, self.epilogue, spec.result, (self.y, *self.extras), spec.y, starts, counts, spec.out_features)
