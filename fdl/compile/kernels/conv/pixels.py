"""Convolution with output positions as the rows of the tile: the forward pass and the gradient by x.

For every phase (see `geometry`) a row of the tile is an output position, its columns are output channels, and the
sum runs over taps and input channels: taps along the last axis join with the channels to one long run where x is
dense, the other taps are the tile's segments. There is no im2col.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.conv.geometry import AxisPhase, Geometry
from fdl.compile.kernels.conv.image import Image
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.conv.walk import Walk, coordinates
from fdl.compile.kernels.finish import finish
from fdl.compile.kernels.kernel import Epilogue, pieces, table
from fdl.compile.kernels.pairs import PairPanel, words_of
from fdl.compile.kernels.panel import Panel
from fdl.compile.kernels.tile import Tile
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value


@dataclass(frozen=True)
class Plan:
    """Sizes that follow from the convolution and the processor."""

    spec: Convolution
    target: Target

    @cached_property
    def geometry(self) -> Geometry:
        return Geometry(self.spec)

    @cached_property
    def image(self) -> Image:
        s = self.spec
        paired = s.in_features if s.pairs else 0
        channels = self.inputs * s.groups
        return Image(self.geometry, s.sums, s.dtype, channels, s.x[1:-1], s.x[-1], paired=paired, word=self.word)

    @cached_property
    def word(self) -> int:
        """Channels of a word, where they are packed."""
        return 2

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(self.spec.sums)

    @cached_property
    def inputs(self) -> int:
        """Input channels of a group, or the words that hold them."""
        channels = self.spec.in_features // self.spec.groups
        return words_of(channels, self.word) if self.spec.pairs else channels

    @cached_property
    def outputs(self) -> int:
        """Output channels of a group."""
        return self.spec.out_features // self.spec.groups

    @cached_property
    def width(self) -> int:
        """Columns of a tile."""
        return min(self.target.tile()[1], -(-self.outputs // self.lanes)) * self.lanes

    def rows(self, phase: Sequence[AxisPhase]) -> int:
        """Rows of a tile, so that the positions of the phase divide evenly."""
        positions = math.prod(p.count for p in phase)
        most = min(8, self.target.tile_rows(self.width // self.lanes))
        return -(-positions // -(-positions // most))

    @property
    def block_bytes(self) -> int:
        """Bytes of x that one unit of work reads, about."""
        return self.target.tuning.pixel_bytes

    @cached_property
    def block(self) -> int:
        """Outputs of a phase along the first axis that are one unit of work.

        The part of x that they read stays in the second-level cache while panels of weights come and go. Tiles divide
        every unit but the last as they divide the whole.
        """
        s, first = self.spec, self.geometry.axes[0]
        if len(s.window) == 1 and not self.image.in_place:
            return max(p.count for p in first)
        line = math.prod(s.in_spatial[1:]) * self.inputs * s.groups * s.sums.itemsize * first[0].step
        counts = [math.prod(p.count for p in phase[1:]) for phase in self.geometry.phases]
        rows = [self.rows(phase) for phase in self.geometry.phases]
        even = math.lcm(*(r // math.gcd(r, count) for r, count in zip(rows, counts, strict=True)))
        wanted = min(
            self.block_bytes // max(1, line),
            -(-max(p.count for p in first) * s.batch // self.target.tuning.pixel_units),
        )
        return max(1, wanted // even) * even

    @cached_property
    def blocks(self) -> int:
        """Units of work of one image."""
        return -(-max(p.count for p in self.geometry.axes[0]) // self.block)

    @property
    def work(self) -> int:
        return self.spec.batch * self.blocks

    @cached_property
    def panels(self) -> int:
        return -(-self.outputs // self.width)

    def depth(self, phase: Sequence[AxisPhase]) -> int:
        """Rows of `width` in a panel of packed weights: one for each tap of the phase and input channel."""
        return math.prod(len(p.taps) for p in phase) * self.inputs

    def steps(self, phase: Sequence[AxisPhase]) -> list[list[int]]:
        """Where the taps along each axis are in the image, from the first one."""
        strides = self.image.strides
        return [[i * p.dilation * s for i in range(len(p.taps))] for p, s in zip(phase, strides, strict=True)]

    @cached_property
    def weights(self) -> int:
        """Elements of the packed weights: a panel for each phase, group and `width` output channels."""
        depth = sum(map(self.depth, self.geometry.phases))
        return depth * self.width * self.panels * self.spec.groups

    @property
    def scratch_bytes(self) -> int:
        return (self.image.elements + self.weights) * self.spec.sums.itemsize


class Pixels:
    """Emits the kernel; units of work are parts of images, cut along the first axis."""

    def __init__(self, build: Build, plan: Plan, epilogue: Epilogue | None, extras: int) -> None:
        self.build, self.plan, self.spec, self.epilogue = build, plan, plan.spec, epilogue
        self.x, self.w, self.y = build.function.args[:3]
        self.extras = build.function.args[3 : 3 + extras]
        self.scratch = build.function.args[-3]

    def emit(self) -> None:
        """The whole function."""
        b, plan, spec = self.build, self.plan, self.spec
        plan.image.clear(b, self.scratch)
        packed, at = [], plan.image.elements
        for phase in plan.geometry.phases:
            packed.append(at)
            at += self._pack(phase, at)
        begin = b.argument(-2, "int64")
        with b.loop(begin, b.argument(-1, "int64")) as unit:
            n = b.quotient(unit, plan.blocks, seldom=True)
            part = unit - n * plan.blocks
            read = self._read(part, b.ne(part, 0) & (unit > begin)) if plan.blocks > 1 else None
            image = plan.image.place(b, b.at(self.x, n * spec.x[0], spec.dtype), self.scratch, read)
            for phase, weights in zip(plan.geometry.phases, packed, strict=True):
                self._phase(phase, n, part, image, weights)
            if self.epilogue is not None:
                self._finish(self.epilogue, n, part)

    def _finish(self, epilogue: Epilogue, n: Value, part: Value) -> None:
        """Apply the epilogue to part of an image."""
        b, spec = self.build, self.spec
        step = self.plan.block * self.plan.geometry.axes[0][0].period
        start, stop = part * step, b.min((part + 1) * step, spec.out_spatial[0])
        starts = (n, start, *[0] * (len(spec.y) - 2))
        counts = (1, stop - start, *spec.out_spatial[1:], spec.out_features)
        finish(b, epilogue, spec.result, (self.y, *self.extras), spec.y, starts, counts, spec.out_features)

    def _read(self, part: Value, follows: Value) -> tuple[Value, Value]:
        """Positions of the first axis of x that part of an image reads, without those that the part before left."""
        b, block = self.build, self.plan.block
        used = [p for p in self.plan.geometry.axes[0] if p.taps]
        low = min((p.base for p in used), default=0)
        high = max((p.base + (len(p.taps) - 1) * p.dilation for p in used), default=0) + 1
        step = self.plan.geometry.axes[0][0].step
        start, stop = part * (block * step) + low, ((part + 1) * block - 1) * step + high
        return b.select(follows, b.max(start, stop - block * step), start), stop

    def _positions(self, phase: Sequence[AxisPhase], part: Value) -> tuple[Value, Value]:
        """The positions of a phase, as row-major numbers, that are in this part of an image."""
        b, plan = self.build, self.plan
        line = math.prod(p.count for p in phase[1:])
        return part * (plan.block * line), b.min((part + 1) * plan.block, phase[0].count) * line

    def _pack(self, phase: Sequence[AxisPhase], start: int) -> int:
        """Pack the weights of one phase from scratch element `start` on; returns how many elements that takes."""
        b, plan, spec = self.build, self.plan, self.spec
        offsets = summed([[t * stride for t in p.taps] for p, stride in zip(phase, spec.w[:-2], strict=True)])
        if not offsets:
            return 0
        size = plan.depth(phase) * plan.width
        with b.loop(0, spec.groups) as group, pieces(b, 0, plan.outputs, plan.width, plan.outputs) as piece:
            for f, columns in piece():
                panel = self._panel(columns)
                number = group * plan.panels + b.quotient(f, plan.width, seldom=True)
                with b.loop(0, len(offsets)) as tap:
                    source = b.load(table(b, offsets), "int64", tap) + (group * plan.outputs + f) * spec.w[-1]
                    target = number * size + tap * (plan.inputs * plan.width) + start
                    read, write = b.at(self.w, source, spec.dtype), b.at(self.scratch, target, spec.sums)
                    panel.call(b, read, write, spec.in_features // spec.groups)
                filled = len(offsets) * plan.inputs * plan.width
                if filled < size:
                    end = b.at(self.scratch, number * size + (start + filled), spec.sums)
                    b.clear(end, (size - filled) * spec.sums.itemsize)
        return size * plan.panels * spec.groups

    def _panel(self, columns: int) -> Panel | PairPanel:
        """How the weights of a tap are packed."""
        width, (row, column) = self.plan.width, self.spec.w[-2:]
        return (
            PairPanel(self.spec.dtype, columns, width, row, column, self.plan.word)
            if self.spec.pairs
            else Panel(self.spec.dtype, columns, width, row, column, self.spec.sums)
        )

    def _phase(self, phase: Sequence[AxisPhase], n: Value, part: Value, image: ir.Value, weights: int) -> None:
        """The outputs of one phase in part of an image, from the weights packed at scratch element `weights`."""
        with self.build.loop(0, self.spec.groups) as group:
            self._group(phase, n, part, group, image, weights)

    def _group(
        self, phase: Sequence[AxisPhase], n: Value, part: Value, group: Value, image: ir.Value, weights: int
    ) -> None:
        b, plan, spec = self.build, self.plan, self.spec
        depth, offsets = self._run(phase)
        size = plan.depth(phase) * plan.width
        positions, rows = math.prod(p.count for p in phase), plan.rows(phase)
        with pieces(b, 0, plan.outputs, plan.width, plan.outputs) as panel:
            for f, columns in panel():
                number = group * plan.panels + b.quotient(f, plan.width, seldom=True)
                packed = b.at(self.scratch, number * size + weights, spec.sums)
                channel = group * plan.outputs + f
                with pieces(b, *self._positions(phase, part), rows, positions) as piece:
                    for first, height in piece():
                        self._tile(phase, (n, group, first, channel), image, packed, (height, columns), depth, offsets)

    def _run(self, phase: Sequence[AxisPhase]) -> tuple[int, list[int]]:
        """Length of a run of x that is contiguous in every position, and where the runs start."""
        plan, steps = self.plan, self.plan.steps(phase)
        dense = phase[-1].dilation * plan.image.strides[-1] == plan.inputs and plan.spec.groups == 1
        if not dense:
            return plan.inputs, summed(steps)
        return plan.inputs * len(phase[-1].taps), summed(steps[:-1])

    def _tile(
        self, phase: Sequence[AxisPhase], index: tuple[Value, Value, Value, Value], image: ir.Value, weights: Any,
        size: tuple[int, int], depth: int, offsets: list[int],
    ) -> None:  # fmt: skip
        b, spec = self.build, self.spec
        follow = self.plan.image.in_place and phase[-1].step * self.plan.image.strides[-1] == depth
        n, group, first, channel = index
        zero = [b.index(0)] * len(phase)
        tile = Tile(
            spec.sums, *size, a_row=None, a_step=1, b_step=self.plan.width, b_whole=True, c_row=None,
            c_column=spec.y[-1], segments=True, stored=(None, None, spec.result), pairs=spec.pairs,
            following=size[0] * depth if follow and len(offsets) == 1 else 0,
        )  # fmt: skip
        walk = Walk(
            tuple(p.count for p in phase),
            tuple(p.step * stride for p, stride in zip(phase, self.plan.image.strides, strict=True)),
            tuple(p.period * stride for p, stride in zip(phase, spec.y[1:-1], strict=True)),
            depth,
            tuple(offsets),
        )
        a, c = self._source(phase, zero, group, image), self._destination(phase, zero, n, channel)
        walk.call(b, tile, a, weights, c, first)

    def _ends(
        self, phase: Sequence[AxisPhase], index: tuple[Value, Value, Value, Value], image: ir.Value, rows: int
    ) -> tuple[list[Any], list[Any]]:
        """Where the outputs of a tile are read first, and where they are."""
        n, group, first, channel = index
        reads, writes = [], []
        for i in range(rows):
            where = coordinates(self.build, first + i, [p.count for p in phase])
            reads.append(self._source(phase, where, group, image))
            writes.append(self._destination(phase, where, n, channel))
        return reads, writes

    def _source(self, phase: Sequence[AxisPhase], where: Sequence[Value], group: Value, image: ir.Value) -> Any:
        """Where an image has what the output at these coordinates of a phase reads first."""
        read = group * self.plan.inputs
        for p, j, stride in zip(phase, where, self.plan.image.strides, strict=True):
            read = read + (j * p.step + p.base) * stride
        return self.build.at(image, read, self.spec.sums)

    def _destination(self, phase: Sequence[AxisPhase], where: Sequence[Value], n: Value, channel: Value) -> Any:
        """Where that output is."""
        write = n * self.spec.y[0] + channel * self.spec.y[-1]
        for p, j, stride in zip(phase, where, self.spec.y[1:-1], strict=True):
            write = write + (j * p.period + p.first) * stride
        return self.build.at(self.y, write, self.spec.result)


def summed(steps: Sequence[Sequence[int]]) -> list[int]:
    """All sums of one number from each list, the last list running fastest."""
    totals = [0]
    for options in steps:
        totals = [t + o for t in totals for o in options]
    return totals
