"""Transforms of rows: a row whose own numbers fill the lanes, or as many rows as there are lanes."""

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.butterfly import dft, mul
from fdl.compile.kernels.fourier.factors import pass_factors, radices
from fdl.compile.kernels.fourier.layout import PairLayout, square
from fdl.compile.kernels.fourier.passes import Ends, run_passes
from fdl.compile.kernels.fourier.real import RealSpectrum
from fdl.compile.kernels.fourier.roots import roots
from fdl.compile.kernels.fourier.stage import Job, Stage, packed
from fdl.compile.kernels.fourier.turn import copy_real, turn
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import POINTER
from fdl.compile.lowerings.emitter import Emission


class RowStage(Stage):
    """Base: rows of complex numbers, or with `real`, of real ones on one side.

    Attributes:
        n: points of the complex transform, which is half of those of a real one if these are even in number.
        count: rows.
        ends: `swap` and `scale`.
        real: "rfft", "irfft", or "" for complex numbers on both sides.
        halves: what makes a real transform of a complex one of half the length.
        steps: distance of rows in the source and in the target, in parts of numbers.
    """

    def __init__(self, points: int, count: int, layout: PairLayout, ends: Ends, real: str = "") -> None:
        self.points, self.count, self.layout, self.ends, self.real = points, count, layout, ends, real
        self.halves = RealSpectrum(points // 2, layout, real == "irfft") if real and points % 2 == 0 else None
        self.n = points // 2 if self.halves else points
        self.half = points // 2 + 1
        kept = {"": (2 * points, 2 * points), "rfft": (points, 2 * self.half), "irfft": (2 * self.half, points)}
        self.steps = kept[real]

    @property
    def key(self) -> str:
        return f"{type(self).__name__} {self.points} {self.count} {self.layout} {self.ends} {self.real}"

    def _tables(self, parts: list[np.ndarray]) -> np.ndarray:
        """One behind the other, that of the halves first."""
        first = [self.halves.table()] if self.halves else []
        return np.concatenate([*first, *parts, np.zeros(1, self.layout.dtype)])

    def _behind_halves(self, job: Job) -> ir.Value:
        return job.build.at(job.table, self.halves.table().size, self.layout.dtype) if self.halves else job.table


class OneRow(RowStage):
    """Rows of numbers, some of which (a divisor of the length) fill the lanes of a pair.

    In every lane, the numbers of that lane are transformed by passes. A last pass multiplies by factors that depend on
    the lane, transposes squares of pairs, and transforms across what were the lanes.
    """

    def __init__(self, points: int, count: int, layout: PairLayout, ends: Ends, real: str = "") -> None:
        super().__init__(points, count, layout, ends, real)
        self.across = self.lanes(self.n, layout)
        self.rest = self.n // self.across
        self.lengths = radices(self.rest) or ()
        self.units = count
        self.scratch_bytes = (3 * self.rest + (-(-self.n // layout.lanes) if real else 0)) * layout.bytes

    @staticmethod
    def fits(points: int, layout: PairLayout, real: str) -> bool:
        """Whether the numbers of a row may fill the lanes."""
        return not (real and points % 2) and OneRow.lanes(points // 2 if real else points, layout) > 0

    @staticmethod
    def lanes(n: int, layout: PairLayout) -> int:
        """How many lanes the numbers of a row may fill; 0 if too few, or if the rest would be too short."""
        if radices(n) is None:
            return 0
        fitting = [v for v in (2, 3, 4, 5, 7, 8, 11, 13, 16) if v <= layout.lanes <= n // v and n % v == 0]
        best = max(fitting, default=0)
        return best if 2 * best >= layout.lanes and n > layout.lanes else 0

    def table(self) -> np.ndarray:
        layout = self.layout
        lanes = np.array(layout.order)
        last = roots(self.n, np.arange(self.rest)[:, None] * np.where(lanes < self.across, lanes, 0))
        pairs = np.stack([last.real, last.imag], 1).astype(layout.dtype).ravel()
        return self._tables([*(packed(t, layout.dtype) for t in pass_factors(self.lengths)), pairs])

    def emit(self, job: Job) -> None:
        build, layout = job.build, self.layout
        source, target = (
            build.at(p, job.unit * step, layout.dtype)
            for p, step in zip((job.source, job.target), self.steps, strict=True)
        )
        folded = job.after(job.room, layout, 3 * self.rest)
        if self.halves and self.real == "irfft":
            self.halves.row(job, source, folded)
            source = folded
        self._transform(job, source, folded if self.halves and self.real == "rfft" else target)
        if self.halves and self.real == "rfft":
            self.halves.row(job, folded, target)

    def _transform(self, job: Job, source: ir.Value, target: ir.Value) -> None:
        build, emission, layout = job.build, job.emission, self.layout
        pairs = job.after(job.room, layout, 2 * self.rest)
        table = self._behind_halves(job)
        own = Ends(self.across, False, self.ends.swap)
        ends = (source, self.across), (pairs, 1)
        run_passes(build, emission, layout, self.lengths, own, *ends, table, job.room)
        used = sum(2 * t.size for t in pass_factors(self.lengths))
        key = f"fourier across {layout} {self.across} {self.rest} {self.ends}"
        function = emission.shared(key, lambda: self._last(emission))
        build.call_function(function, [pairs, target, build.at(table, used, layout.dtype)])

    def _last(self, emission: Emission) -> ir.Function:
        """The function ``across(pairs, target, factors)``."""
        name = emission.module.get_unique_name("fourier.across")
        function = new_function(emission.module, name, [POINTER] * 3)
        function.attributes.add("noinline")
        build, layout = Build(emission.module, emission.target, function), self.layout
        pairs, target, factors = function.args
        with build.loop(0, self.rest, layout.lanes) as start:
            start = build.min(start, build.index(self.rest - layout.lanes))
            x = square(build, layout, lambda row: mul(
                build, layout.load_pair(build, pairs, start + row), layout.load_pair(build, factors, start + row)
            ))  # fmt: skip
            for k, y in enumerate(dft(build, x[: self.across])):
                z = self.ends.finished(y)
                layout.store(build, z, target, start + self.rest * k)
        build.ret()
        return function


class ManyRows(RowStage):
    """As many rows as a pair has lanes, each in its lane; the lanes behind the last row repeat it."""

    def __init__(self, points: int, count: int, layout: PairLayout, ends: Ends, real: str = "") -> None:
        super().__init__(points, count, layout, ends, real)
        self.lengths = radices(self.n) or ()
        self.units = -(-count // layout.lanes)
        self.scratch_bytes = (3 * self.n + 1) * layout.bytes

    def table(self) -> np.ndarray:
        return self._tables([packed(t, self.layout.dtype) for t in pass_factors(self.lengths)])

    def emit(self, job: Job) -> None:
        build, layout, n = job.build, self.layout, self.n
        columns = job.after(job.room, layout, 2 * n)
        last = build.index(self.count - 1)
        rows = [build.min(job.unit * layout.lanes + lane, last) for lane in range(layout.lanes)]
        sources, targets = (
            [build.at(p, row * step, layout.dtype) for row in rows]
            for p, step in zip((job.source, job.target), self.steps, strict=True)
        )
        odd = self.real and not self.halves
        if odd and self.real == "rfft":
            copy_real(build, layout, sources, columns, n, True)
        else:
            turn(build, layout, sources, columns, self.half if self.real == "irfft" else n, True)
        if self.real == "irfft":
            if self.halves:
                self.halves.columns(job, columns)
            else:
                self._mirror(job, columns)
        own = Ends(layout.lanes, True, self.ends.swap, self.ends.scale)
        ends = ((columns, layout.lanes),) * 2
        run_passes(build, job.emission, layout, self.lengths, own, *ends, self._behind_halves(job), job.room)
        if self.real == "rfft" and self.halves:
            self.halves.columns(job, columns)
        if odd and self.real == "irfft":
            copy_real(build, layout, targets, columns, n, False)
        else:
            turn(build, layout, targets, columns, self.half if self.real == "rfft" else n, False)

    def _mirror(self, job: Job, columns: ir.Value) -> None:
        """The other half of a spectrum, of which the first number is real."""
        build, layout, lanes = job.build, self.layout, self.layout.lanes
        real, imaginary = layout.load(build, columns, 0)
        layout.store(build, (real, build.constant(0.0, layout.dtype, lanes)), columns, 0)
        with build.loop(1, self.half) as k:
            real, imaginary = layout.load(build, columns, k * lanes)
            layout.store(build, (real, build.neg(imaginary)), columns, (build.index(self.n) - k) * lanes)
