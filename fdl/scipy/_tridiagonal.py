"""Eigenvalues of tridiagonal matrices, under the names of ``scipy.linalg``."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import linalg
from fdl.errors import ShapeError
from fdl.scipy._operands import inexact

__all__ = ["eigh_tridiagonal"]


def eigh_tridiagonal(
    d: Any,
    e: Any,
    *,
    eigvals_only: bool = False,
    select: str = "a",
    select_range: Any = None,
    tol: float | None = None,
    key: Any = None,
) -> Any:
    """Eigenvalues and eigenvectors of a Hermitian tridiagonal matrix.

    Args:
        d: diagonal [..., n], real.
        e: below it [..., n - 1].
        eigvals_only: whether to leave out the eigenvectors.
        select: "a" for all, "i" for those with the indices of `select_range`.
        select_range: first and last index.
        tol: accepted for compatibility.
        key: accepted for compatibility.

    Returns:
        Eigenvalues in ascending order, or these and the eigenvectors, the columns of [..., n, n].

    Raises:
        NotImplementedError: another `select`.
        ShapeError: the diagonals do not fit.

    >>> [round(v, 3) for v in eigh_tridiagonal(fnp.array([2.0, 2.0]), fnp.array([1.0]), eigvals_only=True).tolist()]
    [1.0, 3.0]
    """
    if select not in ("a", "i"):
        raise NotImplementedError(f"eigh_tridiagonal takes select 'a' or 'i', got {select!r}")
    d, e = inexact(d, e)
    if d.ndim < 1 or d.shape[:-1] != e.shape[:-1] or d.shape[-1] != e.shape[-1] + 1:
        raise ShapeError(f"eigh_tridiagonal needs d [..., n] and e [..., n - 1], got {d.type} and {e.type}")
    n = d.shape[-1]
    d, e = (v if v.dtype.itemsize >= 4 else v.astype(fnp.float32) for v in (d, e))
    a = fnp.zeros((*d.shape, n), d.dtype).at[..., np.arange(n), np.arange(n)].set(d)
    a = a.at[..., np.arange(1, n), np.arange(n - 1)].set(e)
    chosen = slice(None) if select == "a" else slice(select_range[0], select_range[1] + 1)
    if eigvals_only:
        return fnp.linalg.eigvalsh(a, symmetrize_input=False)[..., chosen]
    v, w = linalg.eigh(a, symmetrize_input=False)
    return w[..., chosen], v[..., chosen]
