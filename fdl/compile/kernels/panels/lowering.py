"""Cholesky and LU factors, determinants and systems of real matrices, in panels; LAPACK has the complex ones.

LAPACK also has large single matrices where more threads than two run, since its own divide them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.kernel import call_divided, offset_of_unit
from fdl.compile.kernels.lapack.calls import LapackLowering
from fdl.compile.kernels.lapack.matrices import Matrix, follow, leave_in_order, poison
from fdl.compile.kernels.lapack.systems import (
    LapackCholesky,
    LapackLu,
    LapackSlogDet,
    LapackSolve,
)
from fdl.compile.kernels.panels.factors import cholesky, exchange, lu
from fdl.compile.kernels.panels.step import VECTORS, block_rows, panel_width
from fdl.compile.kernels.panels.store import Panels, empty, fill, padded, unit_diagonal
from fdl.compile.kernels.panels.systems import Triangle
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath.exponential import log
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.core.types import DType, TensorType
from fdl.dtypes import float32, float64, int32
from fdl.ops.lapack import DOUBLE_EXTENT
from fdl.ops.linalg import Cholesky
from fdl.ops.matrix import TriangularSolve
from fdl.ops.systems import Lu, SlogDet, Solve

#: Bytes from one column to the next of a triangular matrix that is copied, if it is read more than once.
_FAR = 2048


@dataclass(frozen=True)
class PanelWork:
    """What a kernel has for one matrix.

    Attributes:
        build: emits its code.
        dtype: that it computes in.
        memory: scratch memory.
        offsets: of its parts, by name, in bytes.
        first: whether the thread has done no other unit of work of this matrix yet.
    """

    build: Build
    dtype: DType
    memory: ir.Value
    offsets: dict[str, int]
    first: Value

    @property
    def width(self) -> int:
        """Columns of a panel that holds a matrix."""
        return panel_width(self.build.target, self.dtype)

    def place(self, name: str) -> ir.Value:
        """A part of the scratch memory."""
        return self.build.at(self.memory, self.offsets[name], np.dtype("uint8"))

    def panels(self, rows: int) -> Panels:
        """The matrix, of so many rows."""
        return Panels(self.build, self.place("a"), self.dtype, self.width, padded(rows, self.width) * self.width)

    def right(self, rows: int, vectors: int) -> Panels:
        """A panel of right-hand sides with so many rows."""
        width = vectors * self.build.target.lanes(self.dtype)
        return Panels(self.build, self.place("x"), self.dtype, width, padded(rows, self.width) * width)


class PanelLowering(Lowering[Op]):
    """Base: `matrix` emits what is done to one matrix of a stack; `scratch` says how much memory it needs.

    Small matrices are computed in double precision, as NumPy does (`fdl.ops.lapack`).

    Class attributes:
        others: has the matrices of other dtypes.
        divided: whether it has threads of its own for a large matrix.
    """

    reads_views = True
    parallel = True
    others: ClassVar[LapackLowering[Any]]
    divided: ClassVar[bool] = True

    def arithmetic(self, type: TensorType) -> DType:
        """The dtype that matrices of a type are computed in."""
        small = max(type.shape[-2:]) <= DOUBLE_EXTENT
        return np.promote_types(type.dtype, float64) if small else type.dtype

    def units(self, operation: Op, types: Types, target: Target, dtype: DType) -> int:
        """Units of work of one matrix."""
        return 1

    def scratch(self, operation: Op, types: Types, target: Target, dtype: DType) -> dict[str, int]:
        """Names of parts of the scratch memory, and their bytes."""
        raise NotImplementedError

    def supports(self, step: KernelStep) -> bool:
        types = [v.type for v in step.views]
        if types[0].dtype in (float32, float64):
            return all(t.size > 0 for t in types)
        return self.others.supports(step)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        types = [v.type for v in step.views]
        if types[0].dtype not in (float32, float64):
            self.others.emit(emitter, step)
            return
        team, large = emitter.emission.team, emitter.emission.target.tuning.threaded_factors
        single = prod(types[0].shape[:-2]) == 1 and max(types[0].shape[-2:]) >= large
        if not (single and team.together and self.divided and self.others.supports(step)):
            self._emit(emitter, step)
            return
        with emitter.build.if_else(team.count > 2) as (many, few):
            with many:
                self.others.emit(emitter, step)
            with few:
                self._emit(emitter, step)

    def _emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, emission, types = self.operation(step), emitter.emission, [v.type for v in step.views]
        arrays: list[tuple[TensorType, Sequence[int]]] = [(v.type, v.strides) for v in step.views]
        arrays += [(v.type, strides(v.type.shape)) for v in step.outputs]
        batch, dtype = types[0].shape[:-2], self.arithmetic(types[0])
        offsets: dict[str, int] = {}
        size = 0
        for name, count in self.scratch(operation, types, emission.target, dtype).items():
            offsets[name], size = size, size + padded(count, 64)
        own = self.units(operation, types, emission.target, dtype)
        pointers = [*map(emitter.first, step.views), *map(emitter.pointer, step.outputs), emission.scratch_for(size)]

        def work(build: Build, team: Team, *given: ir.Value) -> None:
            *places, memory = given
            begin, end = team.share(prod(batch) * own)
            with build.loop(begin, end) as unit:
                number = build.quotient(unit, own) if own > 1 else unit
                first = build.or_(build.eq(unit, begin), build.eq(unit, number * own))
                grids = []
                for pointer, (type, steps) in zip(places, arrays, strict=True):
                    inner = (0, 0, *steps[len(batch) :])
                    at = build.at(pointer, offset_of_unit(build, number, batch, steps), type.dtype)
                    grids.append(Matrix(build, at, (inner[-2], inner[-1]), type.dtype))
                self.matrix(
                    operation, types, PanelWork(build, dtype, memory, offsets, first), grids, unit - number * own
                )

        call_divided(emitter, f"panels.{operation.name}", (operation, arrays), pointers, work)

    def matrix(self, operation: Op, types: Types, work: PanelWork, grids: Sequence[Matrix], part: Value) -> None:
        """Emit a unit of work on one matrix of each operand and each result; vectors are matrices of one row."""
        raise NotImplementedError


def _bytes(m: int, n: int, target: Target, dtype: DType) -> int:
    """Of a matrix in panels."""
    width = panel_width(target, dtype)
    return padded(m, width) * padded(n, width) * dtype.itemsize


def _column(m: int, target: Target, dtype: DType) -> int:
    """Bytes of a column and what is read behind it."""
    return (padded(m, panel_width(target, dtype)) + 2 * target.lanes(dtype)) * dtype.itemsize


def _right_vectors(columns: int, target: Target, dtype: DType) -> int:
    """Vectors of a row of a panel of right-hand sides."""
    return 1 if columns <= target.lanes(dtype) else VECTORS


class CholeskyInPanels(PanelLowering[Cholesky]):
    """The upper factor of the transposed matrix, transposed."""

    others = LapackCholesky()

    def scratch(self, operation: Cholesky, types: Types, target: Target, dtype: DType) -> dict[str, int]:
        n = types[0].shape[-1]
        return {"a": _bytes(n, n, target, dtype), "reciprocals": _column(n, target, dtype)}

    def matrix(self, operation: Cholesky, types: Types, work: PanelWork, grids: Sequence[Matrix], part: Value) -> None:
        build, (a, out), n = work.build, grids, types[0].shape[-1]
        u = work.panels(n)
        fill(u, a.turned(), n, n)
        cholesky(build, work.dtype, u.pointer, work.place("reciprocals"), n, u.distance)
        # What is no number, or no positive pivot, makes no number of a pivot.
        bad = build.variable(build.constant(0.0, work.dtype))
        with build.loop(0, n) as i:
            bad.set(build.fma(build.constant(0.0, work.dtype), u.load(i, i), bad.get()))
        with build.if_else(build.ne(bad.get(), bad.get())) as (wrong, right):
            with wrong:
                out.spread_nan(n, n)
            with right:
                empty(out.turned(), u, n, n)
        out.clear_above(n, n)


class LuInPanels(PanelLowering[Lu]):
    """The factors, the rows exchanged in each step, and what order of the rows these make."""

    others = LapackLu()

    def scratch(self, operation: Lu, types: Types, target: Target, dtype: DType) -> dict[str, int]:
        m, n = types[0].shape[-2:]
        return {"a": _bytes(m, n, target, dtype), "column": _column(m, target, dtype)}

    def matrix(self, operation: Lu, types: Types, work: PanelWork, grids: Sequence[Matrix], part: Value) -> None:
        build, (a, factors, pivots, permutation) = work.build, grids
        m, n = types[0].shape[-2:]
        leave_in_order(permutation, m)
        held = work.panels(m)
        fill(held, a, m, n)
        bad = poison(build, held.pointer, work.dtype, _bytes(m, n, build.target, work.dtype) // work.dtype.itemsize)
        with build.if_else(build.ne(bad, bad)) as (wrong, right):
            with wrong:
                factors.spread_nan(m, n)
                leave_in_order(pivots, min(m, n))
            with right:
                lu(build, work.dtype, held.pointer, pivots.pointer, work.place("column"), m, n, held.distance)
                empty(factors, held, m, n)
                follow(pivots, permutation, min(m, n))


def _square_scratch(n: int, target: Target, dtype: DType) -> dict[str, int]:
    """Memory for the factors of a square matrix."""
    return {"a": _bytes(n, n, target, dtype), "column": _column(n, target, dtype), "pivots": 4 * n}


class SlogDetInPanels(PanelLowering[SlogDet]):
    """The sign and the logarithm of the product of the pivots, in double precision."""

    others = LapackSlogDet()

    def scratch(self, operation: SlogDet, types: Types, target: Target, dtype: DType) -> dict[str, int]:
        return _square_scratch(types[0].shape[-1], target, dtype)

    def matrix(self, operation: SlogDet, types: Types, work: PanelWork, grids: Sequence[Matrix], part: Value) -> None:
        build, (a, sign, size), n = work.build, grids, types[0].shape[-1]
        held = work.panels(n)
        fill(held, a, n, n)
        bad = poison(build, held.pointer, work.dtype, _bytes(n, n, build.target, work.dtype) // work.dtype.itemsize)
        nan = build.constant(float("nan"), float64)
        turn, total = build.variable(nan), build.variable(nan)
        with build.if_(build.eq(bad, bad)):
            lu(build, work.dtype, held.pointer, work.place("pivots"), work.place("column"), n, n, held.distance)
            turn.set(build.constant(1.0, float64))
            total.set(build.constant(0.0, float64))
            with build.loop(0, n) as k:
                pivot = build.convert(held.load(k, k), float64)
                chosen = build.index(build.load(work.place("pivots"), int32, k))
                factor = turn.get() * build.sign(pivot)
                turn.set(build.select(build.ne(chosen, k), build.neg(factor), factor))
                total.set(total.get() + log(build, build.abs(pivot)))
        sign.store(turn.get() + 0.0, 0, 0)  # not -0
        size.store(total.get(), 0, 0)


class SolveInPanels(PanelLowering[Solve]):
    """Factors, and two triangular systems for a panel of right-hand sides after the other."""

    others = LapackSolve()

    def scratch(self, operation: Solve, types: Types, target: Target, dtype: DType) -> dict[str, int]:
        n, k = types[1].shape[-2:]
        width = _right_vectors(k, target, dtype) * target.lanes(dtype)
        x = padded(n, panel_width(target, dtype)) * width * dtype.itemsize
        return {**_square_scratch(n, target, dtype), "x": x}

    def matrix(self, operation: Solve, types: Types, work: PanelWork, grids: Sequence[Matrix], part: Value) -> None:
        build, (a, b, out), dtype = work.build, grids, work.dtype
        n, k = types[1].shape[-2:]
        held, vectors, pivots = work.panels(n), _right_vectors(k, build.target, dtype), work.place("pivots")
        fill(held, a.turned(operation.transpose_a), n, n)
        bad = poison(build, held.pointer, dtype, _bytes(n, n, build.target, dtype) // dtype.itemsize)
        with build.if_else(build.ne(bad, bad)) as (wrong, right):
            with wrong:
                out.spread_nan(n, k)
            with right:
                lu(build, dtype, held.pointer, pivots, work.place("column"), n, n, held.distance)
                unit_diagonal(held, n, padded(n, block_rows(build.target)))
                x, width = work.right(n, vectors), held.width
                lower, upper = (Triangle(dtype, width, 1, width, upper, not upper) for upper in (False, True))

                def solve(columns: int, first: Value) -> None:
                    fill(x, _from_column(b, first), n, columns)
                    exchange(build, dtype, x.pointer, pivots, 0, n, vectors)
                    for triangle in (lower, upper):
                        triangle.solve(build, held.pointer, x.pointer, n, vectors, held.distance)
                    empty(_from_column(out, first), x, n, columns)

                _by_panels(build, k, x.width, solve)


def _from_column(matrix: Matrix, first: Value) -> Matrix:
    return Matrix(matrix.build, matrix.at(0, first), matrix.steps, matrix.dtype)


def _by_panels(build: Build, columns: int, width: int, body: Any) -> None:
    """Emit ``body(columns, first)`` for whole panels and for the last one."""
    whole, rest = columns // width * width, columns % width
    if whole:
        with build.loop(0, whole, width) as first:
            body(width, first)
    if rest:
        body(rest, build.index(whole))


class TriangularSolveInPanels(PanelLowering[TriangularSolve]):
    """Substitution with the matrix where it is, unless its elements lie apart; a unit of work is a panel."""

    divided = False

    def arithmetic(self, type: TensorType) -> DType:
        return type.dtype

    def supports(self, step: KernelStep) -> bool:
        return all(v.type.dtype in (float32, float64) and v.type.size > 0 for v in step.views)

    def _extents(self, operation: TriangularSolve, types: Types) -> tuple[int, int]:
        """Rows of the system, and right-hand sides."""
        rows, columns = types[1].shape[-2:]
        return (rows, columns) if operation.left_side else (columns, rows)

    def units(self, operation: TriangularSolve, types: Types, target: Target, dtype: DType) -> int:
        count = self._extents(operation, types)[1]
        return -(-count // (_right_vectors(count, target, dtype) * target.lanes(dtype)))

    def scratch(self, operation: TriangularSolve, types: Types, target: Target, dtype: DType) -> dict[str, int]:
        n, count = self._extents(operation, types)
        width = _right_vectors(count, target, dtype) * target.lanes(dtype)
        return {"x": padded(n, panel_width(target, dtype)) * width * dtype.itemsize, "a": _bytes(n, n, target, dtype)}

    def matrix(
        self, operation: TriangularSolve, types: Types, work: PanelWork, grids: Sequence[Matrix], part: Value
    ) -> None:
        build, (a, b, out), dtype = work.build, grids, work.dtype
        n, count = self._extents(operation, types)
        turned = operation.transpose_a == operation.left_side  # x op(a) = b is op(a)^T x^T = b^T
        a, b, out = a.turned(turned), b.turned(not operation.left_side), out.turned(not operation.left_side)
        vectors, upper = _right_vectors(count, build.target, dtype), operation.is_lower == turned
        x = work.right(n, vectors)
        pointer, panel, steps = a.pointer, 0, a.steps
        distance: IndexLike = 0
        # Elements of a column meet several panels: lines far apart displace each other each time.
        scattered = steps[0] == 1 and steps[1] * dtype.itemsize >= _FAR and count > x.width
        if 1 not in steps or scattered:
            held = work.panels(n)
            with build.if_(work.first):
                fill(held, a, n, n)
                unit_diagonal(held, n, padded(n, block_rows(build.target)))
            pointer, distance, panel, steps = held.pointer, held.distance, held.width, (held.width, 1)
        triangle = Triangle(dtype, *steps, panel, upper, operation.unit_diagonal)

        def solve(columns: int, first: Value) -> None:
            fill(x, _from_column(b, first), n, columns)
            triangle.solve(build, pointer, x.pointer, n, vectors, distance)
            empty(_from_column(out, first), x, n, columns)

        whole, rest = count // x.width, count % x.width
        if not (whole and rest):
            solve(x.width if whole else rest, part * x.width)
            return
        with build.if_else(part < whole) as (complete, partial):
            with complete:
                solve(x.width, part * x.width)
            with partial:
                solve(rest, part * x.width)
