"""What a model needs to be held to the laws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

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
        compiled_loss: whether its loss is compiled, if its training step is not.
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
    compiled_loss: bool = True

    def __str__(self) -> str:
        return self.name
