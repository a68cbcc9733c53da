"""Convolution. Images are [batch, *space, channels], with any number of space axes; windows follow suit."""

from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import lax, random
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn import initializers
from fdl.nn.initializers import Initializer
from fdl.nn.layers import Params, shifted, weights
from fdl.numpy._operands import integer

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

    >>> init_conv(random.key(0), 3, 8, (5, 5))["w"].shape
    (5, 5, 3, 8)
    """
    if inputs % groups or outputs % groups:
        raise ShapeError(f"conv: {groups} groups do not divide {inputs} inputs and {outputs} outputs")
    return weights(key, (*window, inputs // groups, outputs), (outputs,), bias, w_init, b_init, dtype)


def conv(
    params: Params, x: Any, *, strides: Extents = 1, padding: Padding = "SAME", dilation: Extents = 1, groups: int = 1,
    precision: Any = None,
) -> Array:  # fmt: skip
    """Convolution (cross-correlation, as usual in the field).

    Args:
        params: from :func:`init_conv`.
        x: [batch, *space, inputs].
        strides: of the window, one number or one per space axis.
        padding: "SAME", "VALID", or (low, high) per space axis.
        dilation: distance of the window's taps.
        groups: as in :func:`init_conv`.
        precision: as in :func:`fdl.lax.conv_general_dilated`.

    Returns:
        [batch, *space, outputs].

    Raises:
        ShapeError: x and w have different numbers of space axes.

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
        each(strides, rank),
        pads(padding, rank),
        rhs_dilation=each(dilation, rank),
        dimension_numbers=_numbers(rank),
        feature_group_count=groups,
        precision=precision,
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

    >>> params = init_conv(random.key(0), 8, 3, (3, 3))
    >>> conv_transpose(params, fnp.ones((1, 8, 8, 8)), strides=2).shape
    (1, 16, 16, 3)
    """
    x = fnp.asarray(x)
    rank = params["w"].ndim - 2
    y = lax.conv_transpose(
        x,
        params["w"],
        each(strides, rank),
        pads(padding, rank),
        rhs_dilation=each(dilation, rank),
        dimension_numbers=_numbers(rank),
    )
    return shifted(params, y)


def each(value: Extents, rank: int) -> tuple[int, ...]:
    found = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(found) != rank:
        raise ShapeError(f"expected one number or {rank}, one per space axis, got {value}")
    return found


def pads(padding: Any, rank: int) -> Padding:
    """The padding of windows over so many space axes, looked at.

    Raises:
        ShapeError: it is neither a name nor a pair for each of them.
    """
    if isinstance(padding, str):
        return padding
    try:
        found = tuple((integer("padding", low), integer("padding", high)) for low, high in padding)
    except (TypeError, ValueError):
        found = ()
    if len(found) != rank:
        raise ShapeError(
            f'padding must be "SAME", "VALID" or a pair (low, high) for each of {rank} space axes, got {padding!r}'
        )
    return found


def _numbers(rank: int) -> tuple[str, str, str]:
    space = "DHW"[-rank:] if rank <= 3 else "".join(chr(ord("a") + i) for i in range(rank))
    return f"N{space}C", f"{space}IO", f"N{space}C"


def init_depthwise_conv(
    key: Any,
    inputs: int,
    window: Sequence[int],
    *,
    multiplier: int = 1,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    b_init: Initializer = initializers.zeros,
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`depthwise_conv`: w [*window, 1, inputs * multiplier] and b.

    Args:
        key: random key.
        inputs: number of input channels.
        window: extents of the window, one per space axis.
        multiplier: number of outputs for each channel.
        bias: whether there is a b.
        w_init: initializer of w.
        b_init: initializer of b.
        dtype: of the parameters.

    Returns:
        The parameters.

    >>> init_depthwise_conv(random.key(0), 3, (5, 5), multiplier=2)["w"].shape
    (5, 5, 1, 6)
    """
    outputs = inputs * multiplier
    return init_conv(key, inputs, outputs, window, groups=inputs, bias=bias, w_init=w_init, b_init=b_init, dtype=dtype)


def depthwise_conv(
    params: Params, x: Any, *, strides: Extents = 1, padding: Padding = "SAME", dilation: Extents = 1
) -> Array:
    """:func:`conv` of every channel alone.

    Args:
        params: from :func:`init_depthwise_conv`.
        x: [batch, *space, inputs].
        strides: of the window, one number or one per space axis.
        padding: "SAME", "VALID", or (low, high) per space axis.
        dilation: distance of the window's taps.

    Returns:
        [batch, *space, inputs * multiplier], the outputs of one channel beside each other.

    >>> params = init_depthwise_conv(random.key(0), 3, (3,), multiplier=2)
    >>> depthwise_conv(params, fnp.ones((1, 8, 3))).shape
    (1, 8, 6)
    """
    x = fnp.asarray(x)
    return conv(params, x, strides=strides, padding=padding, dilation=dilation, groups=x.shape[-1])


def init_separable_conv(
    key: Any, inputs: int, outputs: int, window: Sequence[int], *, multiplier: int = 1, bias: bool = True,
    dtype: Any = None,
) -> Params:  # fmt: skip
    """Parameters of :func:`separable_conv`: depthwise, without b, and pointwise.

    Args:
        key: random key.
        inputs: number of input channels.
        outputs: number of output channels.
        window: extents of the window, one per space axis.
        multiplier: number of channels in between for each input channel.
        bias: whether the pointwise part has a b.
        dtype: of the parameters.

    Returns:
        The parameters.

    >>> sorted(init_separable_conv(random.key(0), 3, 8, (3, 3)))
    ['depthwise', 'pointwise']
    """
    first, second = random.split(key)
    point = (1,) * len(window)
    return {
        "depthwise": init_depthwise_conv(first, inputs, window, multiplier=multiplier, bias=False, dtype=dtype),
        "pointwise": init_conv(second, inputs * multiplier, outputs, point, bias=bias, dtype=dtype),
    }


def separable_conv(
    params: Params, x: Any, *, strides: Extents = 1, padding: Padding = "SAME", dilation: Extents = 1
) -> Array:
    """A depthwise convolution, then a mix of channels at every point. Source: Chollet, "Xception" (2017).

    Args:
        params: from :func:`init_separable_conv`.
        x: [batch, *space, inputs].
        strides: of the window, one number or one per space axis.
        padding: "SAME", "VALID", or (low, high) per space axis.
        dilation: distance of the window's taps.

    Returns:
        [batch, *space, outputs].

    >>> params = init_separable_conv(random.key(0), 3, 8, (3, 3))
    >>> separable_conv(params, fnp.ones((1, 8, 8, 3)), strides=2).shape
    (1, 4, 4, 8)
    """
    y = depthwise_conv(params["depthwise"], x, strides=strides, padding=padding, dilation=dilation)
    return conv(params["pointwise"], y)
