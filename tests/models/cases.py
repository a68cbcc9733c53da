"""The models in configurations small enough to be trained in tests, each with a batch: what the laws hold for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from fdl.models import lenet

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
        rate: of Adam, which has to fit a batch of 4 examples in 60 steps.
        fitted: the share of the first loss that is left then, at most.
        zero: parts of the paths of parameters whose gradients are zero, as those of biases before a norm.
        settings: more arguments of `apply`.
    """

    name: str
    module: ModuleType
    config: Any
    batch: Callable[[np.random.Generator, int], Batch]
    inputs: Sequence[str]
    outputs: Any
    rate: float = 3e-3
    fitted: float = 0.1
    zero: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

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


CASES = [
    Case("lenet", lenet, lenet.Config(size=16), images(16, 16, 1), ["images"], (2, 10)),
]
