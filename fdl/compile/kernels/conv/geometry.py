"""Where the taps of a convolution fall: the arithmetic of strides, padding and dilations, before any code is made."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

from fdl.compile.kernels.conv.spec import Convolution


@dataclass(frozen=True)
class AxisPhase:
    """Outputs first, first + period, ... of one axis: all of them use the same taps, at the same distances.

    Output number j of the phase and tap number i meet element base + j * step + i * dilation of x. With dilated x this
    is what saves the multiplications by the zeros in between.

    Attributes:
        first, period, count: the outputs.
        base, step, dilation: as above.
        taps: indices of the taps in the window.
    """

    first: int
    period: int
    count: int
    base: int
    step: int
    dilation: int
    taps: tuple[int, ...]

    def whole(self, size: int) -> tuple[int, int]:
        """The outputs [first, last) of the phase none of whose taps is outside an axis of `size`."""
        last = self.base + (len(self.taps) - 1) * self.dilation
        first = min(max(0, -(self.base // self.step)), self.count)
        return first, min(max(first, (size - 1 - last) // self.step + 1), self.count)


def axis_phases(window: int, out: int, stride: int, low: int, lhs: int, rhs: int) -> list[AxisPhase]:
    """The phases of one axis that have outputs; a phase may have no taps."""
    period = lhs // math.gcd(lhs, stride)
    phases = []
    for first in range(min(period, out)):
        taps = [t for t in range(window) if (first * stride + t * rhs - low) % lhs == 0]
        base = (first * stride + taps[0] * rhs - low) // lhs if taps else 0
        dilation = (taps[1] - taps[0]) * rhs // lhs if len(taps) > 1 else 1
        count = -(-(out - first) // period)
        phases.append(AxisPhase(first, period, count, base, period * stride // lhs, dilation, tuple(taps)))
    return phases


@dataclass(frozen=True)
class Geometry:
    """The phases of a convolution and the part of x that they read."""

    spec: Convolution

    @cached_property
    def axes(self) -> list[list[AxisPhase]]:
        """The phases of each axis."""
        s = self.spec
        rows = zip(s.window, s.out_spatial, s.stride, s.low, s.lhs_dilation, s.rhs_dilation, strict=True)
        return [axis_phases(*row) for row in rows]

    @cached_property
    def phases(self) -> list[tuple[AxisPhase, ...]]:
        """All combinations of the axes' phases."""
        return list(itertools.product(*self.axes))

    @cached_property
    def read(self) -> list[tuple[int, int]]:
        """First and last position that is read on each axis, beyond the ends of x where there is padding."""
        result = []
        for phases in self.axes:
            used = [p for p in phases if p.taps]
            first = min((p.base for p in used), default=0)
            last = max((p.base + (p.count - 1) * p.step + (len(p.taps) - 1) * p.dilation for p in used), default=0)
            result.append((first, last))
        return result

    @property
    def padded(self) -> bool:
        """Whether positions outside x are read."""
        return any(
            first < 0 or last >= size for (first, last), size in zip(self.read, self.spec.in_spatial, strict=True)
        )
