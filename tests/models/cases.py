"""The models in configurations small enough to be trained in tests, each with a batch: what the laws hold for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fdl.models import inception, lenet, mobilenet_v2, resnet, vgg

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model to test.

    Attributes:
        name: of the case.
        module: of the model.
        config: a small one.
        batch: makes a batch of so many examples.
        inputs: the entries of a batch that `apply` takes, in order.
        outputs: the shape of its outputs for a batch of two; a list of shapes for several.
        rate: of Adam, which has to fit a batch of 4 examples.
        steps: in so many steps.
        fitted: the share of the first loss that is left then, at most.
        zero: parts of the paths of parameters whose gradients are zero, as those of biases before a norm.
        compiled: whether its training step is; otherwise NumPy computes it, and it should have few steps.
    """

    name: str
    module: ModuleType
    config: Any
    batch: Callable[[np.random.Generator, int], Batch]
    inputs: Sequence[str]
    outputs: Any
    rate: float = 3e-3
    steps: int = 60
    fitted: float = 0.1
    zero: Sequence[str] = ()
    compiled: bool = True

    def __str__(self) -> str:
        return self.name


def images(*shape: int, classes: int = 10) -> Callable[[np.random.Generator, int], Batch]:
    """Batches of labelled images."""

    def batch(rng: np.random.Generator, count: int) -> Batch:
        return {
            "images": rng.normal(size=(count, *shape)).astype(np.float32),
            "labels": rng.permutation(max(count, classes))[:count].astype(np.int32) % classes,
        }

    return batch


#: A bias before a batch norm is taken away again.
BEFORE_NORM = ("conv/b",)

CASES = [
    Case("lenet", lenet, lenet.Config(size=16), images(16, 16, 1), ["images"], (2, 10)),
    Case(
        "vgg",
        vgg,
        vgg.Config(((4,), (8, 8)), hidden=32, pooled=2, size=8, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=1e-2,
    ),
    Case(
        "resnet",
        resnet,
        resnet.Config((1, 1), (4, 8), size=8, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
    ),
    Case(
        "resnet with bottlenecks",
        resnet,
        resnet.Config((1, 1), (2, 4), bottleneck=True, imagenet=True, size=16, classes=5),
        images(16, 16, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
    ),
    Case(
        "inception with response norms",
        inception,
        inception.Config(width=0.05, auxiliary=True, size=64, classes=5),
        images(64, 64, 3, classes=5),
        ["images"],
        (2, 5),
        rate=1e-2,
        steps=10,
        fitted=0.6,
        compiled=False,
    ),
    Case(
        "mobilenet_v2",
        mobilenet_v2,
        mobilenet_v2.Config(((1, 8, 1, 1), (2, 8, 2, 1)), width=0.25, size=8, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
    ),
]
