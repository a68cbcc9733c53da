"""What an engine is: a way to take synchronous steps (reduce-scatter, update, all-gather), to the bits that all give.

A new one is a class here, and its name in `ENGINES` of `training/engine_choice.py`, for `sync=`; `"auto"` chooses it
when the cost model (`cost.py`) counts what its steps do. `tests/spark/test_engine.py` has a whole one, small and slow.
One that waits for Spark's scheduler in every step extends SteppingEngine (`stepping.py`), and says how one step is
taken; one whose tasks stay takes many steps in one job (`resident.py`).

What the loop over steps (`training/loop.py`) relies on:

* **It begins** from a Snapshot, and goes on from another one whenever `restore` gives it one: after a setback, from a
  checkpoint, or to repeat steps.
* **It yields** an Outcome for each step as soon as it is known. A step that is not finite is no failure: its Outcome is
  `bad`, and nothing has changed.
* **It keeps** parameters and state wherever it likes, and brings them to the driver when `weights` or `state()` is
  asked for. An interrupt may come between any two lines: `weights`, state and `done` change in one statement.
* **It raises** `Lost` when the cluster has lost what it needs (`BlocksLost` for the data's blocks, `NoRoom` for a full
  disk), and may let pass what PySpark raises, which the loop takes for one of these or for the user's mistake
  (`spark/failures.py`). The loop then goes back to its last snapshot by `restore`. `CannotStay` says that tasks
  cannot run at once or reach each other, upon which `"auto"` takes another engine. Anything else ends the run.
* **`renew`** comes before `restore` when executors have lost what was sent to them, or have other blocks now: whatever
  refers to a broadcast, a cached RDD or `dataset.blocks` is made anew.
* **`close`** is called once, at the end or when the engine could not begin: it frees what the executors hold. What it
  raises is logged.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fdl_spark.compute.job import Shared
from fdl_spark.compute.program import Program
from fdl_spark.compute.update import Leaves
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.common.cuts import cuts
from fdl_spark.history.outcome import Choice, Outcome
from fdl_spark.spark.cleanup import going_on


@dataclass(frozen=True)
class Snapshot:
    """What a run can go on from.

    Attributes:
      done: how many steps are done.
      weights: the flat parameters after them.
      leaves: the leaves of the optimizer's state, and what each shard keeps (`common/leaves.py`).
    """

    done: int
    weights: np.ndarray
    leaves: Leaves


class Engine(ABC):
    """A way to take synchronous steps.

    Args:
      dataset: the data.
      program: the user's functions.
      start: what to go on from.
      skip: whether a step that is not finite is left out and the group goes on, or the group ends there.
      slices: into how many slices the parameters are cut, at most; None for as many as the cost model says.
      why: what speaks for this engine.

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
    groups = False
    every = 1
    overhead = handover = 0.0
    here = False

    def __init__(
        self,
        dataset: Dataset,
        program: Program,
        start: Snapshot,
        *,
        skip: bool = False,
        slices: int | None = None,
        why: str = "asked for",
    ):
        self.dataset, self.program, self.skip, self._why = dataset, program, skip, why
        self.choices: list[Choice] = []
        self._begin(start, slices)

    def _begin(self, start: Snapshot, slices: int | None) -> None:
        self.cuts = self._cut(start.weights, slices)
        self.choices.append(Choice(start.done, self.name, self._why, self.slices))
        self.shared = Shared.of(self.program, self.dataset)
        try:
            self.restore(start)
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
    def restore(self, snapshot: Snapshot) -> None:
        """Go on from these parameters and this state."""

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
        """The leaves of the optimizer's state, of the whole, and of what shards keep, after `done` steps."""

    def snapshot(self) -> Snapshot:
        """What `restore` takes to come back here."""
        return Snapshot(self.done, self.weights, self.state())

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
