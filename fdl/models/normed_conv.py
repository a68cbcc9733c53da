"""Convolution, batch normalization, activation: the part that most networks of images are made of."""

from collections.abc import Callable, Sequence
from typing import Any

from fdl import nn
from fdl.core.types import Array
from fdl.nn.convolution import Extents, Padding
from fdl.nn.initializers import he_normal
from fdl.nn.layers import Params

#: Torch's momentum of 0.1 is the weight of the new statistics, which here is that of the old ones.
MOMENTUM = 0.9


def init_normed_conv(
    key: Any, inputs: int, outputs: int, window: Sequence[int], *, groups: int = 1, bias: bool = False
) -> tuple[Params, Params]:
    """Parameters of :func:`normed_conv`: conv and norm; and the running statistics, norm.

    Args:
        key: random key.
        inputs: number of input channels.
        outputs: number of output channels.
        window: extents of the window.
        groups: of channels that are convolved apart.
        bias: whether the convolution has a b, which the norm takes away again.

    Returns:
        The parameters, and the state.

    >>> from fdl import random
    >>> params, state = init_normed_conv(random.key(0), 3, 8, (3, 3))
    >>> sorted(params), sorted(state), params["conv"]["w"].shape
    (['conv', 'norm'], ['norm'], (3, 3, 3, 8))
    """
    norm, stats = nn.init_batch_norm(outputs)
    conv = nn.init_conv(key, inputs, outputs, window, groups=groups, bias=bias, w_init=he_normal())
    return {"conv": conv, "norm": norm}, {"norm": stats}


def normed_conv(
    params: Params, state: Params, x: Any, *, training: bool, strides: Extents = 1, padding: Padding | None = None,
    groups: int = 1, activation: Callable[[Any], Array] | None = nn.relu, epsilon: float = 1e-5,
    momentum: float = MOMENTUM,
) -> tuple[Array, Params]:  # fmt: skip
    """A convolution, a batch norm, an activation.

    Args:
        params: from :func:`init_normed_conv`.
        state: likewise.
        x: [batch, *space, inputs].
        training: whether the statistics of x are used and recorded.
        strides: of the window.
        padding: None is half of the window on each side, also where strides leave pixels over.
        groups: as in :func:`init_normed_conv`.
        activation: of the result; None is none.
        epsilon: added to the variance.
        momentum: weight of the old running statistics.

    Returns:
        [batch, *space, outputs], and the new state.

    >>> import fdl.numpy as fnp
    >>> from fdl import random
    >>> params, state = init_normed_conv(random.key(0), 3, 8, (3, 3))
    >>> normed_conv(params, state, fnp.ones((1, 8, 8, 3)), training=False, strides=2)[0].shape
    (1, 4, 4, 8)
    """
    if padding is None:
        padding = around(params["conv"]["w"].shape[:-2])
    x = nn.conv(params["conv"], x, strides=strides, padding=padding, groups=groups)
    x, stats = nn.batch_norm(params["norm"], state["norm"], x, training=training, epsilon=epsilon, momentum=momentum)
    return (x if activation is None else activation(x)), {"norm": stats}


def around(window: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Half of a window on each side.

    >>> around((7, 3))
    ((3, 3), (1, 1))
    """
    return tuple((extent // 2, extent // 2) for extent in window)
