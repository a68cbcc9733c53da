"""What the ways of synchronising have in common: reduce-scatter, update, all-gather; the same bits by any of them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from pyspark import SparkContext

from fdl_spark.blocks import Dataset
from fdl_spark.program import Program
from fdl_spark.update import Leaves
from fdl_spark.worker import Job, Shared, Timing

PHASES = ("broadcast", "schedule", "forward_backward", "shuffle", "update", "collect")


@dataclass(frozen=True)
class Outcome:
    """What one step gave, apart from the parameters.

    Attributes:
      sums: sums over the batch's rows, by name, and "rows".
      bad: shards whose loss or gradient was not finite, and what it was; if any, nothing was updated.
      phases: seconds of each of PHASES, which add up to the step.
      timings: of the forward-backward tasks.
    """

    sums: dict[str, float]
    bad: tuple[tuple[int, str], ...]
    phases: dict[str, float]
    timings: tuple[Timing, ...] = field(default_factory=tuple)


class Strategy(ABC):
    """A way to take one synchronous step.

    Args:
      dataset: the data.
      program: the user's functions.
      weights: the flat parameters.
      leaves: the leaves of the optimizer's state, of the whole.
    """

    def __init__(self, dataset: Dataset, program: Program, weights: np.ndarray, leaves: Leaves):
        self.dataset, self.program, self.weights = dataset, program, weights
        self.context: SparkContext = dataset.context
        self.shared = Shared.of(program, self.context)
        self.restore(weights, leaves)

    @abstractmethod
    def restore(self, weights: np.ndarray, leaves: Leaves) -> None:
        """Go on from these parameters and this state."""

    @abstractmethod
    def step(self, step: int) -> Outcome:
        """Take the step with this number; changes `weights` and the state unless the outcome is bad."""

    @abstractmethod
    def state(self) -> Leaves:
        """The leaves of the optimizer's state, of the whole."""

    def close(self) -> None:
        """Free what the executors hold."""
        self.shared.close()

    def job(self, step: int) -> AbstractContextManager[Job]:
        """The job of a step, with the parameters broadcast until the context ends."""
        return Job.of(self.shared, self.weights, self.dataset, step)


class Stopwatch:
    """Splits the time of a step into its phases."""

    def __init__(self) -> None:
        self.phases = dict.fromkeys(PHASES, 0.0)
        self._last = time.perf_counter()

    def lap(self, phase: str, **inside: float) -> None:
        """Book the time since the last lap, but for parts of it that belong to other phases, to a phase."""
        now = time.perf_counter()
        self.phases[phase] += now - self._last - sum(inside.values())
        for other, seconds in inside.items():
            self.phases[other] += seconds
        self._last = now


def slowest(timings: Sequence[Timing]) -> float:
    """The forward-backward seconds of the slowest task."""
    return max((timing.seconds for timing in timings), default=0.0)
