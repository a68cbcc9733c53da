"""A multilayer perceptron, 784-512-512-10, batch 256, momentum SGD."""

from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "MLP 784-512-512-10, batch 256"
SIZES = (784, 512, 512, 10)
BATCH = 256
RATE = 0.05


def inputs(batch: int = BATCH, sizes: tuple[int, ...] = SIZES) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays."""
    rng = np.random.default_rng(0)
    params = {f"dense{i}": arrays.layer(rng, m, n) for i, (m, n) in enumerate(pairwise(sizes))}
    return params, (rng.random((batch, sizes[0]), dtype=np.float32), arrays.labels(rng, sizes[-1], batch))


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""

    def loss(params, batch):
        x, labels = batch
        for i in range(len(params)):
            x = x @ params[f"dense{i}"]["w"] + params[f"dense{i}"]["b"]
            if i < len(params) - 1:
                x = xp.nn.relu(x)
        return functional.softmax_cross_entropy(xp, x, labels)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.sgd(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool, given: Any = None) -> tuple[dict, tuple]:
    params, (x, labels) = given or inputs()
    return pytorch.leaves(torch, params), (torch.tensor(x), pytorch.indices(torch, labels))


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def loss(params, batch):
        x, labels = batch
        depth = len(params) // 2
        for i in range(depth):
            x = F.linear(x, params[f"dense{i}.w"], params[f"dense{i}.b"])
            if i < depth - 1:
                x = F.relu(x)
        return F.cross_entropy(x, labels)

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.sgd(torch, leaves, RATE)
