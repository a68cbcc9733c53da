"""Quantiles: values below which a share of the elements lies."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.core.trace import Tracer
from fdl.dtypes import WEAK, float32, float64, index_dtype, result_type
from fdl.errors import DtypeError, RangeError, ShapeError
from fdl.numpy._operands import Array, ArrayLike, Axis, axis_tuple, cast, expand_to, no_out, number, promote
from fdl.numpy.arithmetic import clip, floor, maximum
from fdl.numpy.logic import isfinite, isnan
from fdl.numpy.reductions import all as all_of
from fdl.numpy.reductions import any as any_of
from fdl.numpy.reductions import cumsum
from fdl.numpy.reductions import sum as total
from fdl.numpy.selection import take_along_axis
from fdl.numpy.selection import where as choose
from fdl.numpy.shapes import broadcast_to, expand_dims, moveaxis, ravel, reshape
from fdl.numpy.sorting import argsort, sort
from fdl.ops.arithmetic import stop_gradient
from fdl.ops.shape import full

#: Place q of n ordered elements, from 0: n q + a + q (1 - a - b) - 1, by the a and b of Hyndman and Fan (1996).
_PLACES = {
    "linear": (1.0, 1.0),
    "lower": (1.0, 1.0),
    "higher": (1.0, 1.0),
    "midpoint": (1.0, 1.0),
    "nearest": (1.0, 1.0),
    "inverted_cdf": (0.0, 1.0),
    "averaged_inverted_cdf": (0.0, 1.0),
    "closest_observation": (-0.5, 1.5),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (0.375, 0.375),
}
_BETWEEN = ("linear", "interpolated_inverted_cdf", "hazen", "weibull", "median_unbiased", "normal_unbiased")


def _quantile(
    name: str, a: ArrayLike, q: ArrayLike, axis: Axis, method: str, keepdims: bool, skip_nan: bool, out: Any,
    weights: ArrayLike | None,
) -> Array:  # fmt: skip
    no_out(name, out)
    if method not in _PLACES:
        raise ValueError(f"{name}: method must be one of {', '.join(_PLACES)}, got {method!r}")
    if weights is not None and method != "inverted_cdf":
        raise ValueError(f"{name}: weights= needs method='inverted_cdf', got {method!r}")
    x, q = promote(name, a, q, to_inexact=True)
    if x.type.dtype.kind == "c":
        raise DtypeError(f"{name} is not defined for complex numbers")
    if q.type.ndim > 1:
        raise ShapeError(f"{name}: q must be a number or a vector, got shape {q.type.shape}")
    axes = axis_tuple(name, axis, x.type.ndim)
    shape = x.type.shape
    by = None if weights is None else _rows(_weights(name, weights, shape, axes, x.type.dtype), axes)
    x = _rows(x, axes)
    if not x.type.shape[-1]:  # NaN, as the mean of no elements
        x, by = full(float("nan"), (*x.type.shape[:-1], 1), x.type.dtype), None
    result = _interpolate(sort(x), x, q, method, skip_nan) if by is None else _weighted(x, by, q, skip_nan)
    result = moveaxis(result, -1, 0) if q.type.ndim else result[..., 0]
    if not keepdims:
        return result
    ones = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return reshape(result, q.type.shape + ones)


def _rows(x: Array, axes: Sequence[int]) -> Array:
    """The reduced axes as one, the last."""
    rest = tuple(n for i, n in enumerate(x.type.shape) if i not in axes)
    size = prod(x.type.shape[i] for i in axes)
    return reshape(moveaxis(x, tuple(axes), tuple(range(-len(axes), 0))), (*rest, size))


def _weights(name: str, weights: ArrayLike, shape: tuple[int, ...], axes: Sequence[int], dtype: np.dtype) -> Array:
    """The weights in the shape of the elements."""
    by = number(name, weights)
    if by.type.dtype.kind == "c":
        raise DtypeError(f"{name}: weights= must be real, got {by.type}")
    by = cast(by, result_type(dtype, float32))
    if not isinstance(by, Tracer):
        known = np.asarray(by)
        if not ((known >= 0) & (known < np.inf)).all() or (known.size and not known.any()):
            raise RangeError(f"{name}: weights= must be finite, 0 or more, and not all 0")
    if by.type.shape == shape:
        return by
    if by.type.shape != tuple(shape[i] for i in axes):
        raise ShapeError(
            f"{name}: weights= must have the shape {shape} of the elements, or one weight for each place along axis, "
            f"got shape {by.type.shape}"
        )
    others = tuple(i for i in range(len(shape)) if i not in axes)
    by = moveaxis(by, tuple(range(len(axes))), tuple(np.argsort(np.argsort(axes)).tolist()))
    return expand_to(expand_dims(by, others), shape)


def _weighted(x: Array, by: Array, q: Array, skip_nan: bool) -> Array:
    """The first element at which the weights up to it are a share q of all weights."""
    missing = isnan(x)
    if skip_nan:
        by = choose(missing, 0, by)
    order = argsort(x)
    ordered, sums = take_along_axis(x, order, -1), cumsum(take_along_axis(by, order, -1), -1)
    shares = sums / sums[..., -1:]
    shares = choose(shares == 0, -1, shares)  # elements in front that have no weight
    wanted = clip(ravel(cast(q, by.type.dtype)), 0, 1)
    place = total(shares[..., None] < wanted, -2, dtype=index_dtype(x.type.shape[-1]))
    result = take_along_axis(ordered, clip(place, 0, x.type.shape[-1] - 1), -1)
    bad = all_of(missing, -1, keepdims=True) if skip_nan else any_of(missing, -1, keepdims=True)
    usable = all_of((by >= 0) & (by < np.inf), -1, keepdims=True) & (sums[..., -1:] > 0)
    bad = bad | ~usable  # traced weights that mean nothing
    return choose(bad, np.nan, result)


def _interpolate(ordered: Array, x: Array, q: Array, method: str, skip_nan: bool) -> Array:
    """The quantiles of rows in rising order; those of a row with NaN are NaN, unless NaN are skipped."""
    # Places are computed in a dtype that tells neighbours apart, whatever that of the elements.
    count, integer = x.type.shape[-1], index_dtype(x.type.shape[-1])
    exact = result_type(q, float32 if count < 2**16 else float64)
    q = clip(ravel(cast(q, exact)), 0, 1)
    missing = isnan(x)
    if skip_nan:
        last = maximum(total(~missing, -1, keepdims=True, dtype=exact) - 1, 0)
    else:
        last = broadcast_to(cast(count - 1.0, exact), (*x.type.shape[:-1], 1))
    first, end = _PLACES[method]
    place = q * last if first == end == 1 else (last + 1) * q + (first - 1) + q * (1 - first - end)
    low = floor(place)
    share = cast(place - low, x.type.dtype)
    odd = low % 2 == 1
    if method in _BETWEEN:
        share = choose((place < 0) | (place > last), 0, share)
    low, high = (cast(clip(p, 0, last), integer) for p in (low, low + 1))
    below, above = (take_along_axis(ordered, p, -1, mode="clip") for p in (low, high))
    result = {
        "lower": lambda: below,
        "higher": lambda: choose(share > 0, above, below),
        "midpoint": lambda: choose(share > 0, below / 2 + above / 2, below),
        "nearest": lambda: choose((share > 0.5) | ((share == 0.5) & odd), above, below),
        "inverted_cdf": lambda: choose(share > 0, above, below),
        "averaged_inverted_cdf": lambda: choose(share > 0, above, below / 2 + above / 2),
        "closest_observation": lambda: choose((share == 0) & odd, below, above),
    }.get(method, lambda: below * (1 - share) + above * share)()
    bad = all_of(missing, -1, keepdims=True) if skip_nan else any_of(missing, -1, keepdims=True)
    # Neighbours of equal value are the result as they are, infinite ones too; both share the derivative.
    equal = choose(isfinite(below), stop_gradient(below) + (result - stop_gradient(result)), below)
    result = choose(below == above, equal, result)
    return choose(bad, np.nan, result)


def quantile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """Quantiles: values below which a share q of the elements lies.

    Args:
        a: array, real.
        q: shares, a number or a vector; limited to [0, 1].
        axis: over which; None for all.
        out: not supported.
        overwrite_input: accepted for compatibility.
        method: between two elements: "linear", "lower", "higher", "midpoint", "nearest", or one of NumPy's others.
        keepdims: whether reduced axes stay, with extent 1.
        weights: of the elements, in the shape of `a` or of its reduced axes; only for the method "inverted_cdf".

    Returns:
        Array with one leading axis if `q` is a vector; NaN where all weights are 0.

    Raises:
        RangeError: a weight is negative, infinite or NaN, or all are 0 (in a transform the result is NaN).

    >>> quantile(array([1.0, 2.0, 3.0, 4.0]), 0.5)
    Array(2.5, dtype=float32)
    >>> quantile(array([1.0, 2.0, 3.0]), 0.5, method="inverted_cdf", weights=array([1, 1, 5]))
    Array(3., dtype=float32)
    """
    return _quantile("quantile", a, q, axis, method, keepdims, False, out, weights)


def nanquantile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """Quantiles of the elements that are not NaN; arguments as for :func:`quantile`.

    >>> nanquantile(array([1.0, float("nan"), 3.0]), 0.5)
    Array(2., dtype=float32)
    """
    return _quantile("nanquantile", a, q, axis, method, keepdims, True, out, weights)


def _share(q: ArrayLike) -> ArrayLike:
    if type(q) in WEAK:
        return q / 100
    (q,) = promote("percentile", q, to_inexact=True)
    return q / 100


def percentile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """Quantiles with q in percent; arguments as for :func:`quantile`.

    >>> percentile(array([1.0, 2.0, 3.0]), 50)
    Array(2., dtype=float32)
    """
    return _quantile("percentile", a, _share(q), axis, method, keepdims, False, out, weights)


def nanpercentile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """Percentiles of the elements that are not NaN.

    >>> nanpercentile(array([1.0, float("nan"), 3.0]), 50)
    Array(2., dtype=float32)
    """
    return _quantile("nanpercentile", a, _share(q), axis, method, keepdims, True, out, weights)


def median(
    a: ArrayLike, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Array:
    """The middle element, or the mean of the two middle ones.

    >>> median(array([3.0, 1.0, 2.0]))
    Array(2., dtype=float32)
    """
    return _quantile("median", a, 0.5, axis, "midpoint", keepdims, False, out, None).strong()


def nanmedian(
    a: ArrayLike, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Array:
    """The median of the elements that are not NaN.

    >>> nanmedian(array([3.0, float("nan"), 2.0]))
    Array(2.5, dtype=float32)
    """
    return _quantile("nanmedian", a, 0.5, axis, "midpoint", keepdims, True, out, None).strong()
