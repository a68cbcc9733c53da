"""Random zeros during training: of elements, of features, of whole branches."""

import math
from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.numpy._operands import floating
from fdl.scalars import Scalar, checked

RATE = Scalar(0.0, 1.0, below=True)


@checked(rate=RATE)
def dropout(key: Any, rate: Any, x: Any, broadcast_axes: Sequence[int] = ()) -> Array:
    """Zero elements with probability `rate`, and scale the others by 1 / (1 - rate). Source: Srivastava et al. (2014).

    Args:
        key: random key; a new one every step.
        rate: probability, from 0 up to, but not including, 1. For evaluation do not call it, or pass 0.
        x: array.
        broadcast_axes: axes along which the same elements are zero.

    Returns:
        An array like x.

    Raises:
        RangeError: the rate is outside [0, 1); DtypeError, ShapeError if it is no number.

    >>> sorted(set(dropout(random.key(0), 0.5, fnp.ones(100)).tolist()))
    [0.0, 2.0]
    """
    x = fnp.asarray(x)
    if isinstance(rate, (int, float)) and rate == 0:
        return x
    shared = {axis % x.ndim for axis in broadcast_axes}
    kept = random.uniform(key, tuple(1 if i in shared else n for i, n in enumerate(x.shape))) >= rate
    scaled = x / (1 - rate)
    scaled = scaled.astype(x.dtype) if fnp.issubdtype(x.dtype, fnp.inexact) else scaled  # whatever the rate's dtype
    return fnp.where(kept, scaled, fnp.zeros_like(x))


@checked(rate=RATE)
def feature_dropout(key: Any, rate: Any, x: Any) -> Array:
    """:func:`dropout` of whole channels: the same over all of space (or time). Source: Tompson et al. (2015).

    Args:
        key: random key; a new one every step.
        rate: probability, from 0 up to, but not including, 1.
        x: [batch, *space, channels].

    Returns:
        An array like x.

    Raises:
        RangeError: the rate is outside [0, 1); ShapeError: x has fewer than two axes.

    >>> y = feature_dropout(random.key(0), 0.5, fnp.ones((1, 100, 3)))
    >>> (y == y[:, :1]).all().item()
    True
    """
    x = fnp.asarray(x)
    if x.ndim < 2:
        raise ShapeError(f"feature_dropout needs x [batch, *space, channels], got {x.type}")
    return dropout(key, rate, x, range(1, x.ndim - 1))


spatial_dropout = feature_dropout


@checked(rate=RATE)
def alpha_dropout(key: Any, rate: Any, x: Any) -> Array:
    """Dropout that keeps mean and variance of :func:`selu` networks. Source: Klambauer et al. (2017), section 2.

    Args:
        key: random key; a new one every step.
        rate: probability, from 0 up to, but not including, 1.
        x: floating array.

    Returns:
        An array like x.

    Raises:
        RangeError: the rate is outside [0, 1).

    >>> len(set(alpha_dropout(random.key(0), 0.5, fnp.ones(100)).tolist()))
    2
    """
    x = floating(x)
    if isinstance(rate, (int, float)) and rate == 0:
        return x
    lowest = -1.0507009873554805 * 1.6732632423543772  # where selu ends
    kept = random.uniform(key, x.shape) >= rate
    share = 1.0 - rate
    a = 1.0 / fnp.sqrt(fnp.asarray(share * (1 + rate * lowest**2)))
    return (a * fnp.where(kept, x, lowest) - a * rate * lowest).astype(x.dtype)


@checked(rate=RATE)
def drop_path(key: Any, rate: Any, x: Any) -> Array:
    """Zero whole examples, and scale the others: for the branch of a residual block. Source: Huang et al. (2016).

    Args:
        key: random key; a new one every step.
        rate: probability, from 0 up to, but not including, 1.
        x: [batch, ...].

    Returns:
        An array like x.

    Raises:
        RangeError: the rate is outside [0, 1); ShapeError: x has no axes.

    >>> sorted(set(drop_path(random.key(0), 0.5, fnp.ones((20, 2))).sum(1).tolist()))
    [0.0, 4.0]
    """
    x = fnp.asarray(x)
    if x.ndim < 1:
        raise ShapeError(f"drop_path needs x [batch, ...], got {x.type}")
    return dropout(key, rate, x, range(1, x.ndim))


@checked(rate=Scalar(0.0))
def gaussian_noise(key: Any, rate: Any, x: Any) -> Array:
    """Add normal numbers of a standard deviation.

    Args:
        key: random key; a new one every step.
        rate: the standard deviation.
        x: floating array.

    Returns:
        An array like x.

    >>> gaussian_noise(random.key(0), 0.0, fnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    x = floating(x)
    return x + (rate * random.normal(key, x.shape, x.dtype)).astype(x.dtype)


@checked(rate=RATE)
def gaussian_dropout(key: Any, rate: Any, x: Any) -> Array:
    """Multiply by normal numbers of mean 1 and variance rate / (1 - rate). Source: Srivastava et al. (2014).

    Args:
        key: random key; a new one every step.
        rate: as of :func:`dropout`.
        x: floating array.

    Returns:
        An array like x.

    >>> gaussian_dropout(random.key(0), 0.0, fnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    x = floating(x)
    spread = math.sqrt(rate / (1 - rate)) if isinstance(rate, (int, float)) else fnp.sqrt(rate / (1 - rate))
    return x * (1 + spread * random.normal(key, x.shape, x.dtype)).astype(x.dtype)
