"""Convolutions of bfloat16 and int8 by packed blocks: the forward pass and the gradient by x.

As in `pixels` rows are output positions and columns output channels. What the positions of a block read is copied to
one row each, in the order of the packed weights (im2col), a block at a time, so that it stays in the first-level cache
while panels of weights come and go.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.amx.blocks import SIDE, BlockProduct, configure, release, whole, word_size
from fdl.compile.kernels.amx.packing import block_width, store_block, units
from fdl.compile.kernels.conv.geometry import AxisPhase
from fdl.compile.kernels.conv.pixels import Pixels, Plan
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.conv.walk import coordinates
from fdl.compile.kernels.kernel import pieces, table
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.dtypes import float32, int32, uint16


def fits(spec: Convolution, target: Target) -> bool:
    """Whether this algorithm can serve `spec`: words hold channels of one group."""
    if not spec.pairs or target.low_products != "blocks":
        return False
    return spec.groups == 1 or spec.in_features // spec.groups % word_size(spec.dtype) == 0


class PixelBlockPlan(Plan):
    """Sizes for blocks."""

    @cached_property
    def word(self) -> int:
        return word_size(self.spec.dtype)

    @cached_property
    def width(self) -> int:
        return block_width(self.outputs)

    def rows(self, phase: Sequence[AxisPhase]) -> int:
        return 4 * SIDE * SIDE // self.width

    def depth(self, phase: Sequence[AxisPhase]) -> int:
        return whole(super().depth(phase))

    @cached_property
    def gathered(self) -> int:
        """Words of the rows of a block of positions."""
        return max((self.rows(phase) * self.depth(phase) for phase in self.geometry.phases), default=0)

    @property
    def scratch_bytes(self) -> int:
        return super().scratch_bytes + (self.gathered + 4 * SIDE * SIDE) * float32.itemsize


class Blocks(Pixels):
    """Emits the kernel."""

    plan: PixelBlockPlan

    def emit(self) -> None:
        configure(self.build)
        super().emit()
        release(self.build)

    def _group(
        self, phase: Sequence[AxisPhase], n: Value, part: Value, group: Value, image: ir.Value, weights: int
    ) -> None:
        b, plan = self.build, self.plan
        depth, counts = plan.depth(phase), [p.count for p in phase]
        left = b.at(self.scratch, plan.image.elements + plan.weights, float32)
        sums = b.at(left, plan.gathered, float32)
        with pieces(b, *self._positions(phase, part), plan.rows(phase), math.prod(counts)) as piece:
            for first, height in piece():
                if depth:
                    with b.loop(0, height) as row:
                        source = self._source(phase, coordinates(b, first + row, counts), group, image)
                        self._gather(phase, source, b.at(left, row * SIDE, float32), units(height))
                with pieces(b, 0, plan.outputs, plan.width, plan.outputs) as panel:
                    for f, columns in panel():
                        block = BlockProduct(units(height), plan.width // SIDE, self.spec.dtype)
                        number = group * plan.panels + b.quotient(f, plan.width)
                        packed = number * (depth * plan.width) + weights
                        block.call(b, left, b.at(self.scratch, packed, float32), sums, depth)
                        self._store(phase, (n, first, group * plan.outputs + f), (height, columns), sums)

    def _gather(self, phase: Sequence[AxisPhase], source: Any, row: Any, registers: int) -> None:
        """Copy what one position reads to its row of the block."""
        b, (length, offsets) = self.build, self._run(phase)
        step = registers * SIDE * SIDE
        if length % SIDE == 0:
            with b.loop(0, len(offsets)) as segment, b.loop(0, length, SIDE) as word:
                read = b.load(table(b, offsets), "int64", segment) + word
                line = b.load(source, uint16, read * 2, 2 * SIDE)
                b.store(line, row, (b.quotient(segment * length + word, SIDE) * step) * 2)
            return
        end = length * len(offsets)
        if end % SIDE:
            b.store(b.constant(0, int32, SIDE), row, end // SIDE * step)
        for number, offset in enumerate(offsets):
            start = number * length
            cuts = [start, *range(start // SIDE * SIDE + SIDE, start + length, SIDE), start + length]
            for word, stop in pairwise(cuts):
                count = 2 * (stop - word)
                mask = None if count == 2 * SIDE else b.first_lanes(count, 2 * SIDE)
                line = b.load(source, uint16, 2 * (offset + word - start), 2 * SIDE, mask=mask)
                b.store(line, row, 2 * (word // SIDE * step + word % SIDE), mask=mask)

    def _store(
        self, phase: Sequence[AxisPhase], index: tuple[Value, Value, Value], size: tuple[int, int], sums: Any
    ) -> None:
        """Convert the sums of a block to y."""
        b, spec, width = self.build, self.spec, self.plan.width
        n, first, channel = index
        counts = [p.count for p in phase]
        dense = all(p.period == 1 for p in phase) and all(
            outer == inner * count for (outer, inner), count in zip(pairwise(spec.y[1:-1]), counts[1:], strict=True)
        )
        if dense:
            to = self._destination(phase, coordinates(b, first, counts), n, channel)
            store_block(b, sums, width, size, to, spec.result, spec.y[-2:])  # type: ignore[arg-type]  # two numbers
            return
        with b.loop(0, size[0]) as row:
            to = self._destination(phase, coordinates(b, first + row, counts), n, channel)
            store_block(b, b.at(sums, row * width, float32), width, (1, size[1]), to, spec.result, (0, spec.y[-1]))
