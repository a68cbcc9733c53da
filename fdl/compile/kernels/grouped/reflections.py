"""Householder reflections of rows, and the QR factorization by them."""

from collections.abc import Sequence

from fdl.compile.kernels.grouped.grid import LaneGrid, LaneMatrices, poison, scale_to_one
from fdl.compile.kernels.grouped.lowering import GroupedLowering
from fdl.compile.kernels.lapack.decompositions import LapackQr
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.values import Value
from fdl.compile.lowerings.lowering import Types
from fdl.dtypes import float64
from fdl.ops.linalg import Qr


def reflector(grid: LaneGrid, k: IndexLike, at: IndexLike) -> tuple[Value, Value]:
    """Replace row k from column `at` on by the vector v of a reflection 1 - t v v^T that makes it a multiple of the
    unit vector; the first element of v is one.

    Returns:
        The multiple and t, with LAPACK's signs: the multiple has the sign that the first element had not; a row that is
        such a multiple already stays what it is, and t is zero. So does one whose squares underflow, where the rest,
        which will not be looked at again, is beyond the rounding errors of a matrix whose elements are near one.
    """
    build = grid.build
    first = grid.load(k, at)
    rest = grid.dot(k, k, build.index(at) + 1)
    square = build.fma(first, first, rest)
    length = build.sqrt(square)
    idle = build.or_(build.eq(rest, 0.0), square < 1e-280)
    one = grid.number(1.0)
    multiple = build.select(idle, first, build.neg(build.copysign(length, first)))
    gap = build.select(idle, one, first - multiple)
    factor = build.select(idle, grid.number(0.0), build.neg(build.div(gap, build.select(idle, one, multiple))))
    grid.scale(k, build.div(one, gap), build.index(at) + 1)
    grid.store(one, k, at)
    return multiple, factor


def reflect(
    grid: LaneGrid, rows: tuple[IndexLike, IndexLike], vectors: LaneGrid, k: IndexLike, at: IndexLike, factor: Value
) -> None:
    """Multiply a range of rows from the right by the reflection whose vector is row k of a grid from a column on."""
    build = grid.build
    factor = build.neg(factor)
    with build.loop(*rows) as i:
        grid.add(i, grid.dot(i, k, at, vectors) * factor, k, at, vectors)


def multiply_out(
    q: LaneGrid, rows: int, vectors: LaneGrid, factors: LaneGrid, count: int, at: int = 0, line: int = 0
) -> None:
    """Make the rows of `q` the first columns of the product of reflections.

    Args:
        q: where the product goes.
        rows: of `q`.
        vectors: each in a row, from `at` columns behind the diagonal on.
        factors: has the factors in one of its rows.
        count: how many reflections there are.
        at: where the vectors begin.
        line: the row of the factors.
    """
    build = q.build
    q.identity(rows)
    with build.loop(0, count) as step:
        k = build.index(count - 1) - step
        reflect(q, (k + at, rows), vectors, k, k + at, factors.load(line, k))


class QrLowering(GroupedLowering[Qr]):
    """Reflections of the columns, which are rows in scratch memory."""

    operations = (Qr,)
    large = LapackQr()

    def grids(self, operation: Qr, operands: Types) -> Sequence[tuple[int, int]]:
        m, n = operands[0].shape[-2:]
        k = min(m, n)
        return (n, m), (m if operation.full_matrices else k, m), (2, k), (1, n)

    def group(self, operation: Qr, operands: Types, grids: Sequence[LaneGrid], stacks: Sequence[LaneMatrices]) -> None:
        (a, *q, r), (columns, turned, kept, sizes) = stacks, grids
        build, (m, n) = columns.build, operands[0].shape[-2:]
        k, count = min(m, n), (m if operation.full_matrices else min(m, n))
        columns.fill(a, m, n, turned=True)
        bad = poison(columns, n)
        scaled = a.dtype == float64
        if scaled:
            with build.loop(0, n) as j:
                sizes.store(scale_to_one(columns, j, j + 1), 0, j)
        with build.loop(0, k) as i:
            multiple, factor = reflector(columns, i, i)
            kept.store(factor, 0, i)
            kept.store(multiple, 1, i)
            reflect(columns, (i + 1, n), columns, i, i, factor)
        if q:
            multiply_out(turned, count, columns, kept, k)
            nan = columns.wide(bad)
            with build.loop(0, count) as i, turned.along() as j:
                turned.write(turned.read(i, j) + nan, i, j)
        with build.loop(0, n) as j:
            with build.if_(j < k):
                columns.store(kept.load(1, j), j, j)
            with build.loop(j + 1, count) as i:
                columns.store(columns.number(0.0), j, i)
            size = sizes.load(0, j) if scaled else columns.number(1.0)
            with build.loop(0, build.min(j + 1, build.index(k))) as i:
                columns.store(build.fma(columns.load(j, i), size, bad), j, i)
        for each in q:
            turned.empty(each, m, count, turned=True)
        columns.empty(r, count, n, turned=True)
