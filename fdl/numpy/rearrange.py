"""Moving elements along axes: flip, roll, tile, repeat, insert, delete; what keeps their order is in `shapes`."""

import reprlib
from math import prod
from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.composite import composite
from fdl.config import config
from fdl.core.trace import Tracer, Value
from fdl.core.weak import weak_as
from fdl.dtypes import INTEGER, index_dtype
from fdl.errors import DtypeError, IndexingError, ShapeError
from fdl.numpy._index import from_front, signed_places
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    Axis,
    axis_index,
    axis_tuple,
    beside,
    cast,
    expand_to,
    integer,
    shape_tuple,
    value,
)
from fdl.numpy.arithmetic import clip
from fdl.numpy.creation import asarray
from fdl.numpy.reductions import cumsum
from fdl.numpy.reductions import sum as total
from fdl.numpy.shapes import between, concatenate, moveaxis, ravel, swapaxes
from fdl.numpy.sorting import searchsorted, sort
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full, iota, reshape
from fdl.ops.slicing import dynamic_slice, reverse


@composite
def flip(m: ArrayLike, axis: Axis = None) -> Array:
    """The elements in opposite order along axes.

    Args:
        m: array.
        axis: along which; None for all.

    >>> flip(array([1, 2, 3]))
    Array([3, 2, 1], dtype=int32)
    """
    x = value("flip", m)
    return reverse(x, axis_tuple("flip", axis, x.type.ndim))


@composite
def flipud(m: ArrayLike) -> Array:
    """Opposite order along the first axis.

    >>> flipud(array([1, 2]))
    Array([2, 1], dtype=int32)
    """
    return flip(m, 0)


@composite
def fliplr(m: ArrayLike) -> Array:
    """Opposite order along the second axis.

    >>> fliplr(array([[1, 2]]))
    Array([[2, 1]], dtype=int32)
    """
    return flip(m, 1)


@composite
def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """Rotated by quarter turns, from the first axis towards the second.

    Args:
        m: array.
        k: how many turns.
        axes: the plane.

    >>> rot90(array([[1, 2], [3, 4]]))
    Array([[2, 4],
           [1, 3]], dtype=int32)
    """
    first, second = axis_tuple("rot90", tuple(axes), value("rot90", m).type.ndim)
    turns = integer("rot90: k", k) % 4
    if turns == 0:
        return value("rot90", m)
    if turns == 2:
        return flip(m, (first, second))
    if turns == 1:
        return swapaxes(flip(m, second), first, second)
    return flip(swapaxes(m, first, second), second)


@composite
def roll(a: ArrayLike, shift: Any, axis: Axis = None) -> Array:
    """The elements moved along axes; what leaves at one end comes in at the other.

    Args:
        a: array.
        shift: by how many places, one number or one for each axis; may be traced.
        axis: along which; None is the flattened array.

    >>> roll(arange(4), 1)
    Array([3, 0, 1, 2], dtype=int32)
    """
    x = value("roll", a)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.type.shape)
    axes = [axis_index("roll", i, x.type.ndim) for i in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    if getattr(shift, "ndim", 0):
        shift = list(shift)
    shifts = list(shift) if isinstance(shift, (tuple, list)) else [shift] * len(axes)
    if len(shifts) != len(axes):
        if len(axes) != 1 and len(shifts) != 1:
            raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
        axes, shifts = axes * (len(shifts) if len(axes) == 1 else 1), shifts * (len(axes) if len(shifts) == 1 else 1)
    for places, i in zip(shifts, axes, strict=True):
        x = _rolled(x, places, i)
    return x


def _rolled(x: Array, places: Any, axis: int) -> Array:
    extent = x.type.shape[axis]
    if not extent:
        return x
    traced = isinstance(places, Value) and type(places) is not arrays.Array
    if traced:
        start = -(signed_places(places, extent) % extent) % extent
        starts = [start if i == axis else np.int32(0) for i in range(x.type.ndim)]
        return dynamic_slice(concatenate([x, x], axis), starts, x.type.shape)
    cut = -integer("roll: a shift", places) % extent
    return concatenate([between(x, axis, cut, extent), between(x, axis, 0, cut)], axis) if cut else x


@composite
def tile(A: ArrayLike, reps: Any) -> Array:
    """The whole array repeated along axes.

    Args:
        A: array.
        reps: how often, for each axis counted from the last.

    >>> tile(array([1, 2]), 2)
    Array([1, 2, 1, 2], dtype=int32)
    """
    x = value("tile", A)
    counts = shape_tuple("tile", reps)
    ndim = max(len(counts), x.type.ndim)
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - x.type.ndim) + x.type.shape
    spread = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    repeated = broadcast_in_dim(reshape(x, shape), spread, tuple(range(1, 2 * ndim, 2)))
    return reshape(repeated, tuple(c * n for c, n in zip(counts, shape, strict=True)))


def repeat(a: ArrayLike, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None) -> Array:
    """Every element repeated.

    Args:
        a: array.
        repeats: how often, one number or one for each slice.
        axis: along which; None flattens `a`.
        total_repeat_length: extent of the result, which allows traced `repeats`; it is cut or its last slice repeated.

    >>> repeat(array([1, 2]), 2)
    Array([1, 1, 2, 2], dtype=int32)
    """
    x = value("repeat", a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("repeat", axis, x.type.ndim)
    extent = x.type.shape[axis]
    if total_repeat_length is None:
        if isinstance(repeats, Value):
            repeats = repeats.concrete("repeat with traced repeats needs total_repeat_length=: the number")
        counts = value("repeat: repeats", asarray(repeats)).concrete().ravel()
        if counts.dtype.kind not in "iub" or (counts < 0).any():
            raise DtypeError(f"repeat: repeats are integers that are not negative, got {reprlib.repr(repeats)}")
        if counts.size == 1:
            return _repeated_evenly(x, int(counts[0]), axis)
        if counts.shape != (extent,):
            raise ShapeError(f"repeat: {counts.shape} repeats for axis {axis} of extent {extent}")
        places: Any = np.repeat(np.arange(extent, dtype=index_dtype(extent)), counts)
    else:
        places = _repeated_places(repeats, extent, integer("repeat: total_repeat_length", total_repeat_length))
    return x[(slice(None),) * axis + (places,)]


def _repeated_evenly(x: Array, count: int, axis: int) -> Array:
    shape = x.type.shape
    spread = (*shape[: axis + 1], count, *shape[axis + 1 :])
    axes = tuple(i if i <= axis else i + 1 for i in range(len(shape)))
    merged = (*shape[:axis], shape[axis] * count, *shape[axis + 1 :])
    return reshape(broadcast_in_dim(x, spread, axes), merged)


def _repeated_places(repeats: Any, extent: int, total: int) -> Array:
    """For every place of the result the number of the slice that stands there."""
    counts = expand_to(cast(value("repeat", repeats), index_dtype(total)), (extent,))
    return clip(searchsorted(cumsum(counts), iota(index_dtype(total), (total,), 0), side="right"), 0, extent - 1)


def resize(a: ArrayLike, new_shape: Any) -> Array:
    """Another shape, filled with the elements over and over.

    >>> resize(array([1, 2]), (3,))
    Array([1, 2, 1], dtype=int32)
    """
    x, shape = ravel(value("resize", a)), shape_tuple("resize", new_shape)
    size = prod(shape)
    if not x.type.size or not size:
        return full(0, shape, x.type.dtype)
    copies = -(-size // x.type.size)
    return reshape(tile(x, copies)[:size], shape)


def trim_zeros(filt: ArrayLike, trim: str = "fb", axis: Axis = None) -> Array:
    """An array without the zeros at its ends: the smallest box with all others.

    Args:
        filt: array whose elements are known.
        trim: "f" for the front, "b" for the back, "fb" for both.
        axis: which axes are cut; None for all.

    Raises:
        ValueError: another `trim`; capital letters mean the same.

    >>> trim_zeros(array([0, 1, 0]))
    Array([1], dtype=int32)
    """
    x = value("trim_zeros", filt)
    if not isinstance(trim, str) or trim.lower() not in ("f", "b", "fb", "bf"):
        raise ValueError(f"trim_zeros: trim must be 'f', 'b' or 'fb', got {trim!r}")
    trim = trim.lower()
    known = x.discrete("trim_zeros has a result whose shape depends on the values: a known array")
    for i in axis_tuple("trim_zeros", axis, x.type.ndim):
        places = np.unique(np.nonzero(known)[i])
        first = int(places[0]) if places.size and "f" in trim else 0
        last = 0 if not places.size else int(places[-1]) + 1 if "b" in trim else x.type.shape[i]
        x = between(x, i, first, last)
    return x


def delete(arr: ArrayLike, obj: Any, axis: int | None = None, *, assume_unique_indices: bool = False) -> Array:
    """Slices left out along an axis.

    Args:
        arr: array.
        obj: which: int, slice or known array of integers or booleans.
        axis: along which; None flattens `arr`.
        assume_unique_indices: whether no index of `obj` stands for the place of another one; then it may be traced, as
            a single integer may. A traced index out of bounds leaves out the slice at that end.

    >>> delete(array([1, 2, 3]), 1)
    Array([1, 3], dtype=int32)
    """
    x = value("delete", arr)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("delete", axis, x.type.ndim)
    if isinstance(obj, Tracer) and obj.type.dtype in INTEGER and (assume_unique_indices or not obj.type.ndim):
        return x[(slice(None),) * axis + (_others(ravel(obj), x.type.shape[axis]),)]
    places = obj.concrete("delete needs known indices: an index") if isinstance(obj, Value) else obj
    try:
        kept = np.delete(np.arange(x.type.shape[axis], dtype=np.int32), places)
    except (IndexError, ValueError, TypeError) as error:
        raise IndexingError(f"delete: obj does not fit an axis of extent {x.type.shape[axis]}: {error}") from None
    return x[(slice(None),) * axis + (kept,)]


def _others(places: Array, extent: int) -> Array:
    """All places of an axis but those, which differ."""
    left_out = sort(clip(from_front(places, extent), 0, extent - 1))
    numbers = iota(left_out.type.dtype, (max(extent - places.type.size, 0),), 0)
    # Of those that stay, so many lie before the i-th that is left out.
    before = left_out - iota(left_out.type.dtype, left_out.type.shape, 0)
    return numbers + total(numbers[:, None] >= before, 1, left_out.type.dtype)


def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Array:
    """Values put before slices of an axis.

    Args:
        arr: array.
        obj: before which: int, which may be traced, slice or known array of integers or booleans.
        values: what to insert.
        axis: along which; None flattens `arr`.

    >>> insert(array([1, 3]), 1, 2)
    Array([1, 2, 3], dtype=int32)
    """
    x = value("insert", arr)
    new = weak_as(x, beside("insert", values, x.type.dtype))
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("insert", axis, x.type.ndim)
    extent = x.type.shape[axis]
    traced = isinstance(obj, Tracer) and obj.type.dtype in INTEGER and not obj.type.ndim
    known = obj.concrete("insert needs known indices: an index") if isinstance(obj, Value) and not traced else obj
    mask = None if isinstance(known, slice) or traced else np.asarray(known)
    if mask is not None and mask.dtype == bool and mask.ndim:
        known = np.flatnonzero(mask)
    single = not isinstance(known, slice) and np.ndim(known) == 0
    new = reshape(new, (1,) * (x.type.ndim - new.type.ndim) + new.type.shape)
    new = moveaxis(new, 0, axis) if single and x.type.ndim > 1 else new
    # NumPy says where everything goes: numbers from `extent` on stand for the new slices.
    size = np.arange(extent)[known].size if isinstance(known, slice) else max(np.size(known), 1)
    count = max(new.type.shape[axis], size)
    try:
        if traced:
            start = clip(signed_places(from_front(obj, extent), extent + count), 0, extent)
            place = iota(start.type.dtype, (extent + count,), 0)
            behind = select(place < start + count, place + extent - start, place - count)
            numbers: Any = select(place < start, place, behind)
        else:
            if not config.check_indices and not isinstance(known, slice):
                known = np.clip(known, -extent, extent)
            numbers = np.insert(np.arange(extent), known, np.arange(extent, extent + count))
    except (IndexError, ValueError, TypeError) as error:
        raise IndexingError(f"insert: obj and values do not fit an axis of extent {extent}: {error}") from None
    shape = list(x.type.shape)
    shape[axis] = count
    return concatenate([x, expand_to(new, shape)], axis)[(slice(None),) * axis + (numbers,)]
