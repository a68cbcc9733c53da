"""fdl.numpy.linalg: matrix factorizations, systems of equations, norms; matrices lie along the last two axes."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fdl.composite import composite
from fdl.dtypes import default_dtype
from fdl.errors import ShapeError
from fdl.numpy import _singular, linear
from fdl.numpy._norms import matrix_norm, norm, vector_norm
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    DTypeLike,
    axis_index,
    broadcast_shapes,
    cast,
    integer,
    matrices,
    number,
    promote,
)
from fdl.numpy.arithmetic import absolute, conj, sign
from fdl.numpy.creation import eye
from fdl.numpy.diagonals import diagonal as _diagonal
from fdl.numpy.einstein import einsum
from fdl.numpy.linear import matmul, outer, vecdot
from fdl.numpy.reductions import any as any_
from fdl.numpy.reductions import sum as total
from fdl.numpy.scalar_types import finfo
from fdl.numpy.selection import take_along_axis, where
from fdl.numpy.shapes import broadcast_to, matrix_transpose, moveaxis, reshape
from fdl.numpy.sorting import argsort
from fdl.ops import linalg as ops
from fdl.ops import systems
from fdl.ops.householder import HouseholderQr


class SVDResult(NamedTuple):
    """Singular value decomposition: u, s and the adjoint of v."""

    U: Any
    S: Any
    Vh: Any


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors of Hermitian matrices."""

    eigenvalues: Any
    eigenvectors: Any


class EigResult(NamedTuple):
    """Eigenvalues and right eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """Orthogonal and upper triangular factor."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the modulus of determinants."""

    sign: Any
    logabsdet: Any


def _adjoint(x: Array) -> Array:
    return conj(matrix_transpose(x))


def _hermitian(x: Array) -> Array:
    return (x + _adjoint(x)) / 2


def cholesky(a: ArrayLike, *, upper: bool = False, symmetrize_input: bool = True) -> Array:
    """The Cholesky factor l of positive definite matrices a = l l^H.

    Args:
        a: Hermitian matrices (..., n, n).
        upper: whether to return l^H instead.
        symmetrize_input: whether to replace a by its Hermitian part first.

    Returns:
        Lower triangular matrices; NaN where a matrix is not positive definite.

    >>> cholesky(array([[4.0, 2.0], [2.0, 2.0]]))
    Array([[2., 0.],
           [1., 1.]], dtype=float32)
    """
    x = matrices("cholesky", a, square=True)
    factor = ops.cholesky(_hermitian(x) if symmetrize_input else x)
    return _adjoint(factor) if upper else factor


def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """The QR factorization of matrices (..., m, n).

    Args:
        a: matrices.
        mode: "reduced" (q with min(m, n) columns), "complete" (q square), "r" (only r) or "raw" (as LAPACK keeps it).

    Returns:
        q and r, or r; for "raw" the transpose of r with the reflections' vectors below its diagonal, and their factors.

    >>> q, r = qr(array([[3.0, 1.0], [4.0, 2.0]]))
    >>> allclose(q @ r, array([[3.0, 1.0], [4.0, 2.0]]), rtol=1e-4)
    Array(True, dtype=bool)
    """
    if mode not in ("reduced", "complete", "r", "full", "raw"):
        raise ValueError(f"linalg.qr: mode must be 'reduced', 'complete', 'r' or 'raw', got {mode!r}")
    if mode == "raw":
        packed, factors = HouseholderQr()(matrices("qr", a))
        return matrix_transpose(packed), factors
    if mode == "r":
        return ops.Qr(False, False)(matrices("qr", a))[0]
    return QRResult(*ops.qr(matrices("qr", a), mode in ("complete", "full")))


def svd(
    a: ArrayLike,
    full_matrices: bool = True,
    compute_uv: bool = True,
    hermitian: bool = False,
    subset_by_index: tuple[int, int] | None = None,
) -> Any:
    """The singular value decomposition a = u diag(s) vh.

    Args:
        a: matrices (..., m, n).
        full_matrices: whether u and vh are square.
        compute_uv: whether to return u and vh too.
        hermitian: whether a is Hermitian, which is then used.
        subset_by_index: not supported.

    Returns:
        u, s, vh; or s, which falls. Signs of singular vectors mean nothing: in each row of vh of real matrices with at
        most 64 rows and columns, the first element with a modulus of at least 0.12 is positive; others are LAPACK's.

    >>> svd(array([[3.0, 0.0], [0.0, 4.0]]), compute_uv=False)
    Array([4., 3.], dtype=float32)
    """
    if subset_by_index is not None:
        raise NotImplementedError("linalg.svd: subset_by_index is not supported; slice the result")
    x = matrices("svd", a)
    if not compute_uv:
        return ops.svd(x, False, False)[0] if not hermitian else _by_size(absolute(eigvalsh(x)))[0]
    if not hermitian:
        return SVDResult(*ops.svd(x, full_matrices, True))
    values, vectors = eigh(x)
    sizes, order = _by_size(absolute(values))
    signs = take_along_axis(sign(values), order, -1)
    u = take_along_axis(vectors, order[..., None, :], -1)
    return SVDResult(u, sizes, _adjoint(u * cast(signs, u.type.dtype)[..., None, :]))


def _by_size(values: Array) -> tuple[Array, Array]:
    """The values in falling order, and their order."""
    order = argsort(-values, -1)
    return take_along_axis(values, order, -1), order


def svdvals(x: ArrayLike, /) -> Array:
    """The singular values, falling.

    >>> svdvals(array([[3.0, 0.0], [0.0, 4.0]]))
    Array([4., 3.], dtype=float32)
    """
    return svd(x, compute_uv=False)


def eigh(a: ArrayLike, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """Eigenvalues and eigenvectors of Hermitian matrices.

    Args:
        a: matrices (..., n, n).
        UPLO: "L" or "U": only this triangle is read, if `symmetrize_input` is false.
        symmetrize_input: whether to replace a by its Hermitian part first.

    Returns:
        Eigenvalues, rising, and eigenvectors as columns, whose signs mean nothing: of real ones of at most 64 elements
        the first element that has at least a modulus of 0.12 is positive, others are LAPACK's.

    >>> eigh(array([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    Array([1., 2.], dtype=float32)
    """
    return EighResult(*ops.eigh(_lower("eigh", a, UPLO, symmetrize_input)))


def _lower(name: str, a: ArrayLike, UPLO: str | None, symmetrize: bool) -> Array:
    """Matrices whose lower triangle says what Hermitian matrix is meant."""
    x = matrices(name, a, square=True)
    if UPLO not in (None, "L", "U"):
        raise ValueError(f"linalg.{name}: UPLO must be 'L' or 'U', got {UPLO!r}")
    if symmetrize:
        return _hermitian(x)
    return _adjoint(x) if UPLO == "U" else x


def eigvalsh(a: ArrayLike, UPLO: str | None = "L", *, symmetrize_input: bool = True) -> Array:
    """Eigenvalues of Hermitian matrices, rising.

    >>> eigvalsh(array([[2.0, 0.0], [0.0, 1.0]]))
    Array([1., 2.], dtype=float32)
    """
    return ops.eigvalsh(_lower("eigvalsh", a, UPLO, symmetrize_input))


def eig(a: ArrayLike) -> EigResult:
    """Eigenvalues and right eigenvectors of square matrices, always complex.

    >>> eig(array([[0.0, 1.0], [-1.0, 0.0]])).eigenvalues.dtype
    dtype('complex64')
    """
    return EigResult(*ops.eig(matrices("eig", a, square=True)))


def eigvals(a: ArrayLike) -> Array:
    """Eigenvalues of square matrices, always complex.

    >>> eigvals(array([[2.0]]))
    Array([2.+0.j], dtype=complex64)
    """
    return ops.eig(matrices("eigvals", a, square=True), False)[0]


@composite
def solve(a: ArrayLike, b: ArrayLike) -> Array:
    """x in a x = b.

    Args:
        a: matrices (..., n, n).
        b: a vector (n,), or matrices (..., n, k).

    Returns:
        Array of the shape of b; infinities and NaN where a is singular.

    Raises:
        ShapeError: the shapes do not fit.

    >>> solve(array([[2.0, 0.0], [0.0, 4.0]]), array([2.0, 2.0]))
    Array([1. , 0.5], dtype=float32)
    """
    x = matrices("solve", a, square=True)
    x, y = promote("linalg.solve", x, b)
    vector = y.type.ndim == 1
    if not y.type.ndim or y.type.shape[-1 if vector else -2] != x.type.shape[-1]:
        raise ShapeError(
            f"linalg.solve: a right-hand side of shape {y.type.shape} does not fit matrices {x.type.shape}"
        )
    y = y[:, None] if vector else y
    lead = broadcast_shapes(x.type.shape[:-2], y.type.shape[:-2], name="linalg.solve: the leading axes")
    x, y = (broadcast_to(v, lead + v.type.shape[-2:]) for v in (x, y))
    result = systems.solve(x, y)
    return result[..., 0] if vector else result


def inv(a: ArrayLike) -> Array:
    """The inverse of square matrices; infinities and NaN where one is singular.

    >>> inv(array([[2.0, 0.0], [0.0, 4.0]]))
    Array([[0.5 , 0.  ],
           [0.  , 0.25]], dtype=float32)
    """
    x = matrices("inv", a, square=True)
    return solve(x, broadcast_to(eye(x.type.shape[-1], dtype=x.type.dtype), x.type.shape))


def slogdet(a: ArrayLike, *, method: str | None = None) -> SlogdetResult:
    """Sign and logarithm of the modulus of determinants.

    Args:
        a: matrices (..., n, n).
        method: accepted for compatibility.

    >>> slogdet(array([[2.0, 0.0], [0.0, -1.0]])).sign
    Array(-1., dtype=float32)
    """
    return SlogdetResult(*systems.slogdet(matrices("slogdet", a, square=True)))


def det(a: ArrayLike) -> Array:
    """Determinants.

    >>> det(array([[2.0, 1.0], [0.0, 3.0]]))
    Array(6., dtype=float32)
    """
    x = matrices("det", a, square=True)
    n = x.type.shape[-1]
    if n == 1:
        return x[..., 0, 0]
    if n == 2:
        return x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0]
    if n == 3:
        return total(x[..., 0, :] * linear.cross(x[..., 1, :], x[..., 2, :]), -1)
    return _singular.determinant(x)


def pinv(
    a: ArrayLike, rtol: ArrayLike | None = None, hermitian: bool = False, *, rcond: ArrayLike | None = None
) -> Array:
    """The Moore-Penrose pseudo-inverse.

    Args:
        a: matrices (..., m, n).
        rtol: singular values up to this share of the largest count as zero; default 10 max(m, n) eps.
        hermitian: whether a is Hermitian.
        rcond: another name of `rtol`.

    Raises:
        ShapeError: with `hermitian`, the matrices are not square.

    >>> pinv(array([[2.0], [0.0]]))
    Array([[0.5, 0. ]], dtype=float32)
    """
    x = matrices("pinv", a)
    _one_of("pinv", "rtol", rtol, "rcond", rcond)
    limit = rtol if rcond is None else rcond
    if limit is None:
        limit = 10.0 * max(x.type.shape[-2:]) * float(finfo(x.type.dtype).eps)
    if hermitian:
        if x.type.shape[-1] != x.type.shape[-2]:
            raise ShapeError(f"pinv with hermitian=True needs square matrices, got {x.type}")
        x = (x + conj(matrix_transpose(x))) / 2  # so that directions that are not Hermitian count by this part of them
    factors = functools.partial(svd, full_matrices=False, hermitian=hermitian)
    return _singular.pseudo_inverse(x, number("pinv", limit), factors)


def _one_of(name: str, first: str, x: Any, second: str, y: Any) -> None:
    """Raise a ValueError if an argument is given under both of its names."""
    if x is not None and y is not None:
        raise ValueError(f"linalg.{name}: {second}= is another name of {first}=; give one of them")


def matrix_rank(
    M: ArrayLike, rtol: ArrayLike | None = None, *, hermitian: bool = False, tol: ArrayLike | None = None
) -> Array:
    """The number of singular values that are not negligible.

    Args:
        M: matrices (..., m, n); a vector, or a number, has rank 1 unless it is zero.
        rtol: up to this share of the largest a singular value counts as zero; default max(m, n) eps.
        hermitian: whether M is Hermitian.
        tol: another name of `rtol`.

    >>> matrix_rank(ones((2, 2)))
    Array(1, dtype=int32)
    """
    x = number("matrix_rank", M)
    _one_of("matrix_rank", "rtol", rtol, "tol", tol)
    if x.type.ndim < 2:
        return cast(any_(x), default_dtype(int))
    x = matrices("matrix_rank", x)
    s = svd(x, compute_uv=False, hermitian=hermitian)
    share = rtol if tol is None else tol
    if share is None:
        share = max(x.type.shape[-2:]) * float(finfo(x.type.dtype).eps)
    share = number("matrix_rank", share)
    return total(s > share[..., None] * s.max(-1, keepdims=True, initial=0), -1)


def matrix_power(a: ArrayLike, n: int) -> Array:
    """Square matrices raised to an integer power.

    >>> matrix_power(array([[1, 1], [0, 1]]), 5)
    Array([[1, 5],
           [0, 1]], dtype=int32)
    """
    x, n = number("matrix_power", a), integer("linalg.matrix_power: n", n)
    if x.type.ndim < 2 or x.type.shape[-1] != x.type.shape[-2]:
        raise ShapeError(f"linalg.matrix_power needs square matrices, got shape {x.type.shape}")
    if n == 0:
        return broadcast_to(eye(x.type.shape[-1], dtype=x.type.dtype), x.type.shape)
    if n < 0:
        x, n = inv(x), -n
    result: Any = None
    while n:
        if n & 1:
            result = x if result is None else matmul(result, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return result


def cond(x: ArrayLike, p: Any = None) -> Array:
    """The condition number: the norm of a matrix times that of its inverse.

    Args:
        x: matrices (..., m, n).
        p: the norm; None, 2 and -2 compare singular values.

    >>> cond(array([[2.0, 0.0], [0.0, 1.0]]))
    Array(2., dtype=float32)
    """
    x = matrices("cond", x)
    if 0 in x.type.shape[-2:]:
        raise ShapeError(f"linalg.cond of matrices without elements: shape {x.type.shape}")
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


def lstsq(
    a: ArrayLike, b: ArrayLike, rcond: float | None = None, *, numpy_resid: bool = False
) -> tuple[Array, Array, Array, Array]:
    """The shortest x that makes the sum of squares of a x - b smallest.

    Args:
        a: matrix (m, n).
        b: vector (m,) or matrix (m, k).
        rcond: singular values up to this share of the largest count as zero; default max(m, n) eps.
        numpy_resid: whether residuals are left out, as NumPy does, where a has not full column rank or m <= n.

    Returns:
        Solution, sums of squared residuals, rank, singular values.

    >>> lstsq(array([[1.0], [1.0]]), array([1.0, 3.0]))[0].round(3)
    Array([2.], dtype=float32)
    """
    x, y = promote("linalg.lstsq", matrices("lstsq", a), b)
    if x.type.ndim != 2 or y.type.ndim not in (1, 2) or x.type.shape[0] != y.type.shape[0]:
        raise ShapeError(f"linalg.lstsq needs shapes (m, n) and (m,) or (m, k), got {x.type.shape} and {y.type.shape}")
    m, n = x.type.shape
    columns = y[:, None] if y.type.ndim == 1 else y
    share = float(finfo(x.type.dtype).eps) * max(m, n) if rcond is None else max(rcond, float(finfo(x.type.dtype).eps))
    u, s, vh = svd(x, full_matrices=False)
    kept = s > share * s[:1]  # of a matrix without elements there is none
    rank = total(kept)
    inverse = where(kept, 1 / where(kept, s, 1), 0)
    solution = matmul(_adjoint(vh), cast(inverse, x.type.dtype)[:, None] * matmul(_adjoint(u), columns))
    residuals = total(absolute(matmul(x, solution) - columns) ** 2, 0)
    if numpy_resid and (m <= n or int(rank) < n):
        residuals = residuals[:0]
    return (solution[:, 0] if y.type.ndim == 1 else solution), residuals, rank, s


def multi_dot(arrays: Sequence[ArrayLike], *, precision: Any = None) -> Array:
    """The product of several matrices (the first and last may be vectors) in the cheapest order.

    >>> multi_dot([ones((2, 3)), ones((3, 4)), ones(4)]).shape
    (2,)
    """
    import opt_einsum

    if not isinstance(arrays, (list, tuple)) or len(arrays) < 2:
        raise TypeError("linalg.multi_dot needs a sequence of two arrays or more")
    found = promote("linalg.multi_dot", *arrays)
    letters = [opt_einsum.get_symbol(i) for i in range(len(found) + 1)]
    terms = [letters[i] + letters[i + 1] for i in range(len(found))]
    terms[0], terms[-1] = terms[0][-found[0].type.ndim :], terms[-1][: found[-1].type.ndim]
    ends = (letters[0] if found[0].type.ndim == 2 else "") + (letters[-1] if found[-1].type.ndim == 2 else "")
    return einsum(f"{','.join(terms)}->{ends}", *found, optimize="optimal")


def tensorinv(a: ArrayLike, ind: int = 2) -> Array:
    """The inverse of an array as a map from its last axes to its first `ind` ones.

    >>> tensorinv(eye(4).reshape(4, 2, 2), ind=1).shape
    (2, 2, 4)
    """
    x = number("tensorinv", a)
    first, last = x.type.shape[:ind], x.type.shape[ind:]
    if ind < 1 or int(np.prod(first)) != int(np.prod(last)):
        raise ShapeError(f"linalg.tensorinv: shape {x.type.shape} is not square if cut at axis {ind}")
    return reshape(inv(reshape(x, (int(np.prod(first)), int(np.prod(last))))), last + first)


def tensorsolve(a: ArrayLike, b: ArrayLike, axes: tuple[int, ...] | None = None) -> Array:
    """x in a x = b, where the last axes of a are those of x.

    Args:
        a: array whose first axes are those of b.
        b: array.
        axes: of a, to be moved to the end first.

    >>> tensorsolve(eye(4).reshape(2, 2, 4), ones((2, 2))).shape
    (4,)
    """
    x, y = promote("linalg.tensorsolve", a, b)
    if axes is not None:
        x = moveaxis(x, axes, tuple(range(-len(axes), 0)))
    rest = x.type.shape[y.type.ndim :]
    if int(np.prod(rest)) != y.type.size:
        raise ShapeError(f"linalg.tensorsolve: shapes {x.type.shape} and {y.type.shape} do not fit")
    return reshape(solve(reshape(x, (y.type.size, y.type.size)), reshape(y, (-1,))), rest)


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Array:
    """A diagonal of matrices.

    >>> diagonal(eye(2))
    Array([1., 1.], dtype=float32)
    """
    return _diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: DTypeLike | None = None) -> Array:
    """The sum along a diagonal of matrices.

    >>> trace(eye(2))
    Array(2., dtype=float32)
    """
    return linear.trace(x, offset, -2, -1, dtype)


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The vector product of vectors of length 3 along an axis.

    >>> cross(array([1, 0, 0]), array([0, 1, 0]))
    Array([0, 0, 1], dtype=int32)
    """
    x, y = promote("linalg.cross", x1, x2)
    for v in (x, y):
        axis_index("linalg.cross", axis, v.type.ndim)
    if x.type.shape[axis] != 3 or y.type.shape[axis] != 3:
        raise ShapeError(f"linalg.cross needs vectors of length 3, got shapes {x.type.shape} and {y.type.shape}")
    return linear.cross(x, y, axis=axis)


def tensordot(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    axes: Any = 2,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The sum of products over chosen axes; see :func:`fdl.numpy.tensordot`.

    >>> tensordot(ones((2, 3)), ones((3, 4)), axes=1).shape
    (2, 4)
    """
    return linear.tensordot(x1, x2, axes, preferred_element_type=preferred_element_type)


__all__ = [
    "EigResult",
    "EighResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]


def __dir__() -> list[str]:
    return __all__
