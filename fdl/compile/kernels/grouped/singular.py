"""Singular values of small matrices by rotations of rows until these are orthogonal.

After Hestenes, "Inversion of matrices by biorthogonalization and related results" (1958), with the exchanges of
de Rijk, "A one-sided Jacobi algorithm for computing the singular value decomposition on a vector computer" (1989).
"""

from collections.abc import Sequence

from fdl.compile.kernels.grouped.eigen import signs
from fdl.compile.kernels.grouped.grid import LaneGrid, LaneMatrices, poison, scale_to_one
from fdl.compile.kernels.grouped.lowering import GroupedLowering
from fdl.compile.kernels.grouped.reflections import multiply_out, reflect, reflector
from fdl.compile.kernels.lapack.decompositions import LapackSvd
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import Value
from fdl.compile.lowerings.lowering import Types
from fdl.core.types import DType
from fdl.dtypes import float32, float64
from fdl.ops.linalg import Svd

#: Passes over all pairs of rows at most; six are usual.
_MOST = 40

#: Rows of the grid of vectors: squares of lengths, then singular values; what the reflections leave, and their factors.
_LENGTHS, _MULTIPLES, _FACTORS = range(3)


class SvdLowering(GroupedLowering[Svd]):
    """Singular values in descending order, rows of v^H with the sign of `fdl.ops.matrix.signs_of`."""

    operations = (Svd,)
    large = LapackSvd()

    def extent(self, operation: Svd, lanes: int) -> int:
        several, single, values = host_target().tuning.grouped_svd
        return several if lanes > 1 else single if operation.compute_uv else values

    def grids(self, operation: Svd, operands: Types) -> Sequence[tuple[int, int]]:
        few, many = sorted(operands[0].shape[-2:])
        if not operation.compute_uv:
            return (few, many), (1, few)
        return (few, many), (3, few), (few, few), (many if operation.full_matrices else few, many)

    def group(self, operation: Svd, operands: Types, grids: Sequence[LaneGrid], stacks: Sequence[LaneMatrices]) -> None:
        (a, *results), (rows, lines, *vectors) = stacks, grids
        build, (m, n) = rows.build, operands[0].shape[-2:]
        few, tall = min(m, n), m >= n
        rows.fill(a, m, n, turned=tall)
        bad = poison(rows, few)
        power = scale_to_one(rows, 0, few) if a.dtype == float64 else None
        for turns in vectors[:1]:
            turns.identity(few)
        orthogonalize(rows, vectors[0] if vectors else None, lines, few, a.dtype)
        last = build.variable(rows.number(float("inf")))
        with build.loop(0, few) as i:
            length = build.sqrt(rows.dot(i, i, 0))
            last.set(build.select(length < last.get(), length, last.get()))  # they descend up to rounding errors
            lines.store(bad + (last.get() * power if power else last.get()), _LENGTHS, i)
        lines.empty(results[bool(vectors)], 1, few)
        if vectors:
            turns, units = vectors
            count = max(m, n) if operation.full_matrices else few
            _unit_rows(rows, units, lines, few, count)
            right = turns if tall else units
            with build.loop(0, few) as i:
                sign = signs(right, i, n) + bad
                turns.scale(i, sign, 0)
                units.scale(i, sign, 0)
            with build.loop(few, count) as i:
                units.scale(i, units.number(1.0) + bad, 0)
            left, right = (units, turns) if tall else (turns, units)
            left.empty(results[0], m, count if tall else few, turned=True)
            right.empty(results[2], few if tall else count, n)


def orthogonalize(rows: LaneGrid, turns: LaneGrid | None, lines: LaneGrid, count: int, dtype: DType) -> None:
    """Rotate pairs of rows until all are orthogonal and their lengths descend; `turns` is rotated with them.

    Rows may stop where all angles of a pass, and all cosines before it, were so small that their squares are none.
    """
    build, one, zero = rows.build, rows.number(1.0), rows.number(0.0)
    exact, near = (2.0**-36, 2.0**-18) if dtype == float32 else (2.0**-51, 2.0**-27)
    passes, moved = build.variable(build.index(0)), build.variable(one)
    with build.while_() as again:
        again.proceed_if(build.and_(rows.any(moved.get() > 0.0), passes.get() < _MOST))
        passes.set(passes.get() + 1)
        on = moved.get() > 0.0  # the others are done, and do not depend on their neighbours
        moved.set(zero)
        with build.loop(0, count) as i:
            lines.store(rows.dot(i, i, 0), _LENGTHS, i)
        with build.loop(0, count) as i, build.loop(i + 1, count) as j:
            inner, upper, lower = rows.dot(i, j, 0), lines.load(_LENGTHS, i), lines.load(_LENGTHS, j)
            square, both = inner * inner, upper * lower
            active, exchange = build.and_(on, square > both * exact**2), build.and_(on, upper < lower)
            with build.if_(rows.any(build.or_(active, exchange))):
                more, less = build.select(exchange, lower, upper), build.select(exchange, upper, lower)
                half = build.div((more - less) * 0.5, build.select(active, inner, one))
                tangent = build.div(one, build.abs(half) + build.sqrt(build.fma(half, half, one)))
                tangent = build.select(active, build.neg(build.copysign(tangent, half)), zero)
                cosine = build.div(one, build.sqrt(build.fma(tangent, tangent, one)))
                sine = cosine * tangent
                lines.store(build.fma(build.neg(tangent), inner, more), _LENGTHS, i)
                lines.store(build.fma(tangent, inner, less), _LENGTHS, j)
                far = build.or_(square > both * near**2, build.abs(tangent) > near)
                far = build.or_(build.and_(active, far), build.and_(on, upper < lower * (1 - 2.0**-48)))
                moved.set(build.select(far, one, moved.get()))
                turn = [
                    (build.select(exchange, build.neg(sine), cosine), build.select(exchange, cosine, build.neg(sine))),
                    (build.select(exchange, cosine, sine), build.select(exchange, sine, cosine)),
                ]
                for grid in (rows, turns):
                    if grid is not None:
                        _turn(grid, (i, j), turn)


def _turn(grid: LaneGrid, pair: tuple[Value, Value], turn: Sequence[tuple[Value, Value]]) -> None:
    """Replace two rows by sums of multiples of them."""
    factors = [tuple(map(grid.wide, line)) for line in turn]
    with grid.along() as column:
        first, second = (grid.read(i, column) for i in pair)
        for i, (left, right) in zip(pair, factors, strict=True):
            grid.write(grid.build.fma(left, first, right * second), i, column)


def _unit_rows(rows: LaneGrid, units: LaneGrid, lines: LaneGrid, few: int, count: int) -> None:
    """Orthonormal rows, of which the first have the directions of orthogonal ones, zeros among them or not."""
    build = rows.build
    with build.loop(0, few) as i:
        multiple, factor = reflector(rows, i, i)
        lines.store(multiple, _MULTIPLES, i)
        lines.store(factor, _FACTORS, i)
        reflect(rows, (i + 1, few), rows, i, i, factor)
    multiply_out(units, count, rows, lines, few, 0, _FACTORS)
    with build.loop(0, few) as i:
        units.scale(i, build.copysign(rows.number(1.0), lines.load(_MULTIPLES, i)), 0)
