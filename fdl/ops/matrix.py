"""Linear systems and determinants of stacks of matrices: the last two axes are the matrix, the others a batch.

Derivatives: Giles, "An extended collection of matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fdl import dtypes
from fdl.core.primitive import Primitive
from fdl.core.trace import lift
from fdl.core.types import TensorType
from fdl.errors import DtypeError, ShapeError
from fdl.ops import lapack
from fdl.ops.arithmetic import add, neg, sub
from fdl.ops.complex import conj, real
from fdl.ops.contract import dot_general
from fdl.ops.convert import convert
from fdl.ops.reduce import sum_
from fdl.ops.select import select
from fdl.ops.shape import all_batched, broadcast_in_dim, full_like, transpose

DOMAIN = (dtypes.float32, dtypes.float64, *dtypes.COMPLEX)

#: Rows and columns of the largest real matrices whose singular and eigenvectors have signs of our choice.
SIGNED_EXTENT = 64

#: Elements of unit vectors that are not small: one of so many elements has such a one, and seldom one just so large.
SIGNIFICANT = 0.12


class MatrixPrimitive(Primitive, abstract=True):
    """Works on the last two axes; leading axes are a batch, so batching only adds one more."""

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        outs = self(*all_batched(size, args, batched))
        return (outs, (True,) * len(outs)) if self.multiple else outs

    def weak_results(self, weak: Sequence[bool]) -> Sequence[bool]:
        return (all(weak),)


def check_matrix(name: str, x: TensorType, square: bool = False) -> None:
    """Raise unless `x` is a stack of (square) matrices of a dtype that LAPACK takes."""
    if x.dtype not in DOMAIN:
        raise DtypeError(f"{name} takes float32, float64, complex64 or complex128, got {x}; convert it first")
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ShapeError(f"{name} needs {'square ' * square}matrices [..., {'n, n' if square else 'm, n'}], got {x}")


def matmul(x: Any, y: Any) -> Any:
    """Product of stacks of matrices with the same leading axes."""
    batch = tuple(range(x.type.ndim - 2))
    return dot_general(x, y, (((x.type.ndim - 1,), (y.type.ndim - 2,)), (batch, batch)))


def swap(x: Any) -> Any:
    """The matrices transposed."""
    ndim = x.type.ndim
    return transpose(x, (*range(ndim - 2), ndim - 1, ndim - 2))


def adjoint(x: Any) -> Any:
    """The matrices conjugated and transposed."""
    return conj(swap(x)) if x.type.dtype.kind == "c" else swap(x)


def masked(x: Any, mask: np.ndarray) -> Any:
    """The entries where the matrix `mask` is true, zero elsewhere."""
    shape = x.type.shape
    return select(broadcast_in_dim(mask, shape, (len(shape) - 2, len(shape) - 1)), x, full_like(x, 0))


def lower_part(x: Any, below: int = 0) -> Any:
    """The lower triangle, from `below` diagonals below the main one."""
    return masked(x, np.tri(x.type.shape[-2], x.type.shape[-1], -below, dtype=bool))


def upper_part(x: Any) -> Any:
    """The upper triangle with the diagonal."""
    return masked(x, ~np.tri(x.type.shape[-2], x.type.shape[-1], -1, dtype=bool))


def diagonal(x: Any) -> Any:
    """The diagonals of the matrices."""
    m, n = x.type.shape[-2:]
    return sum_(masked(x, np.eye(m, n, dtype=bool)), (x.type.ndim - (2 if n <= m else 1),))


def hermitian(x: Any) -> Any:
    """The Hermitian matrices that have the lower triangle of x."""
    strict = lower_part(x, 1)
    main = masked(x, np.eye(x.type.shape[-1], dtype=bool))
    main = convert(real(main), x.type.dtype) if x.type.dtype.kind == "c" else main
    return add(main, add(strict, adjoint(strict)))


def along_rows(v: Any, rows: int) -> Any:
    """Vectors [..., n] as matrices [..., rows, n] whose rows are all the vector."""
    *batch, n = v.type.shape
    return broadcast_in_dim(v, (*batch, rows, n), (*range(len(batch)), len(batch) + 1))


def along_columns(v: Any, columns: int) -> Any:
    """Vectors [..., n] as matrices [..., n, columns] whose columns are all the vector."""
    *batch, n = v.type.shape
    return broadcast_in_dim(v, (*batch, n, columns), tuple(range(len(batch) + 1)))


def eye_like(like: Any, rows: int, columns: int) -> Any:
    """Matrices with ones on the diagonal, with the batch axes and dtype of `like`."""
    batch = like.type.shape[:-2]
    eye = lift(np.eye(rows, columns, dtype=like.type.dtype))
    return broadcast_in_dim(eye, (*batch, rows, columns), (len(batch), len(batch) + 1))


def each(function: Callable[..., Any], *stacks: np.ndarray) -> Any:
    """`function` of every matrix of the stacks, stacked again (each result, if it returns a tuple)."""
    batch = stacks[0].shape[:-2]
    flat = [s.reshape(math.prod(batch), *s.shape[-2:]) for s in stacks]
    found = [function(*matrices) for matrices in zip(*flat, strict=True)]
    if not found:
        sample = function(*(np.ones(s.shape[-2:], s.dtype) for s in stacks))
        pick = lambda part: np.zeros((*batch, *np.shape(part)), part.dtype)  # noqa: E731
        return tuple(map(pick, sample)) if isinstance(sample, tuple) else pick(sample)
    if isinstance(found[0], tuple):
        return tuple(np.stack(part).reshape(*batch, *part[0].shape) for part in zip(*found, strict=True))
    return np.stack(found).reshape(*batch, *found[0].shape)


def each_or_nan(function: Callable[[np.ndarray], Any], stack: np.ndarray) -> Any:
    """`function` of a stack of matrices; NaN for those on which it gives up, instead of an error for all of them."""

    def one(a: np.ndarray) -> Any:
        try:
            return function(a)
        except np.linalg.LinAlgError:
            found = function(np.eye(*a.shape, dtype=a.dtype))
            if isinstance(found, tuple):
                return tuple(np.full_like(part, np.nan) for part in found)
            return np.full_like(found, np.nan)

    try:
        return function(stack)
    except np.linalg.LinAlgError:
        return each(one, stack)


def by_precision(stack: np.ndarray, single: Callable[[np.ndarray], Any], double: Callable[[np.ndarray], Any]) -> Any:
    """`double` of a stack of matrices, or `single` of each if they are large ones of single precision.

    NaN for those on which it gives up, and for those that hold NaN or infinities.
    """
    bad = not_finite(stack)
    given = np.where(bad, 0, stack).astype(stack.dtype) if bad.any() else stack
    found = each_or_nan((lambda a: each(single, a)) if lapack.is_single(stack) else double, given)
    if not bad.any():
        return found
    parts = found if isinstance(found, tuple) else (found,)
    parts = tuple(np.where(bad if p.ndim == stack.ndim else bad[..., 0], np.nan, p).astype(p.dtype) for p in parts)
    return parts if isinstance(found, tuple) else parts[0]


def not_finite(stack: np.ndarray) -> np.ndarray:
    """Which matrices hold NaN or infinities: LAPACK's results for them depend on the library, so fdl's are NaN."""
    return ~np.isfinite(stack).all(axis=(-2, -1), keepdims=True)


def has_signs(vectors: np.ndarray) -> bool:
    """Whether the signs of vectors are chosen here, so that kernels for small real matrices agree with NumPy."""
    return vectors.dtype.kind == "f" and 0 < max(vectors.shape[-2:]) <= SIGNED_EXTENT


def signs_of(vectors: np.ndarray, axis: int) -> np.ndarray:
    """1 or -1 for each unit vector along an axis: the sign of its first element that is not small."""
    first = np.argmax(np.abs(vectors) >= SIGNIFICANT, axis=axis, keepdims=True)
    return np.where(np.take_along_axis(vectors, first, axis) < 0, -1, 1).astype(vectors.dtype)


def draw_matrices(rng: np.random.Generator, *shape: int) -> Iterator[np.ndarray]:
    """Well conditioned square matrices, real and complex, for the laws."""
    eye = 3 * np.eye(shape[-1])
    yield rng.normal(size=shape) + eye
    yield rng.normal(size=shape) + 1j * rng.normal(size=shape) + eye


class TriangularSolve(MatrixPrimitive):
    """x in op(a) x = b (or x op(a) = b if not ``left_side``), where only one triangle of a is read.

    op(a) is a, its transpose (``transpose_a``) or, with ``conjugate_a`` too, its adjoint. A zero on the diagonal gives
    infinities, not an error.
    """

    linear = ((1,),)
    left_side: bool = True
    is_lower: bool = True
    transpose_a: bool = False
    conjugate_a: bool = False
    unit_diagonal: bool = False

    def result(self, *types: TensorType) -> TensorType:
        a, b = types
        check_matrix("triangular_solve", a, square=True)
        check_system("triangular_solve", a, b, -2 if self.left_side else -1)
        return b

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        from scipy.linalg.blas import get_blas_funcs

        if not b.size:
            return b
        a = a.conj() if self.conjugate_a and not self.transpose_a else a
        trans = (2 if self.conjugate_a else 1) if self.transpose_a else 0
        trsm = get_blas_funcs("trsm", (a, b))
        side, lower, unit = not self.left_side, self.is_lower, self.unit_diagonal

        def one(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            found = trsm(1.0, a, b, side=side, lower=lower, trans_a=trans, diag=unit)
            if np.isfinite(found).all():
                return found
            turned, forward = a.T.conj() if trans == 2 else a.T if trans else a, lower != bool(trans)
            if side:
                return _substituted(turned.T, b.T, not forward, unit).T
            return _substituted(turned, b, forward, unit)

        return each(one, a, b).astype(b.dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a, b), (da, db) = primals, tangents
        out = self(a, b)
        if da is None:
            return out, self(a, db)
        da = (
            lower_part(da, int(self.unit_diagonal))
            if self.is_lower
            else swap(lower_part(swap(da), int(self.unit_diagonal)))
        )
        da = swap(da) if self.transpose_a else da
        da = conj(da) if self.conjugate_a and da.type.dtype.kind == "c" else da
        change = matmul(da, out) if self.left_side else matmul(out, da)
        return out, self(a, neg(change) if db is None else sub(db, change))

    def transpose(self, cotangent: Any, a: Any, b: Any) -> Sequence[Any]:
        a = conj(a) if self.conjugate_a and a.type.dtype.kind == "c" else a
        turned = TriangularSolve(self.left_side, self.is_lower, not self.transpose_a, False, self.unit_diagonal)
        return None, turned(a, cotangent)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            b = rng.normal(size=(2, 3, 3)).astype(a.dtype)
            for flags in ((True, True), (False, False), (True, False, True), (False, True, True, True)):
                yield TriangularSolve(*flags), a, b
            yield TriangularSolve(True, True, False, True, True), a, b


def check_system(name: str, a: TensorType, b: TensorType, axis: int) -> None:
    """Raise unless `b` can be the right-hand side of a system with the matrices `a`."""
    if b.ndim != a.ndim or b.shape[:-2] != a.shape[:-2] or b.shape[axis] != a.shape[-1]:
        raise ShapeError(f"{name}: matrices {a} and right-hand sides {b} do not fit")
    if b.dtype != a.dtype:
        raise DtypeError(f"{name} needs operands of one dtype, got {a} and {b}")


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the real part."""
    return np.empty(0, dtype).real.dtype


def _substituted(a: np.ndarray, b: np.ndarray, forward: bool, unit: bool) -> np.ndarray:
    """x in a x = b, row by row: BLAS works in blocks, which spread NaN to rows that do not depend on it."""
    x, count = np.array(b, np.result_type(a, b)), len(a)
    with np.errstate(all="ignore"):
        for i in range(count) if forward else reversed(range(count)):
            known = slice(0, i) if forward else slice(i + 1, count)
            x[i] -= (a[i, known, None] * x[known]).sum(axis=0)
            if not unit:
                x[i] /= a[i, i]
    return x


def triangular_solve(
    a: Any,
    b: Any,
    *,
    left_side: bool = False,
    lower: bool = False,
    transpose_a: bool = False,
    conjugate_a: bool = False,
    unit_diagonal: bool = False,
) -> Any:
    """Solve with triangular matrices [..., n, n] and right-hand sides [..., n, k] (or [..., k, n])."""
    return TriangularSolve(left_side, lower, transpose_a, conjugate_a, unit_diagonal)(a, b)
