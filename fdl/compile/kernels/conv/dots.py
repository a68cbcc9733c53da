"""Convolution with few output channels: dot products of vectors along the input channels.

The columns of the tile would be the output channels, and most lanes empty. Here lanes run along the input channels (and
the taps of the last axis, where x is dense); each position has one vector of sums for each output channel, whose lanes
are added up in the end.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.conv.geometry import AxisPhase
from fdl.compile.kernels.conv.pixels import Pixels, Plan, summed
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.kernel import shared_function, table
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value


def fits(spec: Convolution, target: Target) -> bool:
    """Whether there are so few output channels, and enough of what is summed to fill vectors."""
    few = spec.out_features <= target.tuning.dotted_features and spec.groups == 1 and not spec.pairs
    return few and spec.in_features >= target.lanes(spec.sums)


class DotPlan(Plan):
    """Sizes of a convolution by dot products."""

    @cached_property
    def width(self) -> int:
        return self.outputs

    def rows(self, phase: Sequence[AxisPhase]) -> int:
        sums = 24 if self.target.vector_bits == 512 else 12
        return min(8, sums // self.outputs, math.prod(p.count for p in phase))


class Dots(Pixels):
    """Emits the kernel; units of work are those of `Pixels`."""

    def _pack(self, phase: Sequence[AxisPhase], start: int) -> int:
        """Pack weights as [segment, output channel, run]: a run has the channels of a tap, or of a row of taps."""
        b, plan, spec = self.build, self.plan, self.spec
        offsets = summed([[t * stride for t in p.taps] for p, stride in zip(phase, spec.w[:-2], strict=True)])
        if not offsets:
            return 0
        depth = self._run(phase)[0]
        together = depth // plan.inputs
        with b.loop(0, len(offsets)) as tap, b.loop(0, plan.outputs) as f, b.loop(0, plan.inputs) as c:
            segment = b.quotient(tap, together)
            to = (segment * plan.outputs + f) * depth + (tap - segment * together) * plan.inputs + c
            read = b.load(table(b, offsets), "int64", tap) + c * spec.w[-2] + f * spec.w[-1]
            b.store(b.convert(b.load(self.w, spec.dtype, read), spec.sums), self.scratch, to + start)
        return len(offsets) * plan.inputs * plan.outputs

    def _tile(
        self, phase: Sequence[AxisPhase], index: tuple[Value, Value, Value, Value], image: ir.Value, weights: Any,
        size: tuple[int, int], depth: int, offsets: list[int],
    ) -> None:  # fmt: skip
        reads, writes = self._ends(phase, index, image, size[0])
        function = self._function(size[0], depth, offsets)
        self.build.call_function(function, [*reads, weights, *writes])

    def _function(self, rows: int, depth: int, offsets: list[int]) -> ir.Function:
        """The function for `rows` positions, whose runs of `depth` elements lie at `offsets` in x."""
        spec, outputs, lanes = self.spec, self.plan.outputs, self.plan.lanes
        whole = depth // lanes * lanes
        runs = table(self.build, offsets or [0])
        name = f"conv.dots.{spec.sums}.{spec.result}.{rows}.{outputs}.{depth}.{spec.y[-1]}.{len(offsets)}.{runs.name}"

        def fill(b: Build, pointers: Sequence[ir.Value], _: Sequence[Value]) -> None:
            reads, w, writes = pointers[:rows], pointers[rows], pointers[rows + 1 :]
            sums = [[b.variable(b.constant(0, spec.sums, lanes)) for _ in range(outputs)] for _ in range(rows)]

            def add(start: Value, offset: Value, k: Value, mask: Value | None) -> None:
                parts = [b.load(w, spec.sums, start + (f * depth + k), lanes, mask=mask) for f in range(outputs)]
                for read, totals in zip(reads, sums, strict=True):
                    x = b.load(read, spec.sums, offset + k, lanes, mask=mask)
                    for part, total in zip(parts, totals, strict=True):
                        total.set(b.fma(x, part, total.get()))

            with b.loop(0, len(offsets)) as segment:
                offset, start = b.load(runs, "int64", segment), segment * (outputs * depth)
                with b.loop(0, whole, lanes) as k:
                    add(start, offset, k, None)
                if whole < depth:
                    add(start, offset, b.index(whole), b.first_lanes(depth - whole, lanes))
            for write, totals in zip(writes, sums, strict=True):
                for f, total in enumerate(totals):
                    b.store(b.convert(b.reduce("sum", total.get()), spec.result), write, f * spec.y[-1])

        return shared_function(self.build, name, 2 * rows + 1, 0, fill)
