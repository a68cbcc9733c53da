"""LU factors, linear systems and determinants; see :mod:`fdl.ops.matrix` for conventions and sources."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from fdl import dtypes
from fdl.core.types import TensorType
from fdl.ops import lapack
from fdl.ops.arithmetic import abs_, add, mul, neg, sub
from fdl.ops.bitwise import and_
from fdl.ops.compare import eq, lt, ne
from fdl.ops.complex import real
from fdl.ops.convert import convert
from fdl.ops.indexing import Gather, GatherDimensionNumbers
from fdl.ops.lapack import DOUBLE_EXTENT
from fdl.ops.matrix import (
    MatrixPrimitive,
    along_columns,
    check_matrix,
    check_system,
    diagonal,
    draw_matrices,
    each,
    eye_like,
    lower_part,
    masked,
    matmul,
    not_finite,
    real_dtype,
    swap,
    triangular_solve,
    upper_part,
)
from fdl.ops.reduce import sum_
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full_like
from fdl.ops.sort import Sort
from fdl.ops.transcendental import log


class Lu(MatrixPrimitive):
    """LU factorization with partial pivoting: (l and u in one matrix, pivots, permutation), int32 the last two."""

    multiple = True

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        (a,) = types
        check_matrix("lu", a)
        *batch, m, n = a.shape
        return a, TensorType((*batch, min(m, n)), dtypes.int32), TensorType((*batch, m), dtypes.int32)

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, ...]:
        return each(_lu_one, a)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a,), (da,) = primals, tangents
        factors, pivots, permutation = self(a)
        *_, m, n = a.type.shape
        moved = matmul(_permutation_matrix(permutation, a.type.dtype), da)
        left = add(matmul(lower_part(factors, 1), eye_like(a, n, m)), eye_like(a, m, m))
        right = matmul(eye_like(a, n, m), upper_part(factors))
        right = add(right, masked(eye_like(a, n, n), np.arange(n)[:, None] >= np.full(n, m)))
        inner = triangular_solve(left, moved, left_side=True, lower=True, unit_diagonal=True)
        inner = triangular_solve(right, inner)
        tangent = add(matmul(left, lower_part(inner, 1)), matmul(upper_part(inner), right))
        return (factors, pivots, permutation), (tangent, None, None)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            yield Lu(), a
        yield Lu(), rng.normal(size=(4, 2))
        yield Lu(), rng.normal(size=(2, 4))
        for shape in ((0, 0), (2, 0, 0), (3, 0), (0, 3), (0, 3, 3)):
            yield Lu(), np.zeros(shape)


class Solve(MatrixPrimitive):
    """x in a x = b (the transpose of a, if ``transpose_a``) by LU factorization.

    For a singular matrix it is what substitution gives with a zero on the diagonal: infinities and NaN.
    """

    linear = ((1,),)
    transpose_a: bool = False

    def result(self, *types: TensorType) -> TensorType:
        a, b = types
        check_matrix("solve", a, square=True)
        check_system("solve", a, b, -2)
        return b

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        try:
            found = each(lapack.solve, a, b) if lapack.is_single(a) else np.linalg.solve(a, b)
        except np.linalg.LinAlgError:
            found = each(lapack.solve, a, b)
        if np.isfinite(a).all():
            return found
        return np.where(not_finite(a), np.nan, found).astype(found.dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a, b), (da, db) = primals, tangents
        solve = _Factored(a, self.transpose_a) if _is_large(a.type) else partial(self, a)
        out = solve(b)
        if da is None:
            return out, solve(db)
        change = matmul(swap(da) if self.transpose_a else da, out)
        return out, solve(neg(change) if db is None else sub(db, change))

    def transpose(self, cotangent: Any, a: Any, b: Any) -> Sequence[Any]:
        return None, Solve(not self.transpose_a)(a, cotangent)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            for transpose_a in (False, True):
                yield Solve(transpose_a), a, rng.normal(size=(2, 3, 2)).astype(a.dtype)


class SlogDet(MatrixPrimitive):
    """Sign (for complex matrices: a number of modulus one) and logarithm of the modulus of the determinant."""

    multiple = True

    def result(self, *types: TensorType) -> tuple[TensorType, TensorType]:
        (a,) = types
        check_matrix("slogdet", a, square=True)
        return a.with_shape(a.shape[:-2]), TensorType(a.shape[:-2], real_dtype(a.dtype))

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sign, size = each(lapack.slogdet, a) if lapack.is_single(a) else np.linalg.slogdet(a)
        size = np.where(not_finite(a)[..., 0, 0], np.nan, size).astype(real_dtype(a.dtype))
        sign = np.where(np.isnan(size), np.nan, sign).astype(a.dtype)  # that of no number is none
        return sign, size

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a,), (da,) = primals, tangents
        if _is_large(a.type):
            factored = _Factored(a)
            n = a.type.shape[-1]
            slopes = mul(swap(factored(eye_like(a, n, n))), da)
            return factored.slogdet(), (None, sum_(slopes, (slopes.type.ndim - 2, slopes.type.ndim - 1)))
        sign, logabsdet = self(a)
        derivative = diagonal(Solve()(a, da))
        derivative = sum_(derivative, (derivative.type.ndim - 1,))
        if a.type.dtype.kind != "c":
            return (sign, logabsdet), (None, derivative)
        turn = sub(derivative, convert(real(derivative), derivative.type.dtype))
        return (sign, logabsdet), (mul(sign, turn), real(derivative))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            yield SlogDet(), a


class _Factored:
    """LU factors of a large real matrix: derivatives solve more than one system with them.

    Small matrices are factored in double precision, whatever their dtype, and as fast as they are read; complex
    triangular systems are slow.

    Args:
        a: the matrices.
        transposed: whether systems have the transposed matrix.
    """

    def __init__(self, a: Any, transposed: bool = False) -> None:
        self._transposed = transposed
        self._factors, self._pivots, self._permutation = lu(a)

    def __call__(self, b: Any) -> Any:
        """The solution for right-hand sides."""
        solve = partial(triangular_solve, self._factors, left_side=True, transpose_a=self._transposed)
        if self._transposed:
            x = solve(solve(b), lower=True, unit_diagonal=True)
            axis = self._permutation.type.ndim - 1
            places = broadcast_in_dim(
                np.arange(b.type.shape[-2], dtype=np.int32), self._permutation.type.shape, (axis,)
            )
            return _rows(x, Sort(axis, 1)(self._permutation, places)[1])
        return solve(solve(_rows(b, self._permutation), lower=True, unit_diagonal=True))

    def slogdet(self) -> tuple[Any, Any]:
        """Sign and logarithm of the modulus of the determinant, summed in double precision."""
        pivots = diagonal(self._factors)
        axis = pivots.type.ndim - 1
        kept = broadcast_in_dim(np.arange(pivots.type.shape[-1], dtype=np.int32), pivots.type.shape, (axis,))
        odd = [lt(pivots, full_like(pivots, 0)), ne(self._pivots, kept)]
        turns = sum_(add(*(convert(x, dtypes.int32) for x in odd)), (axis,))
        size = convert(sum_(log(abs_(convert(pivots, dtypes.float64))), (axis,)), pivots.type.dtype)
        one = full_like(size, 1)
        sign = select(eq(and_(turns, full_like(turns, 1)), full_like(turns, 0)), one, neg(one))
        sign = select(eq(size, full_like(size, -np.inf)), full_like(size, 0), sign)
        return select(ne(size, size), size, sign), size


def _is_large(a: TensorType) -> bool:
    """Whether derivatives use LU factors again."""
    return a.dtype.kind == "f" and max(a.shape[-2:]) > DOUBLE_EXTENT


def _rows(x: Any, order: Any) -> Any:
    """Rows of matrices in another order, of each matrix its own."""
    axis = x.type.ndim - 2
    batch = tuple(range(axis))
    numbers = GatherDimensionNumbers((axis + 1,), (axis,), (axis,), batch, batch)
    vectors = broadcast_in_dim(order, (*order.type.shape, 1), tuple(range(axis + 1)))
    return Gather(numbers, (1,) * (axis + 1) + x.type.shape[-1:], "promise_in_bounds", None, True)(x, vectors)


def _lu_one(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not a.size:
        return a, np.zeros(0, np.int32), np.arange(a.shape[0], dtype=np.int32)
    permutation = np.arange(a.shape[0], dtype=np.int32)
    factors, pivots, _ = lapack.lu(a)
    if not_finite(a).any():
        return np.full_like(a, np.nan), permutation[: min(a.shape)], permutation
    for i, p in enumerate(pivots):
        permutation[[i, p]] = permutation[[p, i]]
    return factors, pivots.astype(np.int32), permutation


def _permutation_matrix(permutation: Any, dtype: np.dtype) -> Any:
    m = permutation.type.shape[-1]
    rows = along_columns(permutation, m)
    columns = broadcast_in_dim(np.arange(m, dtype=np.int32), rows.type.shape, (rows.type.ndim - 1,))
    return convert(eq(rows, columns), dtype)


lu, solve, slogdet = Lu(), Solve(), SlogDet()
