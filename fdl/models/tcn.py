"""A temporal convolutional network: convolutions over the past, each layer of which looks twice as far back.

Source: Bai, Kolter, Koltun, "An empirical evaluation of generic convolutional and recurrent networks for sequence
modeling" (2018). The default is that of sequential MNIST, one pixel after the other: eight levels of 25 channels,
windows of 7, 66,910 parameters.

Expected: an accuracy of 99.0 % on sequential and 97.2 % on permuted MNIST (table 1 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import tcn
>>> config = tcn.Config(inputs=2, outputs=3, channels=(8, 8), window=3)
>>> params = tcn.init(random.key(0), config)
>>> tcn.apply(params, fnp.zeros((1, 20, 2)), config=config).shape
(1, 20, 3)
>>> tcn.receptive_field(config)
13
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a TCN is made of.

    Attributes:
        inputs: features of each step.
        outputs: features, or classes, of each step.
        channels: of each level, whose windows have gaps of 1, 2, 4, ... steps.
        window: of the convolutions.
        dropout: its rate.
        length: of the sequences that :func:`inputs` describes; any other will do.
    """

    inputs: int = 1
    outputs: int = 10
    channels: tuple[int, ...] = (25,) * 8
    window: int = 7
    dropout: float = 0.05
    length: int = 784


VARIANTS = {"tcn": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: sequences.

    >>> inputs(batch=2)[0].shape
    (2, 784, 1)
    """
    return (ShapeDtypeStruct((batch, config.length, config.inputs), fnp.float32),)


def receptive_field(config: Config = Config()) -> int:
    """How many steps an output is made of: its own and those before it.

    >>> receptive_field()
    3061
    """
    return 1 + 2 * (config.window - 1) * (2 ** len(config.channels) - 1)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: levels of two convolutions, with weight norm, and where channels change a third; and out.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> [sorted(level) for level in init(random.key(0), Config(channels=(4, 4)))["levels"]]
    [['conv1', 'conv2', 'skip'], ['conv1', 'conv2']]
    """
    first, *keys = random.split(key, 1 + len(config.channels))
    levels, before = [], config.inputs

    def conv(key: Any, before: int, after: int, window: int) -> Params:
        bound = (before * window) ** -0.5
        return nn.init_conv(
            key, before, after, (window,), w_init=nn.initializers.normal(0.01),
            b_init=lambda key, shape, dtype: random.uniform(key, shape, dtype, -bound, bound),
        )  # fmt: skip

    for k, channels in zip(keys, config.channels, strict=True):
        one, two, three = random.split(k, 3)
        level = {
            "conv1": nn.init_weight_norm(conv(one, before, channels, config.window)),
            "conv2": nn.init_weight_norm(conv(two, channels, channels, config.window)),
        }
        if before != channels:
            level["skip"] = conv(three, before, channels, 1)
        levels.append(level)
        before = channels
    return {"levels": levels, "out": nn.init_dense(first, before, config.outputs)}


def apply(params: Params, xs: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """Outputs of each step, made of it and those before it.

    Args:
        params: from :func:`init`.
        xs: [batch, time, inputs].
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, time, outputs].

    >>> config = Config(channels=(4, 4))
    >>> apply(init(random.key(0), config), fnp.zeros((1, 20, 1)), config=config).shape
    (1, 20, 10)
    """
    x = fnp.asarray(xs)
    for number, level in enumerate(params["levels"]):
        gap = 2**number
        y = x
        for name in ("conv1", "conv2"):
            past = ((gap * (config.window - 1), 0),)
            y = nn.relu(nn.conv(nn.weight_norm(level[name]), y, padding=past, dilation=gap))
            if key is not None:
                key, now = random.split(key)
                y = nn.feature_dropout(now, config.dropout, y)
        x = nn.relu(y + (nn.conv(level["skip"], x) if "skip" in level else x))
    return nn.dense(params["out"], x)


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of the last step, if there are labels, or the mean squared error of all steps.

    Args:
        params: from :func:`init`.
        batch: "xs" [batch, time, inputs], and either "labels" [batch], integers, or "targets" [batch, time, outputs].
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(channels=(4, 4))
    >>> loss(init(random.key(0), config), {"xs": fnp.zeros((1, 20, 1)), "labels": fnp.array([3])}, config=config).shape
    ()
    """
    outputs = apply(params, batch["xs"], config=config, key=key)
    if "labels" in batch:
        return nn.softmax_cross_entropy_with_integer_labels(outputs[:, -1], batch["labels"], reduction="mean")
    return nn.squared_error(outputs, batch["targets"], reduction="mean")
