"""Convolutions in which every channel is a group of its own: vectors of channels instead of the matrix tile."""

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.conv.geometry import AxisPhase
from fdl.compile.kernels.conv.pixels import Pixels, Plan, coordinates
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.kernel import pieces, table
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import POINTER, Value


def fits(spec: Convolution) -> bool:
    """Whether every channel is a group of its own."""
    return spec.groups == spec.in_features == spec.out_features > 1


class DepthwisePlan(Plan):
    """Sizes of a depthwise convolution."""

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

    def _pack(self, phase: Sequence[AxisPhase], start: int) -> int:
        b, spec = self.build, self.spec
        offsets = self._weight_offsets(phase)
        for number, offset in enumerate(offsets):
            with b.loop(0, spec.groups) as channel:
                value = b.load(self.w, spec.dtype, channel * spec.w[-1] + offset)
                b.store(value, self.scratch, channel + (start + number * spec.groups))
        return len(offsets) * spec.groups

    def _weight_offsets(self, phase: Sequence[AxisPhase]) -> list[int]:
        totals = [0]
        for p, stride in zip(phase, self.spec.w[:-2], strict=True):
            totals = [t + tap * stride for t in totals for tap in p.taps]
        return totals

    def _phase(self, phase: Sequence[AxisPhase], n: Value, part: Value, image: ir.Value, weights: int) -> None:
        b, spec = self.build, self.spec
        positions = math.prod(p.count for p in phase)
        rows = self.plan.rows(phase)
        with pieces(b, *self._positions(phase, part), rows, positions) as piece:
            for first, height in piece():
                self._outputs(phase, n, first, height, image, b.at(self.scratch, weights, spec.dtype))

    def _outputs(
        self, phase: Sequence[AxisPhase], n: Value, first: Value, rows: int, image: ir.Value, weights: Any
    ) -> None:
        b, spec = self.build, self.spec
        reads, writes = [], []
        for i in range(rows):
            read, write = b.index(0), n * spec.y[0]
            where = coordinates(b, first + i, [p.count for p in phase])
            for p, j, x_stride, y_stride in zip(phase, where, self.plan.image.strides, spec.y[1:-1], strict=True):
                read = read + (j * p.step + p.base) * x_stride
                write = write + (j * p.period + p.first) * y_stride
            reads.append(b.at(image, read, spec.dtype))
            writes.append(b.at(self.y, write, spec.dtype))
        offsets = [0]
        for p, stride in zip(phase, self.plan.image.strides, strict=True):
            offsets = [o + i * p.dilation * stride for o in offsets for i in range(len(p.taps))]
        b.call_function(self._row_function(rows, offsets), [*reads, weights, *writes])

    def _row_function(self, rows: int, offsets: Sequence[int]) -> Any:
        """The function that sums over the taps, which lie at `offsets` in x, for `rows` positions and all channels."""
        spec, module = self.spec, self.build.module
        taps = table(self.build, offsets or [0])
        name = f"depthwise.{spec.dtype}.{rows}.{spec.groups}.{spec.y[-1]}.{len(offsets)}.{taps.name}"
        if name in module.globals:
            return module.globals[name]
        function = new_function(module, name, [POINTER] * (2 * rows + 1))
        function.attributes.add("noinline")
        b = Build(module, self.build.target, function)
        reads, w, writes = function.args[:rows], function.args[rows], function.args[rows + 1 :]
        lanes = self.plan.lanes
        with pieces(b, 0, spec.groups, lanes, spec.groups) as piece:
            for c, width in piece():
                mask = None if width == lanes else b.first_lanes(width, lanes)
                sums = [b.variable(b.constant(0, spec.dtype, lanes)) for _ in range(rows)]

                def add(weight_at: Value, x_at: Value, sums: Any = sums, mask: Any = mask) -> None:
                    weight = b.load(w, spec.dtype, weight_at, lanes, mask=mask)
                    for x, total in zip(reads, sums, strict=True):
                        total.set(b.fma(b.load(x, spec.dtype, x_at, lanes, mask=mask), weight, total.get()))

                if len(offsets) <= b.target.tuning.depthwise_taps:
                    for number, offset in enumerate(offsets):
                        add(c + number * spec.groups, c + offset)
                else:
                    with b.loop(0, len(offsets)) as tap:
                        add(tap * spec.groups + c, b.load(taps, "int64", tap) + c)
                for y, total in zip(writes, sums, strict=True):
                    b.store(total.get(), y, c * spec.y[-1], spec.y[-1], mask)
        b.ret()
        return function


def emit_weights(b: Build, plan: Plan) -> None:
    """Fill the kernel of `convolution.emit_depthwise_weights`; units of work are vectors of channels."""
    spec, lanes, most = plan.spec, plan.lanes, b.target.tuning.depthwise_taps
    x, dy, dw, scratch = b.function.args[:4]
    plan.image.clear(b, scratch)
    begin, end = b.argument(-2, "int64"), b.argument(-1, "int64")
    phase = plan.geometry.phases[0]
    offsets, places = [0], [0]
    for p, stride, w_stride in zip(phase, plan.image.strides, spec.w[:-2], strict=True):
        offsets = [o + i * p.dilation * stride for o in offsets for i in range(len(p.taps))]
        places = [o + t * w_stride for o in places for t in p.taps]
    with b.loop(0, spec.batch) as n, b.if_(begin < end):
        image = plan.image.place(b, b.at(x, n * spec.x[0], spec.dtype), scratch)
        stop = b.min(end * lanes, spec.in_features)
        with pieces(b, begin * lanes, stop, lanes, spec.in_features) as piece:
            for c, width in piece():
                mask = None if width == lanes else b.first_lanes(width, lanes)
                for start in range(0, len(offsets), most):
                    chosen = slice(start, start + most)
                    sums = _weight_sums(b, plan, (image, dy), n, c, mask, offsets[chosen])
                    for place, total in zip(places[chosen], sums, strict=True):
                        where = c * spec.w[-1] + place
                        before = b.load(dw, spec.dtype, where, lanes, spec.w[-1], mask)
                        before = b.select(n > 0, before, 0.0)
                        b.store(before + total, dw, where, spec.w[-1], mask)
    b.ret()


def _weight_sums(
    b: Build, plan: Plan, pointers: tuple[Any, Any], n: Value, c: Value, mask: Value | None, offsets: Sequence[int]
) -> list[Value]:
    """The sums over the positions of one image for some taps and one vector of channels."""
    spec, lanes, phase = plan.spec, plan.lanes, plan.geometry.phases[0]
    image, dy = pointers
    sums = [b.variable(b.constant(0, spec.dtype, lanes)) for _ in offsets]
    with b.loop(0, math.prod(spec.out_spatial)) as position:
        read, write = c, n * spec.y[0] + c * spec.y[-1]
        where = coordinates(b, position, spec.out_spatial)
        for p, j, x_stride, y_stride in zip(phase, where, plan.image.strides, spec.y[1:-1], strict=True):
            read, write = read + (j * p.step + p.base) * x_stride, write + j * y_stride
        slope = b.load(dy, spec.dtype, write, lanes, spec.y[-1], mask)
        for offset, total in zip(offsets, sums, strict=True):
            value = b.load(image, spec.dtype, read + offset, lanes, mask=mask)
            total.set(b.fma(value, slope, total.get()))
    return [total.get() for total in sums]
