"""When something is done in a run: triggers, which compose by `|` and `&`.

A trigger says two things: after which steps it can fire, as far as counts of steps decide it (`ends`; a group of steps
ends there and nowhere else), and whether it fires after a step (`fires`). What depends on a loss, a metric or a clock
is `open`: no count decides it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fdl_spark.arguments import check_optimizer, check_whole
from fdl_spark.errors import ArgumentError

NEVER = 2**62  # a number of steps that no run takes
FAR = 100  # how often two triggers are compared to find out where both fire


class Observation(NamedTuple):
    """What is known of the parameters after `step` steps: a validation's means, or those of an epoch's own steps."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Moment:
    """What a trigger sees after a step.

    Attributes:
      step: steps done.
      epoch_steps: steps of an epoch.
      loss: of the last step.
      observations: all until now; the last one is of this step if there is one.
      since: seconds since the trigger fired last, or since training began.
      total: seconds since training began.
      ended: whether a group of steps ends here; a clock is only read where one does.
    """

    step: int
    epoch_steps: int
    loss: float = math.nan
    observations: Sequence[Observation] = ()
    since: float = 0.0
    total: float = 0.0
    ended: bool = True

    @property
    def observed(self) -> bool:
        """Whether there is an observation of this step."""
        return bool(self.observations) and self.observations[-1].step == self.step


class Trigger:
    """When something is done; `a | b` fires when either does, `a & b` when both do after the same step.

    Attributes:
      watches: what it depends on besides the number of steps: "loss", "metric", "seconds".
      open: whether it may fire after steps that `ends` does not give.

    >>> (every(steps=100) | every(epochs=1)).steps_of(epoch_steps=250, until=500)
    [100, 200, 250, 300, 400, 500]
    """

    watches: frozenset[str] = frozenset()

    @property
    def open(self) -> bool:
        """Whether it may fire after steps that `ends` does not give."""
        return bool(self.watches)

    def ends(self, step: int, epoch_steps: int) -> int:
        """The first number of steps after `step` at which counts let it fire, NEVER if there is none.

        Where two triggers meet only far away it is one before that.
        """
        return NEVER

    def fires(self, moment: Moment) -> bool:
        """Whether it fires."""
        raise NotImplementedError

    def wait(self, since: float, total: float) -> float:
        """The seconds until a clock may let it fire."""
        return math.inf

    def leaves(self) -> "list[Trigger]":
        """The triggers that it is composed of."""
        return [self]

    def steps_of(self, *, epoch_steps: int, until: int) -> list[int]:
        """After which numbers of steps it fires in a run of which nothing but the counts is known.

        Args:
          epoch_steps: steps of an epoch.
          until: steps of the run.
        """
        return [step for step in range(1, until + 1) if self.fires(Moment(step, epoch_steps))]

    def __or__(self, other: "Trigger") -> "Trigger":
        return Either(self, other) if isinstance(other, Trigger) else NotImplemented

    def __and__(self, other: "Trigger") -> "Trigger":
        return Both(self, other) if isinstance(other, Trigger) else NotImplemented


@dataclass(frozen=True, repr=False)
class Either(Trigger):
    """Fires when one of two triggers does."""

    first: Trigger
    second: Trigger

    @property
    def watches(self) -> frozenset[str]:  # type: ignore[override]
        """What it depends on besides the number of steps."""
        return self.first.watches | self.second.watches

    @property
    def open(self) -> bool:
        return self.first.open or self.second.open

    def ends(self, step: int, epoch_steps: int) -> int:
        return min(self.first.ends(step, epoch_steps), self.second.ends(step, epoch_steps))

    def fires(self, moment: Moment) -> bool:
        return self.first.fires(moment) or self.second.fires(moment)

    def wait(self, since: float, total: float) -> float:
        return min(self.first.wait(since, total), self.second.wait(since, total))

    def leaves(self) -> list[Trigger]:
        return self.first.leaves() + self.second.leaves()

    def __repr__(self) -> str:
        return f"{self.first} | {self.second}"


@dataclass(frozen=True, repr=False)
class Both(Either):
    """Fires when two triggers do after the same step."""

    @property
    def open(self) -> bool:
        return self.first.open and self.second.open

    def ends(self, step: int, epoch_steps: int) -> int:
        closed = [trigger for trigger in self._all() if not trigger.open]
        ends = [trigger.ends(step, epoch_steps) for trigger in closed]
        for _ in range(FAR):  # each goes on to where the other can fire at the earliest
            latest = max(ends, default=NEVER)
            if latest >= NEVER or len(set(ends)) == 1:
                return min(latest, NEVER)
            ends = [trigger.ends(latest - 1, epoch_steps) for trigger in closed]
        return max(ends)  # not later than where it fires, and far enough that nothing is lost by ending a group there

    def fires(self, moment: Moment) -> bool:
        return self.first.fires(moment) and self.second.fires(moment)

    def _all(self) -> list[Trigger]:
        """What has to fire together, also of a & b & c."""
        return [part for one in (self.first, self.second) for part in (one._all() if isinstance(one, Both) else [one])]

    def __repr__(self) -> str:
        return " & ".join(f"({one})" if type(one) is Either else f"{one}" for one in (self.first, self.second))


@dataclass(frozen=True, repr=False)
class Every(Trigger):
    """What `every` gives: one of `steps`, `epochs`, `seconds`.

    Attributes:
      steps: fires after every so many steps; with `sync=`, how many steps a shard takes on its own.
      epochs: fires after every so many epochs.
      seconds: fires after the first step that ends so many seconds after it fired last.
      outer: with `sync=`, the optimizer that takes the mean of what the shards have moved for a gradient.
    """

    steps: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    outer: Any = None

    @property
    def watches(self) -> frozenset[str]:  # type: ignore[override]
        """What it depends on besides the number of steps."""
        return frozenset(["seconds"] if self.seconds is not None else [])

    def ends(self, step: int, epoch_steps: int) -> int:
        if self.seconds is not None:
            return NEVER
        interval = self._interval(epoch_steps)
        return (step // interval + 1) * interval

    def fires(self, moment: Moment) -> bool:
        if self.seconds is not None:
            return moment.ended and moment.since >= self.seconds
        return moment.step % self._interval(moment.epoch_steps) == 0

    def wait(self, since: float, total: float) -> float:
        return math.inf if self.seconds is None else self.seconds - since

    def _interval(self, epoch_steps: int) -> int:
        return self.steps or (self.epochs or 1) * max(epoch_steps, 1)

    def __repr__(self) -> str:
        return _call("every", self)


@dataclass(frozen=True, repr=False)
class Reached(Trigger):
    """What `when` gives for a count or a time: fires from there on, after each step."""

    step: int | None = None
    epoch: int | None = None
    seconds: float | None = None

    @property
    def watches(self) -> frozenset[str]:  # type: ignore[override]
        """What it depends on besides the number of steps."""
        return frozenset(["seconds"] if self.seconds is not None else [])

    def ends(self, step: int, epoch_steps: int) -> int:
        return NEVER if self.seconds is not None else max(self._first(epoch_steps), step + 1)

    def fires(self, moment: Moment) -> bool:
        if self.seconds is not None:
            return moment.ended and moment.total >= self.seconds
        return moment.step >= self._first(moment.epoch_steps)

    def wait(self, since: float, total: float) -> float:
        return math.inf if self.seconds is None else self.seconds - total

    def _first(self, epoch_steps: int) -> int:
        return self.step if self.step is not None else (self.epoch or 0) * epoch_steps

    def __repr__(self) -> str:
        return _call("when", self)


@dataclass(frozen=True, repr=False)
class LossBelow(Trigger):
    """What `when(loss_below=)` gives: fires after each step whose own loss is below a number."""

    loss_below: float
    watches = frozenset(["loss"])

    def fires(self, moment: Moment) -> bool:
        return moment.loss < self.loss_below

    def __repr__(self) -> str:
        return _call("when", self)


@dataclass(frozen=True, repr=False)
class MetricBeyond(Trigger):
    """What `when(metric=)` gives: fires after each observation of a metric above or below a number."""

    metric: str
    above: float | None = None
    below: float | None = None
    watches = frozenset(["metric"])

    def fires(self, moment: Moment) -> bool:
        if not moment.observed:
            return False
        value = metric_of(moment.observations[-1], self.metric)
        return value > self.above if self.above is not None else value < (self.below or 0.0)

    def __repr__(self) -> str:
        return _call("when", self)


def every(
    steps: int | None = None, outer: Any = None, *, epochs: int | None = None, seconds: float | None = None
) -> Every:
    """Do something at intervals, for `train(validate=, save=, stop=)`; or let shards take local steps (`sync=`).

    As `sync=every(k)` it is an algorithm of its own, not a faster engine: in a round each shard starts from the common
    parameters and takes `steps` steps of the run's optimizer on its rows of as many batches; its optimizer's state
    stays with it. Then the mean of `start - end` over shards, weighted by their rows, is the gradient of one step of
    the outer optimizer. With the default, which replaces the parameters by the mean of the shards', this is local SGD
    (Stich, ICLR 2019); with momentum it is DiLoCo (Douillard et al., 2023). A round ends with an epoch, and with the
    run. The result depends on the number of shards, but not on the cluster.

    Args:
      steps: after every so many steps; for `sync=`, how many steps a shard takes on its own. At least 1.
      outer: for `sync=` only: a pair of pure functions, such as `fdl.optim.sgd(0.7, momentum=0.9, nesterov=True)`.
      epochs: after every so many epochs.
      seconds: after the first step that ends at least so many seconds after the last time.

    Returns:
      A trigger, and a value for `sync`.

    Raises:
      ArgumentError: an argument is not what it must be, or there is not one of `steps`, `epochs` and `seconds`.

    >>> every(steps=20) | every(epochs=1)
    every(steps=20) | every(epochs=1)
    """
    if epochs is None and seconds is None:
        check_whole("steps of every()", "None" if steps is None else steps, 1)
    elif sum(value is not None for value in (steps, epochs, seconds)) > 1:
        raise ArgumentError("every() takes one of steps, epochs and seconds; compose several by | or &")
    check_whole("epochs of every()", epochs, 1)
    check_number("seconds of every()", seconds, 0.0)
    if outer is not None:
        if steps is None:
            raise ArgumentError("outer of every() is for sync=fdl_spark.every(steps, outer)")
        check_optimizer(outer)
    return Every(steps and int(steps), epochs and int(epochs), seconds, outer)


def when(
    *,
    step: int | None = None,
    epoch: int | None = None,
    seconds: float | None = None,
    loss_below: float | None = None,
    metric: str | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Trigger:
    """Do something as long as a condition holds, for `train(validate=, save=, stop=)`.

    Args:
      step: after so many steps, and each later one.
      epoch: after so many epochs, and each later step.
      seconds: after the first step that ends at least so many seconds after the call of `train` began.
      loss_below: after each step whose own loss is below this number.
      metric: after each validation (without one: after each epoch of training) in which this metric, or "loss", is
        `above` or `below` a number.
      above: a number, with `metric`.
      below: a number, with `metric`.

    Returns:
      A trigger.

    Raises:
      ArgumentError: an argument is not what it must be, or there is not exactly one condition.

    >>> when(metric="accuracy", above=0.99) | when(seconds=3600)
    when(metric='accuracy', above=0.99) | when(seconds=3600)
    """
    given = [name for name, value in locals().items() if value is not None and name not in ("above", "below")]
    if len(given) != 1:
        raise ArgumentError(
            f"when() takes one condition of step, epoch, seconds, loss_below and metric, not {given}; compose several "
            f"by | or &"
        )
    if (metric is None) != (above is None and below is None) or (above is not None and below is not None):
        raise ArgumentError("when() takes metric= together with one of above= and below=")
    check_whole("step of when()", step, 1)
    check_whole("epoch of when()", epoch, 1)
    for name, value in (("loss_below", loss_below), ("above", above), ("below", below)):
        check_number(f"{name} of when()", value)
    check_number("seconds of when()", seconds, 0.0)
    if metric is not None:
        check_name("metric of when()", metric)
        return MetricBeyond(metric, above, below)
    return LossBelow(loss_below) if loss_below is not None else Reached(step, epoch, seconds)


def metric_of(observation: Observation, name: str) -> float:
    """A metric of an observation.

    Raises:
      ArgumentError: there is none of this name.
    """
    if name not in observation.values:
        raise ArgumentError(f"there is no metric {name!r} to go by; there are {sorted(observation.values)}")
    return float(observation.values[name])


def check_trigger(name: str, value: Any, without: Mapping[str, str]) -> None:
    """Raise unless an argument is a trigger, or None.

    Args:
      name: the argument's.
      value: what was given.
      without: what it must not watch, and why.
    """
    if value is None:
        return
    if not isinstance(value, Trigger):
        raise ArgumentError(f"{name} must be a trigger, such as fdl_spark.every(steps=100), not {value!r}")
    for leaf in value.leaves():
        if getattr(leaf, "outer", None) is not None:
            raise ArgumentError(f"{name}: outer of every() is for sync= only")
    for what, why in without.items():
        if what in value.watches:
            raise ArgumentError(f"{name}={value} {why}")


def check_number(name: str, value: Any, above: float | None = None) -> None:
    """Raise unless an argument is a finite number, or None."""
    if value is None:
        return
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not math.isfinite(value):
        raise ArgumentError(f"{name} must be a finite number, not {value!r}")
    if above is not None and value <= above:
        raise ArgumentError(f"{name} must be greater than {above:g}, not {value!r}")


def check_name(name: str, value: Any) -> None:
    """Raise unless an argument is a metric's name."""
    if not isinstance(value, str) or not value:
        raise ArgumentError(f'{name} must be the name of a metric, such as "loss", not {value!r}')


def _call(function: str, trigger: Any) -> str:
    """A trigger as it was written."""
    given = {name: value for name, value in vars(trigger).items() if value is not None}
    return f"{function}({', '.join(f'{name}={value!r}' for name, value in given.items())})"
