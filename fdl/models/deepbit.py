"""DeepBit: images as a few bits, learned without labels, for the search of similar ones.

Source: Lin, Lu, Chen, Zhou, "Learning Compact Binary Descriptors with Unsupervised Deep Neural Networks", CVPR 2016,
section 3: VGG-16 with as many outputs as there are bits; the bits should lose little of the numbers that they are made
of, be ones as often as zeros, and be the same for images that are turned. 134,391,648 parameters for 32 bits.

Expected: mean average precision of the first 1,000 images of CIFAR-10: 19.4 % with 16 bits, 24.9 % with 32, 27.7 % with
64 (table 3), from VGG-16's weights for ImageNet.

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import deepbit, vgg
>>> config = deepbit.Config(vgg.Config(blocks=((4,), (8,)), hidden=8, pooled=2, size=8, classes=6))
>>> params = deepbit.init(random.key(0), config)
>>> deepbit.bits(params, fnp.zeros((2, 8, 8, 3)), config=config).shape
(2, 6)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.models import vgg
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a DeepBit is made of.

    Attributes:
        network: which makes numbers of images; its classes are the bits.
        quantization: weight of the distance of bits from numbers.
        balance: weight of the distance of each bit's mean from a half.
        rotation: weight of the distance of numbers of turned images; 0 turns none.
    """

    network: vgg.Config = replace(vgg.Config(), classes=32)  # noqa: RUF009 (a frozen dataclass too)
    quantization: float = 1.0
    balance: float = 1.0
    rotation: float = 1.0


VARIANTS = {"deepbit": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 224, 224, 3)
    """
    return vgg.inputs(config.network, batch)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: those of :func:`fdl.models.vgg.init`.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> from fdl import random
    >>> small = Config(vgg.Config(blocks=((4,),), hidden=8, classes=6))
    >>> init(random.key(0), small)["out"]["w"].shape
    (8, 6)
    """
    return vgg.init(key, config.network)


def apply(params: Params, images: Any, *, config: Config = Config()) -> Array:
    """The numbers that bits are made of.

    Args:
        params: from :func:`init`.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.

    Returns:
        [batch, bits], from 0 to 1.

    >>> from fdl import random
    >>> params = init(random.key(0), small := Config(vgg.Config(blocks=((4,),), hidden=8, classes=6)))
    >>> apply(params, fnp.zeros((1, 16, 16, 3)), config=small).shape
    (1, 6)
    """
    return nn.sigmoid(vgg.apply(params, images, config=config.network))


def bits(params: Params, images: Any, *, config: Config = Config()) -> Array:
    """The bits of images.

    Args:
        params: from :func:`init`.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.

    Returns:
        bool [batch, bits].

    >>> from fdl import random
    >>> params = init(random.key(0), small := Config(vgg.Config(blocks=((4,),), hidden=8, classes=6)))
    >>> bits(params, fnp.zeros((1, 16, 16, 3)), config=small).dtype
    dtype('bool')
    """
    return apply(params, images, config=config) > 0.5


def hamming_distance(first: Any, second: Any) -> Array:
    """In how many bits each two differ.

    Args:
        first: bool [..., n, bits].
        second: bool [..., m, bits].

    Returns:
        Integers [..., n, m].

    >>> hamming_distance(fnp.array([[True, False]]), fnp.array([[True, True], [True, False]])).tolist()
    [[1, 0]]
    """
    a, b = fnp.asarray(first), fnp.asarray(second)
    return fnp.sum(a[..., :, None, :] != b[..., None, :, :], axis=-1)


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The three distances of the paper, weighted; images are turned by 90, 180 and 270 degrees.

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`, of equal height and width.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> from fdl import random
    >>> params = init(random.key(0), small := Config(vgg.Config(blocks=((4,),), hidden=8, classes=6)))
    >>> loss(params, {"images": fnp.zeros((1, 16, 16, 3))}, config=small).shape
    ()
    """
    images = fnp.asarray(batch["images"])
    if not config.rotation:
        return code_loss(apply(params, images, config=config), config=config)
    turned = [fnp.rot90(images, turns, axes=(1, 2)) for turns in range(4)]
    codes = apply(params, fnp.concatenate(turned), config=config)
    own, *others = fnp.split(codes, 4)
    rotation = sum((fnp.mean(fnp.square(other - own)) for other in others), fnp.asarray(0.0, own.dtype)) / 3
    return code_loss(own, config=config) + config.rotation * rotation


def code_loss(codes: Any, *, config: Config = Config()) -> Array:
    """The part of :func:`loss` that reads nothing but codes: for networks that learn bits from labels besides.

    Args:
        codes: [batch, bits], from 0 to 1, as of :func:`apply`.
        config: the weights.

    Returns:
        A number.

    >>> code_loss(fnp.array([[0.0, 1.0], [1.0, 0.0]])).item()
    0.0
    """
    codes = fnp.asarray(codes)
    nearest = lax.stop_gradient((codes > 0.5).astype(codes.dtype))
    quantization = fnp.mean(fnp.square(codes - nearest))
    balance = fnp.mean(fnp.square(fnp.mean(codes, axis=0) - 0.5))
    return config.quantization * quantization + config.balance * balance
