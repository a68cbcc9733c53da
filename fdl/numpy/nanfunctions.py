"""Reductions that leave NaN out."""

from typing import Any

import numpy as np

from fdl.dtypes import as_dtype, index_dtype
from fdl.numpy import reductions, statistics
from fdl.numpy._operands import Array, ArrayLike, Axis, DTypeLike, inexact, no_out, number
from fdl.numpy.elementwise import sqrt
from fdl.numpy.logic import isnan
from fdl.numpy.selection import where as choose


def _without(name: str, a: ArrayLike, identity: Any) -> tuple[Array, Array]:
    """The operand with NaN replaced, and where there was none."""
    x = number(name, a)
    missing = isnan(x)
    return (x if x.type.dtype.kind in "iub" else choose(missing, identity, x)), ~missing


def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The sum of the elements that are not NaN; arguments as for :func:`sum`.

    >>> nansum(array([1.0, float("nan")]))
    Array(1., dtype=float32)
    """
    return reductions.sum(_without("nansum", a, 0)[0], axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The product of the elements that are not NaN.

    >>> nanprod(array([2.0, float("nan")]))
    Array(2., dtype=float32)
    """
    return reductions.prod(_without("nanprod", a, 1)[0], axis, dtype, out, keepdims, initial, where)


def _extremum(
    name: str, reduce: Any, limit: float, a: ArrayLike, axis: Axis, keepdims: bool, initial: Any, where: Any
) -> Array:
    x, present = _without(name, a, limit)
    found = reduce(x, axis, keepdims=keepdims, initial=initial, where=where)
    if x.type.dtype.kind in "iub":
        return found
    some = reductions.any(present, axis, keepdims=keepdims, where=where)
    return found if initial is not None else choose(some, found, np.nan)


def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The largest element that is not NaN; NaN if there is none.

    >>> nanmax(array([2.0, float("nan")]))
    Array(2., dtype=float32)
    """
    no_out("nanmax", out)
    return _extremum("nanmax", reductions.max, -np.inf, a, axis, keepdims, initial, where)


def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The smallest element that is not NaN; NaN if there is none.

    >>> nanmin(array([2.0, float("nan")]))
    Array(2., dtype=float32)
    """
    no_out("nanmin", out)
    return _extremum("nanmin", reductions.min, np.inf, a, axis, keepdims, initial, where)


def _place(name: str, find: Any, limit: float, a: ArrayLike, axis: int | None, keepdims: bool | None) -> Array:
    x, present = _without(name, a, limit)
    found = find(x, axis, keepdims=keepdims)
    return choose(reductions.any(present, axis, keepdims=bool(keepdims)), found, -1)


def nanargmax(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the largest element that is not NaN; -1 if there is none.

    >>> nanargmax(array([float("nan"), 2.0]))
    Array(1, dtype=int32)
    """
    no_out("nanargmax", out)
    return _place("nanargmax", reductions.argmax, -np.inf, a, axis, keepdims)


def nanargmin(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the smallest element that is not NaN; -1 if there is none.

    >>> nanargmin(array([float("nan"), 2.0]))
    Array(1, dtype=int32)
    """
    no_out("nanargmin", out)
    return _place("nanargmin", reductions.argmin, np.inf, a, axis, keepdims)


def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """The mean of the elements that are not NaN.

    >>> nanmean(array([1.0, float("nan"), 3.0]))
    Array(2., dtype=float32)
    """
    no_out("nanmean", out)
    x, present = _without("nanmean", a, 0)
    target = inexact(x.type.dtype) if dtype is None else as_dtype(dtype)
    count = reductions.sum(present, axis, index_dtype(x.type.size), keepdims=keepdims, where=where)
    return (reductions.sum(x, axis, target, keepdims=keepdims, where=where) / count).astype(target)


def nanvar(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
) -> Array:
    """The variance of the elements that are not NaN; arguments as for :func:`var`.

    >>> nanvar(array([1.0, float("nan"), 3.0]))
    Array(1., dtype=float32)
    """
    no_out("nanvar", out)
    x, present = _without("nanvar", a, 0)
    counted = present if where is None else present & reductions.mask_of("nanvar", where)
    center = nanmean(a, axis, dtype, keepdims=True, where=where) if mean is None else mean
    result = statistics.var(x, axis, dtype, None, ddof, keepdims, where=counted, mean=center)
    count = reductions.sum(counted, axis, index_dtype(x.type.size), keepdims=keepdims)
    return choose(count > ddof, result, np.nan)


def nanstd(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
) -> Array:
    """The standard deviation of the elements that are not NaN.

    >>> nanstd(array([1.0, float("nan"), 3.0]))
    Array(1., dtype=float32)
    """
    return sqrt(nanvar(a, axis, dtype, out, ddof, keepdims, where, mean))


def nancumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running sums in which NaN counts as 0.

    >>> nancumsum(array([1.0, float("nan"), 3.0]))
    Array([1., 1., 4.], dtype=float32)
    """
    return reductions.cumsum(_without("nancumsum", a, 0)[0], axis, dtype, out)


def nancumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running products in which NaN counts as 1.

    >>> nancumprod(array([2.0, float("nan"), 3.0]))
    Array([2., 2., 6.], dtype=float32)
    """
    return reductions.cumprod(_without("nancumprod", a, 1)[0], axis, dtype, out)
