"""What a run keeps from step to step besides its parameters: the optimizer's state, and what each shard has of its own.

A shard has something of its own if gradients are rounded on their way (what was lost in rounding) or if it takes local
steps (its optimizer's state). All of it is one list of leaves, so that snapshots and checkpoints handle it alike.
"""

from dataclasses import dataclass

import numpy as np

from fdl_spark.compute.program import Program
from fdl_spark.compute.update import Leaves


@dataclass(frozen=True)
class LeafOrder:
    """How the leaves of a run are ordered: the optimizer's, then those of shard 0, of shard 1, ...

    Attributes:
      whole: how many are the optimizer's.
      each: how many a shard has.
    """

    whole: int
    each: int

    def split(self, leaves: Leaves) -> tuple[Leaves, list[Leaves]]:
        """The optimizer's leaves, and those of each shard."""
        own = leaves[self.whole :]
        return leaves[: self.whole], [own[start : start + self.each] for start in range(0, len(own), self.each or 1)]

    @staticmethod
    def of(program: Program, weights: np.ndarray) -> "LeafOrder":
        """The order of a program's leaves."""
        inner = len(program.inner.paths(weights)) if program.inner else 0
        return LeafOrder(len(program.update.paths(weights)), inner + program.rounded)


def initial(program: Program, weights: np.ndarray, shards: int) -> Leaves:
    """The leaves before the first step."""
    own = program.inner.initial(weights) if program.inner else []
    residual = [np.zeros(weights.shape, np.float32)] if program.rounded else []
    return [*program.update.initial(weights), *(own + residual) * shards]


def paths(program: Program, weights: np.ndarray, shards: int) -> list[str]:
    """The key path of each leaf."""
    own = program.inner.paths(weights) if program.inner else []
    residual = [".wire"] if program.rounded else []
    return [*program.update.paths(weights), *(f"[shard {s}]{path}" for s in range(shards) for path in own + residual)]
