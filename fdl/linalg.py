"""Linear algebra, under the names of ``jax.lax.linalg``; ``fdl.numpy.linalg`` has the names of NumPy.

All functions take stacks of matrices: the last two axes are the matrix, the others a batch.
"""

import enum
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes
from fdl.api.custom import custom_jvp
from fdl.array import as_array
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import integer
from fdl.ops import linalg as ops
from fdl.ops.householder import HouseholderQr, apply_reflections
from fdl.ops.matrix import adjoint, eye_like, swap
from fdl.ops.systems import lu as lu_factors
from fdl.ops.systems import solve

__all__ = [
    "EigImplementation",
    "EighImplementation",
    "SvdAlgorithm",
    "cholesky",
    "eig",
    "eigh",
    "geqrf",
    "householder_product",
    "lu",
    "lu_pivots_to_permutation",
    "ormqr",
    "qr",
    "svd",
    "symmetric_product",
    "triangular_solve",
]


class SvdAlgorithm(enum.Enum):
    """Ways to singular values, accepted for ports: LAPACK's is taken.

    >>> SvdAlgorithm.QR.value
    'QR'
    """

    DEFAULT = "default"
    DIVIDE_AND_CONQUER = "divide_and_conquer"
    JACOBI = "Jacobi"
    POLAR = "polar"
    QR = "QR"


class EighImplementation(enum.Enum):
    """Ways to eigenvalues of symmetric matrices, accepted for ports.

    >>> EighImplementation.QR.value
    'qr'
    """

    JACOBI = "jacobi"
    QDWH = "qdwh"
    QR = "qr"


class EigImplementation(enum.Enum):
    """Ways to eigenvalues, accepted for ports.

    >>> EigImplementation.LAPACK.value
    'lapack'
    """

    CUSOLVER = "cusolver"
    LAPACK = "lapack"
    MAGMA = "magma"


def cholesky(x: Any, *, symmetrize_input: bool = True) -> Array:
    """The lower triangular l with l l^H = x.

    Args:
        x: [..., n, n], Hermitian and positive definite; float32, float64 or complex.
        symmetrize_input: whether to use (x + x^H) / 2; otherwise the lower triangle is read.

    Returns:
        [..., n, n]; NaN where x is not positive definite.

    >>> cholesky(fnp.array([[4.0, 0.0], [0.0, 9.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return ops.cholesky(_symmetric(as_array(x, "x"), symmetrize_input))


def eigh(
    x: Any,
    *,
    lower: bool = True,
    symmetrize_input: bool = True,
    sort_eigenvalues: bool = True,
    implementation: EighImplementation | None = None,
) -> tuple[Array, Array]:
    """Eigenvectors and eigenvalues of Hermitian matrices.

    Args:
        x: [..., n, n].
        lower: which triangle is read, if not `symmetrize_input`.
        symmetrize_input: whether to use (x + x^H) / 2.
        sort_eigenvalues: accepted for compatibility; they are always in ascending order.
        implementation: accepted for ports.

    Returns:
        Eigenvectors, the columns of [..., n, n], and eigenvalues [..., n]. The sign of an eigenvector means nothing; of
        real ones of at most 64 elements, the first element with a modulus of at least 0.12 is positive, others are
        LAPACK's. Where eigenvalues are equal, only the space of their vectors is determined.

    >>> a = fnp.array([[2.0, 1.0], [1.0, 2.0]])
    >>> v, w = eigh(a)
    >>> [round(x, 3) for x in w.tolist()]
    [1.0, 3.0]
    """
    x = as_array(x, "x")
    x = x if lower or symmetrize_input else adjoint(x)
    w, v = ops.eigh(_symmetric(x, symmetrize_input))
    return v, w


def eig(
    x: Any,
    *,
    compute_left_eigenvectors: bool = True,
    compute_right_eigenvectors: bool = True,
    implementation: EigImplementation | None = None,
    enable_eigvec_derivs: bool = False,
) -> list[Array]:
    """Eigenvalues and eigenvectors of square matrices.

    Args:
        x: [..., n, n].
        compute_left_eigenvectors: whether to return them.
        compute_right_eigenvectors: whether to return them.
        implementation: accepted for ports.
        enable_eigvec_derivs: whether eigenvectors have derivatives, too. They are right where all eigenvalues differ,
            and the largest component of each vector, which is real, is larger than the others.

    Returns:
        Complex eigenvalues [..., n], then left and right eigenvectors (columns of norm one) as asked for.

    Raises:
        DifferentiationError: eigenvectors are differentiated without `enable_eigvec_derivs`.

    >>> w, left, right = eig(fnp.array([[0.0, 1.0], [-1.0, 0.0]]))
    >>> sorted(round(x, 3) for x in w.imag.tolist())
    [-1.0, 1.0]
    """
    x = as_array(x, "x")
    if not (compute_left_eigenvectors or compute_right_eigenvectors):
        return [*ops.eig(x, vectors=False)]
    w, right = _differentiable_eig(x) if enable_eigvec_derivs else ops.eig(x)
    found = [w]
    if compute_left_eigenvectors:
        n = x.type.shape[-1]
        left = adjoint(solve(right, eye_like(right, n, n)))
        found.append(left / fnp.sqrt(fnp.sum(fnp.abs(left) ** 2, axis=-2, keepdims=True)))
    return [*found, right] if compute_right_eigenvectors else found


@custom_jvp
def _differentiable_eig(x: Any) -> tuple[Array, Array]:
    w, v = ops.eig(x)
    return w, v


@_differentiable_eig.defjvp
def _eig_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    w, v = _differentiable_eig(x)
    if not v.shape[-1]:
        return (w, v), (w, v)
    inner = solve(v, fnp.matmul(fnp.asarray(dx, v.dtype), v))
    same = fnp.eye(v.shape[-1], dtype=bool)
    gaps = fnp.where(same, 1, w[..., None, :] - w[..., :, None])
    dv = fnp.matmul(v, fnp.where(same, 0, inner / gaps))
    # LAPACK's vectors have norm one, and their largest components are real: a multiple of each is added to keep that.
    largest = fnp.argmax(fnp.abs(v), axis=-2, keepdims=True)
    turn = (fnp.take_along_axis(dv, largest, -2) / fnp.take_along_axis(v, largest, -2)).imag
    growth = fnp.sum((fnp.conj(v) * dv).real, axis=-2, keepdims=True)
    return (w, v), (fnp.diagonal(inner, axis1=-2, axis2=-1), dv - (growth + 1j * turn) * v)


def lu(x: Any) -> tuple[Array, Array, Array]:
    """LU factorization with partial pivoting.

    Args:
        x: [..., m, n].

    Returns:
        l (below the diagonal; ones on it) and u in one matrix, pivots int32[..., min(m, n)], and the permutation
        int32[..., m] of the rows: ``x[permutation] = l @ u``.

    >>> factors, pivots, permutation = lu(fnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> factors.tolist(), permutation.tolist()
    ([[4.0, 4.0], [0.25, 1.0]], [1, 0])
    """
    return lu_factors(as_array(x, "x"))


def lu_pivots_to_permutation(pivots: Any, permutation_size: int) -> Array:
    """The permutation that a sequence of row exchanges makes.

    Args:
        pivots: int32[..., k]: row i was exchanged with row ``pivots[i]``.
        permutation_size: number of rows.

    Returns:
        int32[..., permutation_size].

    Raises:
        DtypeError: `pivots` are no integers.
        ShapeError: they have no axis.

    >>> lu_pivots_to_permutation(fnp.array([2, 1]), 3).tolist()
    [2, 1, 0]
    """
    pivots = as_array(pivots, "pivots")
    if pivots.dtype not in dtypes.INTEGER:
        raise DtypeError(f"lu_pivots_to_permutation: pivots must be integers, got {pivots.type}")
    if not pivots.ndim:
        raise ShapeError(f"lu_pivots_to_permutation: pivots need at least one axis, got {pivots.type}")
    pivots = fnp.asarray(pivots, dtypes.int32)
    permutation_size = integer("lu_pivots_to_permutation: permutation_size", permutation_size)
    rows = fnp.arange(permutation_size, dtype=dtypes.int32)
    found = fnp.broadcast_to(rows, (*pivots.shape[:-1], permutation_size))
    for i in range(pivots.shape[-1]):
        other = pivots[..., i : i + 1]
        there = fnp.where(rows == other, found, 0)
        mine, theirs = found[..., i : i + 1], fnp.sum(there, axis=-1, keepdims=True, dtype=dtypes.int32)
        found = fnp.where(rows == other, mine, fnp.where(rows == i, theirs, found))
    return found


def qr(x: Any, *, full_matrices: bool = True) -> tuple[Array, Array]:
    """QR factorization.

    Args:
        x: [..., m, n].
        full_matrices: whether q is [..., m, m]; otherwise [..., m, min(m, n)].

    Returns:
        q with orthonormal columns, and upper triangular r.

    >>> q, r = qr(fnp.ones((3, 2)), full_matrices=False)
    >>> q.shape, r.shape
    ((3, 2), (2, 2))
    """
    return ops.qr(as_array(x, "x"), full_matrices)


def geqrf(a: Any) -> tuple[Array, Array]:
    """QR factorization by Householder reflections, as LAPACK keeps it.

    Args:
        a: [..., m, n].

    Returns:
        r with the vectors of the reflections below its diagonal, [..., m, n], and their factors, [..., min(m, n)].

    >>> packed, taus = geqrf(fnp.array([[3.0], [4.0]]))
    >>> packed.tolist(), [round(x, 3) for x in taus.tolist()]
    ([[-5.0], [0.5]], [1.6])
    """
    return HouseholderQr()(as_array(a, "a"))


def ormqr(a: Any, taus: Any, c: Any, *, left: bool = True, transpose: bool = False) -> Array:
    """The product of a matrix and the orthogonal factor q of :func:`geqrf`, without making q.

    Args:
        a: [..., m, n], as `geqrf` returns it.
        taus: [..., k].
        c: [..., m, p] if `left`, else [..., p, m].
        left: whether q stands on the left of c.
        transpose: whether to multiply by the adjoint of q.

    Returns:
        An array of the shape of c.

    Raises:
        ShapeError: shapes do not fit.

    >>> packed, taus = geqrf(fnp.array([[3.0], [4.0]]))
    >>> [[round(x, 3) for x in row] for row in ormqr(packed, taus, fnp.eye(2)).tolist()]
    [[-0.6, -0.8], [-0.8, 0.6]]
    """
    a, taus, c = fnp.asarray(a), fnp.asarray(taus), fnp.asarray(c)
    if min(a.ndim, c.ndim) < 2 or taus.ndim < 1 or c.shape[-2 if left else -1] != a.shape[-2]:
        raise ShapeError(
            f"ormqr needs a [..., m, n], taus [..., k] and c {'[..., m, p]' if left else '[..., p, m]'}, got {a.type}, "
            f"{taus.type} and {c.type}"
        )
    return apply_reflections(a, taus, c, left, transpose)


def svd(x: Any, *, full_matrices: bool = True, compute_uv: bool = True, algorithm: SvdAlgorithm | None = None) -> Any:
    """Singular value decomposition.

    Args:
        x: [..., m, n].
        full_matrices: whether u and vh are square.
        compute_uv: whether to return u and vh.
        algorithm: accepted for ports.

    Returns:
        (u, s, vh) with ``x = u @ diag(s) @ vh``, or s alone; s is in descending order. Signs of singular vectors mean
        nothing: in each row of vh of real matrices with at most 64 rows and columns, the first element with a modulus
        of at least 0.12 is positive; others are LAPACK's.

    >>> s = svd(fnp.array([[0.0, 2.0], [3.0, 0.0]]), compute_uv=False)
    >>> [round(x, 3) for x in s.tolist()]
    [3.0, 2.0]
    """
    found = ops.svd(as_array(x, "x"), full_matrices, compute_uv)
    return found if compute_uv else found[0]


def triangular_solve(
    a: Any,
    b: Any,
    *,
    left_side: bool = False,
    lower: bool = False,
    transpose_a: bool = False,
    conjugate_a: bool = False,
    unit_diagonal: bool = False,
) -> Array:
    """Solve op(a) x = b, or x op(a) = b if not `left_side`, for a triangular matrix.

    Args:
        a: [..., n, n]; only one triangle is read.
        b: [..., n, k] (or [..., k, n]); a vector [..., n] counts as one column (or row).
        left_side: on which side of x the matrix stands.
        lower: which triangle is read.
        transpose_a: whether op transposes.
        conjugate_a: whether op conjugates.
        unit_diagonal: whether to take the diagonal as ones.

    Returns:
        An array like b.

    >>> a = fnp.array([[2.0, 0.0], [1.0, 4.0]])
    >>> x = triangular_solve(a, fnp.array([2.0, 5.0]), left_side=True, lower=True)
    >>> [round(v, 3) for v in x.tolist()]
    [1.0, 1.0]
    """
    a, b = as_array(a, "a"), as_array(b, "b")
    vector = b.type.ndim == a.type.ndim - 1
    axis = -1 if left_side else -2
    b = fnp.expand_dims(b, axis) if vector else b
    x = ops.triangular_solve(
        a,
        b,
        left_side=left_side,
        lower=lower,
        transpose_a=transpose_a,
        conjugate_a=conjugate_a,
        unit_diagonal=unit_diagonal,
    )
    return fnp.squeeze(x, axis) if vector else x


def householder_product(a: Any, taus: Any) -> Array:
    """The product of reflections I - tau v v^H, whose vectors are the columns of `a` below the diagonal.

    Args:
        a: [..., m, n]; the diagonal counts as ones, what is above it as zeros.
        taus: [..., k], k not above n.

    Returns:
        The first n columns of the product, [..., m, n].

    >>> householder_product(fnp.array([[0.0], [0.0]]), fnp.array([2.0])).tolist()
    [[-1.0], [0.0]]
    """
    a, taus = fnp.asarray(a), fnp.asarray(taus)
    if a.ndim < 2 or taus.ndim < 1:
        raise ShapeError(f"householder_product needs a [..., m, n] and taus [..., k], got {a.type} and {taus.type}")
    m, n = a.shape[-2:]
    vectors = fnp.tril(a, -1) + eye_like(a, m, n)
    product = eye_like(a, m, n)
    for i in reversed(range(taus.shape[-1])):
        v = vectors[..., :, i : i + 1]
        product = product - taus[..., i, None, None] * fnp.matmul(v, fnp.matmul(adjoint(v), product))
    return product


def symmetric_product(
    a_matrix: Any, c_matrix: Any, *, alpha: float = 1.0, beta: float = 0.0, symmetrize_output: bool = False
) -> Array:
    """alpha a a^T + beta c.

    Args:
        a_matrix: [..., n, k].
        c_matrix: [..., n, n].
        alpha: factor of the product.
        beta: factor of c.
        symmetrize_output: whether the upper triangle of the result is that of the lower one.

    Returns:
        [..., n, n].

    >>> symmetric_product(fnp.array([[1.0], [2.0]]), fnp.zeros((2, 2))).tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    a = fnp.asarray(a_matrix)
    found = alpha * fnp.matmul(a, swap(a)) + beta * fnp.asarray(c_matrix)
    return fnp.tril(found) + swap(fnp.tril(found, -1)) if symmetrize_output else found


def _symmetric(x: Array, symmetrize: bool) -> Array:
    return (x + adjoint(x)) / 2 if symmetrize else x


def __dir__() -> list[str]:
    return __all__
