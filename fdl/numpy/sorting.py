"""Sorting and searching in order."""

from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.core.trace import Value
from fdl.dtypes import as_dtype, bool_, index_dtype, result_type
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import Array, ArrayLike, DTypeLike, axis_index, cast, expand_to, number, promote, value
from fdl.numpy.shapes import ravel, unstack
from fdl.ops import arithmetic, bitwise, compare
from fdl.ops.select import select
from fdl.ops.shape import full, iota
from fdl.ops.slicing import reverse
from fdl.ops.sort import Sort


def _axis(name: str, x: Array, axis: int | None) -> tuple[Array, int]:
    if axis is None:
        return ravel(x), 0
    return x, axis_index(name, axis, x.type.ndim)


def _plain(kind: Any, order: Any) -> None:
    if order is not None:
        raise NotImplementedError("sort: order= is for structured arrays, which fdl does not have")


@composite
def sort(
    a: ArrayLike,
    axis: int | None = -1,
    *,
    kind: None = None,
    order: None = None,
    stable: bool = True,
    descending: bool = False,
) -> Array:
    """The elements in rising order; NaN last.

    Args:
        a: array.
        axis: along which; None flattens `a`.
        kind: accepted for compatibility.
        order: not supported.
        stable: whether equal elements keep their order.
        descending: whether in falling order instead, NaN first.

    >>> sort(array([3, 1, 2]))
    Array([1, 2, 3], dtype=int32)
    """
    _plain(kind, order)
    x, axis = _axis("sort", number("sort", a), axis)
    (result,) = Sort(axis, 1, stable)(x)
    return reverse(result, (axis,)) if descending else result


@composite
def argsort(
    a: ArrayLike,
    axis: int | None = -1,
    *,
    kind: None = None,
    order: None = None,
    stable: bool = True,
    descending: bool = False,
    dtype: DTypeLike | None = None,
) -> Array:
    """The indices that would sort the array; arguments as for :func:`sort`, `dtype` that of the result.

    >>> argsort(array([3, 1, 2]))
    Array([1, 2, 0], dtype=int32)
    """
    _plain(kind, order)
    x, axis = _axis("argsort", number("argsort", a), axis)
    integer = index_dtype(x.type.shape[axis]) if dtype is None else as_dtype(dtype)
    if integer.kind not in "iu" or x.type.shape[axis] - 1 > np.iinfo(integer).max:
        raise DtypeError(f"argsort: {integer} cannot hold the places on axis {axis} of {x.type}")
    places = iota(integer, x.type.shape, axis)
    if descending:
        # Sorted backwards twice, so that equal elements keep their order.
        x, places = reverse(x, (axis,)), reverse(places, (axis,))
    _, result = Sort(axis, 1, stable)(x, places)
    return reverse(result, (axis,)) if descending else result


def lexsort(keys: Any, axis: int = -1) -> Array:
    """The indices that sort by the last key, then by the one before it, and so on.

    Args:
        keys: sequence of arrays of one shape, or an array of them along its first axis.
        axis: along which.

    >>> lexsort((array([1, 0, 2]), array([5, 5, 4])))
    Array([2, 1, 0], dtype=int32)
    """
    if isinstance(keys, Value):
        keys = unstack(keys)
    if not isinstance(keys, (list, tuple, np.ndarray)):
        raise TypeError(f"lexsort needs a sequence of keys, got {keys!r}")
    found = [number("lexsort", k) for k in keys]
    if not found:
        raise ShapeError("lexsort needs at least one key")
    if not found[0].type.ndim:
        return full(0, (), index_dtype(1))
    axis = axis_index("lexsort", axis, found[0].type.ndim)
    places = iota(index_dtype(found[0].type.shape[axis]), found[0].type.shape, axis)
    return Sort(axis, len(found), True)(*reversed(found), places)[-1]


def partition(a: ArrayLike, kth: int, axis: int = -1) -> Array:
    """Reordered so that place `kth` is that of the sorted array; here all of it is sorted.

    >>> partition(array([3, 1, 2]), 1)
    Array([1, 2, 3], dtype=int32)
    """
    x = number("partition", a)
    axis_index("partition: kth", kth, x.type.shape[axis_index("partition", axis, x.type.ndim)])
    return sort(x, axis)


def argpartition(a: ArrayLike, kth: int, axis: int = -1) -> Array:
    """The indices that :func:`partition` would take.

    >>> argpartition(array([3, 1, 2]), 1)
    Array([1, 2, 0], dtype=int32)
    """
    x = number("argpartition", a)
    axis_index("argpartition: kth", kth, x.type.shape[axis_index("argpartition", axis, x.type.ndim)])
    return argsort(x, axis)


def sort_complex(a: ArrayLike) -> Array:
    """Sorted along the last axis as complex numbers, by real part first.

    >>> sort_complex(array([2, 1]))
    Array([1.+0.j, 2.+0.j], dtype=complex64)
    """
    x = sort(a)
    return cast(x, result_type(x, np.complex64))


def _before(x: Array, y: Array) -> Array:
    """Whether x comes before y in sorted order: smaller, or y is NaN and x is not."""
    smaller = compare.lt(x, y)
    if x.type.dtype.kind in "iu":
        return smaller
    return bitwise.or_(smaller, bitwise.and_(compare.ne(y, y), compare.eq(x, x)))


@composite
def searchsorted(
    a: ArrayLike, v: ArrayLike, side: str = "left", sorter: ArrayLike | None = None, *, method: str = "scan"
) -> Array:
    """Where elements would have to be inserted into a sorted vector.

    Args:
        a: sorted vector.
        v: what to insert.
        side: "left" to insert before equal elements, "right" behind them.
        sorter: indices that sort `a`.
        method: accepted for compatibility; it is a binary search.

    Returns:
        Integer array of the shape of `v`.

    >>> searchsorted(array([1, 3, 5]), array([3, 4]))
    Array([1, 2], dtype=int32)
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    table, x = promote("searchsorted", a, v)
    if table.type.ndim != 1:
        raise ShapeError(f"searchsorted needs a sorted vector, got shape {table.type.shape}")
    if sorter is not None:
        table = table[value("searchsorted", sorter)]
    if table.type.dtype == bool_:
        table, x = (cast(t, np.dtype(np.int8)) for t in (table, x))
    integer, count = index_dtype(table.type.shape[0]), table.type.shape[0]
    low, high = full(0, x.type.shape, integer), full(count, x.type.shape, integer)
    # Each step halves the interval; the last one finds whether the place is in front of or behind one element.
    for _ in range(count.bit_length()):
        half = arithmetic.div(arithmetic.sub(high, low), full(2, x.type.shape, integer))
        middle = arithmetic.add(low, half)
        element = table.at[middle].get(mode="clip")
        behind = _before(element, x) if side == "left" else bitwise.not_(_before(x, element))
        behind = bitwise.and_(behind, compare.lt(low, high))
        low = select(behind, arithmetic.add(middle, full(1, x.type.shape, integer)), low)
        high = select(bitwise.or_(behind, compare.ge(low, high)), high, middle)
    return low


@composite
def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False, *, method: str | None = None) -> Array:
    """The number of the interval between `bins` in which each element lies.

    Args:
        x: array.
        bins: vector of edges, rising or falling.
        right: whether intervals contain their right edge instead of the left one.
        method: accepted for compatibility.

    >>> digitize(array([0.5, 2.5]), array([1.0, 2.0]))
    Array([0, 2], dtype=int32)
    """
    edges = number("digitize", bins)
    if edges.type.ndim != 1:
        raise ShapeError(f"digitize: bins must be a vector, got shape {edges.type.shape}")
    count, side = edges.type.shape[0], "left" if right else "right"
    if count < 2:
        return searchsorted(edges, x, side)
    rising = compare.le(edges[0], edges[-1])
    up = searchsorted(edges, x, side)
    down = count - searchsorted(reverse(edges, (0,)), x, side)
    return select(expand_to(rising, up.type.shape), up, down)
