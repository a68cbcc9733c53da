"""A variational autoencoder: codes of images as normal distributions, and images from codes.

Source: Kingma, Welling, "Auto-encoding variational Bayes", ICLR 2014: a perceptron of 500 hidden features each way,
images of 0 and 1, or of numbers between.

Expected: a negative log likelihood of 86.76 nats on binarized MNIST with two hidden layers of 200 and codes of 50
(table 1 of Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", 2016, one sample).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import vae
>>> params = vae.init(random.key(0))
>>> means, log_variances = vae.apply(params, fnp.zeros((2, 784)))[1:]
>>> means.shape, vae.sample(params, random.key(1), 5).shape
((2, 20), (5, 784))
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
    """What a VAE is made of.

    Attributes:
        size: numbers of an image.
        hidden: widths of the layers of the encoder; the decoder has them in turn.
        code: numbers of a code.
    """

    size: int = 784
    hidden: tuple[int, ...] = (500,)
    code: int = 20


VARIANTS = {"vae": Config(), "vae_deep": Config(hidden=(200, 200), code=50)}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 784)
    """
    return (ShapeDtypeStruct((batch, config.size), fnp.float32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: the perceptrons encoder and decoder.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> [layer["w"].shape for layer in init(random.key(0))["encoder"]]
    [(784, 500), (500, 40)]
    """
    first, second = random.split(key)
    return {
        "encoder": nn.init_mlp(first, (config.size, *config.hidden, 2 * config.code)),
        "decoder": nn.init_mlp(second, (config.code, *config.hidden[::-1], config.size)),
    }


def apply(params: Params, images: Any, *, config: Config = Config(), key: Any = None) -> tuple[Array, Array, Array]:
    """Images from the codes of images.

    Args:
        params: from :func:`init`.
        images: [batch, size], from 0 to 1.
        config: what the parameters were made with.
        key: random key, to draw the codes; None takes their means.

    Returns:
        The logits of the images [batch, size], and the means and the logarithms of the variances of the codes, [batch,
        code].

    >>> [x.shape for x in apply(init(random.key(0)), fnp.zeros((1, 784)))]
    [(1, 784), (1, 20), (1, 20)]
    """
    mean, log_variance = fnp.split(nn.mlp(params["encoder"], images, fnp.tanh), 2, axis=-1)
    code = mean if key is None else mean + fnp.exp(0.5 * log_variance) * random.normal(key, mean.shape, mean.dtype)
    return nn.mlp(params["decoder"], code, fnp.tanh), mean, log_variance


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean of the negative evidence lower bound, in nats, with one code drawn for each image.

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`.
        key: random key, to draw the codes; None takes their means, which is no bound.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> loss(init(random.key(0)), {"images": fnp.zeros((1, 784))}, random.key(1)).shape
    ()
    """
    logits, mean, log_variance = apply(params, batch["images"], config=config, key=key)
    missed = fnp.sum(nn.sigmoid_binary_cross_entropy(logits, batch["images"]), axis=-1)
    # The divergence of the codes from the standard normal distribution, appendix B of the paper.
    divergence = 0.5 * fnp.sum(fnp.square(mean) + fnp.exp(log_variance) - log_variance - 1, axis=-1)
    return fnp.mean(missed + divergence)


def sample(params: Params, key: Any, count: int, *, config: Config = Config()) -> Array:
    """Images from random codes.

    Args:
        params: from :func:`init`.
        key: random key.
        count: how many images.
        config: what the parameters were made with.

    Returns:
        The probabilities of ones, [count, size].

    >>> sample(init(random.key(0)), random.key(1), 3).shape
    (3, 784)
    """
    return nn.sigmoid(nn.mlp(params["decoder"], random.normal(key, (count, config.code)), fnp.tanh))
