"""ConvLSTM encoder-forecaster: some frames in, the next frames out.

Source: Shi, Chen, Wang, Yeung, Wong, Woo, "Convolutional LSTM Network: A Machine Learning Approach for Precipitation
Nowcasting", NeurIPS 2015, figure 3 and section 4.1: frames are cut into patches of 4x4 pixels, which are channels; the
forecaster starts from the encoder's states and has no input; a 1x1 convolution reads all of its layers. Peepholes have
one weight a channel, which is what the paper's numbers of parameters say: 7,585,296 of three layers of 128, 64 and 64
channels, 10,042,896 of two of 128, 13,524,496 of one of 256. Not in the paper: a forecaster that is guided is told a
first guess of each next frame, such as an extrapolation by optical flow, which its first layer reads.

Expected: moving MNIST, cross-entropy of a frame 3670.85 (three layers), 3733.56 (two), 3887.94 (one), summed over
pixels (table 1).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import conv_lstm
>>> config = conv_lstm.Config(layers=(4,), window=3, size=8, frames=3, future=2)
>>> params = conv_lstm.init(random.key(0), config)
>>> conv_lstm.apply(params, fnp.zeros((1, 3, 8, 8)), config=config).shape
(1, 2, 8, 8)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import lax, nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What an encoder-forecaster is made of; by default the paper's best one for moving MNIST.

    Attributes:
        layers: the channels of each layer, of the encoder and of the forecaster.
        window: height and width of the convolutions, odd.
        patch: height and width of the patches.
        size: height and width of the frames, a multiple of the patch.
        frames: how many are seen.
        future: how many are forecast.
        guided: whether the forecaster reads a first guess of each next frame.
    """

    layers: tuple[int, ...] = (128, 64, 64)
    window: int = 5
    patch: int = 4
    size: int = 64
    frames: int = 10
    future: int = 10
    guided: bool = False


VARIANTS = {
    "conv_lstm": Config(),
    "conv_lstm_2": Config(layers=(128, 128)),
    "conv_lstm_1": Config(layers=(256,)),
}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ...]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: frames and, if guided, the guess.

    >>> inputs(batch=2)[0].shape
    (2, 10, 64, 64)
    """
    lengths = (config.frames, config.future)[: 1 + config.guided]
    return tuple(ShapeDtypeStruct((batch, length, config.size, config.size), fnp.float32) for length in lengths)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: encoder and forecaster, lists of layers, and out, a 1x1 convolution.

    A layer has wx (but for the forecaster's first, unless it is guided), wh, b as in :func:`fdl.nn.init_conv_lstm`, and
    peepholes [3, channels] of the input, forget and output gates, zero in the beginning.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> params = init(random.key(0), Config(layers=(4, 2), window=3))
    >>> [sorted(layer) for layer in params["forecaster"]]
    [['b', 'peepholes', 'wh'], ['b', 'peepholes', 'wh', 'wx']]
    """
    out_key, *keys = random.split(key, 1 + 2 * len(config.layers))
    window, parts = (config.window, config.window), []
    for inputs in (config.patch**2, config.patch**2 if config.guided else 0):
        made = []
        for size in config.layers:
            layer = nn.init_conv_lstm(keys.pop(), max(inputs, 1), size, window)
            layer["peepholes"] = fnp.zeros((3, size), layer["b"].dtype)
            if not inputs:
                del layer["wx"]
            made.append(layer)
            inputs = size
        parts.append(made)
    out = nn.init_conv(out_key, sum(config.layers), config.patch**2, (1, 1))
    return {"encoder": parts[0], "forecaster": parts[1], "out": out}


def apply(params: Params, frames: Any, guess: Any = None, *, config: Config = Config()) -> Array:
    """The logits of the pixels of the next frames.

    Args:
        params: from :func:`init`.
        frames: [batch, frames, size, size], from 0 to 1.
        guess: [batch, future, size, size], from 0 to 1, of a configuration that is guided.
        config: what the parameters were made with.

    Returns:
        [batch, future, size, size]; their sigmoid is the forecast.

    Raises:
        ShapeError: the frames or the guess have another shape, or there is a guess exactly if it is not asked for.

    >>> params = init(random.key(0), config := Config(layers=(2,), window=3, size=8, frames=2, future=3))
    >>> apply(params, fnp.zeros((1, 2, 8, 8)), config=config).shape
    (1, 3, 8, 8)
    """
    xs = _patches("frames", frames, config.frames, config)
    batch, side, patch = xs.shape[1], config.size // config.patch, config.patch
    if (guess is not None) != config.guided:
        raise ShapeError(
            f"conv_lstm takes a guess if its configuration is guided, which is {config.guided}, got "
            f"{'none' if guess is None else 'one'}"
        )
    ahead: Any = None if guess is None else _patches("a guess", guess, config.future, config)
    if ahead is not None and ahead.shape[1] != batch:
        raise ShapeError(f"conv_lstm needs as many guesses as frames, {batch}, got {ahead.shape[1]}")
    states = []
    for layer, size in zip(params["encoder"], config.layers, strict=True):
        start = nn.conv_lstm_carry(batch, (side, side), size, fnp.result_type(xs.dtype, layer["wh"].dtype))
        state, xs = _layer(layer, start, xs, config.frames)
        states.append(state)
    seen = []
    for layer, state in zip(params["forecaster"], states, strict=True):
        _, ahead = _layer(layer, state, ahead, config.future)
        seen.append(ahead)
    features = fnp.concatenate(seen, axis=-1)
    y = nn.conv(params["out"], features.reshape(config.future * batch, side, side, features.shape[-1]))
    y = y.reshape(config.future, batch, side, side, patch, patch).transpose(1, 0, 2, 4, 3, 5)
    return y.reshape(batch, config.future, config.size, config.size)


def _patches(name: str, frames: Any, length: int, config: Config) -> Array:
    """[batch, length, size, size] to [length, batch, side, side, patch * patch]."""
    x = fnp.asarray(frames)
    side, patch = config.size // config.patch, config.patch
    if x.ndim != 4 or x.shape[1:] != (length, side * patch, side * patch):
        raise ShapeError(
            f"conv_lstm needs {name} [batch, {length}, size, size], where the size {config.size} is a multiple "
            f"of the patch {patch}, got {x.type}"
        )
    x = x.reshape(len(x), length, side, patch, side, patch).transpose(1, 0, 2, 4, 3, 5)
    return x.reshape(length, x.shape[1], side, side, patch**2)


def _layer(params: Params, state: Any, xs: Any, length: int) -> tuple[Any, Array]:
    """All steps of a layer; its inputs of all steps are convolved at once."""
    outer: Any = None
    if xs is not None:
        outer = nn.conv({"w": params["wx"]}, xs.reshape(length * xs.shape[1], *xs.shape[2:]))
        outer = outer.reshape(*xs.shape[:2], *outer.shape[1:])
    peep_in, peep_forget, peep_out = params["peepholes"]

    def cell(state: Any, x: Any) -> tuple[Any, Array]:
        hidden, memory = state
        gates = nn.conv({"w": params["wh"], "b": params["b"]}, hidden)
        enter, forget, new, leave = fnp.split(gates if x is None else gates + x, 4, axis=-1)
        kept = nn.sigmoid(forget + peep_forget * memory) * memory
        memory = kept + nn.sigmoid(enter + peep_in * memory) * fnp.tanh(new)
        hidden = nn.sigmoid(leave + peep_out * memory) * fnp.tanh(memory)
        return (hidden, memory), hidden

    return lax.scan(cell, state, outer, length=length)


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean cross-entropy of pixels.

    Args:
        params: from :func:`init`.
        batch: "frames" and, if guided, "guess" as for :func:`apply`, and "next" [batch, future, size, size], from 0
            to 1.
        config: what the parameters were made with.

    Returns:
        A number; times ``size**2`` it is the paper's, for each frame.

    >>> params = init(random.key(0), config := Config(layers=(2,), window=3, size=8, frames=2, future=2))
    >>> loss(params, {"frames": fnp.zeros((1, 2, 8, 8)), "next": fnp.zeros((1, 2, 8, 8))}, config=config).shape
    ()
    """
    logits = apply(params, batch["frames"], batch["guess"] if config.guided else None, config=config)
    return fnp.mean(nn.sigmoid_binary_cross_entropy(logits, batch["next"]))
