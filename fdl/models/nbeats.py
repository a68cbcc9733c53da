"""N-BEATS: the future of a series from its past, by perceptrons that each explain what those before them left over.

Source: Oreshkin, Carpov, Chapados, Bengio, "N-BEATS: neural basis expansion analysis for interpretable time series
forecasting", ICLR 2020: the generic model has 30 blocks of four layers of 512; the interpretable one three blocks of
trends (polynomials) and three of seasons (Fourier series), whose parameters are shared.

Expected: an sMAPE of 11.168 (generic) and 11.174 (interpretable) on M4, each an ensemble of 180 models (table 1 of the
paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import nbeats
>>> config = nbeats.Config(past=12, future=4, stacks=(nbeats.Stack("trend", width=8), nbeats.Stack("season", width=8)))
>>> params = nbeats.init(random.key(0), config)
>>> past = fnp.sin(fnp.arange(12.0))[None]
>>> nbeats.apply(params, past, config=config).shape
(1, 4)

What each stack contributes:

>>> parts = nbeats.decompose(params, past, config=config)
>>> parts.shape, bool(fnp.allclose(parts.sum(1), nbeats.apply(params, past, config=config), atol=1e-6))
((1, 2, 4), True)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Stack:
    """Blocks one after the other.

    Attributes:
        kind: "generic", "trend" or "season".
        blocks: how many.
        layers: of the perceptron of a block.
        width: of these.
        shared: whether the blocks have the same parameters.
        degree: of the polynomials of a trend.
        harmonics: how finely the frequencies of a season are spaced: one over this many horizons.
    """

    kind: str = "generic"
    blocks: int = 1
    layers: int = 4
    width: int = 512
    shared: bool = True
    degree: int = 2
    harmonics: int = 1


@dataclass(frozen=True)
class Config:
    """What an N-BEATS is made of.

    Attributes:
        past: how many values it is told.
        future: how many it forecasts.
        stacks: of blocks.
        loss: "smape", "mape" or "mae".
    """

    past: int = 90
    future: int = 18
    stacks: tuple[Stack, ...] = (Stack(),) * 30
    loss: str = "smape"


INTERPRETABLE = (Stack("trend", blocks=3, width=256), Stack("season", blocks=3, width=2048))

VARIANTS = {"nbeats": Config(), "nbeats_interpretable": Config(stacks=INTERPRETABLE)}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: pasts.

    >>> inputs(batch=2)[0].shape
    (2, 90)
    """
    return (ShapeDtypeStruct((batch, config.past), fnp.float32),)


def bases(stack: Stack, config: Config = Config()) -> tuple[np.ndarray, np.ndarray]:
    """The curves of which a stack's backcasts and forecasts are made: [curves, past] and [curves, future].

    >>> past, future = bases(Stack("trend", degree=1), Config(past=4, future=2))
    >>> future.tolist()
    [[1.0, 1.0], [0.0, 0.5]]

    Raises:
        ValueError: the kind of the stack is unknown.
    """
    if stack.kind == "generic":
        return np.eye(config.past), np.eye(config.future)
    if stack.kind == "trend":
        powers = np.arange(stack.degree + 1)[:, None]
        past, future = ((np.arange(n) / n) ** powers for n in (config.past, config.future))
        return past, future
    if stack.kind != "season":
        raise ValueError(f"a stack of nbeats is 'generic', 'trend' or 'season', got {stack.kind!r}")
    steps = np.arange(stack.harmonics, math.ceil(stack.harmonics / 2 * config.future)) / stack.harmonics
    frequencies = np.concatenate([[0.0], steps])[:, None]

    def waves(times: np.ndarray) -> np.ndarray:
        angles = 2 * np.pi * frequencies * times / config.future
        return np.concatenate([np.cos(angles), np.sin(angles)])

    return waves(-np.arange(config.past)), waves(np.arange(config.future))


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: of each stack its blocks, one if they share them; of each block layers, and dense past and future.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> params = init(random.key(0), Config(past=12, future=4, stacks=(Stack("trend", blocks=3, width=8),)))
    >>> len(params["stacks"][0]), params["stacks"][0][0]["future"]["w"].shape
    (1, (8, 3))
    """

    def block(key: Any, stack: Stack) -> Params:
        first, second, third = random.split(key, 3)
        he = nn.initializers.he_uniform()
        past, future = (len(curves) for curves in bases(stack, config))
        return {
            "layers": nn.init_mlp(first, (config.past, *[stack.width] * stack.layers), w_init=he),
            "past": nn.init_dense(second, stack.width, past, bias=False),
            "future": nn.init_dense(third, stack.width, future, bias=False),
        }

    keys = random.split(key, len(config.stacks))
    return {
        "stacks": [
            [block(k, stack) for k in random.split(each, 1 if stack.shared else stack.blocks)]
            for each, stack in zip(keys, config.stacks, strict=True)
        ]
    }


def decompose(params: Params, past: Any, *, config: Config = Config()) -> Array:
    """What each stack adds to the forecast.

    Args:
        params: from :func:`init`.
        past: [batch, past].
        config: what the parameters were made with.

    Returns:
        [batch, stacks, future].

    >>> config = Config(past=12, future=4, stacks=(Stack(width=8), Stack(width=8)))
    >>> decompose(init(random.key(0), config), fnp.zeros((1, 12)), config=config).shape
    (1, 2, 4)
    """
    left = fnp.asarray(past)
    forecasts = []
    for blocks, stack in zip(params["stacks"], config.stacks, strict=True):
        total: Any = fnp.zeros((*left.shape[:-1], config.future), left.dtype)
        for number in range(stack.blocks):
            block = blocks[0 if stack.shared else number]
            x = nn.relu(nn.mlp(block["layers"], left))
            ahead, back = nn.dense(block["future"], x), nn.dense(block["past"], x)
            if stack.kind != "generic":  # whose curves are single values
                curves = [fnp.asarray(c.astype(np.float32)).astype(x.dtype) for c in bases(stack, config)]
                back, ahead = fnp.matmul(back, curves[0]), fnp.matmul(ahead, curves[1])
            left, total = left - back, total + ahead
        forecasts.append(total)
    return fnp.stack(forecasts, axis=-2)


def apply(params: Params, past: Any, *, config: Config = Config()) -> Array:
    """Forecasts of series.

    Args:
        params: from :func:`init`.
        past: [batch, past], the last value last.
        config: what the parameters were made with.

    Returns:
        [batch, future].

    >>> config = Config(past=12, future=4, stacks=(Stack(width=8), Stack(width=8)))
    >>> apply(init(random.key(0), config), fnp.zeros((1, 12)), config=config).shape
    (1, 4)
    """
    return fnp.sum(decompose(params, past, config=config), axis=-2)


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean error of forecasts: sMAPE or MAPE, in percent, or the mean absolute error, as the configuration says.

    Args:
        params: from :func:`init`.
        batch: "past" [batch, past] and "future" [batch, future]; and, unless all values count, "mask", bool like the
            future.
        config: what the parameters were made with.

    Returns:
        A number.

    Raises:
        ValueError: the configuration's loss is unknown.

    >>> config = Config(past=12, future=4, stacks=(Stack(width=8), Stack(width=8)))
    >>> loss(init(random.key(0), config), {"past": fnp.ones((1, 12)), "future": fnp.ones((1, 4))}, config=config).shape
    ()
    """
    losses: dict[str, Any] = {
        "smape": nn.symmetric_absolute_percentage_error,
        "mape": nn.absolute_percentage_error,
        "mae": nn.absolute_error,
    }
    if config.loss not in losses:
        raise ValueError(f"nbeats takes loss {', '.join(map(repr, losses))}, got {config.loss!r}")
    forecast = apply(params, batch["past"], config=config)
    return losses[config.loss](forecast, batch["future"], mask=batch.get("mask"), reduction="mean")
