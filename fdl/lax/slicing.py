"""Slices, at fixed and at run-time places, by their lax names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl.array import as_operand as as_array
from fdl.core.trace import Value
from fdl.core.types import Array
from fdl.dtypes import int32
from fdl.errors import ShapeError
from fdl.lax.structure import expand_dims, squeeze
from fdl.numpy._index import from_front
from fdl.numpy._operands import axis_index, cast, integer, integers
from fdl.ops import slicing

__all__ = [
    "dynamic_index_in_dim",
    "dynamic_slice",
    "dynamic_slice_in_dim",
    "dynamic_update_index_in_dim",
    "dynamic_update_slice",
    "dynamic_update_slice_in_dim",
    "index_in_dim",
    "slice",
    "slice_in_dim",
    "split",
]


def slice(
    operand: Any, start_indices: Sequence[int], limit_indices: Sequence[int], strides: Sequence[int] | None = None
) -> Array:
    """The block from start to limit (exclusive) along every axis, each `strides` elements.

    Args:
        operand: array of any shape and dtype.
        start_indices: first index for each axis.
        limit_indices: index behind the last one for each axis.
        strides: steps for each axis; one if None.

    Returns:
        An array with the same number of axes.

    Raises:
        ShapeError: the block does not lie within `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.slice(fnp.arange(6), (1,), (6,), (2,))
    Array([1, 3, 5], dtype=int32)
    """
    starts, limits = integers("slice: start_indices", start_indices), integers("slice: limit_indices", limit_indices)
    return slicing.slice_(
        as_array(operand), starts, limits, None if strides is None else integers("slice: strides", strides)
    )


def slice_in_dim(
    operand: Any, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0
) -> Array:
    """The block from start to limit (exclusive) along one axis; negative bounds count from its end.

    Args:
        operand: array of any shape and dtype.
        start_index: first index; 0 if None.
        limit_index: index behind the last one; the extent if None.
        stride: step.
        axis: the axis.

    Returns:
        An array with the same number of axes.

    Raises:
        ShapeError: the block does not lie within `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.slice_in_dim(fnp.arange(6), 1, -1)
    Array([1, 2, 3, 4], dtype=int32)
    """
    operand = as_array(operand)
    place = axis_index("slice_in_dim", axis, operand.ndim)
    extent = operand.shape[place]
    first = 0 if start_index is None else integer("slice_in_dim: start_index", start_index)
    last = extent if limit_index is None else integer("slice_in_dim: limit_index", limit_index)
    stride = integer("slice_in_dim: stride", stride)
    starts, limits, strides = [0] * operand.ndim, list(operand.shape), [1] * operand.ndim
    starts[place], limits[place], strides[place] = first + extent * (first < 0), last + extent * (last < 0), stride
    return slicing.slice_(operand, starts, limits, strides)


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Array:
    """Element `index` along one axis.

    Args:
        operand: array of any shape and dtype.
        index: Python integer; a negative one counts from the end.
        axis: the axis.
        keepdims: whether the axis stays, with extent 1.

    Returns:
        An array with the other axes as they are.

    Raises:
        ShapeError: the index is out of bounds.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.index_in_dim(fnp.array([[1, 2], [3, 4]]), 1, axis=1, keepdims=False)
    Array([2, 4], dtype=int32)
    """
    operand = as_array(operand)
    place = axis_index("index_in_dim", axis, operand.ndim)
    number = axis_index("index_in_dim", index, operand.shape[place])
    found = slice_in_dim(operand, number, number + 1, 1, place)
    return found if keepdims else squeeze(found, (place,))


def _starts(operand: Any, start_indices: Any) -> list[Any]:
    """Start indices as integer scalars, negative ones counted from the end."""
    if isinstance(start_indices, (Value, np.ndarray)):
        array = as_array(start_indices)
        start_indices = [index_in_dim(array, i, 0, False) for i in range(array.shape[0])]
    if not isinstance(start_indices, (list, tuple)):
        raise TypeError(f"start_indices are a vector or a sequence of integer scalars, got {start_indices!r}")
    if len(start_indices) != operand.ndim:
        raise ShapeError(
            f"dynamic slicing of {operand.type} needs {operand.ndim} start indices, got {len(start_indices)}"
        )
    return [_from_front(start, extent) for start, extent in zip(start_indices, operand.shape, strict=True)]


def _from_front(start: Any, extent: int) -> Any:
    if isinstance(start, (int, np.integer)):
        # The block is moved inside anyway: a start that no index can hold is as good as the farthest one that can.
        dtype = int32 if extent <= np.iinfo(int32).max else np.int64
        place, bounds = int(start) + extent * (int(start) < 0), np.iinfo(dtype)
        return as_array(np.asarray(max(bounds.min, min(place, bounds.max)), dtype))
    start = as_array(start)
    return from_front(start, extent) if start.dtype.kind in "iu" else start


def dynamic_slice(operand: Any, start_indices: Any, slice_sizes: Sequence[int]) -> Array:
    """The block of the given sizes at run-time starts, which are moved so that the block lies inside.

    Args:
        operand: array of any shape and dtype.
        start_indices: an integer scalar for each axis, or a vector of them; negative ones count from the end.
        slice_sizes: Python integers, the shape of the result.

    Returns:
        An array of shape `slice_sizes`.

    Raises:
        ShapeError: the sizes or the starts do not fit `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_slice(fnp.arange(5.0), (4,), (2,))
    Array([3., 4.], dtype=float32)
    """
    operand = as_array(operand)
    sizes = integers("dynamic_slice: slice_sizes", slice_sizes)
    if len(sizes) != operand.ndim or any(s > n for s, n in zip(sizes, operand.shape, strict=True)):
        raise ShapeError(f"dynamic_slice of {operand.type} cannot have slice_sizes {sizes}")
    return slicing.dynamic_slice(operand, _starts(operand, start_indices), sizes)


def dynamic_slice_in_dim(operand: Any, start_index: Any, slice_size: int, axis: int = 0) -> Array:
    """`slice_size` elements from a run-time start along one axis.

    Args:
        operand: array of any shape and dtype.
        start_index: integer scalar; moved so that the elements lie inside.
        slice_size: Python integer.
        axis: the axis.

    Returns:
        An array with extent `slice_size` along the axis.

    Raises:
        ShapeError: `slice_size` is larger than the extent.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_slice_in_dim(fnp.arange(5), 1, 2)
    Array([1, 2], dtype=int32)
    """
    operand = as_array(operand)
    place = axis_index("dynamic_slice_in_dim", axis, operand.ndim)
    starts: list[Any] = [0] * operand.ndim
    sizes = list(operand.shape)
    starts[place], sizes[place] = start_index, integer("dynamic_slice_in_dim: slice_size", slice_size)
    return dynamic_slice(operand, starts, sizes)


def dynamic_index_in_dim(operand: Any, index: Any, axis: int = 0, keepdims: bool = True) -> Array:
    """The element at a run-time index along one axis.

    Args:
        operand: array of any shape and dtype.
        index: integer scalar; clamped to the bounds.
        axis: the axis.
        keepdims: whether the axis stays, with extent 1.

    Returns:
        An array with the other axes as they are.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_index_in_dim(fnp.array([1, 2, 3]), 1, keepdims=False)
    Array(2, dtype=int32)
    """
    found = dynamic_slice_in_dim(operand, index, 1, axis)
    return found if keepdims else squeeze(found, (axis,))


def dynamic_update_slice(operand: Any, update: Any, start_indices: Any) -> Array:
    """`operand` with the block at run-time starts replaced by `update`; starts are moved so that it lies inside.

    Args:
        operand: array of any shape and dtype.
        update: array of as many axes, no larger than `operand`; converted to its dtype.
        start_indices: an integer scalar for each axis, or a vector of them; negative ones count from the end.

    Returns:
        An array of the shape and dtype of `operand`.

    Raises:
        ShapeError: `update` does not fit into `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_update_slice(fnp.zeros(4), fnp.ones(2), (1,))
    Array([0., 1., 1., 0.], dtype=float32)
    """
    operand = as_array(operand)
    update = cast(as_array(update), operand.dtype)
    if update.ndim != operand.ndim or any(u > n for u, n in zip(update.shape, operand.shape, strict=True)):
        raise ShapeError(f"dynamic_update_slice cannot put {update.type} into {operand.type}")
    return slicing.dynamic_update_slice(operand, update, _starts(operand, start_indices))


def dynamic_update_slice_in_dim(operand: Any, update: Any, start_index: Any, axis: int) -> Array:
    """`operand` with the elements from a run-time start along one axis replaced by `update`.

    Args:
        operand: array of any shape and dtype.
        update: array of as many axes, no larger than `operand`; converted to its dtype.
        start_index: integer scalar; moved so that `update` lies inside.
        axis: the axis.

    Returns:
        An array of the shape and dtype of `operand`.

    Raises:
        ShapeError: `update` does not fit into `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_update_slice_in_dim(fnp.zeros((1, 4)), fnp.ones((1, 2)), 1, axis=1)
    Array([[0., 1., 1., 0.]], dtype=float32)
    """
    operand = as_array(operand)
    starts: list[Any] = [0] * operand.ndim
    starts[axis_index("dynamic_update_slice_in_dim", axis, operand.ndim)] = start_index
    return dynamic_update_slice(operand, update, starts)


def dynamic_update_index_in_dim(operand: Any, update: Any, index: Any, axis: int) -> Array:
    """`operand` with the element at a run-time index along one axis replaced by `update`.

    Args:
        operand: array of any shape and dtype.
        update: array with extent 1 along the axis, or without the axis; converted to the dtype of `operand`.
        index: integer scalar; clamped to the bounds.
        axis: the axis.

    Returns:
        An array of the shape and dtype of `operand`.

    Raises:
        ShapeError: `update` does not fit into `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_update_index_in_dim(fnp.zeros((2, 2)), fnp.ones(2), 1, axis=0)
    Array([[0., 0.],
           [1., 1.]], dtype=float32)
    """
    operand, update = as_array(operand), as_array(update)
    place = axis_index("dynamic_update_index_in_dim", axis, operand.ndim)
    if update.ndim != operand.ndim:
        update = expand_dims(update, (place,))
    return dynamic_update_slice_in_dim(operand, update, index, place)


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    """Pieces of `operand` of the given sizes along an axis.

    Args:
        operand: array of any shape and dtype.
        sizes: extents of the pieces, which add up to that of the axis.
        axis: the axis.

    Returns:
        A list of arrays.

    Raises:
        ShapeError: the sizes do not add up.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.split(fnp.array([1, 2, 3]), (1, 2))
    [Array([1], dtype=int32), Array([2, 3], dtype=int32)]
    """
    operand = as_array(operand)
    if sum(sizes) != operand.shape[axis]:
        raise ShapeError(f"split sizes {tuple(sizes)} do not add up to the extent {operand.shape[axis]} of axis {axis}")
    ends = np.cumsum(sizes).tolist()
    return [slice_in_dim(operand, end - size, end, axis=axis) for size, end in zip(sizes, ends, strict=True)]
