"""Schedules: functions from the step count to a number such as the learning rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import fdl.numpy as fnp
from fdl.api.arguments import require_function
from fdl.optim.arguments import POSITIVE, REAL, makes_schedule
from fdl.optim.base import Schedule


@makes_schedule()
def constant_schedule(value: Any) -> Schedule:
    """The same value at every step.

    >>> constant_schedule(0.1)(1000)
    0.1
    """
    return lambda count: value


@makes_schedule()
def polynomial_schedule(
    init_value: Any, end_value: Any, power: Any, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """From `init_value` to `end_value` along ``(1 - progress) ** power``.

    Args:
        init_value: value up to step `transition_begin`.
        end_value: value after `transition_steps` more steps.
        transition_steps: length of the way; zero keeps `init_value`.

    >>> polynomial_schedule(1.0, 0.0, 2, 10)(5).item()
    0.25
    """
    if transition_steps <= 0:
        return constant_schedule(init_value)

    def value_at(count: Any) -> Any:
        done = fnp.clip(fnp.asarray(count) - max(transition_begin, 0), 0, transition_steps)
        return (init_value - end_value) * (1 - done / transition_steps) ** power + end_value

    return value_at


@makes_schedule()
def linear_schedule(init_value: Any, end_value: Any, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """From `init_value` to `end_value` in a straight line.

    Args:
        init_value: value up to step `transition_begin`.
        end_value: value after `transition_steps` more steps.
        transition_steps: length of the way; zero keeps `init_value`.

    >>> linear_schedule(1.0, 0.0, 10)(5).item()
    0.5
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


@makes_schedule()
def piecewise_constant_schedule(init_value: Any, boundaries_and_scales: dict[int, float] | None = None) -> Schedule:
    """`init_value`, multiplied by a scale from each boundary on (a step count).

    >>> piecewise_constant_schedule(1.0, {10: 0.5})(10).item()
    0.5
    """
    points = _points("piecewise_constant_schedule", boundaries_and_scales)

    def value_at(count: Any) -> Any:
        value = init_value
        for boundary, scale in points:
            value = value * fnp.where(fnp.asarray(count) < boundary, 1.0, scale)
        return value

    return value_at


@makes_schedule()
def exponential_decay(
    init_value: Any,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Any = None,
) -> Schedule:
    """``init_value * decay_rate ** (steps / transition_steps)``.

    Args:
        init_value: value up to step `transition_begin`.
        transition_steps: steps for one factor of `decay_rate`.
        transition_begin: steps before the decay.
        end_value: where the decay stops.

    >>> round(exponential_decay(1.0, 10, 0.5)(20).item(), 3)
    0.25
    """
    if transition_steps <= 0 or decay_rate == 0:
        return constant_schedule(init_value)
    stop = fnp.maximum if decay_rate < 1 else fnp.minimum

    def value_at(count: Any) -> Any:
        done = fnp.asarray(count) - max(transition_begin, 0)
        exponent = done / transition_steps
        exponent = fnp.floor(exponent) if staircase else exponent
        value = fnp.where(done <= 0, init_value, init_value * fnp.power(decay_rate, exponent))
        return value if end_value is None else stop(value, end_value)

    return value_at


@makes_schedule()
def cosine_decay_schedule(init_value: Any, decay_steps: int, alpha: Any = 0.0, exponent: Any = 1.0) -> Schedule:
    """Half a period of a cosine. Source: Loshchilov, Hutter, "SGDR" (2017).

    Raises:
        ValueError: `decay_steps` is not positive.

    >>> round(cosine_decay_schedule(1.0, 10)(5).item(), 3)
    0.5
    """
    if decay_steps <= 0:
        raise ValueError(f"cosine_decay_schedule needs a positive decay_steps, got {decay_steps}")

    def value_at(count: Any) -> Any:
        progress = fnp.minimum(fnp.asarray(count), decay_steps) / decay_steps
        cosine = 0.5 * (1 + fnp.cos(math.pi * progress))
        return init_value * ((1 - alpha) * cosine**exponent + alpha)

    return value_at


@makes_schedule()
def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another; each counts from its own boundary.

    Args:
        schedules: in the order in which they apply.
        boundaries: step counts at which the next begins, one fewer than schedules.

    Raises:
        TypeError: one of the schedules is no function.
        ValueError: there is not one boundary fewer than schedules.

    >>> join_schedules([constant_schedule(1.0), constant_schedule(2.0)], [10])(10).item()
    2.0
    """
    for number, function in enumerate(schedules):
        require_function("join_schedules", f"schedules[{number}]", function)
    for number, boundary in enumerate(boundaries):
        REAL.check("join_schedules", f"boundaries[{number}]", boundary)
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"join_schedules needs one boundary fewer than schedules, got {len(schedules)} schedules and "
            f"{len(boundaries)} boundaries"
        )

    def value_at(count: Any) -> Any:
        count = fnp.asarray(count)
        value = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = fnp.where(count < boundary, value, following(count - boundary))
        return value

    return value_at


@makes_schedule()
def warmup_constant_schedule(init_value: Any, peak_value: Any, warmup_steps: int) -> Schedule:
    """A straight line to `peak_value`, which then stays.

    Args:
        peak_value: value after the warmup.

    >>> warmup_constant_schedule(0.0, 1.0, 10)(5).item()
    0.5
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


@makes_schedule()
def warmup_cosine_decay_schedule(
    init_value: Any, peak_value: Any, warmup_steps: int, decay_steps: int, end_value: Any = 0.0, exponent: Any = 1.0
) -> Schedule:
    """A straight line to `peak_value`, then a cosine to `end_value`.

    Args:
        peak_value: value after the warmup.
        decay_steps: length of everything, the warmup included.

    >>> round(warmup_cosine_decay_schedule(0.0, 1.0, 10, 20)(15).item(), 3)
    0.5
    """
    alpha = 0.0 if peak_value == 0.0 else end_value / peak_value
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    return join_schedules(
        [rise, cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)], [warmup_steps]
    )


@makes_schedule()
def warmup_exponential_decay_schedule(
    init_value: Any,
    peak_value: Any,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Any = None,
) -> Schedule:
    """A straight line to `peak_value`, then :func:`exponential_decay`.

    Args:
        peak_value: value after the warmup.
        transition_steps: steps for one factor of `decay_rate`.
        transition_begin: steps between the warmup and the decay.
        end_value: where the decay stops.

    >>> round(warmup_exponential_decay_schedule(0.0, 1.0, 10, 10, 0.5)(20).item(), 3)
    0.5
    """
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([rise, fall], [warmup_steps])


@makes_schedule()
def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: Any, boundaries_and_scales: dict[int, float] | None = None
) -> Schedule:
    """Interpolates between values at boundaries.

    Args:
        interpolate_type: "linear" or "cosine".
        init_value: value at step 0.
        boundaries_and_scales: step count, and by what the value changes until then.

    Raises:
        ValueError: the type is unknown.

    >>> piecewise_interpolate_schedule("linear", 1.0, {10: 0.5})(5).item()
    0.75
    """
    if interpolate_type not in ("linear", "cosine"):
        raise ValueError(f"piecewise_interpolate_schedule takes 'linear' or 'cosine', got {interpolate_type!r}")
    points = _points("piecewise_interpolate_schedule", boundaries_and_scales)

    def value_at(count: Any) -> Any:
        count, start, value = fnp.asarray(count), 0, init_value
        found = value
        for boundary, scale in points:
            progress = fnp.clip((count - start) / max(boundary - start, 1), 0.0, 1.0)
            if interpolate_type == "cosine":
                progress = (1 - fnp.cos(math.pi * progress)) / 2
            found = fnp.where(count < start, found, value + (value * scale - value) * progress)
            start, value = boundary, value * scale
        return found

    return value_at


@makes_schedule(transition_steps=POSITIVE)
def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up, down and far down in straight lines. Source: Smith, Topin, "Super-convergence" (2018).

    Args:
        transition_steps: length of everything, in steps; positive.

    >>> round(linear_onecycle_schedule(10, 1.0)(3).item(), 3)
    1.0
    """
    return piecewise_interpolate_schedule(
        "linear",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(pct_final * transition_steps): 1.0 / div_factor,
            _hashable(transition_steps): 1.0 / final_div_factor,
        },
    )


@makes_schedule(transition_steps=POSITIVE)
def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up and down in cosines. Source: Smith, Topin, "Super-convergence" (2018).

    Args:
        transition_steps: length of everything, in steps; positive.

    >>> round(cosine_onecycle_schedule(10, 1.0)(3).item(), 3)
    1.0
    """
    return piecewise_interpolate_schedule(
        "cosine",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            _hashable(transition_steps): 1.0 / (div_factor * final_div_factor),
        },
    )


@makes_schedule()
def sgdr_schedule(cosine_kwargs: Sequence[dict[str, Any]]) -> Schedule:
    """Cosine decays with warm restarts, each a :func:`warmup_cosine_decay_schedule`. Source: "SGDR" (2017).

    Args:
        cosine_kwargs: the arguments of every cycle.

    >>> cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 4}
    >>> round(sgdr_schedule([cycle, cycle])(6).item(), 3)
    1.0
    """
    cycles = list(cosine_kwargs)
    schedules = [warmup_cosine_decay_schedule(**c) for c in cycles]
    ends = [sum(c["decay_steps"] for c in cycles[: i + 1]) for i in range(len(cycles))]
    return join_schedules(schedules, ends[:-1])


def _hashable(number: Any) -> Any:
    """A known number, or an array of no axes, as a key of a dict."""
    return number if isinstance(number, (int, float)) else number.item()


def _points(name: str, given: Mapping[int, float] | None) -> list[tuple[int, float]]:
    """Boundaries with their scales, in order."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{name}: boundaries_and_scales must be a dict from step counts to factors, got {given!r}")
    for boundary, scale in (given or {}).items():
        REAL.check(name, "a boundary of boundaries_and_scales", boundary)
        REAL.check(name, f"boundaries_and_scales[{boundary}]", scale)
    return sorted((given or {}).items())
