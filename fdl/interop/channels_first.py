"""Convolution, pooling, normalization and resizing of [batch, channels, *space], by the rules of PyTorch and ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array

Pads = Sequence[tuple[int, int]]


def per_axis(value: Any, rank: int) -> list[int]:
    """One number for each of `rank` axes: a number, or a list of one, holds for all.

    >>> per_axis([3], 2)
    [3, 3]
    """
    numbers = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return numbers * rank if len(numbers) == 1 else numbers


def conv(
    x: Any, w: Any, bias: Any, strides: Sequence[int], pads: Pads, dilation: Sequence[int], groups: int = 1
) -> Array:
    """Cross-correlation of [batch, channels, *space] with a kernel [out, in / groups, *window].

    >>> conv(fnp.ones((1, 1, 3)), fnp.ones((1, 1, 2)), None, [1], [(0, 0)], [1]).tolist()
    [[[2.0, 2.0]]]
    """
    out = lax.conv_general_dilated(x, w, strides, list(pads), rhs_dilation=dilation, feature_group_count=groups)
    return out if bias is None else out + _along_channels(bias, out.ndim)


def conv_transpose(
    x: Any,
    w: Any,
    bias: Any,
    strides: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int = 1,
) -> Array:
    """The transpose of a convolution whose kernel is w [in, out / groups, *window]; `pads` are those of the latter.

    >>> conv_transpose(fnp.ones((1, 1, 2)), fnp.ones((1, 1, 2)), None, [1], [(0, 0)], [1], [0]).tolist()
    [[[1.0, 2.0, 1.0]]]
    """
    inputs, outputs, *window = w.shape
    kernel = w.reshape(groups, inputs // groups, outputs, *window).swapaxes(1, 2)
    kernel = fnp.flip(kernel.reshape(groups * outputs, inputs // groups, *window), tuple(range(2, 2 + len(window))))
    around = []
    for extent, (low, high), step, more in zip(window, pads, dilation, output_padding, strict=True):
        reach = step * (extent - 1)
        around.append((reach - low, reach - high + more))
    out = lax.conv_general_dilated(
        x, kernel, [1] * len(window), around, lhs_dilation=strides, rhs_dilation=dilation, feature_group_count=groups
    )
    return out if bias is None else out + _along_channels(bias, out.ndim)


def _along_channels(vector: Any, ndim: int) -> Array:
    return fnp.reshape(vector, (-1, *[1] * (ndim - 2)))


def ceil_pads(
    shape: Sequence[int], window: Sequence[int], strides: Sequence[int], pads: Pads, dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding behind which the last window may end outside, as long as it begins inside: pooling with ceil_mode.

    >>> ceil_pads([5], [2], [2], [(0, 0)], [1])
    [(0, 1)]
    """
    result = []
    for extent, size, stride, (low, high), step in zip(shape, window, strides, pads, dilation, strict=True):
        reach = step * (size - 1) + 1
        count = -((extent + low + high - reach) // -stride) + 1
        if (count - 1) * stride >= extent + low:
            count -= 1
        result.append((low, max(high, (count - 1) * stride + reach - extent - low)))
    return result


def lowest(dtype: Any) -> Any:
    """What is below all numbers of a dtype."""
    return -np.inf if fnp.issubdtype(dtype, fnp.floating) else fnp.iinfo(dtype).min


def max_pool(x: Any, window: Sequence[int], strides: Sequence[int], pads: Pads, dilation: Sequence[int]) -> Array:
    """The largest element under a window.

    >>> max_pool(fnp.arange(4.0).reshape(1, 1, 4), [2], [2], [(0, 0)], [1]).tolist()
    [[[1.0, 3.0]]]
    """
    start = fnp.asarray(lowest(x.dtype), x.dtype)
    return _windows(x, start, lax.max, window, strides, pads, dilation)


def max_pool_indices(
    x: Any, window: Sequence[int], strides: Sequence[int], pads: Pads, dilation: Sequence[int]
) -> tuple[Array, Array]:
    """`max_pool` and where in [*space], counted row by row, each of its results stands; the first one of equals.

    >>> max_pool_indices(fnp.arange(4.0).reshape(1, 1, 4), [2], [2], [(0, 0)], [1])[1].tolist()
    [[[1, 3]]]
    """
    space = x.shape[2:]
    places = np.arange(int(np.prod(space)), dtype=np.int32).reshape(space)
    around = [(0, 0), (0, 0), *pads]
    wide = fnp.pad(x, around, constant_values=lowest(x.dtype))
    places = np.pad(places, list(pads), constant_values=-1)
    taken, numbers = [], []
    for offset in np.ndindex(*window):
        part = [
            slice(o * d, o * d + (extent - d * (size - 1) - 1) // stride * stride + 1, stride)
            for o, d, extent, size, stride in zip(offset, dilation, wide.shape[2:], window, strides, strict=True)
        ]
        taken.append(wide[(slice(None), slice(None), *part)])
        numbers.append(places[tuple(part)])
    values, positions = fnp.stack(taken), np.stack(numbers)[:, None, None]
    first = fnp.argmax(values, axis=0)[None]
    shape = values.shape
    return (
        fnp.take_along_axis(values, first, axis=0)[0],
        fnp.take_along_axis(fnp.broadcast_to(fnp.asarray(positions), shape), first, axis=0)[0],
    )


def avg_pool(
    x: Any,
    window: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
    counted: Pads | None = None,
    divisor: int | None = None,
) -> Array:
    """The mean under a window.

    Args:
        x: [batch, channels, *space].
        window: extents.
        strides: steps of the window.
        pads: zeros around, (low, high) an axis.
        dilation: steps inside of the window.
        counted: which of the zeros count as elements of the mean; None is none.
        divisor: what to divide sums by in place of the number of elements.

    Returns:
        [batch, channels, *space].

    >>> avg_pool(fnp.arange(3.0).reshape(1, 1, 3), [2], [2], [(0, 1)], [1]).tolist()
    [[[0.5, 2.0]]]
    """
    total = _windows(x, fnp.zeros((), x.dtype), lax.add, window, strides, pads, dilation)
    if divisor is not None:
        return total / divisor
    counts = np.ones((), x.dtype if x.dtype == np.float64 else np.float32)
    rows = zip(x.shape[2:], window, strides, pads, counted or [(0, 0)] * len(window), dilation, strict=True)
    for extent, size, stride, (low, high), (before, behind), step in rows:
        inside = np.zeros(low + extent + high)
        inside[low - before : low + extent + behind] = 1
        reach = step * (size - 1) + 1
        starts = range(0, len(inside) - reach + 1, stride)
        counts = counts[..., None] * np.array([inside[s : s + reach : step].sum() for s in starts], counts.dtype)
    if (counts == counts.flat[0]).all():
        return total / counts.flat[0].item()
    return (total / counts).astype(x.dtype)


def _windows(
    x: Any,
    start: Any,
    combine: Callable[[Any, Any], Any],
    window: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
) -> Array:
    around = [(0, 0), (0, 0), *pads]
    shape, steps, spread = ((1, 1, *values) for values in (window, strides, dilation))
    return lax.reduce_window(x, start, combine, shape, steps, around, window_dilation=spread)


def adaptive_bounds(extent: int, count: int) -> list[tuple[int, int]]:
    """Where the parts begin and end into which adaptive pooling divides an axis; they may overlap.

    >>> adaptive_bounds(5, 2)
    [(0, 3), (2, 5)]
    """
    return [(i * extent // count, -((i + 1) * extent // -count)) for i in range(count)]


def adaptive_pool(x: Any, size: Sequence[int | None], reduce: Callable[..., Any]) -> Array:
    """`reduce` (a mean or a maximum over one axis) of each of the parts into which the axes of space are divided.

    >>> adaptive_pool(fnp.arange(4.0).reshape(1, 1, 4), [2], fnp.mean).tolist()
    [[[0.5, 2.5]]]
    """
    first = x.ndim - len(size)
    if all(count == 1 for count in size):
        return reduce(x, axis=tuple(range(first, x.ndim)), keepdims=True)
    for axis, count in enumerate(size, first):
        extent = x.shape[axis]
        if count is None or count == extent:
            continue
        if extent % count == 0:
            parts = x.reshape(*x.shape[:axis], count, extent // count, *x.shape[axis + 1 :])
            x = reduce(parts, axis=axis + 1)
        else:
            bounds = adaptive_bounds(extent, count)
            parts = [reduce(lax.slice_in_dim(x, a, b, axis=axis), axis=axis, keepdims=True) for a, b in bounds]
            x = fnp.concatenate(parts, axis=axis)
    return x


def standardize(x: Any, axes: Sequence[int], epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) over some axes.

    >>> standardize(fnp.array([1.0, 3.0]), [0], 0.0).tolist()
    [-1.0, 1.0]
    """
    axes = tuple(axes)
    centered = x - fnp.mean(x, axis=axes, keepdims=True)
    return centered * lax.rsqrt(fnp.mean(centered * centered, axis=axes, keepdims=True) + epsilon)


def group_norm(x: Any, groups: int, weight: Any, bias: Any, epsilon: float) -> Array:
    """Standardize groups of channels of [batch, channels, *space] over space, then scale and shift channels.

    >>> group_norm(fnp.array([[1.0, 3.0, 5.0, 9.0]]), 2, None, None, 0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    parts = x.reshape(x.shape[0], groups, -1)
    out = standardize(parts, (-1,), epsilon).reshape(x.shape)
    if weight is not None:
        out = out * _along_channels(weight, x.ndim)
    return out if bias is None else out + _along_channels(bias, x.ndim)


def normalized(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, epsilon: float) -> Array:
    """Batch normalisation of [batch, channels, *space] by given statistics of channels.

    >>> normalized(fnp.ones((1, 1)), fnp.zeros(1), fnp.ones(1), None, None, 0.0).tolist()
    [[1.0]]
    """
    scale, ndim = lax.rsqrt(variance + epsilon), x.ndim
    if weight is not None:
        scale = scale * weight
    out = (x - _along_channels(mean, ndim)) * _along_channels(scale, ndim)
    return out if bias is None else out + _along_channels(bias, ndim)


def apply_along(x: Any, axis: int, matrix: np.ndarray) -> Array:
    """Replace an axis by products with a constant matrix [out, in], as interpolation along it does.

    >>> apply_along(fnp.array([1.0, 3.0]), 0, np.array([[0.5, 0.5]])).tolist()
    [2.0]
    """
    moved = fnp.moveaxis(x, axis, -1)
    return fnp.moveaxis(moved @ fnp.asarray(matrix.T.astype(x.dtype)), -1, axis)
