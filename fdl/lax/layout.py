"""Repetition and joins along axes, by their lax names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl.array import as_operand as as_array
from fdl.dtypes import as_dtype, dtype_of
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import axis_index, broadcast_shapes, expand_to, integer, integers, shape_tuple
from fdl.ops import shape as shapes
from fdl.ops.slicing import concatenate, slice_

__all__ = ["broadcast_like", "broadcast_to_rank", "dtype", "empty", "shape_as_value", "stack", "tile", "unstack"]


def tile(operand: Any, reps: Sequence[int]) -> Any:
    """An array repeated as a whole along its axes.

    Args:
        operand: array.
        reps: how often, one number for each axis.

    Returns:
        Array with the products of extents and `reps`.

    Raises:
        ShapeError: there is another number of `reps`, or a negative one.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.tile(fnp.array([1, 2]), (2,))
    Array([1, 2, 1, 2], dtype=int32)
    """
    x, times = as_array(operand, "the operand of tile"), integers("tile: reps", reps)
    if len(times) != x.ndim or any(n < 0 for n in times):
        raise ShapeError(f"tile needs one number that is not negative for each axis of {x.type}, got reps={times}")
    wide = [n for pair in zip(times, x.shape, strict=True) for n in pair]
    repeated = shapes.broadcast_in_dim(x, wide, range(1, 2 * x.ndim, 2))
    return shapes.reshape(repeated, tuple(n * m for n, m in zip(times, x.shape, strict=True)))


def stack(operands: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape and dtype along a new axis.

    Raises:
        AxisError: `axis` is none of those of the result.
        DtypeError: their dtypes differ.
        ShapeError: their shapes differ, or there are none.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.stack([fnp.array([1, 2]), fnp.array([3, 4])], axis=1)
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    if isinstance(operands, str) or not hasattr(operands, "__iter__"):
        raise TypeError(f"stack needs a sequence of arrays, got {operands!r:.80}")
    values = [as_array(x, "an operand of stack") for x in operands]
    if not values:
        raise ShapeError("stack needs at least one array")
    if len({v.shape for v in values}) > 1:
        raise ShapeError(f"stack needs arrays of one shape, got {', '.join(str(v.type) for v in values)}")
    if len({v.dtype for v in values}) > 1:
        raise DtypeError(f"stack needs arrays of one dtype, got {', '.join(str(v.type) for v in values)}")
    place = axis_index("stack", axis, values[0].ndim + 1)
    return concatenate([shapes.reshape(v, (*v.shape[:place], 1, *v.shape[place:])) for v in values], place)


def unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The slices of an array along an axis, without that axis.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.unstack(fnp.array([[1, 2], [3, 4]]))
    (Array([1, 2], dtype=int32), Array([3, 4], dtype=int32))
    """
    x = as_array(x, "the operand of unstack")
    place = axis_index("unstack", axis, x.ndim)
    first = shapes.move_axis(x, place, 0)
    rest = first.shape[1:]
    ends = [(i, *(0 for _ in rest)) for i in range(x.shape[place])]
    return tuple(shapes.reshape(slice_(first, start, (start[0] + 1, *rest)), rest) for start in ends)


def empty(shape: Any, dtype: Any = None, **ignored: Any) -> Any:
    """Zeros: memory that is not set would differ from run to run.

    >>> import fdl
    >>> fdl.lax.empty((2,), float)
    Array([0., 0.], dtype=float32)
    """
    return shapes.full(0, shape_tuple("empty", shape), as_dtype(float if dtype is None else dtype))


def broadcast_to_rank(x: Any, rank: int) -> Any:
    """An array with axes of extent 1 put in front, up to `rank` axes.

    Raises:
        ShapeError: it has more axes.
        TypeError: `rank` is no integer.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.broadcast_to_rank(fnp.ones(2), 3).shape
    (1, 1, 2)
    """
    x = as_array(x, "the operand of broadcast_to_rank")
    rank = integer("broadcast_to_rank: rank", rank)
    if not x.ndim <= rank <= 64:
        raise ShapeError(f"broadcast_to_rank: {x.type} can be given from {x.ndim} to 64 axes, not {rank}")
    return shapes.reshape(x, (1,) * (rank - x.ndim) + x.shape)


def broadcast_like(arr: Any, like_arr: Any) -> Any:
    """An array repeated to the shape of another.

    Raises:
        ShapeError: it does not broadcast to that shape.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.broadcast_like(fnp.ones(2), fnp.zeros((3, 2))).shape
    (3, 2)
    """
    x, shape = as_array(arr, "broadcast_like: arr"), as_array(like_arr, "broadcast_like: like_arr").shape
    if broadcast_shapes(x.shape, shape, name="broadcast_like") != tuple(shape):
        raise ShapeError(f"broadcast_like: {x.type} does not broadcast to the shape {tuple(shape)}")
    return expand_to(x, shape)


def shape_as_value(shape: Sequence[int]) -> Any:
    """A shape as a vector of integers.

    >>> import fdl
    >>> fdl.lax.shape_as_value((2, 3))
    Array([2, 3], dtype=int32)
    """
    return as_array(np.asarray(shape_tuple("shape_as_value", shape), as_dtype(int)))


def dtype(x: Any) -> np.dtype:
    """The dtype of an array or number.

    >>> import fdl
    >>> fdl.lax.dtype(1.0)
    dtype('float32')
    """
    return as_dtype(dtype_of(x))
