"""Condensed forms of matrices, Hessenberg, tridiagonal, Schur's and polar, under the names of ``jax.lax.linalg``."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.numpy._operands import integer, real_of
from fdl.scipy._lapack import matrices, per_matrix, routine
from fdl.scipy._schur import polar
from fdl.scipy._schur import schur as _schur

__all__ = ["hessenberg", "qdwh", "schur", "tridiagonal"]


def hessenberg(a: Any) -> tuple[Array, Array]:
    """Hessenberg form by Householder reflections, as LAPACK keeps it; without a derivative.

    Args:
        a: [..., n, n].

    Returns:
        [..., n, n], the form on and above the first subdiagonal, and the vectors of the reflections below it; and their
        factors [..., n - 1]. :func:`fdl.linalg.householder_product` makes the orthogonal factor of both.

    Raises:
        ShapeError: the matrices are not square.

    >>> packed, taus = hessenberg(fnp.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> packed.tolist(), taus.tolist()
    ([[1.0, 2.0], [3.0, 4.0]], [0.0])
    """
    (a,) = matrices("hessenberg", a)
    n, dtype = a.shape[-1], a.dtype

    def run(x: np.ndarray) -> Any:
        return routine("gehrd", dtype)(x)[:2] if n else (x, np.zeros(0))

    packed, taus = per_matrix(run, [a], [((n, n), dtype), ((max(n - 1, 0),), dtype)])
    return packed, taus


def tridiagonal(a: Any, *, lower: bool = True) -> tuple[Array, Array, Array, Array]:
    """Tridiagonal form of Hermitian matrices by Householder reflections, as LAPACK keeps it; without a derivative.

    Args:
        a: [..., n, n].
        lower: which triangle is read.

    Returns:
        [..., n, n] with the vectors of the reflections in that triangle; the diagonal [..., n] and the one beside it
        [..., n - 1] of the form, real; the factors of the reflections [..., n - 1].

    Raises:
        ShapeError: the matrices are not square.

    >>> _, d, e, taus = tridiagonal(fnp.array([[2.0, 1.0], [1.0, 3.0]]))
    >>> d.tolist(), e.tolist(), taus.tolist()
    ([2.0, 3.0], [1.0], [0.0])
    """
    (a,) = matrices("tridiagonal", a)
    n, dtype = a.shape[-1], a.dtype
    name, real = "hetrd" if dtype.kind == "c" else "sytrd", real_of(dtype)

    def run(x: np.ndarray) -> Any:
        return routine(name, dtype)(x, lower=lower)[:4] if n else (x, np.zeros(0), np.zeros(0), np.zeros(0))

    beside = (max(n - 1, 0),)
    packed, d, e, taus = per_matrix(run, [a], [((n, n), dtype), ((n,), real), (beside, real), (beside, dtype)])
    return packed, d, e, taus


def schur(
    x: Any,
    *,
    compute_schur_vectors: bool = True,
    sort_eig_vals: bool = False,
    select_callable: Callable[..., Any] | None = None,
) -> Any:
    """Schur form x = z t z^H, real of a real matrix; without a derivative.

    Args:
        x: [..., n, n].
        compute_schur_vectors: whether to return z.
        sort_eig_vals: False.
        select_callable: None.

    Returns:
        (t, z), or (t,).

    Raises:
        NotImplementedError: sorted eigenvalues are asked for.
        ShapeError: the matrices are not square.

    >>> schur(fnp.array([[2.0, 1.0], [0.0, 3.0]]))[0].tolist()
    [[2.0, 1.0], [0.0, 3.0]]
    """
    if sort_eig_vals or select_callable is not None:
        raise NotImplementedError("schur does not sort eigenvalues; leave sort_eig_vals and select_callable out")
    t, z = _schur(x, "complex" if fnp.asarray(x).dtype.kind == "c" else "real")
    return (t, z) if compute_schur_vectors else (t,)


def qdwh(
    x: Any,
    *,
    is_hermitian: bool = False,
    max_iterations: int | None = None,
    eps: float | None = None,
    dynamic_shape: tuple[int, int] | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Polar decomposition x = u h, by the singular value decomposition.

    Args:
        x: [m, n] with m >= n.
        is_hermitian: accepted for ports, as the next two.
        max_iterations: of JAX's method.
        eps: where JAX's method stops.
        dynamic_shape: rows and columns that count, the others are zero; None for all.

    Returns:
        u [m, n] with orthonormal columns, Hermitian h [n, n], the number of iterations, 1, and whether it converged.

    Raises:
        ShapeError: x is no matrix, has more columns than rows, or is smaller than `dynamic_shape`.

    >>> u, h, _, converged = qdwh(fnp.array([[0.0, -2.0], [3.0, 0.0]]))
    >>> h.round(3).tolist(), bool(converged)
    ([[3.0, 0.0], [0.0, 2.0]], True)
    """
    (x,) = matrices("qdwh", x, square=False)
    m, n = x.shape[-2:]
    if x.ndim != 2 or m < n:
        raise ShapeError(f"qdwh needs a matrix with at least as many rows as columns, got {x.type}")
    rows, columns = (m, n) if dynamic_shape is None else (integer("qdwh: dynamic_shape", d) for d in dynamic_shape)
    if not (0 <= rows <= m and 0 <= columns <= n):
        raise ShapeError(f"qdwh: dynamic_shape must be at most the shape of x, {x.shape}, got {dynamic_shape}")
    u, h = polar(x[:rows, :columns])
    h = (h + fnp.conj(fnp.matrix_transpose(h))) / 2  # rounding leaves it Hermitian to a few units only
    u = fnp.pad(u, ((0, m - rows), (0, n - columns)))
    h = fnp.pad(h, (0, n - columns))
    return u, h, fnp.asarray(1), fnp.all(fnp.isfinite(u))
