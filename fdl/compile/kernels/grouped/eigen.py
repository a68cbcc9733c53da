"""Eigenvalues of small symmetric matrices: reflections to tridiagonal form, and QL iterations.

After Wilkinson and Reinsch, "Handbook for Automatic Computation: Linear Algebra" (1971), contributions II/2 and II/3.
Each iteration rotates all rows that are left, wherever elements beside the diagonal vanish, so that matrices of a
group stay in step; those that have converged wait.
"""

from collections.abc import Sequence

from fdl.compile.kernels.grouped.grid import LaneGrid, LaneMatrices, poison, scale_to_one
from fdl.compile.kernels.grouped.lowering import GroupedLowering
from fdl.compile.kernels.grouped.reflections import multiply_out, reflector
from fdl.compile.kernels.lapack.decompositions import LapackEigh
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.values import Value
from fdl.compile.lowerings.lowering import Types
from fdl.core.types import DType
from fdl.dtypes import float32, float64, int64
from fdl.ops.linalg import Eigh
from fdl.ops.matrix import SIGNIFICANT

#: Iterations for an eigenvalue at most; two are usual.
_MOST = 40

#: Vectors of a row of a single matrix that are rotated together.
_TOGETHER = 4

#: Rows of the grid of vectors: the diagonal, what is beside it, factors of reflections, a vector, and rotations.
_DIAGONAL, _BESIDE, _FACTORS, _PRODUCT, _COSINES, _SINES = range(6)


class EighLowering(GroupedLowering[Eigh]):
    """Eigenvalues in ascending order, eigenvectors with the sign of `fdl.ops.matrix.signs_of`."""

    operations = (Eigh,)
    large = LapackEigh()

    def grids(self, operation: Eigh, operands: Types) -> Sequence[tuple[int, int]]:
        n = operands[0].shape[-1]
        return (n, n), (6, n), *([(n, n)] * operation.vectors)

    def group(
        self, operation: Eigh, operands: Types, grids: Sequence[LaneGrid], stacks: Sequence[LaneMatrices]
    ) -> None:
        (a, values, *vectors), (matrix, lines, *bases) = stacks, grids
        build, n = matrix.build, operands[0].shape[-1]
        matrix.fill(a, n, n)
        with build.loop(0, n) as i, build.loop(0, i) as j:
            matrix.store(matrix.load(i, j), j, i)
        bad = poison(matrix, n)
        power = scale_to_one(matrix, 0, n) if a.dtype == float64 else None
        tridiagonalize(matrix, lines, n)
        for basis in bases:
            multiply_out(basis, n, matrix, lines, n - 2, 1, _FACTORS)
        iterate(lines, bases[0] if bases else None, n, a.dtype)
        with build.loop(0, n) as i:
            value = lines.load(_DIAGONAL, i)
            lines.store(bad + (value * power if power else value), _DIAGONAL, i)
        _write(lines, bases, bad, n, values, vectors)


def tridiagonalize(matrix: LaneGrid, lines: LaneGrid, n: int) -> None:
    """Reduce a symmetric matrix; the vectors of the reflections replace its rows, from right of the diagonal on."""
    build = matrix.build
    with build.loop(0, n - 2) as k:
        after = k + 1
        beside, factor = reflector(matrix, k, after)
        lines.store(beside, _BESIDE, k)
        lines.store(factor, _FACTORS, k)
        # The matrix becomes a - v w^T - w v^T, where w = p - v (p^T v) t / 2 and p = t a v.
        with build.loop(after, n) as i:
            lines.store(matrix.dot(i, k, after) * factor, _PRODUCT, i)
        half = lines.dot(_PRODUCT, k, after, matrix) * factor * -0.5
        lines.add(_PRODUCT, half, k, after, matrix)
        with build.loop(after, n) as i:
            left, right = (matrix.wide(build.neg(x)) for x in (matrix.load(k, i), lines.load(_PRODUCT, i)))
            with matrix.along(after) as j:
                new = build.fma(left, lines.read(_PRODUCT, j), matrix.read(i, j))
                matrix.write(build.fma(right, matrix.read(k, j), new), i, j)
    if n > 1:
        lines.store(matrix.load(n - 2, n - 1), _BESIDE, n - 2)
    lines.store(lines.number(0.0), _BESIDE, n - 1)
    with build.loop(0, n) as i:
        lines.store(matrix.load(i, i), _DIAGONAL, i)


def iterate(lines: LaneGrid, basis: LaneGrid | None, n: int, dtype: DType) -> None:
    """Find the eigenvalues of a tridiagonal matrix, and rotate the rows of a basis to the eigenvectors."""
    build, zero = lines.build, lines.number(0.0)
    size = build.variable(zero)
    with build.loop(0, n) as i:
        sum_ = build.abs(lines.load(_DIAGONAL, i)) + build.abs(lines.load(_BESIDE, i))
        size.set(build.select(sum_ > size.get(), sum_, size.get()))
    tolerance = size.get() * (2.0**-40 if dtype == float32 else 2.0**-52)
    with build.loop(0, n - 1) as first:
        count = build.variable(build.index(0))
        with build.while_() as again:
            beside = lines.load(_BESIDE, first)
            large = build.abs(beside) > tolerance
            beside = build.select(large, beside, zero)
            lines.store(beside, _BESIDE, first)
            again.proceed_if(build.and_(lines.any(large), count.get() < _MOST))
            count.set(count.get() + 1)
            _sweep(build, lines, first, n, _shift(build, lines, first, beside), large)
            if basis is not None:
                _rotate(build, lines, basis, first, n)


def _shift(build: Build, lines: LaneGrid, first: Value, beside: Value) -> Value:
    """The eigenvalue of the first two rows that is nearer to the first element."""
    one = lines.number(1.0)
    here, half = lines.load(_DIAGONAL, first), (lines.load(_DIAGONAL, first + 1) - lines.load(_DIAGONAL, first)) * 0.5
    square = beside * beside
    root = build.copysign(build.sqrt(build.fma(half, half, square)), half)
    divisor = half + root
    none = build.eq(divisor, 0.0)
    return build.select(none, here, here - build.div(square, build.select(none, one, divisor)))


def _sweep(build: Build, lines: LaneGrid, first: Value, n: int, shift: Value, on: Value) -> None:
    """One iteration with an explicit shift on the rows from `first` on, whose rotations are kept.

    Matrices for which it is not `on` stay what they are, so that none depends on its neighbours.
    """
    one, zero = lines.number(1.0), lines.number(0.0)
    cosine, sine = build.variable(one), build.variable(zero)

    def store(value: Value, line: int, i: IndexLike, otherwise: Value | None = None) -> None:
        if lines.lanes > 1:
            value = build.select(on, value, lines.load(line, i) if otherwise is None else otherwise)
        lines.store(value, line, i)

    rest = build.variable(lines.load(_DIAGONAL, n - 1) - shift)
    with build.loop(first, n - 1) as step:
        i = build.index(n - 2) - (step - first)
        p, c, e = rest.get(), cosine.get(), lines.load(_BESIDE, i)
        here = lines.load(_DIAGONAL, i) - shift
        square = build.fma(p, p, e * e)
        none = square < 1e-290
        inverse = build.div(one, build.sqrt(build.select(none, one, square)))
        new_cosine = build.select(none, one, p * inverse)
        new_sine = build.select(none, zero, e * inverse)
        store(sine.get() * (square * inverse), _BESIDE, i + 1)
        g, h = c * e, c * p
        rest.set(build.fma(new_cosine, here, build.neg(new_sine * g)))
        store(shift + build.fma(new_sine, build.fma(new_cosine, g, new_sine * here), h), _DIAGONAL, i + 1)
        store(new_cosine, _COSINES, i, one)
        store(new_sine, _SINES, i, zero)
        cosine.set(new_cosine)
        sine.set(new_sine)
    store(sine.get() * rest.get(), _BESIDE, first)
    store(build.fma(cosine.get(), rest.get(), shift), _DIAGONAL, first)


def _rotate(build: Build, lines: LaneGrid, basis: LaneGrid, first: Value, n: int) -> None:
    """Apply the rotations to the rows of the basis, each of which is read and written once."""
    step = 1 if basis.lanes > 1 else basis.vector
    side = 1 if basis.lanes > 1 else _TOGETHER
    whole = basis.width // (side * step) * side * step
    with build.loop(0, whole, side * step) as j:
        _rotate_columns(build, lines, basis, first, n, [j + k * step for k in range(side)])
    rest = range(whole, basis.width, step)
    if rest:
        _rotate_columns(build, lines, basis, first, n, [build.index(j) for j in rest])


def _rotate_columns(
    build: Build, lines: LaneGrid, basis: LaneGrid, first: Value, n: int, columns: Sequence[Value]
) -> None:
    """Apply the rotations to vectors of the rows, which wait for each other less than one does for itself."""
    carried = [build.variable(basis.read(n - 1, j)) for j in columns]
    with build.loop(first, n - 1) as step:
        i = build.index(n - 2) - (step - first)
        cosine, sine = basis.wide(lines.load(_COSINES, i)), basis.wide(lines.load(_SINES, i))
        for j, variable in zip(columns, carried, strict=True):
            row, last = basis.read(i, j), variable.get()
            basis.write(build.fma(cosine, last, sine * row), i + 1, j)
            variable.set(build.fma(build.neg(sine), last, cosine * row))
    for j, variable in zip(columns, carried, strict=True):
        basis.write(variable.get(), first, j)


def signs(basis: LaneGrid, i: IndexLike, n: int) -> Value:
    """For each matrix a number with the sign of the first element of row i that is not small."""
    build = basis.build
    found = build.variable(basis.number(1.0))
    with build.loop(0, n) as step:
        element = basis.load(i, build.index(n - 1) - step)
        found.set(build.select(build.abs(element) >= SIGNIFICANT, element, found.get()))
    return build.copysign(basis.number(1.0), found.get())


def _write(
    lines: LaneGrid,
    bases: Sequence[LaneGrid],
    bad: Value,
    n: int,
    values: LaneMatrices,
    vectors: Sequence[LaneMatrices],
) -> None:
    """Write eigenvalues, and eigenvectors as columns, in ascending order."""
    build, lanes = lines.build, lines.lanes
    with build.loop(0, n) as i:
        value = lines.load(_DIAGONAL, i)
        rank = build.variable(build.constant(0, int64, lanes))
        with build.loop(0, n) as j:
            other = lines.load(_DIAGONAL, j)
            before = build.or_(other < value, build.and_(build.eq(other, value), build.broadcast(j < i, lanes)))
            rank.set(rank.get() + build.convert(before, int64))
        ranks = build.select(build.eq(bad, 0.0), rank.get(), build.broadcast(i, lanes))
        places = [build.lane(ranks, lane) for lane in range(lanes)]
        for lane, place in enumerate(places):
            values.store(lane, values.place(0, place), build.lane(value, lane))
        for basis, result in zip(bases, vectors, strict=True):
            sign = signs(basis, i, n) + bad
            with build.loop(0, n) as j:
                element = basis.load(i, j) * sign
                for lane, place in enumerate(places):
                    result.store(lane, result.place(j, place), build.lane(element, lane))
