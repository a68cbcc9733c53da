"""Shapes, slices and joins, by their lax names."""

import builtins
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.core.trace import Value
from fdl.dtypes import as_dtype, int32
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index, broadcast_shapes, cast, promote
from fdl.ops import shape as shapes
from fdl.ops import slicing
from fdl.ops.arithmetic import add
from fdl.ops.compare import lt
from fdl.ops.convert import convert
from fdl.ops.select import select

__all__ = [
    "broadcast",
    "broadcast_in_dim",
    "broadcast_shapes",
    "broadcasted_iota",
    "collapse",
    "concatenate",
    "dynamic_index_in_dim",
    "dynamic_slice",
    "dynamic_slice_in_dim",
    "dynamic_update_index_in_dim",
    "dynamic_update_slice",
    "dynamic_update_slice_in_dim",
    "expand_dims",
    "full",
    "full_like",
    "index_in_dim",
    "iota",
    "pad",
    "reshape",
    "rev",
    "slice",
    "slice_in_dim",
    "split",
    "squeeze",
    "transpose",
]


def broadcast(operand: Any, sizes: Sequence[int]) -> Any:
    """`operand` repeated along new leading axes of the given sizes."""
    operand = as_array(operand)
    first = len(tuple(sizes))
    return shapes.broadcast_in_dim(operand, (*sizes, *operand.shape), range(first, first + operand.ndim))


def broadcast_in_dim(
    operand: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], out_sharding: Any = None
) -> Any:
    """`operand` repeated to `shape`, its axis i becoming axis ``broadcast_dimensions[i]``."""
    return shapes.broadcast_in_dim(as_array(operand), tuple(map(int, shape)), tuple(map(int, broadcast_dimensions)))


def iota(dtype: Any, size: int, *, dimension: int = 0) -> Any:
    """0, 1, 2, ... `size` - 1."""
    return shapes.iota(as_dtype(dtype), (size,), 0)


def broadcasted_iota(dtype: Any, shape: Sequence[int], dimension: int, out_sharding: Any = None) -> Any:
    """An array whose elements are their own index along `dimension`."""
    return shapes.iota(as_dtype(dtype), tuple(shape), dimension)


def full(shape: Sequence[int], fill_value: Any, dtype: Any = None, **ignored: Any) -> Any:
    """An array of one repeated value, in `dtype` or that of the value."""
    value = as_array(fill_value)
    value = value if dtype is None else convert(value, as_dtype(dtype))
    return shapes.broadcast_in_dim(value, tuple(shape), ())


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Sequence[int] | None = None, **ignored: Any) -> Any:
    """One repeated value in the shape and dtype of `x`, or the given ones."""
    x = as_array(x)
    return full(x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)


def reshape(operand: Any, new_sizes: Sequence[int], dimensions: Sequence[int] | None = None, **ignored: Any) -> Any:
    """The elements of `operand`, its axes first put in the order `dimensions`, under another shape."""
    operand = as_array(operand)
    return shapes.reshape(
        operand if dimensions is None else shapes.transpose(operand, dimensions), tuple(map(int, new_sizes))
    )


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Any:
    """`operand` with the axes from start to stop made into one."""
    operand = as_array(operand)
    start, stop, _ = builtins.slice(start_dimension, stop_dimension).indices(operand.ndim)
    middle = (prod(operand.shape[start:stop]),)
    return shapes.reshape(operand, operand.shape[:start] + middle + operand.shape[stop:])


def transpose(operand: Any, permutation: Sequence[int]) -> Any:
    """`operand` with its axes in another order."""
    return shapes.transpose(as_array(operand), tuple(map(int, permutation)))


def expand_dims(array: Any, dimensions: Sequence[int]) -> Any:
    """`array` with axes of extent one at `dimensions` of the result."""
    array = as_array(array)
    ndim = array.ndim + len(tuple(dimensions))
    places = {axis_index("expand_dims", d, ndim) for d in dimensions}
    kept = iter(array.shape)
    return shapes.reshape(array, tuple(1 if a in places else next(kept) for a in range(ndim)))


def squeeze(array: Any, dimensions: Sequence[int]) -> Any:
    """`array` without the axes `dimensions`, which must have extent one."""
    array = as_array(array)
    places = {axis_index("squeeze", d, array.ndim) for d in dimensions}
    if any(array.shape[p] != 1 for p in places):
        raise ShapeError(f"squeeze of axes {tuple(dimensions)} of {array.type}: they must have extent 1")
    return shapes.reshape(array, tuple(n for a, n in enumerate(array.shape) if a not in places))


def concatenate(operands: Sequence[Any], dimension: int) -> Any:
    """`operands` one after another along an axis."""
    if not operands:
        raise ShapeError("concatenate needs at least one operand")
    values = promote("concatenate", *operands, keys=True)
    return slicing.concatenate(values, axis_index("concatenate", dimension, values[0].ndim))


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    """Pieces of `operand` of the given sizes along an axis."""
    operand = as_array(operand)
    if sum(sizes) != operand.shape[axis]:
        raise ShapeError(f"split sizes {tuple(sizes)} do not add up to the extent {operand.shape[axis]} of axis {axis}")
    ends = np.cumsum(sizes).tolist()
    return [slice_in_dim(operand, end - size, end, axis=axis) for size, end in zip(sizes, ends, strict=True)]


def pad(operand: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Any:
    """`operand` with (low, high, interior) padding for each axis; negative low and high cut off."""
    operand = as_array(operand)
    return slicing.pad(
        operand, cast(padding_value, operand.dtype), [(low, high, inner) for low, high, inner in padding_config]
    )


def rev(operand: Any, dimensions: Sequence[int]) -> Any:
    """`operand` with the order along `dimensions` reversed."""
    return slicing.reverse(as_array(operand), tuple(dimensions))


def slice(
    operand: Any, start_indices: Sequence[int], limit_indices: Sequence[int], strides: Sequence[int] | None = None
) -> Any:
    """The block from start to limit (exclusive) along every axis, each `strides` elements."""
    return slicing.slice_(as_array(operand), tuple(start_indices), tuple(limit_indices), strides)


def slice_in_dim(operand: Any, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0) -> Any:
    """The block from start to limit (exclusive) along one axis; negative bounds count from its end."""
    operand = as_array(operand)
    place = axis_index("slice_in_dim", axis, operand.ndim)
    extent = operand.shape[place]
    first, last = (0 if start_index is None else start_index), (extent if limit_index is None else limit_index)
    starts, limits, strides = [0] * operand.ndim, list(operand.shape), [1] * operand.ndim
    starts[place], limits[place], strides[place] = first + extent * (first < 0), last + extent * (last < 0), stride
    return slicing.slice_(operand, starts, limits, strides)


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Any:
    """Element `index` along one axis."""
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
    if len(start_indices) != operand.ndim:
        raise ShapeError(
            f"dynamic slicing of {operand.type} needs {operand.ndim} start indices, got {len(start_indices)}"
        )
    return [_from_front(start, extent) for start, extent in zip(start_indices, operand.shape, strict=True)]


def _from_front(start: Any, extent: int) -> Any:
    if isinstance(start, (int, np.integer)):
        return as_array(np.asarray(int(start) + extent * (int(start) < 0), int32))
    start = as_array(start)
    if start.dtype.kind == "u":
        return start
    zero = shapes.full_like(start, 0)
    return select(lt(start, zero), add(start, shapes.full_like(start, extent)), start)


def dynamic_slice(operand: Any, start_indices: Any, slice_sizes: Sequence[int]) -> Any:
    """The block of the given sizes at run-time starts, which are moved so that the block lies inside.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dynamic_slice(fnp.arange(5.0), (4,), (2,))
    Array([3., 4.], dtype=float32)
    """
    operand = as_array(operand)
    sizes = tuple(map(int, slice_sizes))
    if len(sizes) != operand.ndim or any(s > n for s, n in zip(sizes, operand.shape, strict=True)):
        raise ShapeError(f"dynamic_slice of {operand.type} cannot have slice_sizes {sizes}")
    return slicing.dynamic_slice(operand, _starts(operand, start_indices), sizes)


def dynamic_slice_in_dim(operand: Any, start_index: Any, slice_size: int, axis: int = 0) -> Any:
    """`slice_size` elements from a run-time start along one axis."""
    operand = as_array(operand)
    place = axis_index("dynamic_slice_in_dim", axis, operand.ndim)
    starts: list[Any] = [0] * operand.ndim
    sizes = list(operand.shape)
    starts[place], sizes[place] = start_index, int(slice_size)
    return dynamic_slice(operand, starts, sizes)


def dynamic_index_in_dim(operand: Any, index: Any, axis: int = 0, keepdims: bool = True) -> Any:
    """The element at a run-time index along one axis."""
    found = dynamic_slice_in_dim(operand, index, 1, axis)
    return found if keepdims else squeeze(found, (axis,))


def dynamic_update_slice(operand: Any, update: Any, start_indices: Any) -> Any:
    """`operand` with the block at run-time starts replaced by `update`; starts are moved so that it lies inside."""
    operand = as_array(operand)
    update = cast(as_array(update), operand.dtype)
    if update.ndim != operand.ndim or any(u > n for u, n in zip(update.shape, operand.shape, strict=True)):
        raise ShapeError(f"dynamic_update_slice cannot put {update.type} into {operand.type}")
    return slicing.dynamic_update_slice(operand, update, _starts(operand, start_indices))


def dynamic_update_slice_in_dim(operand: Any, update: Any, start_index: Any, axis: int) -> Any:
    """`operand` with the elements from a run-time start along one axis replaced by `update`."""
    operand = as_array(operand)
    starts: list[Any] = [0] * operand.ndim
    starts[axis_index("dynamic_update_slice_in_dim", axis, operand.ndim)] = start_index
    return dynamic_update_slice(operand, update, starts)


def dynamic_update_index_in_dim(operand: Any, update: Any, index: Any, axis: int) -> Any:
    """`operand` with the element at a run-time index along one axis replaced by `update`."""
    operand, update = as_array(operand), as_array(update)
    place = axis_index("dynamic_update_index_in_dim", axis, operand.ndim)
    if update.ndim != operand.ndim:
        update = expand_dims(update, (place,))
    return dynamic_update_slice_in_dim(operand, update, index, place)
