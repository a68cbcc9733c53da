"""Linear algebra, under the names of ``scipy.linalg``; leading axes are batch axes."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes, linalg
from fdl.api.differentiate import jvp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.numpy._operands import broadcast_shapes
from fdl.ops.matrix import adjoint
from fdl.scipy._matrices import (
    circulant,
    companion,
    convolution_matrix,
    dft,
    fiedler,
    fiedler_companion,
    hadamard,
    hankel,
    helmert,
    hilbert,
    invhilbert,
    invpascal,
    leslie,
    pascal,
    toeplitz,
)
from fdl.scipy._pivots import pivoted_columns
from fdl.scipy._schur import funm, hessenberg, polar, rsf2csf, schur, solve_sylvester, sqrtm
from fdl.scipy._tridiagonal import eigh_tridiagonal

__all__ = [
    "block_diag",
    "cho_factor",
    "cho_solve",
    "cholesky",
    "circulant",
    "companion",
    "convolution_matrix",
    "det",
    "dft",
    "eigh",
    "eigh_tridiagonal",
    "expm",
    "expm_frechet",
    "fiedler",
    "fiedler_companion",
    "funm",
    "hadamard",
    "hankel",
    "helmert",
    "hessenberg",
    "hilbert",
    "inv",
    "invhilbert",
    "invpascal",
    "leslie",
    "lu",
    "lu_factor",
    "lu_solve",
    "pascal",
    "polar",
    "qr",
    "qr_multiply",
    "rsf2csf",
    "schur",
    "solve",
    "solve_sylvester",
    "solve_triangular",
    "sqrtm",
    "svd",
    "toeplitz",
]


_documented = fill_docstring(
    {"b": "right-hand sides [..., n, k] or [..., n]; the leading axes broadcast."}
    | dict.fromkeys(
        ("overwrite_a", "overwrite_b", "check_finite", "debug", "lwork", "lapack_driver"), "accepted for compatibility."
    )
)


def _inexact(*args: Any) -> list[Array]:
    """The operands, which may be nested lists, in one floating or complex dtype that LAPACK takes."""
    known = [a if type(a) in dtypes.WEAK else fnp.asarray(a) for a in args]
    dtype = fnp.result_type(*known)
    dtype = dtype if fnp.issubdtype(dtype, fnp.inexact) else dtypes.default_dtype(float)
    return [fnp.asarray(a).astype(dtype if dtype.itemsize >= 4 else dtypes.float32) for a in known]


def _system(name: str, a: Any, b: Any) -> tuple[Array, Array, bool]:
    """Matrices and right-hand sides [..., n, k] with the same leading axes, and whether b holds vectors."""
    a, b = _inexact(a, b)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{name} needs square matrices [..., n, n], got {a.type}")
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape[-1] == a.shape[-1])
    columns = b[..., None] if vector else b
    if columns.ndim < 2 or columns.shape[-2] != a.shape[-1]:
        raise ShapeError(f"{name}: matrices {a.type} and right-hand sides {b.type} do not fit")
    lead = broadcast_shapes(a.shape[:-2], columns.shape[:-2], name=f"{name}: the leading axes")
    return *(fnp.broadcast_to(v, lead + v.shape[-2:]) for v in (a, columns)), vector


@_documented
def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """Determinants of matrices [..., n, n].

    Args:
        a: [..., n, n].

    Returns:
        [...].

    Raises:
        ShapeError: the matrices are not square.

    >>> a = fnp.array([[4.0, 0.0], [0.0, 9.0]])
    >>> round(det(a).item(), 3)
    36.0
    """
    return fnp.linalg.det(a)


@_documented
def inv(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """Inverses of matrices [..., n, n].

    Args:
        a: [..., n, n].

    Returns:
        [..., n, n].

    Raises:
        ShapeError: the matrices are not square.

    >>> inv(fnp.array([[2.0, 0.0], [0.0, 4.0]])).round(3).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return fnp.linalg.inv(a)


@_documented
def cholesky(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The Cholesky factor of a Hermitian positive definite matrix: l with l l^H = a, or u with u^H u = a.

    Args:
        a: [..., n, n]; only the triangle of the factor is read.
        lower: whether to return l.

    Returns:
        [..., n, n]; NaN where a is not positive definite.

    >>> a = fnp.array([[4.0, 0.0], [0.0, 9.0]])
    >>> cholesky(a).round(3).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    (a,) = _inexact(a)
    return (
        linalg.cholesky(a, symmetrize_input=False)
        if lower
        else adjoint(linalg.cholesky(adjoint(a), symmetrize_input=False))
    )


@_documented
def cho_factor(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, bool]:
    """A Cholesky factor for :func:`cho_solve`, and whether it is the lower one.

    Args:
        a: [..., n, n], Hermitian and positive definite; only the triangle of the factor is read.
        lower: which factor.

    Returns:
        The factor [..., n, n], and `lower`.

    >>> a = fnp.array([[4.0, 0.0], [0.0, 9.0]])
    >>> factor, lower = cho_factor(a)
    >>> factor.round(3).tolist(), lower
    ([[2.0, 0.0], [0.0, 3.0]], False)
    """
    return cholesky(a, lower), lower


@_documented
def cho_solve(c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True) -> Array:
    """Solve a x = b.

    Args:
        c_and_lower: from :func:`cho_factor`.

    Returns:
        x, like b.

    >>> a = fnp.array([[4.0, 0.0], [0.0, 9.0]])
    >>> [round(v, 3) for v in cho_solve(cho_factor(a), fnp.array([2.0, 9.0])).tolist()]
    [0.5, 1.0]
    """
    factor, lower = c_and_lower
    factor, b, vector = _system("cho_solve", factor, b)
    complex_ = factor.dtype.kind == "c"
    for adjointed in (not lower, lower):
        b = linalg.triangular_solve(
            factor, b, left_side=True, lower=lower, transpose_a=adjointed, conjugate_a=adjointed and complex_
        )
    return b[..., 0] if vector else b


@_documented
def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    debug: Any = None,
    check_finite: bool = True,
) -> Array:
    """Solve a x = b for a triangular matrix.

    Args:
        a: [..., n, n]; one triangle is read.
        trans: 0 or "N", 1 or "T" for the transpose of a, 2 or "C" for its adjoint.
        lower: which triangle is read.
        unit_diagonal: whether to take the diagonal as ones.

    Returns:
        x, like b.

    Raises:
        ValueError: `trans` is none of these.

    >>> a = fnp.array([[2.0, 0.0], [1.0, 4.0]])
    >>> [round(v, 3) for v in solve_triangular(a, fnp.array([2.0, 5.0]), lower=True).tolist()]
    [1.0, 1.0]
    """
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(f"solve_triangular takes trans 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    a, b, vector = _system("solve_triangular", a, b)
    x = linalg.triangular_solve(
        a,
        b,
        left_side=True,
        lower=lower,
        transpose_a=trans not in (0, "N"),
        conjugate_a=trans in (2, "C"),
        unit_diagonal=unit_diagonal,
    )
    return x[..., 0] if vector else x


@_documented
def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    debug: bool = False,
    check_finite: bool = True,
    assume_a: str = "gen",
) -> Array:
    """Solve a x = b.

    Args:
        a: [..., n, n].
        lower: which triangle is read, if `assume_a` is "pos".
        assume_a: "pos" for Hermitian positive definite matrices; "gen", "sym" or "her" otherwise.

    Returns:
        x, like b.

    Raises:
        ValueError: `assume_a` is none of these.

    >>> a = fnp.array([[2.0, 1.0], [1.0, 3.0]])
    >>> [round(v, 3) for v in solve(a, fnp.array([3.0, 4.0])).tolist()]
    [1.0, 1.0]
    """
    if assume_a not in ("gen", "sym", "her", "pos"):
        raise ValueError(f"solve takes assume_a 'gen', 'sym', 'her' or 'pos', got {assume_a!r}")
    if assume_a == "pos":
        return cho_solve(cho_factor(a, lower), b)
    a, b = _inexact(a, b)
    return fnp.linalg.solve(a, b)


@_documented
def lu(a: Any, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, ...]:
    """LU factorization a = p l u.

    Args:
        a: [..., m, n].
        permute_l: whether to return (p l, u) instead of (p, l, u).

    Returns:
        (p, l, u) or (p l, u): permutation [..., m, m], l [..., m, k] and u [..., k, n], k = min(m, n).

    >>> a = fnp.array([[1.0, 2.0], [4.0, 4.0]])
    >>> p, l, u = lu(a)
    >>> l.tolist(), u.tolist()
    ([[1.0, 0.0], [0.25, 1.0]], [[4.0, 4.0], [0.0, 1.0]])
    """
    (a,) = _inexact(a)
    factors, _, permutation = linalg.lu(a)
    m, n = a.shape[-2:]
    k = min(m, n)
    lower = fnp.tril(factors[..., :, :k], -1) + fnp.eye(m, k, dtype=a.dtype)
    upper = fnp.triu(factors[..., :k, :])
    p = (fnp.arange(m)[:, None] == permutation[..., None, :]).astype(a.dtype)
    return (fnp.matmul(p, lower), upper) if permute_l else (p, lower, upper)


@_documented
def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, Array]:
    """LU factorization for :func:`lu_solve`: both factors in one matrix, and the row exchanges.

    Args:
        a: [..., m, n].

    Returns:
        Factors [..., m, n] and pivots int32[..., min(m, n)].

    >>> factors, pivots = lu_factor(fnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> pivots.tolist()
    [1, 1]
    """
    (a,) = _inexact(a)
    factors, pivots, _ = linalg.lu(a)
    return factors, pivots


@_documented
def lu_solve(
    lu_and_piv: tuple[Any, Any], b: Any, trans: int = 0, overwrite_b: bool = False, check_finite: bool = True
) -> Array:
    """Solve a x = b, or with the transpose (trans 1) or adjoint (trans 2) of a.

    Args:
        lu_and_piv: from :func:`lu_factor`.
        trans: 0, 1 or 2.

    Returns:
        x, like b.

    Raises:
        ShapeError: the factors and b do not fit.

    >>> [round(v, 3) for v in lu_solve(lu_factor(fnp.array([[2.0, 1.0], [1.0, 3.0]])), fnp.array([3.0, 4.0])).tolist()]
    [1.0, 1.0]
    """
    factors, x, vector = _system("lu_solve", lu_and_piv[0], b)
    permutation = linalg.lu_pivots_to_permutation(lu_and_piv[1], factors.shape[-2])
    permutation = fnp.broadcast_to(permutation, factors.shape[:-1])
    steps = {"left_side": True, "transpose_a": trans > 0, "conjugate_a": trans == 2}
    order = [(True, True), (False, False)]
    x = x if trans else fnp.take_along_axis(x, permutation[..., None], -2)
    for lower, unit in reversed(order) if trans else order:
        x = linalg.triangular_solve(factors, x, lower=lower, unit_diagonal=unit, **steps)
    x = fnp.take_along_axis(x, fnp.argsort(permutation, axis=-1)[..., None], -2) if trans else x
    return x[..., 0] if vector else x


@_documented
def qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    """QR factorization.

    Args:
        a: [..., m, n].
        mode: "full", "economic", or "r" for r alone.
        pivoting: whether to factor ``a[:, p]``, of which the diagonal of r does not grow.

    Returns:
        q with orthonormal columns and upper triangular r; (r,) in mode "r". With `pivoting` the columns p come last.

    Raises:
        NotImplementedError: another mode.

    >>> q, r = qr(fnp.ones((3, 2)), mode="economic")
    >>> q.shape, r.shape
    ((3, 2), (2, 2))
    """
    if mode not in ("full", "economic", "r"):
        raise NotImplementedError(f"qr takes mode 'full', 'economic' or 'r', got {mode!r}")
    (a,) = _inexact(a)
    columns: tuple[Array, ...] = ()
    if pivoting:
        columns = (pivoted_columns(a),)
        a = fnp.take_along_axis(a, columns[0][..., None, :], -1)
    q, r = linalg.qr(a, full_matrices=mode != "economic")
    return ((r,) if mode == "r" else (q, r)) + columns


@_documented
def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """Singular value decomposition a = u diag(s) vh.

    Args:
        a: [..., m, n].
        full_matrices: whether u and vh are square.
        compute_uv: whether to return u and vh.

    Returns:
        (u, s, vh), or s alone; s is in descending order.

    >>> a = fnp.array([[4.0, 0.0], [0.0, 9.0]])
    >>> [round(v, 3) for v in svd(a, compute_uv=False).tolist()]
    [9.0, 4.0]
    """
    (a,) = _inexact(a)
    return linalg.svd(a, full_matrices=full_matrices, compute_uv=compute_uv)


def eigh(a: Any, b: Any = None, lower: bool = True, eigvals_only: bool = False) -> Any:
    """Eigenvalues and eigenvectors of Hermitian matrices.

    Args:
        a: [..., n, n].
        b: must be None.
        lower: which triangle is read.
        eigvals_only: whether to leave out the eigenvectors.

    Returns:
        Eigenvalues [..., n] in ascending order, and eigenvectors, the columns of [..., n, n].

    Raises:
        NotImplementedError: b is given.

    >>> a = fnp.array([[2.0, 1.0], [1.0, 2.0]])
    >>> [round(v, 3) for v in eigh(a, eigvals_only=True).tolist()]
    [1.0, 3.0]
    """
    if b is not None:
        raise NotImplementedError("eigh: the generalized problem is not offered; reduce it with a Cholesky factor of b")
    (a,) = _inexact(a)
    if eigvals_only:
        return fnp.linalg.eigvalsh(a, "L" if lower else "U", symmetrize_input=False)
    v, w = linalg.eigh(a, lower=lower, symmetrize_input=False)
    return w, v


def block_diag(*arrs: Any) -> Array:
    """A matrix with the given matrices along its diagonal, zeros elsewhere.

    Args:
        *arrs: matrices, vectors (one row) or numbers.

    Returns:
        A matrix.

    Raises:
        ShapeError: an argument has more than two axes.

    >>> block_diag(fnp.ones((1, 2)), 3.0).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 3.0]]
    """
    known = [a if type(a) in dtypes.WEAK else fnp.asarray(a) for a in (arrs or (fnp.zeros((1, 0)),))]
    dtype = fnp.result_type(*known)
    blocks = [fnp.atleast_2d(fnp.asarray(a, dtype)) for a in known]
    if any(b.ndim > 2 for b in blocks):
        raise ShapeError(f"block_diag takes matrices, got {', '.join(str(b.type) for b in blocks)}")
    total, start, rows = sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        rows.append(fnp.pad(b, ((0, 0), (start, total - start - b.shape[1]))))
        start += b.shape[1]
    return fnp.concatenate(rows, axis=0)


# Numerators of the Padé approximants of exp, degree 13, and the norm up to which it is accurate in float64.
_PADE = [math.factorial(26 - k) / (math.factorial(13 - k) * math.factorial(k)) for k in range(14)]
_THETA = 5.371920351148152


def expm(A: Any, *, upper_triangular: bool = False, max_squarings: int = 16) -> Array:
    """The exponential of matrices [..., n, n].

    Args:
        A: [..., n, n].
        upper_triangular: accepted for compatibility.
        max_squarings: the norm may be up to 2 ** max_squarings times 5.4; beyond, the result is NaN.

    Returns:
        [..., n, n]. Source: Higham, "The scaling and squaring method for the matrix exponential revisited" (2005).

    >>> [round(v, 3) for v in expm(fnp.array([[0.0, 1.0], [0.0, 0.0]]))[0].tolist()]
    [1.0, 1.0]
    """
    (a,) = _inexact(A)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"expm needs square matrices [..., n, n], got {a.type}")
    norm = fnp.max(fnp.sum(fnp.abs(a), axis=-2), axis=-1, initial=0.0)
    squarings = fnp.maximum(fnp.ceil(fnp.log2(fnp.maximum(norm, 1e-30) / _THETA)), 0.0)
    a = a / fnp.exp2(squarings)[..., None, None].astype(a.dtype)
    eye = fnp.eye(a.shape[-1], dtype=a.dtype)
    square = fnp.matmul(a, a)
    even, odd, power = _PADE[0] * eye, _PADE[1] * eye, eye
    for k in range(2, 14, 2):
        power = fnp.matmul(power, square)
        even, odd = even + _PADE[k] * power, odd + _PADE[k + 1] * power
    odd = fnp.matmul(a, odd)
    found = fnp.linalg.solve(even - odd, fnp.broadcast_to(even + odd, a.shape))
    for i in range(max_squarings):
        found = fnp.where((squarings > i)[..., None, None], fnp.matmul(found, found), found)
    return fnp.where((squarings > max_squarings)[..., None, None], fnp.nan, found)


def expm_frechet(A: Any, E: Any, *, method: str | None = None, compute_expm: bool = True) -> Any:
    """The derivative of :func:`expm` at A in the direction E.

    Args:
        A: [..., n, n].
        E: [..., n, n].
        method: accepted for compatibility.
        compute_expm: whether to return the exponential, too.

    Returns:
        (exponential, derivative), or the derivative.

    Raises:
        ShapeError: the shapes differ.

    >>> expm_frechet(fnp.zeros((1, 1)), fnp.ones((1, 1)), compute_expm=False).tolist()
    [[1.0]]
    """
    a, e = _inexact(A, E)
    if a.shape != e.shape:
        raise ShapeError(f"expm_frechet needs two matrices of one shape, got {a.type} and {e.type}")
    found = jvp(expm, (a,), (e,))
    return tuple(found) if compute_expm else found[1]


@_documented
def qr_multiply(
    a: Any,
    c: Any,
    mode: str = "right",
    pivoting: bool = False,
    conjugate: bool = False,
    overwrite_a: bool = False,
    overwrite_c: bool = False,
) -> tuple[Array, Array]:
    """The product with the q of the QR factorization of a, and r.

    Args:
        a: [m, n].
        c: [k, m] or [m] for c q; [k, p] for q c, k = min(m, n).
        mode: "right" for c q, "left" for q c.
        pivoting: not offered.
        conjugate: whether q is conjugated.
        overwrite_c: accepted for compatibility.

    Returns:
        The product and r.

    Raises:
        NotImplementedError: `pivoting` is asked for.
        ValueError: another `mode`.

    >>> product, r = qr_multiply(fnp.eye(2), fnp.array([[1.0, 2.0]]))
    >>> fnp.abs(product).tolist()
    [[1.0, 2.0]]
    """
    if mode not in ("right", "left"):
        raise ValueError(f"qr_multiply takes mode 'right' or 'left', got {mode!r}")
    a, c = _inexact(a, c)
    q, r = qr(a, mode="economic", pivoting=pivoting)
    q = fnp.conj(q) if conjugate else q
    return (c @ q if mode == "right" else q @ c), r


def __dir__() -> list[str]:
    return __all__
