"""`sync="auto"`: the engine and the number of slices that are fastest for this run, found out in its first seconds.

All engines give the same bits, so that trying one is training. Where all tasks can run at once the resident engine
begins, and another one is tried only if the cost model, with the seconds that were measured, says that it may be
faster. Else the engines that the model thinks best take a few steps each, and the fastest goes on.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

import numpy as np

from fdl_spark.compute.job import Shared
from fdl_spark.compute.update import Leaves
from fdl_spark.cost import ENGINES, FITTED, Plan, choose, counts, step
from fdl_spark.engines.engine import Engine, Snapshot
from fdl_spark.history.outcome import Choice, Outcome
from fdl_spark.spark.failures import CannotStay

log = logging.getLogger("fdl_spark")

TRIAL_STEPS = 4  # of an engine that is tried; the first one, which compiles and warms up, does not count
WORTH_A_TRIAL = 0.8  # of the measured seconds: an engine predicted to take no more than this share of them is tried
RIVALS = 1.5  # times the best prediction: engines predicted to take longer are not tried


class Auto(Engine):
    """Delegates to the engine that it has found to be the fastest.

    Args:
      engines: the engines to choose from, by name; those that the cost model does not know are not chosen.
    """

    def __init__(self, *arguments: Any, engines: Mapping[str, type[Engine]], **options: Any):
        self.engines = {name: engine for name, engine in engines.items() if name in ENGINES}
        super().__init__(*arguments, **options)

    def _begin(self, start: Snapshot, slices: int | None) -> None:
        self._size = start.weights.nbytes
        self._cluster = self.dataset.cluster()
        self._measured: dict[Plan, float] = {}  # seconds of a step
        self._computing = math.nan  # the seconds of them that the slowest task computes
        self._slower = 1.0  # how many times what was predicted the update takes: optimizers differ
        self._outcomes: list[Outcome] = []  # of the plan that is being measured
        self._rivals: list[Plan] | None = None  # those still to be measured; None before the first has been
        self._settled = False
        expected = self._expected(self._size)
        plan, why = next((plan for plan in expected if plan.engine == "resident"), next(iter(expected))), "tried first"
        slots, tasks = self.dataset.slots(), self.dataset.tasks
        if slots is not None and slots < tasks:
            reason = f"the cluster runs {slots}" if slots else "Spark cannot do that with dynamic allocation"
            why = self._refuse(f"{tasks} tasks do not run at once, {reason}")
            plan = next(iter(self._expected(self._size)))
        self._take(plan, why, start)

    def restore(self, snapshot: Snapshot) -> None:
        self.current.restore(snapshot)

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
    def cuts(self) -> list[int]:  # type: ignore[override]
        return self.current.cuts

    @property
    def overhead(self) -> float:  # type: ignore[override]
        return self.current.overhead

    @property
    def handover(self) -> float:  # type: ignore[override]
        return self.current.handover

    @property
    def here(self) -> bool:  # type: ignore[override]
        return self.current.here

    def whole(self) -> Shared:
        return self.current.whole()

    def state(self) -> Leaves:
        return self.current.state()

    def boundary(self, step: int) -> int:
        return self.current.boundary(step)

    def finish(self) -> None:
        self.current.finish()

    def renew(self) -> None:
        self.current.renew()

    def close(self) -> None:
        self.current.close()

    def group(self, count: int, seconds: float = math.inf, stay: float = 0.0) -> Iterator[Outcome]:
        try:
            for outcome in self.current.group(count, seconds, stay):
                if not self._settled:
                    self._outcomes.append(outcome)
                yield outcome
        except CannotStay as refused:
            why = self._refuse(refused.reason)
            self._rivals = None
            self._settled = False
            self._switch(next(iter(self._expected(self._size))), why)
            return
        if not self._settled:
            self._consider()

    def _refuse(self, reason: str) -> str:
        """Do without the resident engine; what to say of it."""
        self.engines.pop("resident", None)  # it may have refused before, and the switch have failed
        self._measured = {plan: seconds for plan, seconds in self._measured.items() if plan.engine != "resident"}
        why = f"tasks cannot stay for several steps: {reason}"
        log.warning("%s; each step waits for Spark's scheduler instead", why)
        return why

    def _consider(self) -> None:
        """Go on to the next plan to measure, or to the best one, when the current one has been measured."""
        outcomes, plan, size = self._outcomes[1:], self._plan, self._size
        if len(outcomes) < (1 if self.current.groups else TRIAL_STEPS - 1):
            return
        self._outcomes = []
        self._measured[plan] = self._seconds(plan.engine, outcomes)
        self._computing = median(max((t.seconds for t in outcome.timings), default=0.0) for outcome in outcomes)
        predicted = counts(plan.engine, self.dataset.tasks, size, plan.slices, cluster=self._cluster)["update_byte"]
        updating = median(outcome.phases.get("update", 0.0) for outcome in outcomes)
        self._slower = max(0.1, updating / max(predicted * FITTED.update_byte, 1e-6))
        expected = self._expected(size)
        if self._rivals is None:
            limit = RIVALS * min(expected.values())
            if plan.engine == "resident":
                limit = WORTH_A_TRIAL * self._measured[plan]
            self._rivals = [other for other in expected if other not in self._measured and expected[other] <= limit]
        if self._rivals:
            self._switch(self._rivals.pop(0), f"tried after {self._report(expected)}")
            return
        self._settled = True
        best = min(self._measured, key=lambda one: self._measured[one])
        if best != plan:
            self._switch(best, self._report(expected))
        else:
            self._choose(self._report(expected))

    def _expected(self, size: int) -> dict[Plan, float]:
        """The seconds of a step by each engine, the fastest first: predicted, scaled by what was measured.

        What Spark's jobs cost is learnt from any engine that takes one a step; what ranks that stay cost, from these.
        """
        compute = 0.0 if math.isnan(self._computing) else self._computing
        constants = FITTED.scaled(update=self._slower)
        where: Any = {"ranks": self.dataset.tasks, "size": size, "compute": 0.0, "cluster": self._cluster}
        scales: dict[bool, list[float]] = {True: [], False: []}
        for plan, seconds in self._measured.items():
            predicted = max(step(plan, constants=constants, **where), 1e-6)
            scales[plan.engine == "resident"].append((seconds - compute) / predicted)
        factors = {stays: max(0.1, median(found)) if found else 1.0 for stays, found in scales.items()}
        expected = {
            plan: compute + factors[plan.engine == "resident"] * seconds
            for plan, seconds in choose(self.engines, constants=constants, **where).items()
        }
        return dict(sorted(expected.items(), key=lambda item: item[1]))

    def _seconds(self, name: str, outcomes: list[Outcome]) -> float:
        """The seconds of a step by an engine."""
        return median(sum(outcome.phases.values()) for outcome in outcomes)

    def _report(self, expected: Mapping[Plan, float]) -> str:
        said = [f"{plan} {1e3 * seconds:.3g} ms a step" for plan, seconds in self._measured.items()]
        others = [f"{plan} {1e3 * expected[plan]:.3g}" for plan in expected if plan not in self._measured]
        computing = f"measured: {', '.join(said)} ({1e3 * self._computing:.3g} of it computing)"
        return computing + (f"; predicted: {', '.join(others)}" if others else "")

    def _switch(self, plan: Plan, why: str) -> None:
        before = self.current
        self._take(plan, why, before.snapshot())
        before.close()  # not earlier: if the other engine cannot begin, the loop goes back with this one

    def _take(self, plan: Plan, why: str, start: Snapshot) -> None:
        engine = self.engines[plan.engine]
        self.current = engine(self.dataset, self.program, start, skip=self.skip, slices=plan.slices)
        self._plan = Plan(plan.engine, self.current.slices)  # an optimizer that needs the whole tree may allow fewer
        self._choose(why)

    def _choose(self, why: str) -> None:
        self.choices.append(Choice(self.current.done, self._plan.engine, why, self._plan.slices))
        log.info("steps from %d on by sync=%r: %s", self.current.done + 1, str(self._plan), why)
