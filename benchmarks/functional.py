"""Layers and optimizers in JAX's vocabulary, for fdl and JAX alike: `xp` is the module fdl or the module jax."""

from types import ModuleType
from typing import Any

import numpy as np


def sgd(xp: ModuleType, rate: float, momentum: float = 0.9) -> tuple[Any, Any]:
    """Heavy-ball momentum as torch.optim.SGD defines it."""

    def init(params):
        return xp.tree.map(xp.numpy.zeros_like, params)

    def update(grads, velocity, params):
        velocity = xp.tree.map(lambda v, g: momentum * v + g, velocity, grads)
        return velocity, xp.tree.map(lambda p, v: p - rate * v, params, velocity)

    return init, update


def adam(xp: ModuleType, rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> tuple[Any, Any]:
    """Kingma and Ba, "Adam", 2015, algorithm 1."""
    numpy, tree = xp.numpy, xp.tree

    def init(params):
        return tree.map(numpy.zeros_like, params), tree.map(numpy.zeros_like, params), numpy.zeros((), "float32")

    def update(grads, state, params):
        mean, square, count = state
        count = count + 1
        mean = tree.map(lambda m, g: b1 * m + (1 - b1) * g, mean, grads)
        square = tree.map(lambda s, g: b2 * s + (1 - b2) * g * g, square, grads)
        size = rate / (1 - b1**count)
        scale = 1 / (1 - b2**count)
        params = tree.map(lambda p, m, s: p - size * m / (numpy.sqrt(s * scale) + eps), params, mean, square)
        return (mean, square, count), params

    return init, update


def clipped(xp: ModuleType, limit: float, optimizer: tuple[Any, Any]) -> tuple[Any, Any]:
    """An optimizer whose gradients are scaled down to a global norm as torch.nn.utils.clip_grad_norm_ does it."""
    init, update = optimizer

    def clip_and_update(grads, state, params):
        norm = xp.numpy.sqrt(sum(xp.numpy.sum(g * g) for g in xp.tree.leaves(grads)))
        scale = xp.numpy.minimum(1.0, limit / (norm + 1e-6))
        return update(xp.tree.map(lambda g: g * scale, grads), state, params)

    return init, clip_and_update


def softmax_cross_entropy(xp: ModuleType, logits, labels):
    """Mean over the batch of -log softmax(logits)[label]."""
    rows = xp.nn.log_softmax(logits)
    return -xp.numpy.mean(xp.numpy.take_along_axis(rows, labels[..., None], axis=-1))


def conv(xp: ModuleType, x, w, stride: int | tuple[int, int] = 1, padding="SAME", groups: int = 1):
    """A convolution of images NHWC with filters HWIO."""
    strides = (stride, stride) if isinstance(stride, int) else stride
    numbers = ("NHWC", "HWIO", "NHWC")
    return xp.lax.conv_general_dilated(
        x, w, strides, padding, dimension_numbers=numbers, feature_group_count=groups
    )  # fmt: skip


def max_pool(xp: ModuleType, x, size: int, stride: int, padding: str = "VALID"):
    """The maximum over square windows of images NHWC."""
    return xp.lax.reduce_window(x, -np.inf, xp.lax.max, (1, size, size, 1), (1, stride, stride, 1), padding)


def batch_norm(xp: ModuleType, x, p):
    """Features normalised over all other axes, as in training (Ioffe and Szegedy, 2015)."""
    axes = tuple(range(x.ndim - 1))
    mean = xp.numpy.mean(x, axis=axes)
    variance = xp.numpy.mean((x - mean) ** 2, axis=axes)
    return (x - mean) / xp.numpy.sqrt(variance + 1e-5) * p["scale"] + p["shift"]
