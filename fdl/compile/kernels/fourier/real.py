"""Transforms of real numbers by complex ones of half the length.

The complex numbers are neighbouring real ones. With Z their transform and h its length, the spectrum X is

    X[k] = (Z[k] + conj Z[h - k]) / 2 + f[k] (Z[k] - conj Z[h - k]),   f[k] = -i/2 exp(-pi i k / h),

and X[h - k] is the conjugate of the same with - f. The way back is the same with the conjugates of f.
"""

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.butterfly import Complex, add, mul, sub
from fdl.compile.kernels.fourier.factors import FewRoots
from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.kernels.fourier.roots import roots
from fdl.compile.kernels.fourier.stage import Job, Stage
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value


def conj(build: Build, z: Complex) -> Complex:
    """The conjugate."""
    return z[0], build.neg(z[1])


@dataclass(frozen=True)
class RealSpectrum:
    """Makes the spectrum of `2 h` real numbers of the transform of h complex ones, or with `back` the reverse."""

    h: int
    layout: PairLayout
    back: bool

    @property
    def places(self) -> int:
        """How many k there are to do, from 1 on."""
        return self.h // 2

    def table(self) -> np.ndarray:
        """The factors f, or their conjugates, with some to spare."""
        f = -0.5j * roots(2 * self.h, np.arange(self.places + self.layout.lanes + 1))
        f = f.conj() if self.back else f
        return np.stack([f.real, f.imag], -1).astype(self.layout.dtype).ravel()

    def pair(self, build: Build, a: Complex, b: Complex, f: Complex) -> tuple[Complex, Complex]:
        """Numbers k and h - k of the one from those of the other."""
        b = conj(build, b)
        even, odd = add(a, b), mul(build, sub(a, b), f)
        even = even[0] * 0.5, even[1] * 0.5
        return add(even, odd), conj(build, sub(even, odd))

    def columns(self, job: Job, columns: ir.Value) -> None:
        """The numbers of all columns, in place; there is room for one more than h."""
        build, layout, lanes = job.build, self.layout, self.layout.lanes
        first = layout.load(build, columns, 0)
        end = layout.load(build, columns, self.h * lanes) if self.back else None
        first, last = self._ends(build, first, end)
        layout.store(build, first, columns, 0)
        if last is not None:
            layout.store(build, last, columns, self.h * lanes)
        with build.loop(1, self.places + 1) as k:
            here, there = k * lanes, (build.index(self.h) - k) * lanes
            pair = layout.load(build, columns, here), layout.load(build, columns, there)
            low, high = self.pair(build, *pair, layout.load_one(build, job.table, k))
            layout.store(build, low, columns, here)
            layout.store(build, high, columns, there)

    def _ends(self, build: Build, first: Complex, end: Complex | None) -> tuple[Complex, Complex | None]:
        """Number 0, and number h of a spectrum."""
        if end is not None:
            return ((first[0] + end[0]) * 0.5, (first[0] - end[0]) * 0.5), None
        zero = build.constant(0.0, self.layout.dtype, first[0].lanes)
        return (first[0] + first[1], zero), (first[0] - first[1], zero)

    def row(self, job: Job, source: ir.Value, target: ir.Value) -> None:
        """The numbers of a row, which has more than a vector of them, to another place."""
        build, layout = job.build, self.layout
        self.ends_of_row(build, source, target)
        with build.loop(1, self.places + 1, layout.lanes) as k:
            k = build.min(k, build.index(self.h - layout.lanes))
            self.block(build, source, target, k, layout.load(build, job.table, k))

    def ends_of_row(self, build: Build, source: ir.Value, target: ir.Value) -> None:
        """Number 0, and number h of a spectrum."""

        def load(index: int) -> Complex:
            return build.load(source, self.layout.dtype, 2 * index), build.load(
                source, self.layout.dtype, 2 * index + 1
            )

        first, last = self._ends(build, load(0), load(self.h) if self.back else None)
        for index, z in ((0, first), (self.h, last)):
            if z is not None:
                build.store(z[0], target, 2 * index)
                build.store(z[1], target, 2 * index + 1)

    def block(self, build: Build, source: ir.Value, target: ir.Value, k: Value, f: Complex) -> None:
        """A vector of numbers from k on, and those that belong to them."""
        layout = self.layout
        mirror = build.index(self.h - layout.lanes + 1) - k
        a, b = layout.load(build, source, k), layout.reverse(build, layout.load(build, source, mirror))
        low, high = self.pair(build, a, b, f)
        layout.store(build, low, target, k)
        layout.store(build, layout.reverse(build, high), target, mirror)


class LongRealSpectrum(Stage):
    """`RealSpectrum` of long rows, as a stage; a unit is a part of a row."""

    #: Numbers of a unit.
    size = 4096

    def __init__(self, h: int, count: int, layout: PairLayout, back: bool) -> None:
        self.halves, self.layout = RealSpectrum(h, layout, back), layout
        self.parts = -(-self.halves.places // self.size)
        self.units = count * self.parts
        self.scratch_bytes = 0
        self.steps = (2 * (h + 1), 2 * h) if back else (2 * h, 2 * (h + 1))
        self.roots = FewRoots(2 * h)

    @property
    def key(self) -> str:
        return f"halves {self.halves}"

    def table(self) -> np.ndarray:
        """f of the lanes, over that of the first of them."""
        f = roots(2 * self.halves.h, np.array(self.layout.order))
        f = f.conj() if self.halves.back else f
        return np.stack([f.real, f.imag]).astype(self.layout.dtype).ravel()

    def exact(self) -> np.ndarray:
        return self.roots.table()

    def emit(self, job: Job) -> None:
        build, layout, halves = job.build, self.layout, self.halves
        row = build.quotient(job.unit, self.parts)
        part = job.unit - row * self.parts
        source, target = (
            build.at(p, row * step, layout.dtype) for p, step in zip((job.source, job.target), self.steps, strict=True)
        )
        with build.if_(build.eq(part, 0)):
            halves.ends_of_row(build, source, target)
        stop = build.min((part + 1) * self.size, build.index(halves.places))
        lanes = layout.load_pair(build, job.table, 0)
        with build.loop(part * self.size, stop, layout.lanes) as place:
            k = place + 1
            x, y = self.roots.at(build, job.exact, k)
            y = build.neg(y) if halves.back else y
            # -i/2 w, or for the way back its conjugate i/2 conj w
            parts = (y * -0.5, x * 0.5) if halves.back else (y * 0.5, x * -0.5)
            a, b = (build.broadcast(build.convert(v, layout.dtype), layout.lanes) for v in parts)
            halves.block(build, source, target, k, mul(build, (a, b), lanes))
