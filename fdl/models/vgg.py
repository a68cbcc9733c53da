"""VGG: 3x3 convolutions in blocks, with a maximum after each, then three dense layers.

Source: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1,
configurations A, B, D, E. vgg16 has 138,357,544 parameters.

Expected: ImageNet, top-1 accuracy of one crop 69.0 % (vgg11), 69.9 % (vgg13), 71.6 % (vgg16), 72.4 % (vgg19)
(torchvision).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import vgg
>>> config = vgg.Config(blocks=((4,), (8, 8)), hidden=16, size=8, pooled=2, classes=5)
>>> params = vgg.init(random.key(0), config)
>>> vgg.apply(params, fnp.zeros((2, 8, 8, 3)), config=config).shape
(2, 5)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.nn.initializers import he_normal
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a VGG is made of; by default the one with 16 layers.

    Attributes:
        blocks: the channels of the convolutions of each block.
        hidden: features of the two hidden dense layers.
        pooled: height and width to which means bring the last images; nothing is done to those of this size.
        rate: of the dropout after each hidden dense layer.
        size: height and width of the images.
        channels: of the images.
        classes: how many.
    """

    blocks: tuple[tuple[int, ...], ...] = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
    hidden: int = 4096
    pooled: int = 7
    rate: float = 0.5
    size: int = 224
    channels: int = 3
    classes: int = 1000


def _of(*counts: int) -> Config:
    return Config(tuple((width,) * n for width, n in zip((64, 128, 256, 512, 512), counts, strict=True)))


VARIANTS = {"vgg11": _of(1, 1, 2, 2, 2), "vgg13": _of(2, 2, 2, 2, 2), "vgg16": Config(), "vgg19": _of(2, 2, 4, 4, 4)}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 224, 224, 3)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: blocks (a list of lists of convolutions), and dense layers hidden1, hidden2, out.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> sorted(init(random.key(0), Config(blocks=((4,),), hidden=8)))
    ['blocks', 'hidden1', 'hidden2', 'out']
    """
    channels, blocks = config.channels, []
    *keys, first, second, third = random.split(key, sum(map(len, config.blocks)) + 3)
    for widths in config.blocks:
        block = []
        for width in widths:
            block.append(nn.init_conv(keys.pop(0), channels, width, (3, 3), w_init=he_normal()))
            channels = width
        blocks.append(block)
    return {
        "blocks": blocks,
        "hidden1": nn.init_dense(first, config.pooled**2 * channels, config.hidden),
        "hidden2": nn.init_dense(second, config.hidden, config.hidden),
        "out": nn.init_dense(third, config.hidden, config.classes),
    }


def features(params: Params, images: Any) -> Array:
    """The images that the last convolution and maximum make of images.

    Args:
        params: from :func:`init`.
        images: [batch, height, width, channels].

    Returns:
        [batch, height / 2**blocks, width / 2**blocks, channels].

    >>> features(init(random.key(0), Config(blocks=((4,), (8,)), hidden=8)), fnp.zeros((1, 32, 32, 3))).shape
    (1, 8, 8, 8)
    """
    x = images
    for block in params["blocks"]:
        for layer in block:
            x = nn.relu(nn.conv(layer, x))
        x = nn.max_pool(x, 2)
    return x


def apply(params: Params, images: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of images.

    Args:
        params: from :func:`init`.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, classes].

    >>> params = init(random.key(0), config := Config(blocks=((4,),), hidden=8))
    >>> apply(params, fnp.zeros((1, 32, 32, 3)), config=config).shape
    (1, 1000)
    """
    keys = [None, None] if key is None else list(random.split(key))
    x = nn.adaptive_avg_pool(features(params, images), (config.pooled, config.pooled))
    x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    for name, dropout_key in zip(("hidden1", "hidden2"), keys, strict=True):
        x = nn.relu(nn.dense(params[name], x))
        x = x if dropout_key is None else nn.dropout(dropout_key, config.rate, x)
    return nn.dense(params["out"], x)


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`, and their "labels" [batch], integers.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> batch = {"images": fnp.zeros((1, 16, 16, 3)), "labels": fnp.array([3])}
    >>> loss(init(random.key(0), config := Config(blocks=((4,),), hidden=8)), batch, config=config).shape
    ()
    """
    logits = apply(params, batch["images"], config=config, key=key)
    return nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in torchvision: "blocks/1/0" of vgg16 is "features.5"."""
    if not path.startswith("blocks/"):
        return {"hidden1": "classifier.0", "hidden2": "classifier.3", "out": "classifier.6"}[path]
    block, layer = map(int, path.split("/")[1:])
    return f"features.{sum(2 * len(widths) + 1 for widths in config.blocks[:block]) + 2 * layer}"


def torch_flattened(config: Config) -> dict[str, tuple[int, int, int]]:
    """The dense layers that read images, which torch flattens channels first: their height, width, channels."""
    return {"hidden1": (config.pooled, config.pooled, config.blocks[-1][-1])}
