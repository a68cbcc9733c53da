"""U-Net: convolutions down to small images and up again, which see what was on the way down.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
figure 1. 31,030,658 parameters for one channel and two classes. Without `padded` a 572x572 image gives the classes of
its inner 388x388 pixels, as in the paper.

Expected: ISBI 2012 neuronal structures, warping error 0.000353; PhC-U373 cells, intersection over union 0.9203;
DIC-HeLa cells, 0.7756 (tables 1 and 2).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import unet
>>> config = unet.Config(widths=(2, 4), size=8)
>>> unet.apply(unet.init(random.key(0), config), fnp.zeros((1, 8, 8, 1)), config=config).shape
(1, 8, 8, 2)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.nn.initializers import he_normal
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a U-Net is made of.

    Attributes:
        widths: channels of each level, from the top.
        padded: whether convolutions keep height and width.
        size: height and width of the images; padded, a multiple of 2 for each level but the first.
        channels: of the images.
        classes: of pixels.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    padded: bool = True
    size: int = 512
    channels: int = 1
    classes: int = 2


VARIANTS = {"unet": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 512, 512, 1)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: down, grow, up (lists of convolutions, of pairs in down and up), and out.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> params = init(random.key(0), Config(widths=(2, 4)))
    >>> len(params["down"]), len(params["grow"]), params["up"][0][0]["w"].shape
    (2, 1, (3, 3, 4, 2))
    """
    keys = iter(random.split(key, 5 * len(config.widths)))

    def pair(inputs: int, outputs: int) -> list[Params]:
        sizes = (inputs, outputs, outputs)
        return [nn.init_conv(next(keys), a, b, (3, 3), w_init=he_normal()) for a, b in pairwise(sizes)]

    rising = list(pairwise(reversed(config.widths)))
    return {
        "down": [pair(a, b) for a, b in pairwise((config.channels, *config.widths))],
        "grow": [nn.init_conv(next(keys), a, b, (2, 2)) for a, b in rising],
        "up": [pair(2 * b, b) for _, b in rising],  # what was seen on the way down, and what has grown
        "out": nn.init_conv(next(keys), config.widths[0], config.classes, (1, 1)),
    }


def apply(params: Params, images: Any, *, config: Config = Config()) -> Array:
    """The logits of pixels.

    Args:
        params: from :func:`init`.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.

    Returns:
        [batch, height, width, classes], of the inner pixels if the convolutions are not padded.

    >>> params = init(random.key(0), config := Config(widths=(2, 4), padded=False))
    >>> apply(params, fnp.zeros((1, 20, 20, 1)), config=config).shape
    (1, 4, 4, 2)
    """
    x, seen = fnp.asarray(images), []
    padding = "SAME" if config.padded else "VALID"

    def pair(layers: list[Params], x: Array) -> Array:
        for layer in layers:
            x = nn.relu(nn.conv(layer, x, padding=padding))
        return x

    for number, layers in enumerate(params["down"]):
        x = pair(layers, nn.max_pool(x, 2) if number else x)
        seen.append(x)
    seen.pop()
    for grow, layers in zip(params["grow"], params["up"], strict=True):
        x, before = nn.conv_transpose(grow, x, strides=2), seen.pop()
        top, left = ((before.shape[n] - x.shape[n]) // 2 for n in (1, 2))
        before = before[:, top : top + x.shape[1], left : left + x.shape[2]]
        x = pair(layers, fnp.concatenate([before, x], axis=-1))
    return nn.conv(params["out"], x)


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean cross-entropy of pixels, weighted if the batch has weights.

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`, their "classes" [batch, height, width], integers, and perhaps "weights" of
            the pixels, likewise, such as the paper's, which are larger between cells that touch.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> params = init(random.key(0), config := Config(widths=(2, 4)))
    >>> batch = {"images": fnp.zeros((1, 8, 8, 1)), "classes": fnp.zeros((1, 8, 8), int)}
    >>> loss(params, batch, config=config).shape
    ()
    """
    logits = apply(params, batch["images"], config=config)
    return nn.softmax_cross_entropy_with_integer_labels(
        logits, batch["classes"], weights=batch.get("weights"), reduction="mean"
    )
