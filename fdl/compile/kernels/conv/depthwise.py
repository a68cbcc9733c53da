"""Convolutions in groups of one, two or four channels: vectors of channels instead of the matrix tile.

Each output channel of a group reads every input channel of it. A vector of inputs is loaded once, and is multiplied as
often as a group has channels: the n-th time every lane holds the n-th channel of its group.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.conv.geometry import AxisPhase
from fdl.compile.kernels.conv.image import Image
from fdl.compile.kernels.conv.pixels import Pixels, Plan, summed
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.conv.walk import coordinates
from fdl.compile.kernels.kernel import pieces, shared_function, table
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I1, I32, Value

#: Vectors of channels of an output at the edge, whose sums do not wait for each other.
_EDGE = 4


def fits(spec: Convolution, target: Target) -> bool:
    """Whether groups are as small, and have as many output as input channels."""
    size = spec.in_features // spec.groups
    alike = spec.in_features == spec.out_features and spec.groups > 1 and not spec.pairs
    return alike and (size == 1 or (size in (2, 4) and target.lanes(spec.sums) > size))


def copies(b: Build, x: Value, size: int) -> list[Value]:
    """A vector of channels once for each channel of a group: in the n-th, every lane has the n-th of its group."""
    if size == 1:
        return [x]
    kind = ir.VectorType(I32, x.lanes)
    orders = ([lane // size * size + n for lane in range(x.lanes)] for n in range(size))
    return [b.value(b.ir.shuffle_vector(x.ir, x.ir, ir.Constant(kind, order)), x.dtype) for order in orders]


class DepthwisePlan(Plan):
    """Sizes of a convolution in small groups."""

    @cached_property
    def in_place(self) -> bool:
        """Whether x is read where it is although it is padded: at few outputs, which are computed one by one."""
        spec, phases = self.spec, self.geometry.phases
        if len(spec.window) < 2 or spec.x[-1] != 1 or not self.geometry.padded or not all(map(self.depth, phases)):
            return False
        sizes = [[p.whole(n) for p, n in zip(phase, spec.in_spatial, strict=True)] for phase in phases]
        whole = sum(math.prod(stop - start for start, stop in phase) for phase in sizes)
        return whole >= self.target.tuning.depthwise_whole * math.prod(spec.out_spatial)

    @cached_property
    def image(self) -> Image:
        return replace(super().image, inside=self.in_place)

    def rows(self, phase: Sequence[AxisPhase]) -> int:
        return min(self.target.tuning.depthwise_rows, math.prod(p.count for p in phase))

    @property
    def block_bytes(self) -> int:
        return self.target.tuning.depthwise_bytes


class Depthwise(Pixels):
    """Emits the forward kernel and the gradient by x; units of work are those of `Pixels`.

    The packed weights of `Pixels`, where a group has one panel, have one element of a row in use; they are packed here
    as rows of channels instead.
    """

    plan: DepthwisePlan

    def _pack(self, phase: Sequence[AxisPhase], start: int) -> int:
        b, spec, size = self.build, self.spec, self.plan.inputs
        taps = [[tap * stride for tap in p.taps] for p, stride in zip(phase, spec.w[:-2], strict=True)]
        offsets = summed([*taps, [n * spec.w[-2] for n in range(size)]])
        for number, offset in enumerate(offsets):
            with b.loop(0, spec.out_features) as channel:
                value = b.load(self.w, spec.dtype, channel * spec.w[-1] + offset)
                b.store(value, self.scratch, channel + (start + number * spec.out_features))
        return len(offsets) * spec.out_features

    def _phase(self, phase: Sequence[AxisPhase], n: Value, part: Value, image: ir.Value, weights: int) -> None:
        b, rows = self.build, self.plan.rows(phase)
        packed = b.at(self.scratch, weights, self.spec.dtype)
        if self.plan.in_place:
            self._lines(phase, n, part, image, packed)
            return
        with pieces(b, *self._positions(phase, part), rows, math.prod(p.count for p in phase)) as piece:
            for first, height in piece():
                self._outputs(phase, n, first, height, image, packed)

    def _lines(self, phase: Sequence[AxisPhase], n: Value, part: Value, image: ir.Value, weights: Any) -> None:
        """The outputs of part of an image, line by line, where x is read in place."""
        b, rows, line = self.build, self.plan.rows(phase), phase[-1].count
        *outer, (begin, end) = [p.whole(size) for p, size in zip(phase, self.spec.in_spatial, strict=True)]
        start, stop = self._positions(phase, part)
        with b.loop(b.quotient(start, line), b.quotient(stop, line)) as number:
            where, first = coordinates(b, number, [p.count for p in phase[:-1]]), number * line
            inside = b.value(I1(True), "bool")
            for j, (low, high) in zip(where, outer, strict=True):
                inside = inside & (j >= low) & (j < high)
            left = b.select(inside, b.index(begin), line)
            with b.loop(0, left) as j:
                self._edge(phase, n, first + j, image, weights)
            with b.if_(inside):
                with pieces(b, 0, end - begin, rows, end - begin) as piece:
                    for j, height in piece():
                        self._outputs(phase, n, first + begin + j, height, image, weights)
                with b.loop(end, line) as j:
                    self._edge(phase, n, first + j, image, weights)

    def _edge(self, phase: Sequence[AxisPhase], n: Value, position: Value, image: ir.Value, weights: Any) -> None:
        """The output at a position some of whose taps are outside x."""
        b, spec, bounds = self.build, self.spec, []
        where = coordinates(b, position, [p.count for p in phase])
        for p, j, size in zip(phase, where, spec.in_spatial, strict=True):
            before = j * p.step + p.base
            bounds.append(b.quotient(b.max(0 - before, 0) + (p.dilation - 1), p.dilation))
            bounds.append(b.min(b.quotient(b.max(size - 1 + p.dilation - before, 0), p.dilation), len(p.taps)))
        steps = [p.dilation * stride for p, stride in zip(phase, self.plan.image.strides, strict=True)]
        function = self._edge_function(steps, [len(p.taps) for p in phase])
        read, write = self._source(phase, where, b.index(0), image), self._destination(phase, where, n, b.index(0))
        b.call_function(function, [read, weights, write, *bounds])

    def _edge_function(self, steps: Sequence[int], taps: Sequence[int]) -> ir.Function:
        """The function that sums over some of the taps along each axis, which are `steps` apart, for one position."""
        spec, size, channels, lanes = self.spec, self.plan.inputs, self.spec.out_features, self.plan.lanes
        name = f"depthwise.edge.{spec.dtype}.{channels}.{size}.{spec.y[-1]}." + ".".join(map(str, (*steps, *taps)))

        def fill(b: Build, pointers: Sequence[ir.Value], bounds: Sequence[Value]) -> None:
            x, w, y = pointers
            with pieces(b, 0, channels, _EDGE * lanes, channels) as piece:
                for c, width in piece():
                    starts = range(0, width, lanes)
                    masks = [b.first_lanes(width - at, lanes) if width - at < lanes else None for at in starts]
                    sums = [b.variable(b.constant(0, spec.dtype, lanes)) for _ in starts]
                    with ExitStack() as stack:
                        number, read = b.index(0), c
                        for axis, (step, count) in enumerate(zip(steps, taps, strict=True)):
                            tap = stack.enter_context(b.loop(*bounds[2 * axis : 2 * axis + 2]))
                            number, read = number * count + tap, read + tap * step
                        for at, mask, total in zip(starts, masks, sums, strict=True):
                            vectors = copies(b, b.load(x, spec.dtype, read + at, lanes, mask=mask), size)
                            for i, vector in enumerate(vectors):
                                place = (number * size + i) * channels + c + at
                                weight = b.load(w, spec.dtype, place, lanes, mask=mask)
                                total.set(b.fma(vector, weight, total.get()))
                    for at, mask, total in zip(starts, masks, sums, strict=True):
                        b.store(total.get(), y, (c + at) * spec.y[-1], spec.y[-1], mask)

        return shared_function(self.build, name, 3, 2 * len(taps), fill)

    def _outputs(
        self, phase: Sequence[AxisPhase], n: Value, first: Value, rows: int, image: ir.Value, weights: Any
    ) -> None:
        b = self.build
        reads, writes = self._ends(phase, (n, b.index(0), first, b.index(0)), image, rows)
        b.call_function(self._row_function(rows, summed(self.plan.steps(phase))), [*reads, weights, *writes])

    def _row_function(self, rows: int, offsets: Sequence[int]) -> ir.Function:
        """The function that sums over the taps, which lie at `offsets` in x, for `rows` positions and all channels."""
        spec, size, channels, lanes = self.spec, self.plan.inputs, self.spec.out_features, self.plan.lanes
        taps = table(self.build, offsets or [0])
        name = f"depthwise.{spec.dtype}.{rows}.{channels}.{size}.{spec.y[-1]}.{len(offsets)}.{taps.name}"

        def fill(b: Build, pointers: Sequence[ir.Value], _: Sequence[Value]) -> None:
            reads, w, writes = pointers[:rows], pointers[rows], pointers[rows + 1 :]
            with pieces(b, 0, channels, lanes, channels) as piece:
                for c, width in piece():
                    mask = None if width == lanes else b.first_lanes(width, lanes)
                    sums = [b.variable(b.constant(0, spec.dtype, lanes)) for _ in range(rows)]

                    def add(weight_at: Value, x_at: Value, sums: Any = sums, mask: Any = mask) -> None:
                        places = (weight_at + n * channels for n in range(size))
                        weights = [b.load(w, spec.dtype, place, lanes, mask=mask) for place in places]
                        for x, total in zip(reads, sums, strict=True):
                            vectors = copies(b, b.load(x, spec.dtype, x_at, lanes, mask=mask), size)
                            for vector, weight in zip(vectors, weights, strict=True):
                                total.set(b.fma(vector, weight, total.get()))

                    if len(offsets) <= b.target.tuning.depthwise_taps:
                        for number, offset in enumerate(offsets):
                            add(c + number * (size * channels), c + offset)
                    else:
                        with b.loop(0, len(offsets)) as tap:
                            add(tap * (size * channels) + c, b.load(taps, "int64", tap) + c)
                    for y, total in zip(writes, sums, strict=True):
                        b.store(total.get(), y, c * spec.y[-1], spec.y[-1], mask)

        return shared_function(self.build, name, 2 * rows + 1, 0, fill)


def emit_weights(b: Build, plan: Plan) -> None:
    """Fill the kernel of `convolution.emit_depthwise_weights`; units of work are vectors of channels."""
    spec, lanes, size = plan.spec, plan.lanes, plan.inputs
    most = max(1, b.target.tuning.depthwise_sums[b.target.vector_bits == 512] // size)
    x, dy, dw, scratch = b.function.args[:4]
    plan.image.clear(b, scratch)
    begin, end = b.argument(-2, "int64"), b.argument(-1, "int64")
    phase = plan.geometry.phases[0]
    offsets = summed(plan.steps(phase))
    places = summed([[tap * stride for tap in p.taps] for p, stride in zip(phase, spec.w[:-2], strict=True)])
    with b.loop(0, spec.batch) as n, b.if_(begin < end):
        image = plan.image.place(b, b.at(x, n * spec.x[0], spec.dtype), scratch)
        stop = b.min(end * lanes, spec.in_features)
        with pieces(b, begin * lanes, stop, lanes, spec.in_features) as piece:
            for c, width in piece():
                mask = None if width == lanes else b.first_lanes(width, lanes)
                for start in range(0, len(offsets), most):
                    chosen = slice(start, start + most)
                    sums = _weight_sums(b, plan, (image, dy), n, c, mask, offsets[chosen])
                    wanted = [place + i * spec.w[-2] for place in places[chosen] for i in range(size)]
                    for place, total in zip(wanted, sums, strict=True):
                        where = c * spec.w[-1] + place
                        before = b.load(dw, spec.dtype, where, lanes, spec.w[-1], mask)
                        before = b.select(n > 0, before, 0.0)
                        b.store(before + total, dw, where, spec.w[-1], mask)
    b.ret()


def _weight_sums(
    b: Build, plan: Plan, pointers: tuple[Any, Any], n: Value, c: Value, mask: Value | None, offsets: Sequence[int]
) -> list[Value]:
    """The sums over the positions of one image for some taps, all channels of a group, and one vector of channels."""
    spec, lanes, phase, size = plan.spec, plan.lanes, plan.geometry.phases[0], plan.inputs
    image, dy = pointers
    sums = [b.variable(b.constant(0, spec.dtype, lanes)) for _ in range(len(offsets) * size)]
    with b.loop(0, math.prod(spec.out_spatial)) as position:
        read, write = c, n * spec.y[0] + c * spec.y[-1]
        where = coordinates(b, position, spec.out_spatial)
        for p, j, x_stride, y_stride in zip(phase, where, plan.image.strides, spec.y[1:-1], strict=True):
            read, write = read + (j * p.step + p.base) * x_stride, write + j * y_stride
        slope = b.load(dy, spec.dtype, write, lanes, spec.y[-1], mask)
        for number, offset in enumerate(offsets):
            vectors = copies(b, b.load(image, spec.dtype, read + offset, lanes, mask=mask), size)
            for value, total in zip(vectors, sums[number * size : (number + 1) * size], strict=True):
                total.set(b.fma(value, slope, total.get()))
    return [total.get() for total in sums]
