"""Convolution and pooling. Images are [batch, *space, channels], with any number of space axes; windows follow suit."""

from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.errors import ShapeError
from fdl.nn import initializers
from fdl.nn.initializers import Initializer
from fdl.nn.layers import Array, Params, shifted, weights

Extents = int | Sequence[int]
Padding = str | Sequence[tuple[int, int]]


def init_conv(
    key: Any,
    inputs: int,
    outputs: int,
    window: Sequence[int],
    *,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    b_init: Initializer = initializers.zeros,
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`conv` and :func:`conv_transpose`: w [*window, inputs / groups, outputs] and b [outputs].

    Args:
        key: random key.
        inputs: number of input channels.
        outputs: number of output channels.
        window: extents of the window, one per space axis.
        groups: number of groups of channels that are convolved apart.
        bias: whether there is a b.
        w_init: initializer of w.
        b_init: initializer of b.
        dtype: of the parameters.

    Returns:
        The parameters.

    Raises:
        ShapeError: the groups do not divide the channels.

    >>> from fdl import random
    >>> init_conv(random.key(0), 3, 8, (5, 5))["w"].shape
    (5, 5, 3, 8)
    """
    if inputs % groups or outputs % groups:
        raise ShapeError(f"conv: {groups} groups do not divide {inputs} inputs and {outputs} outputs")
    return weights(key, (*window, inputs // groups, outputs), (outputs,), bias, w_init, b_init, dtype)


def conv(
    params: Params, x: Any, *, strides: Extents = 1, padding: Padding = "SAME", dilation: Extents = 1, groups: int = 1
) -> Array:
    """Convolution (cross-correlation, as usual in the field).

    Args:
        params: from :func:`init_conv`.
        x: [batch, *space, inputs].
        strides: of the window, one number or one per space axis.
        padding: "SAME", "VALID", or (low, high) per space axis.
        dilation: distance of the window's taps.
        groups: as in :func:`init_conv`.

    Returns:
        [batch, *space, outputs].

    Raises:
        ShapeError: x and w have different numbers of space axes.

    >>> from fdl import random
    >>> params = init_conv(random.key(0), 3, 8, (3, 3))
    >>> conv(params, fnp.ones((1, 16, 16, 3)), strides=2).shape
    (1, 8, 8, 8)
    """
    x = fnp.asarray(x)
    rank = params["w"].ndim - 2
    if x.ndim != rank + 2:
        raise ShapeError(
            f"conv with w {params['w'].type} needs images [batch, {rank} axes of space, channels], got {x.type}"
        )
    y = lax.conv_general_dilated(
        x,
        params["w"],
        _each(strides, rank),
        padding,
        rhs_dilation=_each(dilation, rank),
        dimension_numbers=_numbers(rank),
        feature_group_count=groups,
    )
    return shifted(params, y)


def conv_transpose(
    params: Params, x: Any, *, strides: Extents = 1, padding: Padding = "SAME", dilation: Extents = 1
) -> Array:
    """Convolution with a stride in the input: the shape goes the other way than in :func:`conv`.

    Args:
        params: from :func:`init_conv`.
        x: [batch, *space, inputs].
        strides: factor by which space grows.
        padding: "SAME", "VALID", or (low, high) per space axis.
        dilation: distance of the window's taps.

    Returns:
        [batch, *space, outputs].

    >>> from fdl import random
    >>> params = init_conv(random.key(0), 8, 3, (3, 3))
    >>> conv_transpose(params, fnp.ones((1, 8, 8, 8)), strides=2).shape
    (1, 16, 16, 3)
    """
    x = fnp.asarray(x)
    rank = params["w"].ndim - 2
    y = lax.conv_transpose(
        x,
        params["w"],
        _each(strides, rank),
        padding,
        rhs_dilation=_each(dilation, rank),
        dimension_numbers=_numbers(rank),
    )
    return shifted(params, y)


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
    x = fnp.asarray(x)
    total = _pool(x, 0.0, lax.add, window, strides, padding)
    if count_include_pad:
        size = 1
        for extent in _each(window, x.ndim - 2):
            size *= extent
        return total / size
    ones = fnp.ones((1, *x.shape[1:-1], 1), x.dtype)
    return total / _pool(ones, 0.0, lax.add, window, strides, padding)


def _pool(x: Array, start: Any, combine: Any, window: Extents, strides: Extents | None, padding: Padding) -> Array:
    rank = x.ndim - 2
    if rank < 1:
        raise ShapeError(f"pooling needs images [batch, *space, channels], got {x.type}")
    extents = _each(window, rank)
    steps = extents if strides is None else _each(strides, rank)
    if not isinstance(padding, str):
        padding = ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, fnp.asarray(start, x.dtype), combine, (1, *extents, 1), (1, *steps, 1), padding)


def _each(value: Extents, rank: int) -> tuple[int, ...]:
    found = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(found) != rank:
        raise ShapeError(f"expected one number or {rank}, one per space axis, got {value}")
    return found


def _numbers(rank: int) -> tuple[str, str, str]:
    space = "DHW"[-rank:] if rank <= 3 else "".join(chr(ord("a") + i) for i in range(rank))
    return f"N{space}C", f"{space}IO", f"N{space}C"
