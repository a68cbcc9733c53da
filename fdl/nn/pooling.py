"""Pooling. Images are [batch, *space, channels], with any number of space axes; windows follow suit."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.convolution import Extents, Padding, each, pads
from fdl.numpy._operands import floating, wide


def max_pool(x: Any, window: Extents, strides: Extents | None = None, padding: Padding = "VALID") -> Array:
    """The largest element under a window.

    Args:
        x: [batch, *space, channels].
        window: extents, one number or one per space axis.
        strides: None is the window itself.
        padding: "SAME", "VALID", or (low, high) per space axis.

    Returns:
        [batch, *space, channels].

    Raises:
        ShapeError: x has no space axes, or a setting does not fit them.

    >>> max_pool(fnp.arange(4.0).reshape(1, 4, 1), 2).ravel().tolist()
    [1.0, 3.0]
    """
    x = fnp.asarray(x)
    lowest = -fnp.inf if fnp.issubdtype(x.dtype, fnp.floating) else fnp.iinfo(x.dtype).min
    return _pool(x, lowest, lax.max, window, strides, padding)


def avg_pool(
    x: Any, window: Extents, strides: Extents | None = None, padding: Padding = "VALID", count_include_pad: bool = True
) -> Array:
    """The mean under a window.

    Args:
        x: [batch, *space, channels].
        window: extents, one number or one per space axis.
        strides: None is the window itself.
        padding: "SAME", "VALID", or (low, high) per space axis.
        count_include_pad: whether padding counts as zeros, or not at all.

    Returns:
        [batch, *space, channels].

    Raises:
        ShapeError: x has no space axes, or a setting does not fit them.

    >>> avg_pool(fnp.arange(4.0).reshape(1, 4, 1), 2).ravel().tolist()
    [0.5, 2.5]
    """
    x = floating(x)
    total = _pool(wide(x), 0.0, lax.add, window, strides, padding)
    if count_include_pad:
        size = 1
        for extent in each(window, x.ndim - 2):
            size *= extent
        return (total / size).astype(x.dtype)
    ones = fnp.ones((1, *x.shape[1:-1], 1), total.dtype)
    return (total / _pool(ones, 0.0, lax.add, window, strides, padding)).astype(x.dtype)


def _pool(x: Array, start: Any, combine: Any, window: Extents, strides: Extents | None, padding: Padding) -> Array:
    rank = x.ndim - 2
    if rank < 1:
        raise ShapeError(f"pooling needs images [batch, *space, channels], got {x.type}")
    extents = each(window, rank)
    steps = extents if strides is None else each(strides, rank)
    padding = pads(padding, rank)
    if not isinstance(padding, str):
        padding = ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, fnp.asarray(start, x.dtype), combine, (1, *extents, 1), (1, *steps, 1), padding)


def lp_pool(
    x: Any, window: Extents, p: float = 2.0, strides: Extents | None = None, padding: Padding = "VALID"
) -> Array:
    """The p-norm under a window. Source: Sermanet et al. (2012).

    Args:
        x: [batch, *space, channels].
        window: extents, one number or one per space axis.
        p: the power, at least 1.
        strides: None is the window itself.
        padding: "SAME", "VALID", or (low, high) per space axis.

    Returns:
        [batch, *space, channels].

    Raises:
        ShapeError: x has no space axes, or a setting does not fit them.

    >>> lp_pool(fnp.array([[[3.0], [4.0]]]), 2).item()
    5.0
    """
    x = fnp.abs(floating(x))
    total = _pool(x**p, 0.0, lax.add, window, strides, padding)
    zero = total == 0  # where the root has no derivative
    return fnp.where(zero, 0.0, fnp.where(zero, 1.0, total) ** (1 / p)).astype(x.dtype)


def global_max_pool(x: Any, keepdims: bool = False) -> Array:
    """The largest element over all of space.

    Args:
        x: [batch, *space, channels].
        keepdims: whether space stays, with extents of 1.

    Returns:
        [batch, channels].

    >>> global_max_pool(fnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[3.0]]
    """
    return fnp.max(fnp.asarray(x), axis=_space(x), keepdims=keepdims)


def global_avg_pool(x: Any, keepdims: bool = False, mask: Any = None) -> Array:
    """The mean over all of space.

    Args:
        x: [batch, *space, channels].
        keepdims: whether space stays, with extents of 1.
        mask: bool [batch, *space]: which places count; None is all, and the mean of none is zero.

    Returns:
        [batch, channels].

    >>> global_avg_pool(fnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """
    x, axes = floating(x), _space(x)
    if mask is None:
        return fnp.mean(x, axis=axes, keepdims=keepdims)
    there = fnp.asarray(mask)[..., None]
    total = fnp.sum(fnp.where(there, wide(x), 0.0), axis=axes, keepdims=keepdims)
    return (total / fnp.maximum(fnp.sum(there, axis=axes, keepdims=keepdims), 1)).astype(x.dtype)


def adaptive_avg_pool(x: Any, size: Extents) -> Array:
    """Means of as many windows as wanted: window i is from ``floor(i * n / size)`` to ``ceil((i + 1) * n / size)``.

    Args:
        x: [batch, *space, channels].
        size: extents of the result, one number or one per space axis.

    Returns:
        [batch, *size, channels].

    Raises:
        ShapeError: x has no space axes, or the size does not fit them.

    >>> adaptive_avg_pool(fnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
    [1.0, 3.0]
    """
    return _adaptive(floating(x), size, fnp.mean)


def adaptive_max_pool(x: Any, size: Extents) -> Array:
    """The largest elements of as many windows as wanted, see :func:`adaptive_avg_pool`.

    Args:
        x: [batch, *space, channels].
        size: extents of the result, one number or one per space axis.

    Returns:
        [batch, *size, channels].

    Raises:
        ShapeError: x has no space axes, or the size does not fit them.

    >>> adaptive_max_pool(fnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
    [2.0, 4.0]
    """
    return _adaptive(fnp.asarray(x), size, fnp.max)


def _adaptive(x: Array, size: Extents, reduce: Callable[..., Array]) -> Array:
    axes = _space(x)
    for axis, count in zip(axes, each(size, len(axes)), strict=True):
        extent = x.shape[axis]
        if extent % count == 0:  # windows of one size beside each other
            x = reduce(x.reshape((*x.shape[:axis], count, extent // count, *x.shape[axis + 1 :])), axis=axis + 1)
            continue
        parts = [
            lax.slice_in_dim(x, i * extent // count, -(-(i + 1) * extent // count), axis=axis) for i in range(count)
        ]
        x = fnp.concatenate([reduce(part, axis=axis, keepdims=True) for part in parts], axis=axis)
    return x


def _space(x: Any) -> tuple[int, ...]:
    if fnp.ndim(x) < 3:
        raise ShapeError(f"pooling needs images [batch, *space, channels], got {fnp.asarray(x).type}")
    return tuple(range(1, fnp.ndim(x) - 1))
