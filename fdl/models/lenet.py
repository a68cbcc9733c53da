"""LeNet-5: two convolutions and three dense layers that read digits.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proceedings of the
IEEE 86 (1998), section II.B; with ReLU, and the maximum for pooling, as it is used since. 61,706 parameters.

Expected: 0.95 % errors on the 10,000 test images of MNIST, 0.8 % with distorted images (figure 9 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import lenet
>>> params = lenet.init(random.key(0))
>>> lenet.apply(params, fnp.zeros((2, 28, 28, 1))).shape
(2, 10)
"""

import math
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
    """What a LeNet-5 is made of.

    Attributes:
        size: height and width of the images; 28 with a padding of 2 is the paper's 32.
        channels: of the images.
        classes: how many.
    """

    size: int = 28
    channels: int = 1
    classes: int = 10


VARIANTS = {"lenet": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 28, 28, 1)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: convolutions conv1, conv2, and dense layers dense1, dense2, dense3.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> init(random.key(0))["dense1"]["w"].shape
    (400, 120)
    """
    keys = random.split(key, 5)
    side = (config.size // 2 - 4) // 2
    return {
        "conv1": nn.init_conv(keys[0], config.channels, 6, (5, 5)),
        "conv2": nn.init_conv(keys[1], 6, 16, (5, 5)),
        "dense1": nn.init_dense(keys[2], side * side * 16, 120),
        "dense2": nn.init_dense(keys[3], 120, 84),
        "dense3": nn.init_dense(keys[4], 84, config.classes),
    }


def apply(params: Params, images: Any, *, config: Config = Config()) -> Array:
    """The logits of images.

    Args:
        params: from :func:`init`.
        images: [batch, size, size, channels], values of 0 to 1 or standardized.
        config: what the parameters were made with.

    Returns:
        [batch, classes].

    Raises:
        ShapeError: the images are of another size or number of channels.

    >>> apply(init(random.key(0)), fnp.zeros((1, 28, 28, 1))).shape
    (1, 10)
    """
    x = nn.max_pool(nn.relu(nn.conv(params["conv1"], images)), 2)
    x = nn.max_pool(nn.relu(nn.conv(params["conv2"], x, padding="VALID")), 2)
    x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    for name in ("dense1", "dense2"):
        x = nn.relu(nn.dense(params[name], x))
    return nn.dense(params["dense3"], x)


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`, and their "labels" [batch], integers.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> batch = {"images": fnp.zeros((1, 28, 28, 1)), "labels": fnp.array([3])}
    >>> loss(init(random.key(0)), batch).shape
    ()
    """
    logits = apply(params, batch["images"], config=config)
    return nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")


def torch_name(path: str, config: Config) -> str:
    """The layers have the same names in PyTorch modules of this network."""
    return path


def torch_flattened(config: Config) -> dict[str, tuple[int, int, int]]:
    """The dense layers that read images, which torch flattens channels first: their height, width, channels."""
    side = (config.size // 2 - 4) // 2
    return {"dense1": (side, side, 16)}
