"""The gradient by the weights of a convolution of bfloat16, by packed blocks.

In the vocabulary of `convolution`, as in `taps`: rows are elements of the batch (the channels of the forward pass),
columns output features, and the sum runs over the window (the positions of the forward pass) and the channels (its
images). Images are turned, so that every row has its positions one after the other, those that stay `rhs_dilation`
apart next to each other. Each output position (tap of the forward pass) then finds what it sums in runs along the last
axis, which are copied to blocks. Units of work are pairs of an output position and a block of rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from fdl.compile.kernels.amx.blocks import SIDE, BlockProduct, configure, release
from fdl.compile.kernels.amx.packing import block_rows, block_width, pack_columns, packed_words, store_block, units
from fdl.compile.kernels.conv import taps
from fdl.compile.kernels.conv.pixels import summed
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.kernel import pieces, table
from fdl.compile.kernels.pairs import PairPanel, joined
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.dtypes import bfloat16, float32, uint16

#: Elements of a line of a block.
_LINE = 2 * SIDE
#: The fewest rows and columns that pay.
_LEAST = 8


def fits(spec: Convolution, target: Target) -> bool:
    """Whether this algorithm can serve `spec`, and pays."""
    positions = zip(spec.w[:-3], spec.w[1:-2], spec.window[1:], strict=True)
    return (
        target.low_products == "blocks" and spec.dtype == bfloat16 and taps.fits(spec)
        and min(spec.batch, spec.out_features) >= _LEAST and spec.y[-1] == 1
        and all(outer == inner * count for outer, inner, count in positions)
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Sizes that follow from the convolution and the processor."""

    spec: Convolution
    target: Target

    @cached_property
    def width(self) -> int:
        """Columns of a block."""
        return block_width(self.spec.out_features)

    @cached_property
    def rows(self) -> int:
        """Rows of a block."""
        return block_rows(self.width, self.spec.batch)

    @cached_property
    def sizes(self) -> list[int]:
        """Positions of a turned image along each axis, padding included."""
        s = self.spec
        axes = zip(s.out_spatial, s.stride, s.window, s.rhs_dilation, strict=True)
        sizes = [(out - 1) * stride + (window - 1) * rhs + 1 for out, stride, window, rhs in axes]
        return [*sizes[:-1], self._apart(sizes[-1]) * s.rhs_dilation[-1]]

    def _apart(self, size: int) -> int:
        return -(-size // self.spec.rhs_dilation[-1])

    def column(self, position: int) -> int:
        """Where a position along the last axis is in a turned line."""
        rhs = self.spec.rhs_dilation[-1]
        return position % rhs * (self.sizes[-1] // rhs) + position // rhs

    @cached_property
    def strides(self) -> list[int]:
        """Distances of the positions of a turned image along each axis, but for the last."""
        return [math.prod(self.sizes[axis + 1 :]) for axis in range(len(self.sizes))]

    @cached_property
    def row(self) -> int:
        """Elements of a row of a turned image, whole lines."""
        return -(-math.prod(self.sizes) // _LINE) * _LINE

    @cached_property
    def image_words(self) -> int:
        """Words of a row of a block that come from one image."""
        return packed_words(math.prod(self.spec.window), bfloat16)

    @cached_property
    def images(self) -> int:
        """Images that are summed at once."""
        most = max(1, self.target.tuning.summed_words // self.image_words)
        return min(most, self.spec.in_features)

    @cached_property
    def words(self) -> int:
        return self.images * self.image_words

    @cached_property
    def panels(self) -> int:
        """Panels of columns."""
        return -(-self.spec.out_features // self.width)

    @cached_property
    def row_blocks(self) -> int:
        return -(-self.spec.batch // self.rows)

    @property
    def work(self) -> int:
        return math.prod(self.spec.out_spatial) * self.row_blocks

    @cached_property
    def turned(self) -> int:
        """Words of the turned images."""
        return self.images * self.spec.batch * self.row // 2

    @property
    def scratch_bytes(self) -> int:
        elements = 4 * SIDE * SIDE + self.turned + (self.panels * self.width + self.rows) * self.words
        return elements * float32.itemsize


class Weights:
    """Emits the kernel."""

    def __init__(self, build: Build, plan: Plan) -> None:
        self.build, self.plan, self.spec = build, plan, plan.spec
        self.x, self.w, self.y, self.sums = build.function.args[:4]
        self.turned = build.at(self.sums, 4 * SIDE * SIDE, float32)
        self.right = build.at(self.turned, plan.turned, float32)
        self.left = build.at(self.right, plan.panels * plan.width * plan.words, float32)

    def emit(self) -> None:
        """The whole function."""
        b, plan, spec = self.build, self.plan, self.spec
        begin, end = b.argument(-2, "int64"), b.argument(-1, "int64")
        configure(b)
        b.clear(self.turned, plan.turned * float32.itemsize)
        with b.loop(0, spec.in_features, plan.images) as first, b.if_(begin < end):
            count = b.min(spec.in_features - first, plan.images)
            with b.loop(0, count) as image:
                source = b.at(self.x, (first + image) * spec.x[-1], bfloat16)
                self._turn(source, b.at(self.turned, image * (spec.batch * plan.row // 2), float32))
                self._pack(b.at(self.w, (first + image) * spec.w[-2], bfloat16), image)
            with b.loop(begin, end) as unit:
                place = b.quotient(unit, plan.row_blocks)
                c = (unit - place * plan.row_blocks) * plan.rows
                with pieces(b, c, b.min(c + plan.rows, spec.batch), plan.rows, spec.batch) as piece:
                    for row, height in piece():
                        self._gather(place, row, height, count)
                        self._multiply(place, row, height, count, first > 0)
        release(b)
        b.ret()

    def _turn(self, source: Any, to: Any) -> None:
        """Copy an image so that each channel has its positions one after the other."""
        b, plan, spec = self.build, self.plan, self.spec
        lines = [range(0)] * (len(plan.sizes) - 1)
        for d in range(len(lines)):
            lines[d] = range(max(0, spec.low[d]), min(plan.sizes[d], spec.in_spatial[d] + spec.low[d]))
        reads = summed([[(q - low) * s for q in r] for r, low, s in zip(lines, spec.low, spec.x[1:], strict=False)])
        writes = summed([[q * s for q in r] for r, s in zip(lines, plan.strides, strict=False)])
        if not reads:
            return
        rhs, low, size = spec.rhs_dilation[-1], spec.low[-1], spec.in_spatial[-1]
        with b.loop(0, len(reads)) as line:
            read, write = (b.load(table(b, numbers), "int64", line) for numbers in (reads, writes))
            for phase in range(rhs):
                # Positions phase + rhs * j of the line, which are there from the first j to the one before the last.
                start = max(0, -(-(low - phase) // rhs))
                stop = min(plan.sizes[-1] // rhs, -(-(size + low - phase) // rhs))
                here = read + (phase + start * rhs - low) * spec.x[-2]
                there = write + (phase * (plan.sizes[-1] // rhs) + start)
                with pieces(b, 0, spec.batch, SIDE, spec.batch) as piece:
                    for c, channels in piece():
                        self._turn_run(source, here + c, to, there + c * plan.row, (stop - start, channels))

    def _turn_run(self, source: Any, read: Value, to: Any, write: Value, size: tuple[int, int]) -> None:
        """Turn some positions that are `rhs_dilation` apart, and some channels."""
        b, plan, spec = self.build, self.plan, self.spec
        count, channels = size
        step = spec.rhs_dilation[-1] * spec.x[-2]
        mask = None if channels == SIDE else b.first_lanes(channels, SIDE)

        def load(position: Value) -> Value:
            return b.load(source, uint16, read + position * step, SIDE, mask=mask)

        nothing = b.constant(0, uint16, SIDE)
        with pieces(b, 0, max(count, 0), _LINE, max(count, 0)) as piece:
            for first, length in piece():
                found = [load(first + i) if i < length else nothing for i in range(_LINE)]
                words = [joined(b, *found[i : i + 2]) for i in range(0, _LINE, 2)]
                part = None if length == _LINE else b.first_lanes(length, _LINE)
                for channel, row in enumerate(transposed(b, words)[:channels]):
                    halves = b.value(b.ir.bitcast(row.ir, b.constant(0, uint16, _LINE).ir.type), uint16)
                    b.store(halves, to, write + (first + channel * plan.row), mask=part)

    def _pack(self, source: Any, image: Value) -> None:
        """Pack the columns of one image."""
        b, plan, spec = self.build, self.plan, self.spec
        positions = math.prod(spec.window)
        with pieces(b, 0, spec.out_features, plan.width, spec.out_features) as piece:
            for f, columns in piece():
                rows = b.quotient(f, plan.width) * plan.words + image * plan.image_words
                to = b.at(self.right, rows * plan.width, float32)
                panel = PairPanel(bfloat16, columns, plan.width, spec.w[-3], spec.w[-1])
                pack_columns(b, panel, b.at(source, f * spec.w[-1], bfloat16), to, positions)

    def _gather(self, place: Value, first: Value, height: int, count: Value) -> None:
        """Copy what some rows sum for one output position to a block."""
        b, plan, spec = self.build, self.plan, self.spec
        outer = [[o * spec.stride[d] * plan.strides[d] for o in range(n)] for d, n in enumerate(spec.out_spatial[:-1])]
        inner = [plan.column(o * spec.stride[-1]) for o in range(spec.out_spatial[-1])]
        shift = b.load(table(b, summed([*outer, inner])), "int64", place)
        step = units(height) * SIDE * SIDE * 2
        with b.loop(0, count) as image, b.loop(0, height) as row:
            read = (image * spec.batch + first + row) * plan.row + shift
            write = image * (plan.image_words // SIDE * step) + row * _LINE
            self._copy_runs(b.at(self.turned, read, uint16), b.at(self.left, write, uint16), step)

    def _copy_runs(self, source: Any, to: Any, step: int) -> None:
        """Copy the lines of one row of one image to pieces of a block that are `step` apart."""
        b, plan, spec = self.build, self.plan, self.spec
        outer = [[t * spec.rhs_dilation[d] * plan.strides[d] for t in range(n)] for d, n in enumerate(spec.window[:-1])]
        starts, run = summed(outer), spec.window[-1]
        period = _LINE // math.gcd(run, _LINE)  # after so many runs they begin with a line again
        cuts = [_cuts(i * run, run) for i in range(period)]

        def copy(runs: Sequence[int], number: Value, to: Any) -> None:
            for i in runs:
                read = b.load(table(b, starts), "int64", number + i)
                for begin, end in cuts[i]:
                    mask = None if end - begin == _LINE else b.first_lanes(end - begin, _LINE)
                    line = b.load(source, uint16, read + (begin - i * run), _LINE, mask=mask)
                    b.store(line, to, begin // _LINE * step + begin % _LINE, mask=mask)

        full, rest = divmod(len(starts), period)
        if len(starts) * run % _LINE:
            b.store(b.constant(0, uint16, _LINE), to, len(starts) * run // _LINE * step)
        if full:
            with b.loop(0, full) as number:
                copy(range(period), number * period, b.at(to, number * (period * run // _LINE * step), uint16))
        copy(range(rest), b.index(full * period), b.at(to, full * period * run // _LINE * step, uint16))

    def _multiply(self, place: Value, row: Value, height: int, count: Value, accumulate: Value) -> None:
        b, plan, spec = self.build, self.plan, self.spec
        moves = summed([[o * spec.y[1 + d] for o in range(n)] for d, n in enumerate(spec.out_spatial)])
        where = b.load(table(b, moves), "int64", place) + row * spec.y[0]
        words = count * plan.image_words
        with pieces(b, 0, spec.out_features, plan.width, spec.out_features) as piece:
            for f, columns in piece():
                right = b.at(self.right, f * plan.words, float32)
                to = b.at(self.y, where + f, float32)
                block = BlockProduct(units(height), plan.width // SIDE)
                if height % SIDE == 0 and columns == plan.width:
                    BlockProduct(block.rows, block.columns, row=spec.y[0]).call(
                        b, self.left, right, to, words, accumulate
                    )
                    continue
                block.call(b, self.left, right, self.sums, words)
                size = (height, columns)
                store_block(b, self.sums, plan.width, size, to, float32, (spec.y[0], 1), accumulate)


def _cuts(start: int, length: int) -> list[tuple[int, int]]:
    """A run of elements cut where lines begin."""
    inner = range(start // _LINE * _LINE + _LINE, start + length, _LINE)
    return list(pairwise([start, *inner, start + length]))
