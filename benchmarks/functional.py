"""Optimizers in JAX's vocabulary, for fdl and JAX alike: `xp` is the module fdl or the module jax."""

from types import ModuleType
from typing import Any


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


def softmax_cross_entropy(xp: ModuleType, logits, labels):
    """Mean over the batch of -log softmax(logits)[label]."""
    rows = xp.nn.log_softmax(logits)
    return -xp.numpy.mean(xp.numpy.take_along_axis(rows, labels[..., None], axis=-1))
