"""Norms of vectors and matrices."""

from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, Axis, axis_tuple, cast, inexact, matrices, number
from fdl.numpy.arithmetic import absolute, conj, power, real
from fdl.numpy.elementwise import sqrt
from fdl.numpy.reductions import kept
from fdl.numpy.reductions import max as largest
from fdl.numpy.reductions import min as smallest
from fdl.numpy.reductions import sum as total
from fdl.numpy.shapes import moveaxis, ravel, reshape
from fdl.ops.linalg import svd


@composite
def norm(x: ArrayLike, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Array:
    """The norm of vectors or matrices.

    Args:
        x: array.
        ord: for vectors a number, inf, -inf or 0 (how many are not zero); for matrices "fro", "nuc", 1, -1, 2, -2, inf
            or -inf. None is the root of the sum of squares.
        axis: one axis for vectors, two for matrices; None for all of x.
        keepdims: whether reduced axes stay, with extent 1.

    Raises:
        ShapeError: more than two axes with an `ord`.

    >>> norm(array([3.0, 4.0]))
    Array(5., dtype=float32)
    """
    x = number("norm", x)
    x = cast(x, inexact(x.type.dtype))
    count = x.type.ndim
    if axis is None and ord is None:
        result = _euclidean(ravel(x), (0,), False)
        return reshape(result, (1,) * count) if keepdims else result
    axes = axis_tuple("norm", axis, count)
    if len(axes) == 1:
        return _of_vectors(x, ord, axes, keepdims)
    if len(axes) == 2:
        return _of_matrices(x, "fro" if ord is None else ord, axes, keepdims)
    raise ShapeError(f"linalg.norm takes one axis or two, got axis={axis} for shape {x.type.shape}")


@composite
def vector_norm(x: ArrayLike, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """The norm of the elements along axes as one vector; `ord` as for :func:`norm`.

    >>> vector_norm(ones((2, 2)))
    Array(2., dtype=float32)
    """
    x = number("vector_norm", x)
    x = cast(x, inexact(x.type.dtype))
    return _of_vectors(x, ord, axis_tuple("vector_norm", axis, x.type.ndim), keepdims)


@composite
def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm of matrices along the last two axes; `ord` as for :func:`norm`.

    >>> matrix_norm(ones((2, 2)))
    Array(2., dtype=float32)
    """
    return norm(x, "fro" if ord is None else ord, (-2, -1), keepdims)


def _largest(sizes: Array, axes: Axis, keepdims: bool = False) -> Array:
    """The largest of numbers that are not negative, 0 of none."""
    return largest(sizes, axes, keepdims=keepdims, initial=None if sizes.type.size else 0)


def _euclidean(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    squares = real(x * conj(x)) if x.type.dtype.kind == "c" else x * x
    return sqrt(total(squares, axes, keepdims=keepdims))


def _of_vectors(x: Array, order: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    if order in (None, 2):
        return _euclidean(x, axes, keepdims)
    if isinstance(order, str):
        raise ValueError(f"linalg.norm: ord={order!r} is not a norm of vectors")
    sizes = absolute(x)
    if order == np.inf:
        return _largest(sizes, axes, keepdims)
    if order == -np.inf:
        return smallest(sizes, axes, keepdims=keepdims)
    if order == 0:
        return total(x != 0, axes, keepdims=keepdims, dtype=sizes.type.dtype)
    if order == 1:
        return total(sizes, axes, keepdims=keepdims)
    return power(total(power(sizes, order), axes, keepdims=keepdims), 1.0 / order)


def _of_matrices(x: Array, order: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    rows, columns = axes
    if order == "fro":
        return _euclidean(x, axes, keepdims)
    if order in (2, -2, "nuc"):
        values = svd(matrices("svd", moveaxis(x, axes, (-2, -1))), False, False)[0]
        result = total(values, -1) if order == "nuc" else _largest(values, -1) if order == 2 else values.min(-1)
        return kept(result, x.type.shape, axes, keepdims)
    summed = {1: rows, -1: rows, np.inf: columns, -np.inf: columns}.get(order)
    if summed is None:
        raise ValueError(f"linalg.norm: ord={order!r} is not a norm of matrices")
    sums = total(absolute(x), summed, keepdims=True)
    result = (_largest if order > 0 else smallest)(sums, axes)
    return kept(result, x.type.shape, axes, keepdims)
