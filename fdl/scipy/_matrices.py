"""Matrices of a known form, under the names of ``scipy.linalg``."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.numpy._operands import broadcast_shapes
from fdl.scipy._operands import inexact

__all__ = [
    "circulant",
    "companion",
    "convolution_matrix",
    "dft",
    "fiedler",
    "fiedler_companion",
    "hadamard",
    "hankel",
    "helmert",
    "hilbert",
    "invhilbert",
    "invpascal",
    "leslie",
    "pascal",
    "toeplitz",
]


def _vectors(name: str, x: Any, least: int = 1) -> Array:
    x = fnp.asarray(x)
    if x.ndim < 1 or x.shape[-1] < least:
        raise ShapeError(f"{name} needs vectors [..., n] with n of {least} at least, got {x.type}")
    return x


def _known(name: str, *arguments: Any, dtype: Any = None) -> Array:
    """SciPy's matrix, in the default floating dtype or another."""
    import scipy.linalg

    return fnp.asarray(getattr(scipy.linalg, name)(*arguments).astype(dtype or dtypes.default_dtype(float)))


def circulant(c: Any) -> Array:
    """The matrix of which each column is the one before, rotated by one.

    Args:
        c: first columns [..., n].

    Returns:
        [..., n, n].

    >>> circulant(fnp.array([1, 2, 3])).tolist()
    [[1, 3, 2], [2, 1, 3], [3, 2, 1]]
    """
    c = _vectors("circulant", c)
    places = np.arange(c.shape[-1])
    return fnp.take(c, (places[:, None] - places) % c.shape[-1], axis=-1)


def hankel(c: Any, r: Any = None) -> Array:
    """The matrix that is constant along the diagonals from the lower left to the upper right.

    Args:
        c: first columns [..., m].
        r: last rows [..., n], of which element 0 is not used; None is zeros like c.

    Returns:
        [..., m, n].

    >>> hankel(fnp.array([1, 2]), fnp.array([9, 5, 6])).tolist()
    [[1, 2, 5], [2, 5, 6]]
    """
    c = _vectors("hankel", c, 0)
    r = fnp.zeros_like(c) if r is None else _vectors("hankel", r, 0)
    lead = broadcast_shapes(c.shape[:-1], r.shape[:-1], name="hankel: the leading axes")
    c, r = (fnp.broadcast_to(v, lead + v.shape[-1:]) for v in (c, r))
    values = fnp.concatenate([c, r[..., 1:]], axis=-1)
    return fnp.take(values, np.arange(c.shape[-1])[:, None] + np.arange(r.shape[-1]), axis=-1)


def leslie(f: Any, s: Any) -> Array:
    """Leslie's matrix of the growth of a population by age.

    Args:
        f: fecundities [..., n], the first row.
        s: survivals [..., n - 1], below the diagonal.

    Returns:
        [..., n, n].

    Raises:
        ShapeError: the vectors do not fit.

    >>> leslie(fnp.array([0.5, 2.0]), fnp.array([0.25])).tolist()
    [[0.5, 2.0], [0.25, 0.0]]
    """
    f, s = _vectors("leslie", f, 2), _vectors("leslie", s)
    n = f.shape[-1]
    if s.shape[-1] != n - 1:
        raise ShapeError(f"leslie needs f [..., n] and s [..., n - 1], got {f.type} and {s.type}")
    lead = broadcast_shapes(f.shape[:-1], s.shape[:-1], name="leslie: the leading axes")
    matrix = fnp.zeros((*lead, n, n), fnp.result_type(f, s))
    return matrix.at[..., 0, :].set(f).at[..., np.arange(1, n), np.arange(n - 1)].set(s)


def companion(a: Any) -> Array:
    """The matrix whose characteristic polynomial has these coefficients.

    Args:
        a: coefficients [..., n] from the highest power on; the first is not zero.

    Returns:
        [..., n - 1, n - 1], inexact.

    >>> companion(fnp.array([1.0, -3.0, 2.0])).tolist()
    [[3.0, -2.0], [1.0, 0.0]]
    """
    (a,) = inexact(_vectors("companion", a, 2))
    rest = -a[..., 1:] / a[..., :1]
    n = rest.shape[-1]
    below = fnp.eye(n, k=-1, dtype=a.dtype)
    return fnp.broadcast_to(below, (*rest.shape, n)).at[..., 0, :].set(rest)


def fiedler(a: Any) -> Array:
    """The matrix of the distances between numbers.

    Args:
        a: numbers [..., n].

    Returns:
        [..., n, n].

    >>> fiedler(fnp.array([1, 4])).tolist()
    [[0, 3], [3, 0]]
    """
    a = _vectors("fiedler", a)
    return fnp.abs(a[..., :, None] - a[..., None, :])


def fiedler_companion(a: Any) -> Array:
    """A companion matrix with five diagonals.

    Args:
        a: coefficients [..., n] from the highest power on; the first is not zero.

    Returns:
        [..., n - 1, n - 1], inexact. Source: Fiedler, "A note on companion matrices" (2003).

    >>> fiedler_companion(fnp.array([1.0, -3.0, 2.0])).tolist()
    [[3.0, -2.0], [1.0, 0.0]]
    """
    (a,) = inexact(_vectors("fiedler_companion", a))
    a = a / a[..., :1]
    n = a.shape[-1] - 1
    if n == 0:
        return fnp.zeros((*a.shape[:-1], 0, 0), a.dtype)
    if n == 1:
        return -a[..., 1:, None]
    matrix = fnp.zeros((*a.shape[:-1], n, n), a.dtype)
    matrix = matrix.at[..., np.arange(3, n, 2), np.arange(1, n - 2, 2)].set(1)
    matrix = matrix.at[..., np.arange(2, n, 2), np.arange(1, n - 1, 2)].set(-a[..., 3::2])
    matrix = matrix.at[..., np.arange(0, n - 2, 2), np.arange(2, n, 2)].set(1)
    matrix = matrix.at[..., np.arange(0, n - 1, 2), np.arange(1, n, 2)].set(-a[..., 2::2])
    return matrix.at[..., 0, 0].set(-a[..., 1]).at[..., 1, 0].set(1)


def convolution_matrix(a: Any, n: int, mode: str = "full") -> Array:
    """The matrix whose product with a vector [n] is the convolution with a.

    Args:
        a: vectors [..., m].
        n: length of the vector.
        mode: "full", "same" or "valid", as in :func:`fdl.numpy.convolve`.

    Returns:
        [..., rows, n].

    Raises:
        ValueError: n is not positive, or `mode` none of these.

    >>> convolution_matrix(fnp.array([1, 2]), 2).tolist()
    [[1, 0], [2, 1], [0, 2]]
    """
    a = _vectors("convolution_matrix", a)
    if n < 1 or mode not in ("full", "same", "valid"):
        raise ValueError(f"convolution_matrix takes n above 0 and mode 'full', 'same' or 'valid', got {n}, {mode!r}")
    m = a.shape[-1]
    rows = m + n - 1
    trim = 0 if mode == "full" else min(m, n) - 1
    top = trim // 2 if mode == "same" else trim
    bottom = trim - top if mode == "same" else trim
    padded = fnp.concatenate([a, fnp.zeros_like(a[..., :1])], axis=-1)
    place = np.arange(top, rows - bottom)[:, None] - np.arange(n)
    return fnp.take(padded, np.where((place >= 0) & (place < m), place, m), axis=-1)


def dft(n: int, scale: str | None = None, *, dtype: Any = None) -> Array:
    """The matrix of the Fourier transform.

    Args:
        n: rows.
        scale: None, "sqrtn" to divide by the root of n, or "n" to divide by n.
        dtype: complex dtype; None is the default one.

    Returns:
        [n, n].

    >>> dft(2).real.round(3).tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    return _known("dft", n, scale, dtype=dtype or dtypes.default_dtype(complex))


def hadamard(n: int, dtype: Any = int) -> Array:
    """Sylvester's matrix of ones and minus ones with orthogonal rows.

    Args:
        n: rows, a power of two.
        dtype: of the result.

    Returns:
        [n, n].

    >>> hadamard(2).tolist()
    [[1, 1], [1, -1]]
    """
    return fnp.asarray(_known("hadamard", n), dtype)


def helmert(n: int, full: bool = False) -> Array:
    """Helmert's matrix, whose rows are orthonormal contrasts.

    Args:
        n: columns.
        full: whether the row of equal numbers is there too.

    Returns:
        [n - 1, n], or [n, n].

    >>> helmert(2).round(3).tolist()
    [[0.707..., -0.707...]]
    """
    return _known("helmert", n, full)


def hilbert(n: int) -> Array:
    """The matrix of 1 / (i + j + 1).

    Args:
        n: rows.

    Returns:
        [n, n].

    >>> hilbert(2)[0].tolist()
    [1.0, 0.5]
    """
    return _known("hilbert", n)


def invhilbert(n: int) -> Array:
    """The inverse of :func:`hilbert`, of whole numbers.

    Args:
        n: rows.

    Returns:
        [n, n].

    >>> invhilbert(2).tolist()
    [[4.0, -6.0], [-6.0, 12.0]]
    """
    return _known("invhilbert", n)


def pascal(n: int, kind: str | None = None) -> Array:
    """The matrix of binomial coefficients.

    Args:
        n: rows.
        kind: "symmetric" (also None), "lower" or "upper".

    Returns:
        [n, n].

    >>> pascal(3)[2].tolist()
    [1.0, 3.0, 6.0]
    """
    return _known("pascal", n, kind or "symmetric")


def invpascal(n: int, kind: str | None = None) -> Array:
    """The inverse of :func:`pascal`.

    Args:
        n: rows.
        kind: as there.

    Returns:
        [n, n].

    >>> invpascal(2).tolist()
    [[2.0, -1.0], [-1.0, 1.0]]
    """
    return _known("invpascal", n, kind or "symmetric")


def toeplitz(c: Any, r: Any = None) -> Array:
    """The matrix that is constant along diagonals.

    Args:
        c: first columns [..., m].
        r: first rows [..., n], of which element 0 is not used; None is the conjugate of c.

    Returns:
        [..., m, n].

    >>> toeplitz(fnp.array([1, 2]), fnp.array([1, 5, 6])).tolist()
    [[1, 5, 6], [2, 1, 5]]
    """
    c = fnp.atleast_1d(fnp.asarray(c))
    r = fnp.conj(c) if r is None else fnp.atleast_1d(fnp.asarray(r))
    lead = broadcast_shapes(c.shape[:-1], r.shape[:-1], name="toeplitz: the leading axes")
    c, r = (fnp.broadcast_to(v, lead + v.shape[-1:]) for v in (c, r))
    values = fnp.concatenate([c[..., ::-1], r[..., 1:]], axis=-1)
    index = np.arange(c.shape[-1] - 1, -1, -1)[:, None] + np.arange(r.shape[-1])[None, :]
    return fnp.take(values, index, axis=-1)
