"""A perceptron so small, 4-32-32-2, batch 32, that a step is nothing but overhead."""

from types import ModuleType

from benchmarks import mlp
from benchmarks.mlp import functional_loss, functional_optimizer, torch_loss, torch_optimizer  # noqa: F401

TITLE = "Tiny MLP 4-32-32-2, batch 32"
SIZES = (4, 32, 32, 2)
BATCH = 32


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    return mlp.inputs(batch, SIZES)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    return mlp.torch_inputs(torch, channels_last, inputs())
