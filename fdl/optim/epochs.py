"""Schedules that other frameworks count in epochs, and decays that are named after them."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.api.arguments import require_function
from fdl.dtypes import float64
from fdl.optim.arguments import REAL, makes_schedule
from fdl.optim.base import Schedule
from fdl.scalars import Scalar


@makes_schedule()
def inverse_time_decay(
    init_value: Any, transition_steps: int, decay_rate: float, transition_begin: int = 0, staircase: bool = False
) -> Schedule:
    """``init_value / (1 + decay_rate * steps / transition_steps)``. Source: `Default` of BigDL's SGD; TensorFlow.

    Args:
        init_value: value up to step `transition_begin`.
        transition_steps: steps for which the divisor grows by `decay_rate`; zero keeps `init_value`.
        decay_rate: the growth, not negative.
        transition_begin: steps before the decay.

    >>> inverse_time_decay(1.0, 10, 0.5)(20).item()
    0.5
    """
    periods = _periods(transition_steps, transition_begin, staircase)
    return lambda count: init_value / (1 + decay_rate * periods(count))


@makes_schedule()
def natural_exp_decay(
    init_value: Any, transition_steps: int, decay_rate: float, transition_begin: int = 0, staircase: bool = False
) -> Schedule:
    """``init_value * exp(-decay_rate * steps / transition_steps)``. Source: `NaturalExp` of BigDL's SGD; TensorFlow.

    Args:
        init_value: value up to step `transition_begin`.
        transition_steps: steps for one factor of ``exp(-decay_rate)``; zero keeps `init_value`.
        decay_rate: the rate, not negative.
        transition_begin: steps before the decay.

    >>> round(natural_exp_decay(1.0, 10, 0.5)(20).item(), 3)
    0.368
    """
    periods = _periods(transition_steps, transition_begin, staircase)
    return lambda count: init_value * fnp.exp(-decay_rate * periods(count))


@makes_schedule(steps_per_epoch=Scalar(1, whole=True), epochs=Scalar(1, whole=True))
def epoch_schedule(rate_of: Callable[[int], float], steps_per_epoch: int, epochs: int) -> Schedule:
    """What any function of Python makes of the epoch, tabulated: `EpochDecay` and its like in BigDL's SGD.

    Args:
        rate_of: from the number of the epoch, 1 for the first, to the value; called once for each epoch.
        steps_per_epoch: ``ceil(rows / batch_size)``.
        epochs: how many epochs the table has; the last value stays.

    Raises:
        TypeError: `rate_of` is no function.

    >>> schedule = epoch_schedule(lambda epoch: 0.1 if epoch <= 2 else 0.01, steps_per_epoch=5, epochs=3)
    >>> [schedule(step).item() for step in (0, 9, 10, 99)]
    [0.1, 0.1, 0.01, 0.01]
    """
    require_function("epoch_schedule", "rate_of", rate_of)
    values = [rate_of(epoch) for epoch in range(1, int(epochs) + 1)]
    for epoch, value in enumerate(values, 1):
        REAL.check("epoch_schedule", f"rate_of({epoch})", value)
    table = fnp.asarray(values, float64)
    return lambda count: table[fnp.clip(fnp.asarray(count) // int(steps_per_epoch), 0, int(epochs) - 1)]


def _periods(transition_steps: int, transition_begin: int, staircase: bool) -> Callable[[Any], Any]:
    """How many periods are over after a number of steps."""

    def periods(count: Any) -> Any:
        done = fnp.maximum(fnp.asarray(count) - max(transition_begin, 0), 0)
        over = done / transition_steps if transition_steps > 0 else done * 0.0
        return fnp.floor(over) if staircase else over

    return periods
