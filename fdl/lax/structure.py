"""Shapes and joins, by their lax names."""

import builtins
from collections.abc import Sequence
from math import prod
from typing import Any

from fdl.array import as_operand as as_array
from fdl.core.types import Array
from fdl.core.weak import weak_as
from fdl.dtypes import as_dtype
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index, beside, broadcast_shapes, element, integer, integers, promote, shape_tuple
from fdl.ops import shape as shapes
from fdl.ops import slicing

__all__ = [
    "broadcast",
    "broadcast_in_dim",
    "broadcast_shapes",
    "broadcasted_iota",
    "collapse",
    "concatenate",
    "expand_dims",
    "full",
    "full_like",
    "iota",
    "pad",
    "reshape",
    "rev",
    "squeeze",
    "transpose",
]


def broadcast(operand: Any, sizes: Sequence[int]) -> Array:
    """`operand` repeated along new leading axes of the given sizes.

    Args:
        operand: array of any shape and dtype.
        sizes: extents of the new axes.

    Returns:
        An array of shape (*sizes, *operand.shape).

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.broadcast(fnp.array([1, 2]), (2,))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    operand = as_array(operand)
    sizes = integers("broadcast: sizes", sizes)
    first = len(sizes)
    return shapes.broadcast_in_dim(operand, (*sizes, *operand.shape), range(first, first + operand.ndim))


def broadcast_in_dim(
    operand: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], out_sharding: Any = None
) -> Array:
    """`operand` repeated to `shape`, its axis i becoming axis ``broadcast_dimensions[i]``.

    Args:
        operand: array of any dtype.
        shape: of the result.
        broadcast_dimensions: for each axis of `operand` its place in the result, in rising order.
        out_sharding: accepted for ports.

    Returns:
        An array of that shape.

    Raises:
        ShapeError: an axis of `operand` has neither extent 1 nor that of its place.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.broadcast_in_dim(fnp.array([1, 2]), (2, 3), (0,))
    Array([[1, 1, 1],
           [2, 2, 2]], dtype=int32)
    """
    places = integers("broadcast_in_dim: broadcast_dimensions", broadcast_dimensions)
    return shapes.broadcast_in_dim(as_array(operand), integers("broadcast_in_dim: shape", shape), places)


def iota(dtype: Any, size: int, *, dimension: int = 0) -> Array:
    """The numbers 0, 1, 2, ... `size` - 1.

    Args:
        dtype: of the result, an integer, floating-point or complex one.
        size: how many.
        dimension: accepted for ports; the result has one axis.

    Returns:
        An array of shape (size,).

    >>> import fdl
    >>> fdl.lax.iota("float32", 3)
    Array([0., 1., 2.], dtype=float32)
    """
    return shapes.iota(as_dtype(dtype), shape_tuple("iota", size), 0)


def broadcasted_iota(dtype: Any, shape: Sequence[int], dimension: int, out_sharding: Any = None) -> Array:
    """An array whose elements are their own index along `dimension`.

    Args:
        dtype: of the result, an integer, floating-point or complex one.
        shape: of the result.
        dimension: the axis to count along.
        out_sharding: accepted for ports.

    Returns:
        An array of that shape and dtype.

    >>> import fdl
    >>> fdl.lax.broadcasted_iota("int32", (2, 3), 1)
    Array([[0, 1, 2],
           [0, 1, 2]], dtype=int32)
    """
    extents = shape_tuple("broadcasted_iota", shape)
    return shapes.iota(as_dtype(dtype), extents, axis_index("broadcasted_iota", dimension, len(extents)))


def full(shape: Sequence[int], fill_value: Any, dtype: Any = None, **ignored: Any) -> Array:
    """An array of one repeated value, in `dtype` or that of the value.

    Args:
        shape: of the result.
        fill_value: scalar.
        dtype: of the result; that of the value if None.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array of that shape.

    >>> import fdl
    >>> fdl.lax.full((2,), 1.5)
    Array([1.5, 1.5], dtype=float32)
    """
    value = as_array(fill_value) if dtype is None else beside("full", fill_value, as_dtype(dtype))
    return shapes.broadcast_in_dim(value, shape_tuple("full", shape), ())


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Sequence[int] | None = None, **ignored: Any) -> Array:
    """One repeated value in the shape and dtype of `x`, or the given ones.

    Args:
        x: array of any shape and dtype.
        fill_value: scalar.
        dtype: of the result; that of `x` if None.
        shape: of the result; that of `x` if None.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array of that shape and dtype.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.full_like(fnp.array([1, 2]), 7)
    Array([7, 7], dtype=int32)
    """
    x = as_array(x)
    found = full(x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)
    return weak_as(x, found) if dtype is None else found


def reshape(operand: Any, new_sizes: Sequence[int], dimensions: Sequence[int] | None = None, **ignored: Any) -> Array:
    """The elements of `operand`, its axes first put in the order `dimensions`, under another shape.

    Args:
        operand: array of any shape and dtype.
        new_sizes: shape of the result.
        dimensions: all axes of `operand` in the order in which to read them; as they are if None.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array of shape `new_sizes`.

    Raises:
        ShapeError: the shape has another number of elements.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.reshape(fnp.array([[1, 2], [3, 4]]), (4,), (1, 0))
    Array([1, 3, 2, 4], dtype=int32)
    """
    operand = as_array(operand)
    return shapes.reshape(
        operand if dimensions is None else shapes.transpose(operand, dimensions),
        integers("reshape: new_sizes", new_sizes),
    )


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Array:
    """`operand` with the axes from start to stop made into one.

    Args:
        operand: array of any shape and dtype.
        start_dimension: the first of the axes.
        stop_dimension: the axis behind the last one; the number of axes if None.

    Returns:
        An array with the same elements in the same order.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.collapse(fnp.ones((2, 3, 4)), 0, 2).shape
    (6, 4)
    """
    operand = as_array(operand)
    end = None if stop_dimension is None else integer("collapse: stop_dimension", stop_dimension)
    start, stop, _ = builtins.slice(integer("collapse: start_dimension", start_dimension), end).indices(operand.ndim)
    middle = (prod(operand.shape[start:stop]),)
    return shapes.reshape(operand, operand.shape[:start] + middle + operand.shape[stop:])


def transpose(operand: Any, permutation: Sequence[int]) -> Array:
    """`operand` with its axes in another order.

    Args:
        operand: array of any shape and dtype.
        permutation: for each axis of the result the axis of `operand`.

    Returns:
        An array with the axes in that order.

    Raises:
        ShapeError: `permutation` does not hold every axis once.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.transpose(fnp.array([[1, 2], [3, 4]]), (1, 0))
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    return shapes.transpose(as_array(operand), integers("transpose: permutation", permutation))


def expand_dims(array: Any, dimensions: Sequence[int]) -> Array:
    """`array` with axes of extent one at `dimensions` of the result.

    Args:
        array: array of any shape and dtype.
        dimensions: places of the new axes in the result.

    Returns:
        An array with the same elements.

    Raises:
        ShapeError: a place is out of bounds.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.expand_dims(fnp.ones(3), (0, 2)).shape
    (1, 3, 1)
    """
    array = as_array(array)
    dimensions = integers("expand_dims: dimensions", dimensions)
    ndim = array.ndim + len(dimensions)
    places = {axis_index("expand_dims", d, ndim) for d in dimensions}
    kept = iter(array.shape)
    return shapes.reshape(array, tuple(1 if a in places else next(kept) for a in range(ndim)))


def squeeze(array: Any, dimensions: Sequence[int]) -> Array:
    """`array` without the axes `dimensions`, which must have extent one.

    Args:
        array: array of any shape and dtype.
        dimensions: the axes to remove.

    Returns:
        An array with the same elements.

    Raises:
        ShapeError: an axis is out of bounds, or its extent is not 1.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.squeeze(fnp.ones((1, 3, 1)), (0, 2)).shape
    (3,)
    """
    array = as_array(array)
    dimensions = integers("squeeze: dimensions", dimensions)
    places = {axis_index("squeeze", d, array.ndim) for d in dimensions}
    if any(array.shape[p] != 1 for p in places):
        raise ShapeError(f"squeeze of axes {tuple(dimensions)} of {array.type}: they must have extent 1")
    return shapes.reshape(array, tuple(n for a, n in enumerate(array.shape) if a not in places))


def concatenate(operands: Sequence[Any], dimension: int) -> Array:
    """`operands` one after another along an axis.

    Args:
        operands: arrays of one dtype, whose shapes differ only along the axis.
        dimension: the axis.

    Returns:
        An array whose extent along the axis is the sum of theirs.

    Raises:
        ShapeError: there are no operands, or their shapes differ elsewhere.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.concatenate([fnp.array([1, 2]), fnp.array([3])], 0)
    Array([1, 2, 3], dtype=int32)
    """
    if not operands:
        raise ShapeError("concatenate needs at least one operand")
    values = promote("concatenate", *operands, keys=True)
    return slicing.concatenate(values, axis_index("concatenate", dimension, values[0].ndim))


def pad(operand: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Array:
    """`operand` with (low, high, interior) padding for each axis; negative low and high cut off.

    Args:
        operand: array of any shape.
        padding_value: scalar of the same dtype.
        padding_config: (low, high, interior) for each axis: elements before, behind and between.

    Returns:
        An array of the dtype of `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.pad(fnp.array([1, 2]), 0, [(1, 0, 2)])
    Array([0, 1, 0, 0, 2], dtype=int32)
    """
    operand = as_array(operand)
    value = element("the padding_value of lax.pad", padding_value, operand.dtype)
    return slicing.pad(operand, value, [(low, high, inner) for low, high, inner in padding_config])


def rev(operand: Any, dimensions: Sequence[int]) -> Array:
    """`operand` with the order along `dimensions` reversed.

    Args:
        operand: array of any shape and dtype.
        dimensions: the axes to reverse.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ShapeError: an axis is out of bounds, or given twice.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.rev(fnp.array([1, 2, 3]), (0,))
    Array([3, 2, 1], dtype=int32)
    """
    return slicing.reverse(as_array(operand), integers("rev: dimensions", dimensions))
