"""`sync="auto"`: the engine that is fastest for this run, found out in its first seconds.

All engines give the same bits, so that trying one is training. Where all tasks can run at once the resident engine
begins, and another one is tried only if the cost model, with the seconds that were measured, says that it may be
faster. Else the engines that the model thinks best take a few steps each, and the fastest goes on.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from statistics import median

import numpy as np

from fdl_spark.cost import choose
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.engine import Choice, Engine, Outcome
from fdl_spark.failures import NoBarrier
from fdl_spark.program import Program
from fdl_spark.update import Leaves
from fdl_spark.worker import Shared

log = logging.getLogger("fdl_spark")

TRIAL_STEPS = 4  # of an engine that is tried; the first one, which compiles and warms up, does not count
WORTH_A_TRIAL = 0.8  # of the measured seconds: an engine predicted to take no more than this share of them is tried
RIVALS = 2.0  # times the best prediction: engines predicted to take longer are not tried


class Auto(Engine):
    """Delegates to the engine that it has found to be the fastest.

    Args:
      engines: the engines to choose from, by name.
    """

    def __init__(
        self,
        dataset: Dataset,
        program: Program,
        weights: np.ndarray,
        leaves: Leaves,
        done: int = 0,
        skip: bool = False,
        *,
        engines: Mapping[str, type[Engine]],
    ):
        self.dataset, self.program, self.skip, self.engines = dataset, program, skip, dict(engines)
        self.choices = []
        self._measured: dict[str, float] = {}  # seconds of a step, by engine
        self._computing = math.nan  # the seconds of them that the slowest task computes
        self._outcomes: list[Outcome] = []  # of the engine that is being measured
        self._rivals: list[str] | None = None  # engines that are still to be measured; None before the first has been
        self._settled = self._failed = False
        name, why = "resident", "tried first"
        slots = dataset.slots()
        if slots is not None and slots < dataset.tasks:
            why = self._refuse(f"{dataset.tasks} tasks do not run at once, the cluster runs {slots}")
            name = next(iter(self._expected(weights.nbytes)))
        self._take(name, why, weights, leaves, done)

    def restore(self, weights: np.ndarray, leaves: Leaves, done: int) -> None:
        self.current.restore(weights, leaves, done)

    @property
    def weights(self) -> np.ndarray:  # type: ignore[override]
        return self.current.weights

    @property
    def done(self) -> int:  # type: ignore[override]
        return self.current.done

    @property
    def groups(self) -> bool:  # type: ignore[override]
        return self.current.groups

    @property
    def overhead(self) -> float:  # type: ignore[override]
        return self.current.overhead

    def whole(self) -> Shared:
        return self.current.whole()

    def state(self) -> Leaves:
        return self.current.state()

    def boundary(self, step: int) -> int:
        return self.current.boundary(step)

    def finish(self) -> None:
        self.current.finish()

    def close(self) -> None:
        self.current.close()

    def group(self, count: int, seconds: float = math.inf) -> Iterator[Outcome]:
        try:
            for outcome in self.current.group(count, seconds):
                if not self._settled:
                    self._outcomes.append(outcome)
                yield outcome
        except NoBarrier as refused:
            why = self._refuse(str(refused))
            self._rivals = None
            self._settled = False
            self._switch(next(iter(self._expected(self.weights.nbytes))), why)
            return
        if not self._settled:
            self._consider()

    def _refuse(self, reason: str) -> str:
        """Do without the resident engine; what to say of it."""
        del self.engines["resident"]
        self._measured.pop("resident", None)
        why = f"tasks cannot stay for several steps: {reason}"
        log.warning("%s; each step waits for Spark's scheduler instead", why)
        return why

    def _consider(self) -> None:
        """Go on to the next engine to measure, or to the best one, when the current one has been measured."""
        outcomes, name = self._outcomes[1:], self.current.name
        if len(outcomes) < (1 if self.current.groups else TRIAL_STEPS - 1):
            return
        self._outcomes = []
        self._measured[name] = self._seconds(name, outcomes)
        self._computing = median(max((t.seconds for t in outcome.timings), default=0.0) for outcome in outcomes)
        expected = self._expected(self.weights.nbytes)
        if self._rivals is None:
            limit = WORTH_A_TRIAL * self._measured[name] if name == "resident" else RIVALS * min(expected.values())
            self._rivals = [other for other in expected if other != name and expected[other] <= limit]
        if self._rivals:
            self._switch(self._rivals.pop(0), f"tried after {self._report(expected)}")
            return
        self._settled = True
        best = min(self._measured, key=lambda one: self._measured[one])
        if best != name:
            self._switch(best, self._report(expected))
        else:
            self._choose(best, self._report(expected))

    def _expected(self, size: int) -> dict[str, float]:
        """The seconds of a step by each engine, the fastest first: predicted, scaled by what was measured."""
        compute = 0.0 if math.isnan(self._computing) else self._computing
        predicted = choose(self.engines, self.dataset.tasks, size, compute)
        slower = [
            (seconds - compute) / max(predicted[name] - compute, 1e-6)
            for name, seconds in self._measured.items()
            if name in predicted and name != "resident"
        ]
        factor = max(0.1, median(slower)) if slower else 1.0
        scaled = {name: compute + factor * (seconds - compute) for name, seconds in predicted.items()}
        return dict(sorted(scaled.items(), key=lambda item: item[1]))

    def _seconds(self, name: str, outcomes: list[Outcome]) -> float:
        """The seconds of a step by an engine."""
        return median(sum(outcome.phases.values()) for outcome in outcomes)

    def _report(self, expected: Mapping[str, float]) -> str:
        said = [f"{name} {1e3 * seconds:.3g} ms a step" for name, seconds in self._measured.items()]
        others = [f"{name} {1e3 * expected[name]:.3g}" for name in expected if name not in self._measured]
        computing = f"measured: {', '.join(said)} ({1e3 * self._computing:.3g} of it computing)"
        return computing + (f"; predicted: {', '.join(others)}" if others else "")

    def _switch(self, name: str, why: str) -> None:
        before = self.current
        weights, leaves, done = before.weights, before.state(), before.done
        before.close()
        self._take(name, why, weights, leaves, done)

    def _take(self, name: str, why: str, weights: np.ndarray, leaves: Leaves, done: int) -> None:
        self.current = self.engines[name](self.dataset, self.program, weights, leaves, done, self.skip)
        self._choose(name, why)

    def _choose(self, name: str, why: str) -> None:
        self.choices.append(Choice(self.current.done, name, why))
        log.info("steps from %d on by sync=%r: %s", self.current.done + 1, name, why)
