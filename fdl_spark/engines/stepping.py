"""What engines have in common that take each step by Spark jobs of its own."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from fdl_spark.compute.job import Held, Job
from fdl_spark.engines.common.residuals import Residuals
from fdl_spark.engines.engine import Engine, Snapshot
from fdl_spark.history.clock import Clock
from fdl_spark.history.outcome import Outcome, Timing
from fdl_spark.spark.repeated import Repeated

PHASES = ("broadcast", "schedule", "forward_backward", "shuffle", "update", "collect")


class SteppingEngine(Engine):
    """An engine that takes each step by Spark jobs of its own."""

    _jobs: Repeated | None = None  # what the jobs of all steps have in common, on a classic session

    def _begin(self, start: Snapshot, slices: int | None) -> None:
        self._residuals = Residuals.of(self.program, start.weights, self.dataset)
        super()._begin(start, slices)

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

    def renew(self) -> None:
        self._forget_jobs()
        super().renew()

    def close(self) -> None:
        self._forget_jobs()
        super().close()

    def _forget_jobs(self) -> None:
        """Make the jobs anew at the next `restore`."""
        if self._jobs is not None:
            self._jobs.close()
        self._jobs = None


class Stopwatch(Clock):
    """Splits the time of a step into its phases, of which tasks measure some."""

    def __init__(self) -> None:
        super().__init__(PHASES)

    def lap(self, phase: str, **inside: float) -> None:
        """Book the time since the last lap, but for parts of it that belong to other phases, to a phase."""
        super().lap(phase)
        for other, seconds in inside.items():
            self.phases[phase] -= seconds
            self.phases[other] += seconds


def slowest(timings: Sequence[Timing]) -> float:
    """The forward-backward seconds of the slowest task."""
    return max((timing.seconds for timing in timings), default=0.0)
