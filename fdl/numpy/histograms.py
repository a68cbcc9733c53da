"""Counting into bins."""

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.dtypes import index_dtype
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, beside, cast, inexact, integer, number, promote, value
from fdl.numpy.arithmetic import clip
from fdl.numpy.creation import asarray, ones_like, zeros
from fdl.numpy.ranges import linspace
from fdl.numpy.reductions import diff
from fdl.numpy.reductions import max as largest
from fdl.numpy.reductions import min as smallest
from fdl.numpy.reductions import sum as total
from fdl.numpy.selection import ravel_multi_index, where
from fdl.numpy.shapes import ravel, reshape, stack
from fdl.numpy.sorting import searchsorted


def bincount(x: ArrayLike, weights: ArrayLike | None = None, minlength: int = 0, *, length: int | None = None) -> Array:
    """How often each of the integers 0, 1, 2, ... occurs.

    Args:
        x: vector of integers; negative ones count as 0.
        weights: what each element counts; default 1.
        minlength: least length of the result.
        length: length of the result, which allows tracing; larger integers are left out.

    Returns:
        Vector of the length max(x) + 1, or as given.

    >>> bincount(array([0, 2, 2]))
    Array([1, 0, 2], dtype=int32)
    """
    x = number("bincount", x)
    if x.type.ndim != 1 or x.type.dtype.kind not in "iub":
        raise ShapeError(f"bincount needs a vector of integers, got {x.type}")
    if length is None:
        known = x.concrete("bincount without length= has a result whose shape depends on the values: a known array")
        length = max(integer("bincount: minlength", minlength), int(known.max()) + 1 if known.size else 0)
    if weights is None:
        counted: Any = cast(1, index_dtype(x.type.size))
    else:
        counted = value("bincount", weights)
        if counted.type.shape != x.type.shape:
            raise ShapeError(f"bincount: weights of shape {counted.type.shape} do not fit {x.type.shape} elements")
    places = cast(x, np.dtype(np.int32)) if x.type.dtype.kind == "b" else x
    # Without a sign there is nothing to clip, and signed places would wrap.
    places = clip(places, 0) if places.type.dtype.kind == "i" else places
    if not length:
        return zeros(0, counted.type.dtype)
    return zeros(length, counted.type.dtype).at[places].add(counted, mode="drop")


def histogram_bin_edges(
    a: ArrayLike,
    bins: ArrayLike = 10,
    range: Any = None,
    weights: ArrayLike | None = None,
) -> Array:
    """The edges of the bins that :func:`histogram` uses.

    >>> histogram_bin_edges(array([0.0, 1.0]), 2)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    if isinstance(bins, str):
        raise NotImplementedError(
            f"histogram: a rule for the number of bins ({bins!r}) is not supported; give a number"
        )
    x = number("histogram", a)
    x = ravel(cast(x, inexact(x.type.dtype)))
    edges = asarray(bins)
    if edges.type.ndim == 1:
        return cast(edges, x.type.dtype)
    count = operator.index(edges.concrete("histogram: the number of bins").item())
    if range is None:
        low, high = (smallest(x), largest(x)) if x.type.size else (asarray(0.0), asarray(1.0))
    else:
        low, high = (beside("histogram", v, x.type.dtype) for v in range)
    # An interval without width becomes one of width 1.
    point = low == high
    return linspace(where(point, low - 0.5, low), where(point, high + 0.5, high), count + 1, dtype=x.type.dtype)


def _is_even(bins: Any, range: Any, dtype: np.dtype) -> bool:
    """Whether bins are known to be of equal width, and so much wider than edges are rounded that the one in which an
    element lies can be computed, but for a neighbour."""
    if type(bins) is not int or range is None or any(type(v) not in (int, float) for v in range):
        return False
    low, high = map(float, range)
    return 0 < bins <= 1 << 16 and high - low > bins * 16 * float(np.finfo(dtype.name).eps) * max(abs(low), abs(high))


def _bin_numbers(x: Array, edges: Array, even: bool) -> tuple[Array, Array]:
    """The bin of each element, the last one closed on both sides; and whether it lies in any."""
    last = edges.type.size - 2
    if even:
        rate = (last + 1) / (edges[-1] - edges[0])
        places = cast(clip((x - edges[0]) * rate, 0, last), np.dtype(np.int32))
        places = clip(places - (x < edges.at[places].get(mode="clip")), 0, last)
        places = places + (x >= edges.at[places + 1].get(mode="clip"))
    else:
        places = searchsorted(edges, x, "right") - 1
    places = where(x == edges[-1], last, places)
    return clip(places, 0, last), (x >= edges[0]) & (x <= edges[-1])


def histogram(
    a: ArrayLike,
    bins: ArrayLike = 10,
    range: Any = None,
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, Array]:
    """How many elements lie in each bin.

    Args:
        a: array.
        bins: the number of bins of equal width, or a vector of edges.
        range: (low, high) of the bins; default the smallest and largest element.
        weights: what each element counts; default 1.
        density: whether counts are divided so that the integral is 1.

    Returns:
        Counts (bins,) and edges (bins + 1,).

    >>> histogram(array([0.0, 0.1, 1.0]), 2)[0]
    Array([2., 1.], dtype=float32)
    """
    x = number("histogram", a)
    counted = ones_like(cast(x, inexact(x.type.dtype))) if weights is None else number("histogram", weights)
    if counted.type.shape != x.type.shape:
        raise ShapeError(f"histogram: weights of shape {counted.type.shape} do not fit {x.type.shape}")
    edges = histogram_bin_edges(x, bins, range)
    x, counted = ravel(cast(x, edges.type.dtype)), ravel(counted)
    places, inside = _bin_numbers(x, edges, _is_even(bins, range, edges.type.dtype))
    counts = bincount(places, where(inside, counted, cast(0, counted.type.dtype)), length=edges.type.size - 1)
    if density:
        widths = diff(edges)
        counts = counts / widths / total(counts)
    return counts, edges


def histogramdd(
    sample: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, list[Array]]:
    """How many points lie in each box of a grid.

    Args:
        sample: points (n, d).
        bins: the number of bins, or such a number or a vector of edges for each of the d axes.
        range: (low, high) for each axis.
        weights: what each point counts (n,).
        density: whether counts are divided so that the integral is 1.

    Returns:
        Counts, and a list of d edge vectors.

    >>> histogramdd(array([[0.0, 0.0], [1.0, 1.0]]), 2)[0]
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    (points,) = promote("histogramdd", sample, to_inexact=True)
    if points.type.ndim != 2:
        raise ShapeError(f"histogramdd needs points of shape (n, d), got {points.type.shape}")
    count = points.type.shape[1]
    per_axis = list(bins) if isinstance(bins, Sequence) else [bins] * count
    ranges = [None] * count if range is None else list(range)
    if len(per_axis) != count or len(ranges) != count:
        raise ShapeError(f"histogramdd: bins and range must have one entry for each of {count} axes")
    columns = [points[:, i] for i in np.arange(count)]
    edges = [histogram_bin_edges(x, b, r) for x, b, r in zip(columns, per_axis, ranges, strict=True)]
    even = [_is_even(b, r, e.type.dtype) for b, r, e in zip(per_axis, ranges, edges, strict=True)]
    found = [_bin_numbers(x, e, is_even) for x, e, is_even in zip(columns, edges, even, strict=True)]
    sizes = tuple(e.type.size - 1 for e in edges)
    places = ravel_multi_index([f[0] for f in found], sizes, mode="clip")
    inside = found[0][1]
    for _, more in found[1:]:
        inside = inside & more
    counted = ones_like(columns[0], int) if weights is None else number("histogramdd", weights)
    flat = bincount(places, where(inside, counted, cast(0, counted.type.dtype)), length=prod(sizes))
    counts = reshape(flat, sizes)
    if density:
        volume: Any = 1
        for width in _open_grid([diff(e) for e in edges]):
            volume = volume * width
        counts = counts / total(counts) / volume
    return counts, edges


def _open_grid(vectors: list[Array]) -> list[Array]:
    """Vectors laid along one axis each."""
    count = len(vectors)
    return [reshape(v, (1,) * i + (v.type.size,) + (1,) * (count - i - 1)) for i, v in enumerate(vectors)]


def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, Array, Array]:
    """How many points lie in each rectangle of a grid.

    Args:
        x: first coordinates (n,).
        y: second coordinates (n,).
        bins: a number, a vector of edges for both, or one of these for each.
        range: (low, high) for each axis.
        weights: what each point counts.
        density: whether counts are divided so that the integral is 1.

    Returns:
        Counts, edges of x, edges of y.

    >>> histogram2d(array([0.0, 1.0]), array([0.0, 1.0]), 2)[0]
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    both = isinstance(bins, (list, tuple)) and len(bins) == 2
    counts, edges = histogramdd(stack([x, y], 1), list(bins) if both else [bins, bins], range, weights, density)
    return counts, edges[0], edges[1]
