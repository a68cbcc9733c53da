"""Cholesky and LU factors, determinants and linear systems by LAPACK.

LAPACK's matrices lie in memory column by column, and ours row by row: what it sees is the transposed matrix. Cholesky
factors and systems are computed from that, so that nothing has to be transposed.
"""

from collections.abc import Sequence

from fdl.compile.kernels.lapack.calls import LapackLowering, Work
from fdl.compile.kernels.lapack.matrices import Matrix, copy, follow, leave_in_order, poison
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import Variable
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath.exponential import log
from fdl.compile.lowerings.lowering import Types
from fdl.core.types import DType
from fdl.dtypes import float64, int32
from fdl.ops.linalg import Cholesky
from fdl.ops.systems import Lu, SlogDet, Solve


class LapackCholesky(LapackLowering[Cholesky]):
    """The upper factor of the conjugate, as LAPACK sees it, is the lower factor in rows."""

    routines = ("potrf",)

    def scratch(self, operation: Cholesky, types: Types, dtype: DType) -> dict[str, int]:
        n = types[0].shape[-1]
        return {} if dtype == types[0].dtype else {"a": n * n * dtype.itemsize}

    def matrix(self, operation: Cholesky, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, (a, out), n = work.build, grids, types[0].shape[-1]
        factor = work.columns("a", n).turned() if "a" in work.places else out
        copy(a, factor, n, n)
        bad = build.variable(build.constant(0.0, factor.real))
        with build.loop(0, n) as i:
            bad.set(bad.get() + poison(build, factor.at(i, 0), factor.real, (i + 1) * factor.parts))
        work.call("potrf", "U", n, factor.pointer, n, work.info)
        with build.if_else(build.or_(build.ne(bad.get(), bad.get()), work.failed())) as (wrong, right):
            with wrong:
                out.spread_nan(n, n)
            with right:
                if factor is not out:
                    copy(factor, out, n, n)
        out.clear_above(n, n)


class LapackLu(LapackLowering[Lu]):
    """The factors, the rows exchanged in each step, and what order of the rows these make."""

    routines = ("getrf",)

    def scratch(self, operation: Lu, types: Types, dtype: DType) -> dict[str, int]:
        m, n = types[0].shape[-2:]
        return {"a": m * n * dtype.itemsize}

    def matrix(self, operation: Lu, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, (a, factors, pivots, permutation) = work.build, grids
        m, n = types[0].shape[-2:]
        columns = work.columns("a", m)
        copy(a, columns, m, n)
        bad = poison(build, columns.pointer, columns.real, m * n * columns.parts)
        leave_in_order(permutation, m)
        with build.if_else(build.ne(bad, bad)) as (wrong, right):
            with wrong:
                factors.spread_nan(m, n)
                leave_in_order(pivots, min(m, n))
            with right:
                work.call("getrf", m, n, columns.pointer, m, pivots.pointer, work.info)
                copy(columns, factors, m, n)
                with build.loop(0, min(m, n)) as i:
                    chosen = pivots.load(0, i) - 1
                    pivots.store(chosen, 0, i)
                follow(pivots, permutation, min(m, n))


class LapackSlogDet(LapackLowering[SlogDet]):
    """The sign and the logarithm of the product of the pivots, in double precision."""

    routines = ("getrf",)

    def scratch(self, operation: SlogDet, types: Types, dtype: DType) -> dict[str, int]:
        n = types[0].shape[-1]
        return {"a": n * n * dtype.itemsize, "pivots": 4 * n}

    def matrix(self, operation: SlogDet, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, (a, sign, size), n = work.build, grids, types[0].shape[-1]
        rows = work.columns("a", n).turned()  # the transposed matrix has the same determinant
        copy(a, rows, n, n)
        bad = poison(build, rows.pointer, rows.real, n * n * rows.parts)
        nan, one = build.constant(float("nan"), float64), build.constant(1.0, float64)
        turn = [build.variable(nan), build.variable(build.constant(0.0, float64))]
        total = build.variable(nan)
        with build.if_(build.eq(bad, bad)):
            work.call("getrf", n, n, rows.pointer, n, work.places["pivots"], work.info)
            with build.if_else(work.failed()) as (singular, regular):
                with singular:
                    turn[0].set(build.constant(0.0, float64))
                    total.set(build.constant(-float("inf"), float64))
                with regular:
                    turn[0].set(one)
                    total.set(build.constant(0.0, float64))
                    with build.loop(0, n) as k:
                        self._multiply(build, turn, total, rows, k)
                        chosen = build.load(work.places["pivots"], int32, k)
                        with build.if_(build.ne(build.index(chosen), k + 1)):
                            for part in turn[: rows.parts]:
                                part.set(build.neg(part.get()))
        for number in range(sign.parts):
            sign.store(turn[number].get(), 0, 0, number)
        size.store(total.get(), 0, 0)

    def _multiply(self, build: Build, turn: Sequence[Variable], total: Variable, rows: Matrix, k: Value) -> None:
        """Multiply the sign by that of a pivot, and add the logarithm of its modulus."""
        real, imaginary = turn
        pivot = build.convert(rows.load(k, k), float64)
        modulus = build.abs(pivot)
        if rows.parts == 1:
            real.set(real.get() * build.sign(pivot))
        else:
            other = build.convert(rows.load(k, k, 1), float64)
            modulus = build.call("hypot", pivot, other)
            x, y = build.div(pivot, modulus), build.div(other, modulus)
            re, im = real.get(), imaginary.get()
            real.set(re * x - im * y)
            imaginary.set(re * y + im * x)
        total.set(total.get() + log(build, modulus))


class LapackSolve(LapackLowering[Solve]):
    """Factors of the transposed matrix, and triangular systems for the transposed right-hand sides."""

    routines = ("getrf", "getrs", "trsm", "swap")

    def scratch(self, operation: Solve, types: Types, dtype: DType) -> dict[str, int]:
        n, k = types[1].shape[-2:]
        own = {"a": n * n * dtype.itemsize, "pivots": 4 * n}
        return own if dtype == types[1].dtype else {**own, "x": n * k * dtype.itemsize}

    def matrix(self, operation: Solve, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, (a, b, out) = work.build, grids
        n, k = types[1].shape[-2:]
        turned = abs(a.steps[0]) < abs(a.steps[1])
        factors = work.columns("a", n)
        copy(a.turned(not turned), factors, n, n)
        across = operation.transpose_a == turned  # LAPACK sees the transposed matrix of the system
        x = Matrix(build, work.places["x"], (k, 1), work.dtype) if "x" in work.places else out
        bad = poison(build, factors.pointer, factors.real, n * n * factors.parts)
        with build.if_else(build.ne(bad, bad)) as (wrong, right):
            with wrong:
                out.spread_nan(n, k)
            with right:
                copy(b, x, n, k)
                pivots = work.places["pivots"]
                work.call("getrf", n, n, factors.pointer, n, pivots, work.info)
                if k == 1:
                    mode = "T" if across else "N"
                    work.call("getrs", mode, n, 1, factors.pointer, n, pivots, x.pointer, n, work.info)
                elif across:
                    for triangle, unit in (("U", "N"), ("L", "U")):
                        work.call("trsm", "R", triangle, "N", unit, k, n, 1.0, factors.pointer, n, x.pointer, k)
                    _exchange(work, x, n, k, backwards=True)
                else:
                    _exchange(work, x, n, k)
                    for triangle, unit in (("L", "U"), ("U", "N")):
                        work.call("trsm", "R", triangle, "T", unit, k, n, 1.0, factors.pointer, n, x.pointer, k)
                if x is not out:
                    copy(x, out, n, k)


def _exchange(work: Work, x: Matrix, n: int, k: int, backwards: bool = False) -> None:
    """Exchange rows as the pivots say, from the first on or backwards."""
    build = work.build
    with build.loop(0, n) as step:
        i = build.index(n - 1) - step if backwards else step
        chosen = build.index(build.load(work.places["pivots"], int32, i)) - 1
        with build.if_(build.ne(chosen, i)):
            work.call("swap", k, x.at(i, 0), 1, x.at(chosen, 0), 1)
