"""Systems with three diagonals, and updates of factors, under the names of ``jax.lax.linalg``."""

from typing import Any

import fdl.numpy as fnp
from fdl import linalg
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.lax.control import scan
from fdl.numpy._operands import promote

__all__ = ["cholesky_update", "tridiagonal_solve"]


def tridiagonal_solve(dl: Any, d: Any, du: Any, b: Any, *, perturb_singular: bool = False) -> Array:
    """The x with a x = b, for matrices a with three diagonals, by elimination with exchange of neighbouring rows.

    Args:
        dl: [..., n], below the diagonal: ``dl[i]`` is ``a[i, i - 1]``; the first one is not read.
        d: [..., n], the diagonal.
        du: [..., n], above the diagonal: ``du[i]`` is ``a[i, i + 1]``; the last one is not read.
        b: [..., n, k].
        perturb_singular: accepted for ports.

    Returns:
        [..., n, k], not finite where a is singular. Source: Golub, Van Loan, "Matrix Computations", 4.3 (2013).

    Raises:
        ShapeError: the shapes do not fit.

    >>> z, d = fnp.array([0.0, 1.0]), fnp.array([2.0, 2.0])
    >>> tridiagonal_solve(z, d, z, fnp.array([[2.0], [5.0]])).tolist()
    [[1.0], [2.0]]
    """
    dl, d, du, b = promote("tridiagonal_solve", dl, d, du, b, to_inexact=True)
    if not dl.shape == d.shape == du.shape == b.shape[:-1] or not d.ndim:
        raise ShapeError(
            f"tridiagonal_solve needs three diagonals [..., n] and b [..., n, k], got {dl.type}, {d.type}, {du.type} "
            f"and {b.type}"
        )
    lower, middle, upper = (fnp.moveaxis(v, -1, 0)[..., None] for v in (dl, d, du))
    rows = fnp.moveaxis(b, -2, 0)
    if not rows.shape[0]:
        return b

    def eliminate(above: Any, row: Any) -> tuple[Any, Any]:
        # The row above, in which one unknown less is left than in this one, and this one; each of three unknowns.
        (first, second, value), (left, diagonal, right, given) = above, row
        swap = fnp.abs(left) > fnp.abs(first)
        pivot, other = fnp.where(swap, left, first), fnp.where(swap, first, left)
        upper, lower = fnp.where(swap, diagonal, second), fnp.where(swap, second, diagonal)
        far = fnp.where(swap, right, 0)
        known, rest = fnp.where(swap, given, value), fnp.where(swap, value, given)
        factor = other / pivot
        below = lower - factor * upper, fnp.where(swap, 0, right) - factor * far, rest - factor * known
        return below, (upper / pivot, far / pivot, known / pivot)

    # The last row has nothing to its right.
    upper = upper.at[-1].set(0)
    tail = (lower[1:], middle[1:], upper[1:], rows[1:])
    (pivot, _, value), eliminated = scan(eliminate, (middle[0], upper[0], rows[0]), tail)
    last = value / pivot

    def substitute(below: Any, row: Any) -> tuple[Any, Array]:
        new = row[2] - row[0] * below[0] - row[1] * below[1]
        return (new, below[0]), new

    _, solved = scan(substitute, (last, fnp.zeros_like(last)), eliminated, reverse=True)
    return fnp.moveaxis(fnp.concatenate([solved, last[None]]), 0, -2)


def cholesky_update(r_matrix: Any, w_vector: Any) -> Array:
    """The upper triangular factor of r^T r + w w^T.

    Args:
        r_matrix: [..., n, n], upper triangular.
        w_vector: [..., n].

    Returns:
        [..., n, n], with a positive diagonal.

    >>> cholesky_update(fnp.array([[3.0]]), fnp.array([4.0])).tolist()
    [[5.0]]
    """
    r, w = promote("cholesky_update", r_matrix, w_vector, to_inexact=True)
    if r.ndim < 2 or r.shape[:-1] != w.shape or r.shape[-1] != r.shape[-2]:
        raise ShapeError(f"cholesky_update needs r [..., n, n] and w [..., n], got {r.type} and {w.type}")
    # A QR factorization of both together squares no condition number.
    factor = linalg.qr(fnp.concatenate([r, w[..., None, :]], axis=-2), full_matrices=False)[1]
    signs = fnp.where(fnp.diagonal(factor, axis1=-2, axis2=-1) < 0, -1, 1)
    return fnp.triu(factor * signs[..., None].astype(factor.dtype))
