"""Sets of numbers: unique, union, intersection, membership."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fdl.dtypes import WEAK, index_dtype
from fdl.numpy._operands import Array, ArrayLike, axis_index, cast, integer, number, promote
from fdl.numpy.creation import asarray, zeros
from fdl.numpy.logic import logical_not
from fdl.numpy.reductions import cumsum
from fdl.numpy.selection import compress, nonzero, take
from fdl.numpy.selection import where as choose
from fdl.numpy.shapes import append, concatenate, moveaxis, ravel, reshape
from fdl.numpy.sorting import argsort, lexsort, searchsorted, sort
from fdl.ops.shape import iota


class UniqueAllResult(NamedTuple):
    """Distinct values, where each is first, which of them each element is, and how often each occurs.

    >>> unique_all(np.array([5, 5])).counts
    Array([2], dtype=int32)
    """

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCountsResult(NamedTuple):
    """Distinct values and how often each occurs.

    >>> unique_counts(np.array([5, 5])).values
    Array([5], dtype=int64)
    """

    values: Any
    counts: Any


class UniqueInverseResult(NamedTuple):
    """Distinct values and which of them each element is.

    >>> unique_inverse(np.array([7, 5])).inverse_indices
    Array([1, 0], dtype=int32)
    """

    values: Any
    inverse_indices: Any


def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
    sorted: bool = True,
) -> Any:
    """The distinct elements, rising.

    Args:
        ar: array.
        return_index: whether to return where each is first.
        return_inverse: whether to return which of them each element is.
        return_counts: whether to return how often each occurs.
        axis: compare slices along it instead of elements.
        equal_nan: whether all NaN count as one.
        size: how many to return, which allows tracing; surplus ones are dropped, missing ones filled.
        fill_value: for missing ones; default the smallest.
        sorted: accepted for compatibility; they always are.

    Returns:
        The elements, followed by what was asked for.

    Raises:
        ConcretizationError: `ar` is traced and `size` is not given.

    >>> unique(array([3, 1, 3]), return_counts=True)
    (Array([1, 3], dtype=int32), Array([1, 2], dtype=int32))
    """
    x = number("unique", ar)
    shape = x.type.shape
    if axis is None:
        rows, axis = ravel(x)[:, None], None
    else:
        axis = axis_index("unique", axis, x.type.ndim)
        moved = moveaxis(x, axis, 0)
        rows = reshape(moved, (shape[axis], prod(moved.type.shape[1:])))
    count = rows.type.shape[0]
    order = _row_order(rows)
    ordered = rows[order]
    first = _starts(ordered, equal_nan)
    places = (
        nonzero(first)[0] if size is None else nonzero(first, size=integer("unique: size", size), fill_value=count)[0]
    )
    values = take(ordered, places, 0, mode="clip")
    if size is not None and count:
        missing = (places >= count)[:, None]
        values = choose(missing, values[:1] if fill_value is None else cast(asarray(fill_value), x.type.dtype), values)
    if axis is None:
        values = values[:, 0]
    else:
        values = moveaxis(reshape(values, (values.type.shape[0], *shape[:axis], *shape[axis + 1 :])), 0, axis)
    results = [values]
    if return_index:
        found = take(order, places, mode="clip")
        results.append(found if size is None or not count else choose(places < count, found, order[0]))
    if return_inverse:
        group = cumsum(first, dtype=index_dtype(count)) - 1
        inverse = zeros(count, index_dtype(count)).at[order].set(group)
        results.append(reshape(inverse, shape) if axis is None else inverse)
    if return_counts:
        ends = (
            concatenate([places[1:], asarray([count])]) if size is None else concatenate([places, asarray([count])])[1:]
        )
        results.append(cast(ends - places, index_dtype(count)))
    return results[0] if len(results) == 1 else tuple(results)


def _row_order(rows: Array) -> Array:
    """The order that sorts rows, the first column first."""
    columns = rows.type.shape[1]
    if columns == 1:
        return argsort(rows[:, 0])
    return (
        lexsort([rows[:, i] for i in range(columns - 1, -1, -1)]) if columns else asarray(np.arange(rows.type.shape[0]))
    )


def _starts(ordered: Array, equal_nan: bool) -> Array:
    """Whether each of the ordered rows differs from the one before it."""
    if not ordered.type.shape[0]:
        return ordered[:, 0] != ordered[:, 0]
    different = ordered[1:] != ordered[:-1]
    if equal_nan and ordered.type.dtype.kind in "fcV":
        both = (ordered[1:] != ordered[1:]) & (ordered[:-1] != ordered[:-1])
        different = different & ~both
    return concatenate([asarray([True]), different.any(1)])


def unique_values(x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Array:
    """The distinct elements, NaN each by itself.

    >>> unique_values(array([2, 1, 2]))
    Array([1, 2], dtype=int32)
    """
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


def unique_counts(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueCountsResult:
    """The distinct elements and how often each occurs.

    >>> unique_counts(array([2, 1, 2])).counts
    Array([1, 2], dtype=int32)
    """
    return UniqueCountsResult(*unique(x, return_counts=True, equal_nan=False, size=size, fill_value=fill_value))


def unique_inverse(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueInverseResult:
    """The distinct elements and which of them each element is.

    >>> unique_inverse(array([2, 1, 2])).inverse_indices
    Array([1, 0, 1], dtype=int32)
    """
    return UniqueInverseResult(*unique(x, return_inverse=True, equal_nan=False, size=size, fill_value=fill_value))


def unique_all(x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None) -> UniqueAllResult:
    """The distinct elements with all that :func:`unique` can return.

    >>> unique_all(array([2, 1, 2])).indices
    Array([1, 0], dtype=int32)
    """
    return UniqueAllResult(*unique(x, True, True, True, equal_nan=False, size=size, fill_value=fill_value))


def isin(
    element: ArrayLike,
    test_elements: ArrayLike,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    method: str = "auto",
) -> Array:
    """Whether each element occurs among the test elements.

    Args:
        element: array.
        test_elements: array.
        assume_unique: accepted for compatibility.
        invert: whether to return the opposite.
        method: accepted for compatibility.

    >>> isin(array([1, 2]), array([2, 3]))
    Array([False,  True], dtype=bool)
    """
    x, table = promote("isin", element, test_elements if type(test_elements) in WEAK else asarray(test_elements))
    table = sort(ravel(table))
    if not table.type.size:
        found = x != x
        found = found & ~found
    else:
        found = take(table, searchsorted(table, x), mode="clip") == x
    return logical_not(found) if invert else found


def union1d(ar1: ArrayLike, ar2: ArrayLike, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Array:
    """The distinct elements of two arrays.

    >>> union1d(array([1, 2]), array([2, 3]))
    Array([1, 2, 3], dtype=int32)
    """
    return unique(append(ar1, ar2), size=size, fill_value=fill_value)


def _selected(
    values: Array, keep: Array, size: int | None, fill_value: ArrayLike | None, smallest: bool = False
) -> Array:
    """The values to keep, padded to `size`; by default with the first of them if that is the smallest, else with 0."""
    found = compress(keep, values, size=size, fill_value=0 if fill_value is None else fill_value)
    if fill_value is not None or size is None or not smallest:
        return found
    number = iota(index_dtype(size), (size,), 0)
    return choose(number < keep.sum(), found, found[:1])


def setdiff1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Array:
    """The distinct elements of the first array that the second lacks.

    Args:
        ar1: array.
        ar2: array.
        assume_unique: whether the elements of `ar1` are distinct; they then keep their order.
        size: how many to return, which allows tracing.
        fill_value: for missing ones.

    >>> setdiff1d(array([1, 2, 3]), array([2]))
    Array([1, 3], dtype=int32)
    """
    x = ravel(asarray(ar1))
    if size is not None and not assume_unique:
        x = sort(x)
        first = _starts(x[:, None], True)
        return _selected(x, first & isin(x, ar2, invert=True), size, fill_value)
    x = x if assume_unique else unique(x)
    return _selected(x, isin(x, ar2, invert=True), size, fill_value)


def setxor1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Array:
    """The distinct elements of exactly one of two arrays.

    >>> setxor1d(array([1, 2]), array([2, 3]))
    Array([1, 3], dtype=int32)
    """
    x, y = (ravel(v) for v in promote("setxor1d", asarray(ar1), asarray(ar2)))
    both = sort(concatenate([x, y]))
    keep = _starts(both[:, None], True) & (isin(both, x) != isin(both, y))
    return _selected(both, keep, size, fill_value, smallest=True)


def intersect1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    return_indices: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Any:
    """The distinct elements of both arrays.

    Args:
        ar1: array.
        ar2: array.
        assume_unique: accepted for compatibility.
        return_indices: whether to return where each is first in `ar1` and in `ar2`.
        size: how many to return, which allows tracing.
        fill_value: for missing ones.

    >>> intersect1d(array([1, 2]), array([2, 3]))
    Array([2], dtype=int32)
    """
    x, y = (ravel(v) for v in promote("intersect1d", asarray(ar1), asarray(ar2)))
    ordered, order = sort(x), argsort(x)
    keep = _starts(ordered[:, None], True) & isin(ordered, y)
    values = _selected(ordered, keep, size, fill_value, smallest=True)
    if not return_indices:
        return values
    # Missing places lie behind the last element, which is out of bounds.
    places = nonzero(keep, size=size, fill_value=x.type.size)[0]
    in_x = take(order, places, mode="fill", fill_value=x.type.size)
    in_y = take(argsort(y), searchsorted(sort(y), values), mode="fill", fill_value=y.type.size)
    return values, in_x, in_y if size is None else choose(places < x.type.size, in_y, y.type.size)
