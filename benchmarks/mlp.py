"""A multilayer perceptron, 784-512-512-10, batch 256, momentum SGD."""

from itertools import pairwise
from types import ModuleType

import numpy as np

from benchmarks import functional

TITLE = "MLP 784-512-512-10, batch 256"
SIZES = (784, 512, 512, 10)
BATCH = 256
RATE = 0.05


def inputs() -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays."""
    rng = np.random.default_rng(0)
    params = {
        f"dense{i}": {
            "w": (rng.standard_normal((m, n)) * np.sqrt(2 / m)).astype(np.float32),
            "b": np.zeros(n, np.float32),
        }
        for i, (m, n) in enumerate(pairwise(SIZES))
    }
    return params, (rng.random((BATCH, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], BATCH).astype(np.int32))


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


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    """The same numbers as leaves that require gradients; a Linear layer's weight is stored (out, in)."""
    params, (x, labels) = inputs()
    leaves = {}
    for name, layer in params.items():
        leaves[name + ".w"] = torch.tensor(layer["w"].T.copy(), requires_grad=True)
        leaves[name + ".b"] = torch.tensor(layer["b"], requires_grad=True)
    return leaves, (torch.tensor(x), torch.tensor(labels, dtype=torch.int64))


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
    return torch.optim.SGD(leaves, lr=RATE, momentum=0.9, fused=True)
