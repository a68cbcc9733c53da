"""Factorizations of small real matrices and systems with them, by loops over rows; a unit of work is one matrix.

They compute in float64 whatever the dtype, as NumPy does, on a copy in scratch memory whose rows have room for a whole
vector behind their ends, so that every loop along a row runs in whole vectors from wherever it starts. Larger matrices
and complex ones are left to the panels (`kernels.panels`) and to LAPACK.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.kernel import Kernel, kernel_function, offset_of_unit, run_kernel
from fdl.compile.kernels.panels.lowering import (
    CholeskyInPanels,
    LuInPanels,
    PanelLowering,
    SlogDetInPanels,
    SolveInPanels,
    TriangularSolveInPanels,
)
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath.exponential import log
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.core.types import DType, TensorType
from fdl.dtypes import float32, float64, int32, int64
from fdl.ops.linalg import Cholesky
from fdl.ops.matrix import TriangularSolve
from fdl.ops.systems import Lu, SlogDet, Solve


@dataclass(frozen=True)
class Entries:
    """A matrix in memory: where it begins, the distances of rows and of columns in elements, and its dtype."""

    build: Build
    pointer: ir.Value
    steps: tuple[int, int]
    dtype: DType

    def _place(self, i: IndexLike, j: IndexLike) -> Value:
        index = self.build.index
        return index(i) * self.steps[0] + index(j) * self.steps[1]

    def load(self, i: IndexLike, j: IndexLike = 0, lanes: int = 1) -> Value:
        """Elements of row i from column j on, as float64 (or int32)."""
        value = self.build.load(self.pointer, self.dtype, self._place(i, j), lanes, self.steps[1])
        return value if self.dtype == int32 else self.build.convert(value, float64)

    def store(self, value: Value, i: IndexLike, j: IndexLike = 0) -> None:
        """Write elements of row i from column j on."""
        self.build.store(self.build.convert(value, self.dtype), self.pointer, self._place(i, j), self.steps[1])

    def turned(self, yes: bool = True) -> "Entries":
        """The transposed matrix."""
        return Entries(self.build, self.pointer, self.steps[::-1], self.dtype) if yes else self


@dataclass(frozen=True)
class PaddedRows:
    """Rows in scratch memory of `width` elements of float64, and what is done to them."""

    build: Build
    scratch: ir.Value
    width: int

    @staticmethod
    def bytes(build_lanes: int, count: int, width: int) -> int:
        """Scratch memory for `count` rows of `width` elements and the room behind each."""
        return 8 * count * (width + build_lanes)

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.build.target.lanes(float64)

    @property
    def grid(self) -> Entries:
        """The rows as a matrix."""
        return Entries(self.build, self.scratch, (self.width + self.lanes, 1), float64)

    def copy(self, source: Entries, rows: int, columns: int, at: int = 0) -> None:
        """Fill columns from `at` on from a matrix."""
        with self.build.loop(0, rows) as i, self.build.loop(0, columns) as j:
            self.grid.store(source.load(i, j), i, j + at)

    def spread_nan(self, rows: int, columns: int) -> None:
        """Make all elements NaN unless all are finite: see `fdl.ops.matrix.not_finite`."""
        build, grid = self.build, self.grid
        found = build.variable(build.constant(0.0, float64))
        with build.loop(0, rows) as i, build.loop(0, columns) as j:
            found.set(build.fma(build.constant(0.0, float64), grid.load(i, j), found.get()))
        last = found.get()
        with build.if_(build.ne(last, last)), build.loop(0, rows) as i, build.loop(0, columns) as j:
            grid.store(last, i, j)

    def write(self, target: Entries, rows: int, columns: int, at: int = 0) -> None:
        """Copy columns from `at` on to a matrix."""
        with self.build.loop(0, rows) as i, self.build.loop(0, columns) as j:
            target.store(self.grid.load(i, j + at), i, j)

    def clear(self, rows: int) -> None:
        """Set all to zero: lanes in the room behind a row must not be slow numbers."""
        self.build.clear(self.scratch, PaddedRows.bytes(self.lanes, rows, self.width))

    @contextmanager
    def along(self, i: IndexLike, start: IndexLike = 0) -> Iterator[Value]:
        """Loop over the vectors of row i from a column on; the body gets their first column."""
        with self.build.loop(start, self.width, self.lanes) as j:
            yield j

    def subtract(self, i: IndexLike, factor: Value, k: IndexLike, start: IndexLike) -> None:
        """Subtract `factor` times row k from row i, from a column on."""
        factor = self.build.neg(factor)
        with self.along(i, start) as j:
            new = self.build.fma(factor, self.grid.load(k, j, self.lanes), self.grid.load(i, j, self.lanes))
            self.grid.store(new, i, j)

    def substitute(self, i: IndexLike, known: tuple[IndexLike, IndexLike], factors: Entries, start: IndexLike) -> None:
        """Subtract from row i the rows with numbers in a range, times row i of `factors`, from a column on."""
        build, grid = self.build, self.grid
        with self.along(i, start) as column:
            total = build.variable(grid.load(i, column, self.lanes))
            with build.loop(*known) as j:
                total.set(build.fma(build.neg(factors.load(i, j)), grid.load(j, column, self.lanes), total.get()))
            grid.store(total.get(), i, column)

    def divide(self, i: IndexLike, divisor: Value, start: IndexLike) -> None:
        """Divide row i, from a column on."""
        with self.along(i, start) as j:
            self.grid.store(self.build.div(self.grid.load(i, j, self.lanes), divisor), i, j)

    def swap(self, i: IndexLike, k: IndexLike) -> None:
        """Exchange two rows."""
        with self.along(i) as j:
            upper, lower = self.grid.load(i, j, self.lanes), self.grid.load(k, j, self.lanes)
            self.grid.store(upper, k, j)
            self.grid.store(lower, i, j)

    @contextmanager
    def eliminate(self, rows: int, columns: int) -> Iterator[tuple[Value, Value]]:
        """Factor the first columns into l and u with partial pivoting, as LAPACK's getrf does.

        The body is emitted where rows were exchanged: it gets the step and the row that took its place. A column of
        zeros has factors of zero.
        """
        build, grid = self.build, self.grid
        with build.loop(0, min(rows, columns)) as k:
            best, place = build.variable(build.abs(grid.load(k, k))), build.variable(k)
            with build.loop(k + 1, rows) as i:
                size = build.abs(grid.load(i, k))
                wins = size > best.get()
                best.set(build.select(wins, size, best.get()))
                place.set(build.select(wins, i, place.get()))
            chosen = place.get()
            with build.if_(build.ne(chosen, k)):
                self.swap(k, chosen)
            yield k, chosen
            pivot = grid.load(k, k)
            with build.loop(k + 1, rows) as i:
                below = grid.load(i, k)
                factor = build.select(build.eq(pivot, 0.0), below, build.div(below, pivot))
                grid.store(factor, i, k)
                self.subtract(i, factor, k, k + 1)


class SmallMatrixLowering(Lowering[Op]):
    """Base: `matrix` emits what is done to one matrix; `extents` says how much scratch memory it needs.

    Class attributes:
        large: what has all other matrices.
    """

    reads_views = True
    parallel = True
    large: ClassVar[PanelLowering[Any]]

    def extents(self, operation: Op, operands: Types) -> tuple[int, int]:
        """Rows in scratch memory, and their elements."""
        m, n = operands[0].shape[-2:]
        return m, n

    def effort(self, operation: Op, operands: Types, results: Types) -> int:
        rows, width = self.extents(operation, operands)
        return 4 * prod(operands[0].shape[:-2]) * rows * rows * width

    def small(self, operation: Op, operands: Types) -> bool:
        """Whether the loops are the better way."""
        tuning = host_target().tuning
        rows, width = self.extents(operation, operands)
        small = max(operands[0].shape[-2:]) <= tuning.small_matrix and rows * width <= tuning.small_system
        return operands[0].dtype in (float32, float64) and small and all(t.size for t in operands)

    def supports(self, step: KernelStep) -> bool:
        return self.small(self.operation(step), [v.type for v in step.views]) or self.large.supports(step)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, emission = self.operation(step), emitter.emission
        if not self.small(operation, [v.type for v in step.views]):
            self.large.emit(emitter, step)
            return
        arrays: list[tuple[TensorType, Sequence[int]]] = [(v.type, v.strides) for v in step.views]
        arrays += [(v.type, strides(v.type.shape)) for v in step.outputs]
        types = [v.type for v in step.views]
        batch, count = types[0].shape[:-2], prod(types[0].shape[:-2])
        rows, width = self.extents(operation, types)
        size = PaddedRows.bytes(emission.target.lanes(float64), rows, width)

        def make() -> Kernel:
            build = kernel_function(emission.module, emission.target, operation.name, len(arrays))
            *pointers, scratch, _, _ = build.function.args
            work = PaddedRows(build, scratch, width)
            work.clear(rows)
            with build.loop(build.argument(-2, "int64"), build.argument(-1, "int64")) as unit:
                grids = [
                    _grid(build, pointer, type, steps, unit, batch)
                    for pointer, (type, steps) in zip(pointers, arrays, strict=True)
                ]
                self.matrix(operation, types, work, grids)
            build.ret()
            return Kernel(build.function, size, count)

        pointers = [*map(emitter.first, step.views), *map(emitter.pointer, step.outputs)]
        run_kernel(emitter, f"{operation} {arrays}", make, pointers)

    def matrix(self, operation: Op, types: Types, work: PaddedRows, grids: Sequence[Entries]) -> None:
        """Emit the work on one matrix of each operand and each result; vectors are matrices of one row."""
        raise NotImplementedError


def _grid(
    build: Build, pointer: ir.Value, type: TensorType, steps: Sequence[int], unit: Value, batch: tuple[int, ...]
) -> Entries:
    """The matrix (or vector, or number) of an operand that belongs to a unit of work."""
    inner = (0, 0, *steps[len(batch) :])
    offset = offset_of_unit(build, unit, batch, steps)
    return Entries(build, build.at(pointer, offset, type.dtype), (inner[-2], inner[-1]), type.dtype)


class CholeskyLowering(SmallMatrixLowering[Cholesky]):
    """The Cholesky factor: its transpose, whose rows are divided and subtracted from those below, in scratch memory."""

    operations = (Cholesky,)
    large = CholeskyInPanels()

    def matrix(self, operation: Cholesky, types: Types, work: PaddedRows, grids: Sequence[Entries]) -> None:
        build, (a, out), n = work.build, grids, types[0].shape[-1]
        work.copy(a.turned(), n, n)  # the triangle that is not read stays behind the diagonal, where nothing looks
        good = build.variable(build.constant(1, int64))
        with build.loop(0, n) as k:
            pivot = work.grid.load(k, k)
            for fine in (pivot > 0.0, pivot < float("inf")):  # neither holds of NaN
                good.set(build.select(fine, good.get(), build.constant(0, int64)))
            root = build.sqrt(pivot)
            work.grid.store(root, k, k)
            work.divide(k, root, k + 1)
            with build.loop(k + 1, n) as i:
                work.subtract(i, work.grid.load(k, i), k, i)
        fine, nan = build.ne(good.get(), 0), build.constant(float("nan"), float64)
        with build.loop(0, n) as i, build.loop(0, n) as j:
            value = build.select(fine, work.grid.load(j, i), nan)
            out.store(build.select(j <= i, value, build.constant(0.0, float64)), i, j)


class TriangularSolveLowering(SmallMatrixLowering[TriangularSolve]):
    """Substitution: a row of the solution at a time, for all right-hand sides."""

    operations = (TriangularSolve,)
    large = TriangularSolveInPanels()

    def extents(self, operation: TriangularSolve, operands: Types) -> tuple[int, int]:
        rows, columns = operands[1].shape[-2:]
        return (rows, columns) if operation.left_side else (columns, rows)

    def matrix(self, operation: TriangularSolve, types: Types, work: PaddedRows, grids: Sequence[Entries]) -> None:
        build, (a, b, out) = work.build, grids
        rows, columns = self.extents(operation, types)
        turned = operation.transpose_a == operation.left_side  # x op(a) = b is op(a)^T x^T = b^T
        a, b, out = a.turned(turned), b.turned(not operation.left_side), out.turned(not operation.left_side)
        forward = operation.is_lower != turned
        work.copy(b, rows, columns)
        with build.loop(0, rows) as step:
            i = step if forward else build.index(rows - 1) - step
            work.substitute(i, (0, i) if forward else (i + 1, rows), a, 0)
            if not operation.unit_diagonal:
                work.divide(i, a.load(i, i), 0)
        work.write(out, rows, columns)


class SolveLowering(SmallMatrixLowering[Solve]):
    """Elimination on the matrix and the right-hand sides side by side, and substitution."""

    operations = (Solve,)
    large = SolveInPanels()

    def extents(self, operation: Solve, operands: Types) -> tuple[int, int]:
        n, k = operands[1].shape[-2:]
        return n, n + k

    def matrix(self, operation: Solve, types: Types, work: PaddedRows, grids: Sequence[Entries]) -> None:
        build, (a, b, out) = work.build, grids
        n, k = types[1].shape[-2:]
        work.copy(a.turned(operation.transpose_a), n, n)
        work.spread_nan(n, n)
        work.copy(b, n, k, at=n)
        with work.eliminate(n, n):
            pass
        with build.loop(0, n) as step:
            i = build.index(n - 1) - step
            work.substitute(i, (i + 1, n), work.grid, n)
            work.divide(i, work.grid.load(i, i), n)
        work.write(out, n, k, at=n)


class LuLowering(SmallMatrixLowering[Lu]):
    """The factors, the rows exchanged in each step, and what order of the rows these make."""

    operations = (Lu,)
    large = LuInPanels()

    def matrix(self, operation: Lu, types: Types, work: PaddedRows, grids: Sequence[Entries]) -> None:
        build, (a, factors, pivots, permutation) = work.build, grids
        m, n = types[0].shape[-2:]
        work.copy(a, m, n)
        work.spread_nan(m, n)  # no element is above another then: no rows are exchanged
        with build.loop(0, m) as i:
            permutation.store(build.convert(i, int32), 0, i)
        with work.eliminate(m, n) as (k, chosen):
            pivots.store(build.convert(chosen, int32), 0, k)
            upper, lower = permutation.load(0, k), permutation.load(0, chosen)
            permutation.store(upper, 0, chosen)
            permutation.store(lower, 0, k)
        work.write(factors, m, n)


class SlogDetLowering(SmallMatrixLowering[SlogDet]):
    """The sign and the logarithm of the product of the pivots."""

    operations = (SlogDet,)
    large = SlogDetInPanels()

    def matrix(self, operation: SlogDet, types: Types, work: PaddedRows, grids: Sequence[Entries]) -> None:
        build, (a, sign, size), n = work.build, grids, types[0].shape[-1]
        work.copy(a, n, n)
        work.spread_nan(n, n)
        positive = build.variable(build.constant(1.0, float64))
        with work.eliminate(n, n) as (k, chosen), build.if_(build.ne(chosen, k)):
            positive.set(build.neg(positive.get()))
        total = build.variable(build.constant(0.0, float64))
        with build.loop(0, n) as k:
            pivot = work.grid.load(k, k)
            positive.set(positive.get() * build.sign(pivot))
            total.set(total.get() + log(build, build.abs(pivot)))
        sign.store(positive.get() + 0.0, 0, 0)  # not -0
        size.store(total.get(), 0, 0)
