"""Diagonals and triangles: reading them, building from them, and their indices."""

from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.composite import composite
from fdl.core.weak import weak_as
from fdl.dtypes import default_dtype
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, axis_index, beside, cast, expand_to, integer, value
from fdl.numpy.creation import eye, ones
from fdl.numpy.ranges import arange
from fdl.numpy.rearrange import resize
from fdl.numpy.selection import nonzero
from fdl.numpy.shapes import moveaxis, ravel
from fdl.numpy.shapes import shape as shape_of
from fdl.ops.select import select
from fdl.ops.shape import full_like, reshape
from fdl.ops.slicing import pad, slice_


@composite
def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """A diagonal of matrices.

    Args:
        a: array of at least two axes.
        offset: which one: 0 is the main one, positive ones lie above.
        axis1: the rows.
        axis2: the columns.

    Returns:
        Array without these axes, the diagonal last.

    >>> diagonal(array([[1, 2], [3, 4]]))
    Array([1, 4], dtype=int32)
    """
    x = value("diagonal", a)
    if x.type.ndim < 2:
        raise ShapeError(f"diagonal needs at least 2 axes, got shape {x.type.shape}")
    axes = tuple(axis_index("diagonal", i, x.type.ndim) for i in (axis1, axis2))
    x = moveaxis(x, axes, (-2, -1))
    *lead, rows, columns = x.type.shape
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    flat = reshape(x, (*lead, rows * columns))
    if not count:
        return slice_(flat, (0,) * len(flat.type.shape), (*lead, 0))
    # In row-major order the elements of a diagonal are one row and one column apart.
    start = offset if offset >= 0 else -offset * columns
    stop, unit = start + (count - 1) * (columns + 1) + 1, (1,) * len(lead)
    return slice_(flat, (*(0 for _ in lead), start), (*lead, stop), (*unit, columns + 1))


@composite
def diag(v: ArrayLike, k: int = 0) -> Array:
    """The matrix with a vector on a diagonal, or the diagonal of a matrix.

    Args:
        v: vector or matrix.
        k: which diagonal.

    >>> diag(array([1, 2]))
    Array([[1, 0],
           [0, 2]], dtype=int32)
    """
    x = value("diag", v)
    if x.type.ndim == 2:
        return diagonal(x, k)
    if x.type.ndim != 1:
        raise ShapeError(f"diag needs a vector or a matrix, got shape {x.type.shape}")
    side = x.type.shape[0] + abs(k)
    columns = expand_to(pad(x, weak_as(x, cast(0, x.type.dtype)), [(max(k, 0), max(-k, 0), 0)]), (side, side))
    return select(eye(side, k=k, dtype=bool), columns, full_like(columns, 0))


def diagflat(v: ArrayLike, k: int = 0) -> Array:
    """The matrix with all elements of `v` on a diagonal.

    >>> diagflat(array([[1, 2]])).shape
    (2, 2)
    """
    return diag(ravel(v), k)


def fill_diagonal(a: ArrayLike, val: ArrayLike, wrap: bool = False, *, inplace: bool = True) -> Array:
    """A copy of `a` with another main diagonal.

    Args:
        a: array of at least two axes, all equal if there are more than two.
        val: number, or values that are repeated along the diagonal.
        wrap: not supported.
        inplace: must be False, since arrays are immutable.

    >>> fill_diagonal(zeros((2, 2)), 3, inplace=False)
    Array([[3., 0.],
           [0., 3.]], dtype=float32)
    """
    if inplace or wrap:
        raise NotImplementedError("fill_diagonal: arrays are immutable; pass inplace=False, and no wrap")
    x = value("fill_diagonal", a)
    shape = x.type.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise ShapeError(f"fill_diagonal needs two axes or more equal ones, got shape {shape}")
    count = min(shape)
    values = beside("fill_diagonal", val, x.type.dtype)
    values = resize(ravel(values), (count,)) if values.type.ndim else values
    return x.at[diag_indices(count, len(shape))].set(values)


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """The indices of the main diagonal of an array with `ndim` axes of extent n.

    >>> diag_indices(2)
    (Array([0, 1], dtype=int32), Array([0, 1], dtype=int32))
    """
    return (arange(n, dtype=int),) * ndim


def diag_indices_from(arr: ArrayLike) -> tuple[Array, ...]:
    """The indices of the main diagonal of an array whose axes are equal.

    >>> len(diag_indices_from(zeros((3, 3))))
    2
    """
    shape = shape_of(arr)
    if len(shape) < 2 or len(set(shape)) > 1:
        raise ShapeError(f"diag_indices_from needs at least two axes, all equal, got shape {shape}")
    return diag_indices(shape[0], len(shape))


def _indices(mask: Any) -> tuple[Array, ...]:
    return tuple(arrays.Array(places.astype(default_dtype(int))) for places in np.nonzero(np.asarray(mask)))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, ...]:
    """Row and column indices of the lower triangle of an n by m matrix.

    >>> tril_indices(2)
    (Array([0, 1, 1], dtype=int32), Array([0, 0, 1], dtype=int32))
    """
    return _indices(_lower("tril_indices", n, k, m))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, ...]:
    """Row and column indices of the upper triangle of an n by m matrix.

    >>> triu_indices(2)
    (Array([0, 0, 1], dtype=int32), Array([0, 1, 1], dtype=int32))
    """
    return _indices(~_lower("triu_indices", n, integer("triu_indices: k", k) - 1, m))


def _lower(name: str, n: Any, k: Any, m: Any) -> np.ndarray:
    rows = integer(f"{name}: n", n)
    return np.tri(rows, rows if m is None else integer(f"{name}: m", m), integer(f"{name}: k", k), bool)


def tril_indices_from(arr: ArrayLike, k: int = 0) -> tuple[Array, ...]:
    """Row and column indices of the lower triangle of a matrix.

    >>> tril_indices_from(zeros((2, 2)), -1)
    (Array([1], dtype=int32), Array([0], dtype=int32))
    """
    rows, columns = _matrix_shape("tril_indices_from", arr)
    return tril_indices(rows, k, columns)


def triu_indices_from(arr: ArrayLike, k: int = 0) -> tuple[Array, ...]:
    """Row and column indices of the upper triangle of a matrix.

    >>> triu_indices_from(zeros((2, 2)), 1)
    (Array([0], dtype=int32), Array([1], dtype=int32))
    """
    rows, columns = _matrix_shape("triu_indices_from", arr)
    return triu_indices(rows, k, columns)


def _matrix_shape(name: str, arr: ArrayLike) -> tuple[int, int]:
    shape = value(name, arr).type.shape
    if len(shape) != 2:
        raise ShapeError(f"{name} needs a matrix, got shape {shape}")
    return shape


def mask_indices(n: int, mask_func: Any, k: Any = 0, *, size: int | None = None) -> tuple[Array, ...]:
    """The indices of the elements of an n by n matrix that `mask_func` keeps.

    Args:
        n: rows and columns.
        mask_func: like triu or tril: takes a matrix of ones and `k`.
        k: passed on.
        size: as for :func:`nonzero`.

    >>> mask_indices(2, triu, 1)
    (Array([0], dtype=int32), Array([1], dtype=int32))
    """
    return nonzero(mask_func(ones((n, n)), k), size=size)
