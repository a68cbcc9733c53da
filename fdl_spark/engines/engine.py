"""What the ways of synchronising have in common: reduce-scatter, update, all-gather; the same bits by any of them.

An engine takes groups of steps. One that waits for Spark's scheduler in every step takes them one by one; one whose
tasks stay takes many in one job, and its parameters and state come to the driver when they are needed.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from fdl_spark.compute.program import Program
from fdl_spark.compute.update import Leaves
from fdl_spark.compute.worker import Held, Job, Shared
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.common.cuts import cuts
from fdl_spark.engines.common.residuals import Residuals
from fdl_spark.history.outcome import Choice, Outcome, Timing
from fdl_spark.spark.cleanup import going_on

PHASES = ("broadcast", "schedule", "forward_backward", "shuffle", "update", "collect")


class Engine(ABC):
    """A way to take synchronous steps.

    Args:
      dataset: the data.
      program: the user's functions.
      weights: the flat parameters.
      leaves: the leaves of the optimizer's state, of the whole.
      done: how many steps these are of.
      skip: whether a step that is not finite is left out and the group goes on, or the group ends there.
      slices: into how many slices the parameters are cut, at most; None for as many as the cost model says.

    Attributes:
      cuts: where they are.
      weights: the flat parameters after `done` steps.
      done: number of steps taken; inside a group, those before the group.
      groups: whether a group of several steps costs less than as many groups of one.
      name: what `sync=` calls it.
      every: how many steps shards take on their own before they meet.
      choices: which engine takes the steps, and why; an engine that delegates to others adds to them.
      overhead: seconds that the last group took besides its steps and handing over.
      handover: seconds that it took when parameters and state last came to the driver.
      here: whether they have come with the last group; if not, whoever reads them has them fetched, which can fail.
    """

    name = ""
    cuts: list[int]
    weights: np.ndarray
    done: int
    choices: list[Choice]
    groups = False
    every = 1
    overhead = handover = 0.0
    here = False

    def __init__(
        self,
        dataset: Dataset,
        program: Program,
        weights: np.ndarray,
        leaves: Leaves,
        done: int = 0,
        skip: bool = False,
        slices: int | None = None,
    ):
        self.dataset, self.program, self.skip = dataset, program, skip
        self.cuts = self._cut(weights, slices)
        self.choices = [Choice(done, self.name, "asked for", self.slices)]
        self.shared = Shared.of(program, dataset)
        try:
            self.restore(weights, leaves, done)
        except BaseException:
            with going_on("freeing what the executors hold"):
                self.close()
            raise

    def _cut(self, weights: np.ndarray, slices: int | None) -> list[int]:
        return cuts(self.name, weights, self.dataset, slices)

    @property
    def slices(self) -> int:
        """Into how many slices the parameters are cut."""
        return len(self.cuts) - 1

    @abstractmethod
    def restore(self, weights: np.ndarray, leaves: Leaves, done: int) -> None:
        """Go on from these parameters and this state, which are those after `done` steps."""

    @abstractmethod
    def group(self, count: int, seconds: float = math.inf, stay: float = 0.0) -> Iterator[Outcome]:
        """Take steps, and yield the outcome of each as soon as it is known.

        When the iterator ends, `done`, `weights` and `state()` are those after the last outcome. A step whose outcome
        is bad changes nothing; unless `skip` it does not count as done and is the last one of its group.

        Args:
          count: at most so many steps, at least 1.
          seconds: the group ends after the first step that is done later than so many seconds after its first one.
          stay: parameters and state may stay with the tasks if the group takes no more than so many seconds.
        """

    def boundary(self, step: int) -> int:
        """The last number of steps, up to this one, after which there are common parameters."""
        return step

    def finish(self) -> None:  # noqa: B027  groups of one have nothing to end
        """Let the group that is under way end as soon as it can."""

    @abstractmethod
    def state(self) -> Leaves:
        """The leaves of the optimizer's state, of the whole, after `done` steps."""

    def whole(self) -> Shared:
        """The program on its way to the workers, with all of it that the driver was asked to compile."""
        self.shared = self.shared.whole(self.program, self.dataset)
        return self.shared

    def renew(self) -> None:
        """Send anew what all jobs need, as the executors have lost it or have other blocks now; then `restore`."""
        self.shared.close()
        self.shared = Shared.of(self.program, self.dataset)

    def close(self) -> None:
        """Free what the executors hold."""
        self.shared.close()


class SteppingEngine(Engine):
    """An engine that takes each step by Spark jobs of its own."""

    def __init__(self, dataset: Dataset, program: Program, weights: np.ndarray, *arguments: Any, **options: Any):
        self._residuals = Residuals.of(program, weights, dataset)
        super().__init__(dataset, program, weights, *arguments, **options)

    def group(self, count: int, seconds: float = math.inf, stay: float = 0.0) -> Iterator[Outcome]:
        for _ in range(count):
            done = self.done
            outcome = self.step(done)
            stopped = outcome.bad and not self.skip
            self.done = done + (not stopped)
            yield outcome
            if stopped:
                return

    @abstractmethod
    def step(self, step: int) -> Outcome:
        """Take the step with this number; changes `weights` and the state, and with them `done`, unless the outcome is
        bad: in one statement, so that an interrupt finds those of the step before or those of this one."""

    def job(self, step: int) -> AbstractContextManager[Job]:
        """The job of a step, with the parameters broadcast until the context ends."""
        return Job.of(self.shared, self.weights, self.dataset, step)

    def lasting(self) -> Job:
        """What the jobs of all steps have in common; each task adds its step and parameters by `Job.at`."""
        return Job(self.shared, Held(), self.dataset.schedule, self.dataset.template, self.dataset.tasks)


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
