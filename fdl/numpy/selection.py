"""Functions that choose elements: where, take, put, nonzero; index expressions ``x[...]`` are in `indexing`."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, overload

import numpy as np

from fdl import array as arrays
from fdl.composite import composite
from fdl.config import config
from fdl.core.weak import weak_as
from fdl.dtypes import bool_, index_dtype, is_inexact, uint64
from fdl.errors import DtypeError, IndexingError, ShapeError
from fdl.numpy._index import from_front, signed_places
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    axis_index,
    beside,
    broadcast,
    broadcast_shapes,
    cast,
    expand_to,
    integer,
    integers,
    no_out,
    number,
    promote,
    shape_tuple,
    value,
)
from fdl.numpy.arithmetic import clip, mod
from fdl.numpy.creation import asarray
from fdl.numpy.indexing import mode_name, read
from fdl.numpy.rearrange import resize
from fdl.numpy.reductions import cumsum
from fdl.numpy.shapes import ravel, stack
from fdl.ops import arithmetic, compare
from fdl.ops.bitwise import and_, not_
from fdl.ops.indexing import gather
from fdl.ops.select import gate
from fdl.ops.select import select as choose_between
from fdl.ops.shape import full, full_like, iota, reshape
from fdl.ops.windows import GatherDimensionNumbers


def _condition(name: str, condition: ArrayLike) -> Array:
    x = number(name, condition)
    return x if x.type.dtype == bool_ else compare.ne(x, full_like(x, 0))


@overload
def where(
    condition: ArrayLike, x: None = None, y: None = None, /, *, size: int | None = None, fill_value: Any = None
) -> tuple[Array, ...]: ...
@overload
def where(
    condition: ArrayLike, x: ArrayLike, y: ArrayLike, /, *, size: int | None = None, fill_value: Any = None
) -> Array: ...
@composite
def where(
    condition: ArrayLike,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    /,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """x where the condition holds, else y; with the condition alone, the indices where it holds.

    Args:
        condition: booleans, or numbers that count as true if not zero.
        x: array or number.
        y: array or number; shapes of all three broadcast.
        size: without x and y: as for :func:`nonzero`.
        fill_value: without x and y: as for :func:`nonzero`.

    Returns:
        An array, or a tuple of index arrays.

    >>> where(array([True, False]), 1.0, array([5.0, 6.0]))
    Array([1., 6.], dtype=float32)
    """
    if x is None and y is None:
        return nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None:
        raise ValueError("where takes a condition alone, or a condition, x and y")
    chosen = _condition("where", condition)
    if0, if1 = promote("where", x, y, keys=True)
    return choose_between(*broadcast("where", chosen, if0, if1))


def select(condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Array:
    """The element of the first choice whose condition holds, else the default.

    Args:
        condlist: conditions.
        choicelist: as many arrays.
        default: array or number.

    >>> select([array([True, False])], [1.0], 2.0)
    Array([1., 2.], dtype=float32)
    """
    if not isinstance(condlist, (list, tuple)) or not isinstance(choicelist, (list, tuple)) or not condlist:
        raise TypeError("select needs a list of conditions and one of choices, not empty")
    if len(condlist) != len(choicelist):
        raise ShapeError(f"select needs as many choices as conditions, got {len(choicelist)} and {len(condlist)}")
    *choices, result = promote("select", *choicelist, default)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        result = where(condition, choice, result)
    return result


def choose(a: ArrayLike, choices: Any, out: None = None, mode: str = "raise") -> Array:
    """Element i of the result is element i of choice number a[i].

    Args:
        a: integers.
        choices: arrays that broadcast with `a`.
        out: not supported.
        mode: "raise" (known numbers only), "wrap" or "clip".

    >>> choose(array([1, 0]), [array([1, 2]), array([3, 4])])
    Array([3, 2], dtype=int32)
    """
    no_out("choose", out)
    which, *options = _integer("choose", a), *promote("choose", *choices)
    count = len(options)
    if mode == "raise":
        known = which.concrete("choose with mode='raise' needs known numbers: a value")
        if known.size and (known.min() < 0 or known.max() >= count):
            raise IndexingError(f"choose: a number is out of bounds for {count} choices")
    which = _fitted(which, count, "wrap" if mode == "wrap" else "clip")
    which, *options = broadcast("choose", which, *options)
    return take_along_axis(stack(options), which[None], 0)[0]


def take(
    a: ArrayLike,
    indices: ArrayLike,
    axis: int | None = None,
    out: None = None,
    mode: str | None = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    fill_value: Any = None,
) -> Array:
    """The slices at given indices along an axis.

    Args:
        a: array.
        indices: integers of any shape, which takes the place of the axis.
        axis: along which; None flattens `a`.
        out: not supported.
        mode: for indices out of bounds: "fill" (with NaN or the number farthest from zero), "clip" or "wrap". By
            default known ones are an error and traced ones are filled.
        unique_indices: a promise.
        indices_are_sorted: a promise.
        fill_value: instead of NaN.

    Raises:
        IndexingError: a known index is out of bounds.

    >>> take(array([10, 20, 30]), array([2, 0]))
    Array([30, 10], dtype=int32)
    """
    no_out("take", out)
    x = value("take", a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("take", axis, x.type.ndim)
    places = _integer("take", indices)
    if not x.type.shape[axis] and not places.type.size:
        shape = (*x.type.shape[:axis], *places.type.shape, *x.type.shape[axis + 1 :])
        return full(0, shape, x.type.dtype)
    places = _fitted(places, x.type.shape[axis], mode)
    known = type(places) is arrays.Array and config.check_indices
    how = mode or (None if known and fill_value is None else "fill")
    index = (slice(None),) * axis + (places,)
    return read(x, index, None if how == "wrap" else how, fill_value, unique_indices, indices_are_sorted)


def _integer(name: str, indices: ArrayLike) -> Array:
    places = value(name, indices)
    if places.type.dtype.kind not in "iu":
        raise DtypeError(f"{name}: indices must be integers, got {places.type}")
    return places


def _fitted(places: Array, extent: int, mode: str | None) -> Array:
    """Indices brought into bounds by the modes that NumPy knows; negative ones clip to 0."""
    if mode == "wrap":
        # An index of 64 bits without sign is beyond all signed ones.
        fits = places if places.type.dtype == uint64 else signed_places(places, extent)
        return signed_places(mod(fits, extent), extent)
    if mode == "clip":
        return clip(signed_places(places, extent), 0, extent - 1)
    return places


def take_along_axis(
    arr: ArrayLike,
    indices: ArrayLike,
    axis: int | None = -1,
    mode: Any = None,
    fill_value: Any = None,
    *,
    wrap_negative_indices: bool | None = None,
) -> Array:
    """One element along an axis for every index, at the place of the index along the other axes.

    Args:
        arr: array.
        indices: integers, with as many axes; the others broadcast.
        axis: along which; None flattens `arr`.
        mode: for indices out of bounds: "fill", "clip" or "promise_in_bounds". By default known ones are an error
            and traced ones are filled.
        fill_value: what "fill" returns instead of NaN or the number farthest from zero.
        wrap_negative_indices: whether negative indices count from the end; default yes.

    >>> take_along_axis(array([[1, 2], [3, 4]]), array([[1], [0]]), 1)
    Array([[2],
           [3]], dtype=int32)
    """
    x, places = value("take_along_axis", arr), _integer("take_along_axis", indices)
    if axis is None:
        x, axis = ravel(x), 0
    if x.type.ndim != places.type.ndim:
        raise ShapeError(f"take_along_axis: indices {places.type.shape} and array {x.type.shape} need as many axes")
    axis = axis_index("take_along_axis", axis, x.type.ndim)
    extent = x.type.shape[axis]
    known = type(places) is arrays.Array
    if known and config.check_indices and mode is None and fill_value is None:
        wrong = (places.concrete() >= extent) | (places.concrete() < -extent)
        if wrong.any():
            bad = places.concrete()[wrong].flat[0]
            raise IndexingError(f"take_along_axis: index {bad} is out of bounds for axis {axis} of extent {extent}")
    places = signed_places(places, extent) if wrap_negative_indices is False else from_front(places, extent)
    lead = broadcast_shapes(_without(x, axis), _without(places, axis), name="take_along_axis")
    x = expand_to(x, (*lead[:axis], extent, *lead[axis:]))
    places = expand_to(places, (*lead[:axis], places.type.shape[axis], *lead[axis:]))
    others = tuple(i for i in range(x.type.ndim) if i != axis)
    numbers = GatherDimensionNumbers((), (axis,), (axis,), others, others)
    vectors = reshape(places, (*places.type.shape, 1))
    return gather(x, vectors, numbers, (1,) * x.type.ndim, mode_name(mode, "fill"), fill_value)


def _without(x: Array, axis: int) -> tuple[int, ...]:
    return x.type.shape[:axis] + x.type.shape[axis + 1 :]


def put(a: ArrayLike, ind: ArrayLike, v: ArrayLike, mode: str | None = None, *, inplace: bool = True) -> Array:
    """A copy of `a` with elements of its flattened form replaced.

    Args:
        a: array.
        ind: where, in the flattened array.
        v: values, repeated as need be.
        mode: "clip" or "wrap" for indices out of bounds. By default known ones are an error and traced ones are
            dropped; both are clipped if `config.check_indices` is off, as JAX does.
        inplace: must be False, since arrays are immutable.

    >>> put(zeros(3), array([0, 2]), 1.0, inplace=False)
    Array([1., 0., 1.], dtype=float32)
    """
    if inplace:
        raise NotImplementedError("put: arrays are immutable; pass inplace=False and use the result")
    x, places = value("put", a), ravel(_integer("put", ind))
    if not places.type.size:
        return x
    values = resize(ravel(beside("put", v, x.type.dtype)), places.type.shape)
    if mode is None and not config.check_indices:  # unlike with "clip", negative ones count from the end
        places, mode = from_front(places, x.type.size), "clip"
    places = _fitted(places, x.type.size, mode)
    return reshape(ravel(x).at[places].set(values), x.type.shape)


def put_along_axis(
    arr: ArrayLike, indices: ArrayLike, values: ArrayLike, axis: int | None, inplace: bool = True, *, mode: Any = None
) -> Array:
    """A copy of `arr` with the elements that :func:`take_along_axis` would read replaced.

    >>> put_along_axis(zeros((1, 2)), array([[1]]), 5.0, 1, inplace=False)
    Array([[0., 5.]], dtype=float32)
    """
    if inplace:
        raise NotImplementedError("put_along_axis: arrays are immutable; pass inplace=False and use the result")
    x, places = value("put_along_axis", arr), _integer("put_along_axis", indices)
    if axis is None:
        return reshape(put_along_axis(ravel(x), ravel(places), values, 0, False, mode=mode), x.type.shape)
    axis = axis_index("put_along_axis", axis, x.type.ndim)
    lead = list(x.type.shape)
    lead[axis] = places.type.shape[axis]
    places = expand_to(places, tuple(lead))
    grid: list[Any] = list(ogrid_of(lead))
    grid[axis] = places
    return x.at[tuple(grid)].set(values, mode=mode)


def ogrid_of(shape: Sequence[int]) -> tuple[Array, ...]:
    """The index along every axis, in arrays that broadcast to `shape`."""
    return tuple(
        arrays.Array(np.arange(n, dtype=index_dtype(n)).reshape([n if j == i else 1 for j in range(len(shape))]))
        for i, n in enumerate(shape)
    )


def nonzero(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> tuple[Array, ...]:
    """The indices of the elements that are not zero, in row-major order.

    Args:
        a: array.
        size: how many indices to return, which allows tracing; surplus ones are dropped, missing ones filled.
        fill_value: index for missing ones, or one for each axis; default 0.

    Returns:
        One integer vector per axis.

    Raises:
        ShapeError: `a` has no axes.
        ConcretizationError: `a` is traced and `size` is not given.

    >>> nonzero(array([0, 3, 4]))
    (Array([1, 2], dtype=int32),)
    """
    x = number("nonzero", a)
    if x.type.ndim == 0:
        raise ShapeError(f"nonzero needs at least one axis, got {x.type}; use atleast_1d, or flatnonzero")
    counter = index_dtype(x.type.size)
    if size is None:
        known = x.discrete("nonzero without size= has a result whose shape depends on the values: a known array")
        kinds = [index_dtype(n) for n in x.type.shape]
        return tuple(arrays.Array(places.astype(k)) for places, k in zip(known.nonzero(), kinds, strict=True))
    size = integer("nonzero: size", size)
    flat = ravel(_condition("nonzero", x))
    fills = fill_value if isinstance(fill_value, tuple) else (0 if fill_value is None else fill_value,) * x.type.ndim
    # Element k that is not zero goes to place k; all others go past the end, and are dropped.
    places = where(flat, cumsum(cast(flat, counter)) - 1, size)
    order = full_like(iota(counter, (size,), 0), 0)
    order = order.at[places].set(iota(counter, (x.type.size,), 0), mode="drop")
    found = iota(counter, (size,), 0) < cast(flat, counter).sum()
    coordinates = unravel_index(order, x.type.shape)
    return tuple(where(found, c, cast(f, counter)) for c, f in zip(coordinates, fills, strict=True))


def flatnonzero(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The indices of the elements of the flattened array that are not zero.

    >>> flatnonzero(array([[0, 3], [4, 0]]))
    Array([1, 2], dtype=int32)
    """
    return nonzero(ravel(value("flatnonzero", a)), size=size, fill_value=fill_value)[0]


def argwhere(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The indices of the elements that are not zero, as rows.

    >>> argwhere(array([[0, 3], [4, 0]]))
    Array([[0, 1],
           [1, 0]], dtype=int32)
    """
    x = value("argwhere", a)
    if x.type.ndim == 0:
        return nonzero(ravel(x), size=size, fill_value=fill_value)[0][:, None][:, :0]
    return stack(nonzero(x, size=size, fill_value=fill_value), -1)


def compress(
    condition: ArrayLike,
    a: ArrayLike,
    axis: int | None = None,
    *,
    size: int | None = None,
    fill_value: ArrayLike = 0,
    out: None = None,
) -> Array:
    """The slices along an axis for which the condition holds.

    Args:
        condition: vector of booleans.
        a: array.
        axis: along which; None flattens `a`.
        size: how many slices to return, which allows tracing.
        fill_value: for missing slices.
        out: not supported.

    >>> compress(array([True, False]), array([1, 2, 3]))
    Array([1], dtype=int32)
    """
    no_out("compress", out)
    x = value("compress", a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("compress", axis, x.type.ndim)
    mask = _condition("compress", asarray(condition))
    if mask.type.ndim != 1:
        raise ShapeError(f"compress needs a vector as condition, got shape {mask.type.shape}")
    places = nonzero(mask, size=size, fill_value=None if size is None else x.type.shape[axis])[0]
    if size is None:
        return take(x, places, axis)
    return take(x, places, axis, mode="fill", fill_value=fill_value)


def extract(condition: ArrayLike, arr: ArrayLike, *, size: int | None = None, fill_value: ArrayLike = 0) -> Array:
    """The elements for which the condition holds, as a vector.

    >>> extract(array([True, False]), array([1, 2]))
    Array([1], dtype=int32)
    """
    return compress(ravel(value("extract", condition)), arr, size=size, fill_value=fill_value)


def place(arr: ArrayLike, mask: ArrayLike, vals: ArrayLike, *, inplace: bool = True) -> Array:
    """A copy of `arr` where the elements under a mask are replaced by values in turn.

    >>> place(zeros(3), array([True, False, True]), array([1.0, 2.0]), inplace=False)
    Array([1., 0., 2.], dtype=float32)
    """
    if inplace:
        raise NotImplementedError("place: arrays are immutable; pass inplace=False and use the result")
    x, chosen = value("place", arr), ravel(_condition("place", mask))
    values = ravel(beside("place", vals, x.type.dtype))
    if x.type.size != chosen.type.size or not values.type.size:
        raise ShapeError(f"place: a mask of {x.type.size} elements and at least one value are needed")
    turn = (cumsum(chosen, dtype=index_dtype(chosen.type.size)) - 1) % values.type.size
    flat = where(chosen, take(values, turn, mode="clip"), ravel(x))
    return weak_as(x, reshape(flat, x.type.shape))


def piecewise(x: ArrayLike, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Array:
    """A function given in pieces.

    Args:
        x: array.
        condlist: conditions, the last one that holds counts.
        funclist: a function or a number for each; one more is for where none holds, default 0.
        *args: passed on to the functions.
        **kw: passed on to the functions.

    >>> piecewise(array([-1.0, 2.0]), [array([True, False])], [0.0, lambda v: v * v])
    Array([0., 4.], dtype=float32)
    """
    x = value("piecewise", x)
    conditions = list(condlist) if isinstance(condlist, (list, tuple)) else list(value("piecewise", condlist))
    functions: list[Callable[..., Any] | Any] = list(funclist)
    if len(functions) == len(conditions):
        functions.append(0)
    if len(functions) != len(conditions) + 1:
        raise ShapeError(f"piecewise: {len(conditions)} conditions need as many functions, or one more")

    def piece(chosen: Array, function: Any) -> Array:
        # Where another piece counts, this one must not spoil the gradient.
        given = gate(chosen, x) if is_inexact(x.type.dtype) else x
        result = function(given, *args, **kw) if callable(function) else function
        return expand_to(cast(result, x.type.dtype), x.type.shape)

    chosen, left = [], full(True, x.type.shape, bool_)
    for condition in reversed(conditions):
        holds = expand_to(_condition("piecewise", condition), x.type.shape)
        chosen.append(and_(left, holds))
        left = and_(left, not_(holds))
    result = piece(left, functions[-1])
    for mask, function in zip(reversed(chosen), functions, strict=False):
        result = choose_between(mask, piece(mask, function), result)
    return result


def unravel_index(indices: ArrayLike, shape: Any) -> tuple[Array, ...]:
    """Coordinates of places in the flattened array.

    Args:
        indices: integers.
        shape: of the array.

    >>> unravel_index(5, (2, 3))
    (Array(1, dtype=int32), Array(2, dtype=int32))
    """
    shape = shape_tuple("unravel_index", shape)
    places, found = signed_places(_integer("unravel_index", indices), prod(shape)), []
    for extent in reversed(shape):
        divisor = full_like(places, max(extent, 1))
        rest = arithmetic.rem(places, divisor)
        found.append(rest)
        places = arithmetic.div(arithmetic.sub(places, rest), divisor)
    return tuple(reversed(found))


def ravel_multi_index(
    multi_index: Sequence[ArrayLike], dims: Sequence[int], mode: str = "raise", order: str = "C", *, dtype: Any = None
) -> Array:
    """Places in the flattened array from coordinates.

    Args:
        multi_index: one integer array per axis.
        dims: the shape.
        mode: "raise" (known coordinates only), "wrap" or "clip".
        order: "C" or "F".
        dtype: of the result.

    >>> ravel_multi_index((1, 2), (2, 3))
    Array(5, dtype=int32)
    """
    dims = integers("ravel_multi_index: dims", dims)
    if not isinstance(multi_index, (tuple, list)):
        raise TypeError("ravel_multi_index needs a tuple of coordinates, one integer array for each axis")
    if len(multi_index) != len(dims):
        raise ShapeError(f"ravel_multi_index: {len(multi_index)} coordinates for {len(dims)} axes")
    count = prod(dims)
    coordinates = [signed_places(_integer("ravel_multi_index", c), count) for c in multi_index]
    if mode == "raise":
        for c, n in zip(coordinates, dims, strict=True):
            known = c.concrete("ravel_multi_index with mode='raise' needs known coordinates: one")
            if known.size and (known.min() < 0 or known.max() >= n):
                raise IndexingError(f"ravel_multi_index: a coordinate is out of bounds for extent {n} of {tuple(dims)}")
    else:
        coordinates = [_fitted(c, n, mode) for c, n in zip(coordinates, dims, strict=True)]
    pairs = list(zip(coordinates, dims, strict=True))
    total: Any = 0
    for c, n in pairs if order == "C" else reversed(pairs):
        total = total * n + c
    return total if dtype is None else cast(total, np.dtype(dtype))
