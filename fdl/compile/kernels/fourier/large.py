"""Long transforms as two stages of short ones (D. Bailey, "FFTs in external or hierarchical memory", 1990)."""

from math import isqrt

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.butterfly import Complex, mul
from fdl.compile.kernels.fourier.factors import FewRoots, pass_factors, radices
from fdl.compile.kernels.fourier.layout import PairLayout, square
from fdl.compile.kernels.fourier.passes import Ends, run_passes
from fdl.compile.kernels.fourier.roots import roots
from fdl.compile.kernels.fourier.stage import Job, Stage, packed
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.compile.lowerings.emitter import Emission
from fdl.dtypes import int64


def split(n: int, lanes: int) -> tuple[int, int] | None:
    """Two factors of n, both multiples of the number of lanes, the second not smaller and as near as can be."""
    if radices(n) is None or n % lanes**2:
        return None
    rest = n // lanes**2
    small = next(k for k in range(isqrt(rest), 0, -1) if rest % k == 0)
    return small * lanes, rest // small * lanes


class First(Stage):
    """Columns of rows that are seen as matrices, times factors, to pairs whose lanes are neighbouring results.

    Args:
        parts: rows and columns of the matrix.
        count: how many there are.
        layout: of pairs.
        swap: for the inverse.
    """

    def __init__(self, parts: tuple[int, int], count: int, layout: PairLayout, swap: bool) -> None:
        (self.rows, self.columns), self.layout = parts, layout
        self.ends = Ends(layout.lanes, False, swap)
        self.lengths = radices(self.rows) or ()
        self.groups = self.columns // layout.lanes
        self.units = count * self.groups
        self.scratch_bytes = 3 * self.rows * layout.bytes
        self.bases = FewRoots(self.rows * self.groups)

    @property
    def key(self) -> str:
        return f"first {self.rows} {self.columns} {self.layout} {self.ends}"

    def table(self) -> np.ndarray:
        passes = [packed(t, self.layout.dtype) for t in pass_factors(self.lengths)]
        lanes = roots(self.rows * self.columns, np.arange(self.rows)[:, None] * np.array(self.layout.order))
        return np.concatenate([*passes, np.stack([lanes.real, lanes.imag], 1).astype(self.layout.dtype).ravel()])

    def exact(self) -> np.ndarray:
        return self.bases.table()

    def emit(self, job: Job) -> None:
        build, layout = job.build, self.layout
        row = build.quotient(job.unit, self.groups)
        group = job.unit - row * self.groups
        n = self.rows * self.columns
        source = build.at(job.source, (row * n + group * layout.lanes) * 2, layout.dtype)
        pairs = job.after(job.room, layout, 2 * self.rows)
        ends = (source, self.columns), (pairs, 1)
        run_passes(build, job.emission, layout, self.lengths, self.ends, *ends, job.table, job.room)
        used = sum(2 * t.size for t in pass_factors(self.lengths))
        target = build.at(job.target, row * (2 * n), layout.dtype)
        function = job.emission.shared(f"fourier turn {self.key}", lambda: self._turn(job.emission))
        build.call_function(function, [pairs, target, build.at(job.table, used, layout.dtype), job.exact, group])

    def _turn(self, emission: Emission) -> ir.Function:
        """The function ``turn(pairs, target, factors of lanes, bases, group)``."""
        name = emission.module.get_unique_name("fourier.turn")
        function = new_function(emission.module, name, [POINTER] * 4 + [I64])
        function.attributes.add("noinline")
        build, layout = Build(emission.module, emission.target, function), self.layout
        pairs, target, lanes, bases = function.args[:4]
        group: Value = build.argument(4, int64)
        with build.loop(0, self.rows, layout.lanes) as start:

            def row(number: int) -> Complex:
                k = start + number
                exponent = k * group  # below rows * groups
                base = [build.convert(part, layout.dtype) for part in self.bases.at(build, bases, exponent)]
                wide = build.broadcast(base[0], layout.lanes), build.broadcast(base[1], layout.lanes)
                factor = mul(build, layout.load_pair(build, lanes, k), wide)
                return mul(build, layout.load_pair(build, pairs, k), factor)

            block = build.quotient(start, layout.lanes) * self.columns + group * layout.lanes
            for number, z in enumerate(square(build, layout, row)):
                layout.store_pair(build, z, target, block + number)
        build.ret()
        return function


class Second(Stage):
    """Rows of the matrices: pairs to results, whose distance is the number of rows."""

    def __init__(self, parts: tuple[int, int], count: int, layout: PairLayout, ends: Ends) -> None:
        (self.rows, self.columns), self.layout = parts, layout
        self.ends = Ends(0, True, ends.swap, ends.scale)
        self.lengths = radices(self.columns) or ()
        self.groups = self.rows // layout.lanes
        self.units = count * self.groups
        self.scratch_bytes = 2 * self.columns * layout.bytes

    @property
    def key(self) -> str:
        return f"second {self.rows} {self.columns} {self.layout} {self.ends}"

    def table(self) -> np.ndarray:
        return np.concatenate([*(packed(t, self.layout.dtype) for t in pass_factors(self.lengths)), super().table()])

    def emit(self, job: Job) -> None:
        build, layout = job.build, self.layout
        row = build.quotient(job.unit, self.groups)
        group = job.unit - row * self.groups
        place = row * (self.rows * self.columns * 2)
        source = build.at(job.source, place + group * (self.columns * layout.lanes * 2), layout.dtype)
        target = build.at(job.target, place + group * (layout.lanes * 2), layout.dtype)
        ends = (source, 1), (target, self.rows)
        run_passes(build, job.emission, layout, self.lengths, self.ends, *ends, job.table, job.room)
