"""What goes by a metric: which parameters are the best, and when there is no hope of better ones.

All of it is a pure function of the observations until now, which the history has: a run that is resumed, or goes back
after a failure, decides as one that was never disturbed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fdl_spark.arguments import check_choice, check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.training.triggers import Moment, Observation, Trigger, check_name, check_number, metric_of

MODES = ("min", "max")


@dataclass(frozen=True)
class Monitor:
    """A metric, and which of its values are better.

    Attributes:
      metric: its name.
      mode: "min" or "max": what is better.
      min_delta: by how much a value must be better than the best one to count.
    """

    metric: str
    mode: str
    min_delta: float = 0.0

    @staticmethod
    def of(what: str, metric: Any, mode: Any, min_delta: Any = 0.0) -> "Monitor":
        """The monitor that arguments describe; only a loss has a mode that goes without saying.

        Raises:
          ArgumentError: an argument is not what it must be.
        """
        check_name(f"metric of {what}", metric)
        if mode is None:
            if metric != "loss":
                raise ArgumentError(f'{what} by {metric!r} needs mode="min" or mode="max": which values are better')
            mode = "min"
        check_choice(f"mode of {what}", mode, MODES)
        check_number(f"min_delta of {what}", min_delta)
        if min_delta < 0:
            raise ArgumentError(f"min_delta of {what} must not be negative, it is {min_delta}")
        return Monitor(metric, mode, float(min_delta))

    def value(self, observation: Observation) -> float:
        """What an observation says of the metric."""
        return metric_of(observation, self.metric)

    def better(self, value: float, best: float) -> bool:
        """Whether a value is better than the best one until now (NaN for none); NaN never is."""
        if math.isnan(best):
            return not math.isnan(value)
        return value < best - self.min_delta if self.mode == "min" else value > best + self.min_delta

    def best(self, observations: Sequence[Observation]) -> Observation | None:
        """The first of the best observations; None if there is none but NaN."""
        found, value = None, math.nan
        for observation in observations:
            if self.better(self.value(observation), value):
                found, value = observation, self.value(observation)
        return found

    def ranking(self, observations: Sequence[Observation]) -> list[Observation]:
        """The observations that are no NaN, the best first, of equal ones the first."""
        sign = 1 if self.mode == "min" else -1
        known = [one for one in observations if not math.isnan(self.value(one))]
        return sorted(known, key=lambda one: (sign * self.value(one), one.step))


class Best(Monitor):
    """Keep the parameters that are the best by a metric, for `train(best=)`: in `run.best`, and as a checkpoint.

    Args:
      metric: "loss", or the name of a metric; of the validation, or of each epoch of training if there is none.
      mode: whether "min" or "max" is best; only for "loss" it may be left out.

    Raises:
      ArgumentError: an argument is not what it must be.

    >>> Best("accuracy", mode="max")
    Best('accuracy', mode='max')
    """

    def __init__(self, metric: str = "loss", *, mode: str | None = None):
        found = Monitor.of("Best", metric, mode)
        super().__init__(found.metric, found.mode)

    def __repr__(self) -> str:
        return f"Best({self.metric!r}, mode={self.mode!r})"


class EarlyStopping(Trigger):
    """Stop when a metric has not improved for a while, for `train(stop=)`; a trigger, which composes with others.

    What counts is observed after each validation, or each epoch of training if there is no validation.

    Args:
      metric: "loss", or the name of a metric.
      patience: after how many observations without an improvement to stop, at least 1.
      mode: whether "min" or "max" is better; only for "loss" it may be left out.
      min_delta: by how much a value must be better than the best one to be an improvement.
      restore_best: whether the run ends with the parameters of the best observation; `run.best` says which. Its
        optimizer's state, and the newest checkpoint, are those of the last step.

    Raises:
      ArgumentError: an argument is not what it must be.

    >>> EarlyStopping("accuracy", patience=3, mode="max").patience
    3
    """

    watches = frozenset(["metric"])

    def __init__(
        self,
        metric: str = "loss",
        *,
        patience: int,
        mode: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ):
        self.monitor = Monitor.of("EarlyStopping", metric, mode, min_delta)
        check_whole("patience of EarlyStopping", "None" if patience is None else patience, 1)
        self.patience, self.restore_best = int(patience), bool(restore_best)

    def fires(self, moment: Moment) -> bool:
        if not moment.observed:
            return False
        best, seen = self.monitor.best(moment.observations), len(moment.observations)
        last = -1 if best is None else next(n for n, one in enumerate(moment.observations) if one.step == best.step)
        return seen - 1 - last >= self.patience

    def __repr__(self) -> str:
        return f"EarlyStopping({self.monitor.metric!r}, patience={self.patience})"


def restored(trigger: Trigger | None) -> list[Monitor]:
    """The monitors whose best parameters a trigger wants back at the end of a run."""
    leaves = trigger.leaves() if trigger is not None else []
    stopping = [leaf for leaf in leaves if isinstance(leaf, EarlyStopping) and leaf.restore_best]
    return [Monitor(one.monitor.metric, one.monitor.mode) for one in stopping]
