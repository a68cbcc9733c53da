"""Transformations of gradients by their history."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.api.arguments import require_function
from fdl.dtypes import float64
from fdl.optim.arguments import NOT_NEGATIVE, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Schedule,
    Tree,
    increment,
    squared,
    stateless,
    zeros,
)
from fdl.optim.moments import (
    ScaleByAdamState,
    by_history,
    cast,
    corrected,
    filled,
    mean_of,
    moment,
    no_steps,
    root,
    second_moment,
    two_moments,
)


class TraceState(NamedTuple):
    """Decayed sum of the gradients."""

    trace: Any


class EmaState(NamedTuple):
    """Step count and moving average."""

    count: Any
    ema: Any


class ScaleByScheduleState(NamedTuple):
    """Step count."""

    count: Any


class ScaleByAmsgradState(NamedTuple):
    """Step count, first and second moments, largest second moment."""

    count: Any
    mu: Any
    nu: Any
    nu_max: Any


class ScaleByRmsState(NamedTuple):
    """Step count and second moments."""

    count: Any
    nu: Any


class ScaleByRssState(NamedTuple):
    """Sums of squares."""

    sum_of_squares: Any


class ScaleByAdaDeltaState(NamedTuple):
    """Second moments of gradients and of updates."""

    e_g: Any
    e_x: Any


class ScaleByLionState(NamedTuple):
    """Step count and momentum."""

    count: Any
    mu: Any


@makes_transformation("scale(-0.5)", [-0.5, 2.0])
def scale(step_size: Any) -> GradientTransformation:
    """Multiply by a number."""
    return stateless(lambda updates, params: tree.map(lambda g: step_size * g, updates), True)


@makes_transformation("scale_by_schedule(lambda count: count + 2.0)", [2.0, -8.0])
def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Multiply by a number that depends on the step count.

    Args:
        step_size_fn: from the step count, int32, to the number.

    Raises:
        TypeError: it is no function.
    """
    require_function("scale_by_schedule", "step_size_fn", step_size_fn)

    def step(updates: Tree, state: ScaleByScheduleState) -> tuple[Tree, ScaleByScheduleState]:
        size = fnp.asarray(step_size_fn(state.count))
        return tree.map(lambda g: size.astype(g.dtype) * g, updates), ScaleByScheduleState(increment(state.count))

    return by_history(lambda params: ScaleByScheduleState(no_steps()), step)


@makes_transformation("scale_by_learning_rate(0.5)", [-0.5, 2.0])
def scale_by_learning_rate(learning_rate: ScalarOrSchedule, *, flip_sign: bool = True) -> GradientTransformation:
    """Multiply by minus the learning rate, a number or a schedule (by plus, if not `flip_sign`).

    Args:
        flip_sign: whether to multiply by minus the learning rate.
    """
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        return scale_by_schedule(lambda count: sign * learning_rate(count))
    return scale(sign * learning_rate)


@makes_transformation(decay=NOT_NEGATIVE)
def trace(decay: Any, nesterov: bool = False, accumulator_dtype: Any = None) -> GradientTransformation:
    """Momentum: the sum of the gradients with weights ``decay ** age``. Source: Polyak (1964); Nesterov (1983).

    Args:
        decay: weight of a gradient relative to the next.

    >>> transformation = trace(0.5)
    >>> _, state = transformation.update(fnp.ones(1), transformation.init(fnp.zeros(1)))
    >>> transformation.update(fnp.ones(1), state)[0].tolist()
    [1.5]
    """

    def step(updates: Tree, state: TraceState) -> tuple[Tree, TraceState]:
        total = tree.map(lambda g, t: g + decay * t, updates, state.trace)
        made = tree.map(lambda g, t: g + decay * t, updates, total) if nesterov else total
        return made, TraceState(cast(total, accumulator_dtype))

    return by_history(lambda params: TraceState(zeros(params, accumulator_dtype)), step)


@makes_transformation("ema(0.5, debias=False)", [0.5, -2.0])
def ema(decay: Any, debias: bool = True, accumulator_dtype: Any = None) -> GradientTransformation:
    """Replace gradients by their exponential moving average.

    Args:
        decay: decay of the average per step.
        debias: whether to correct for the first value, zero.
    """

    def step(updates: Tree, state: EmaState) -> tuple[Tree, EmaState]:
        average, count = moment(updates, state.ema, decay), increment(state.count)
        made = corrected(average, decay, count) if debias else average
        return made, EmaState(count, cast(average, accumulator_dtype))

    return by_history(lambda params: EmaState(no_steps(), zeros(params, accumulator_dtype)), step)


@makes_transformation("scale_by_adam()", [1.0, -1.0])
def scale_by_adam(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None, *,
    nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Divide the mean of the gradients by the root of the mean of their squares. Source: Kingma, Ba, "Adam" (2015).

    Args:
        nesterov: whether to look one step ahead (Dozat, "NAdam", 2016).
    """

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        mu, nu, count = moment(updates, state.mu, b1), second_moment(updates, state.nu, b2), increment(state.count)
        mean = mean_of(updates, mu, b1, count, nesterov)
        made = tree.map(lambda m, v: m / (fnp.sqrt(v + eps_root) + eps), mean, corrected(nu, b2, count))
        return made, ScaleByAdamState(count, cast(mu, mu_dtype), nu)

    return by_history(lambda params: ScaleByAdamState(no_steps(), zeros(params, mu_dtype), zeros(params)), step)


@makes_transformation("scale_by_amsgrad()", [1.0, -1.0])
def scale_by_amsgrad(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None
) -> GradientTransformation:
    """Adam with the largest second moment so far. Source: Reddi, Kale, Kumar (2018)."""

    def init(params: Tree) -> ScaleByAmsgradState:
        return ScaleByAmsgradState(no_steps(), zeros(params, mu_dtype), zeros(params), zeros(params))

    def step(updates: Tree, state: ScaleByAmsgradState) -> tuple[Tree, ScaleByAmsgradState]:
        mu, nu, count = moment(updates, state.mu, b1), second_moment(updates, state.nu, b2), increment(state.count)
        largest = tree.map(fnp.maximum, state.nu_max, corrected(nu, b2, count))
        made = tree.map(lambda m, v: m / (fnp.sqrt(v + eps_root) + eps), corrected(mu, b1, count), largest)
        return made, ScaleByAmsgradState(count, cast(mu, mu_dtype), nu, largest)

    return by_history(init, step)


@makes_transformation("scale_by_adamax()", [1.0, -1.0])
def scale_by_adamax(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """Adam with the maximum norm. Source: Kingma, Ba, "Adam" (2015), section 7."""

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        mu, count = moment(updates, state.mu, b1), increment(state.count)
        nu = tree.map(lambda g, v: fnp.maximum(fnp.abs(g) + eps, b2 * v), updates, state.nu)
        return tree.map(fnp.divide, corrected(mu, b1, count), nu), ScaleByAdamState(count, mu, nu)

    return by_history(two_moments, step)


@makes_transformation("scale_by_belief()", [1.111, -1.111])
def scale_by_belief(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16, *, nesterov: bool = False
) -> GradientTransformation:
    """Adam with the variance around the mean. Source: Zhuang et al., "AdaBelief" (2020)."""

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        mu, count = moment(updates, state.mu, b1), increment(state.count)
        surprise = tree.map(fnp.subtract, updates, mu)
        nu = tree.map(lambda v: v + eps_root, second_moment(surprise, state.nu, b2))
        mean = mean_of(updates, mu, b1, count, nesterov)
        made = tree.map(lambda m, v: m / (fnp.sqrt(v) + eps), mean, corrected(nu, b2, count))
        return made, ScaleByAdamState(count, mu, nu)

    return by_history(two_moments, step)


@makes_transformation("scale_by_radam()", [1.0, -4.0])
def scale_by_radam(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, threshold: Any = 5.0, *,
    nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Adam whose first steps do not trust the second moment. Source: Liu et al., "RAdam" (2020)."""
    limit = 2.0 / (1.0 - b2) - 1.0

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        mu, nu, count = moment(updates, state.mu, b1), second_moment(updates, state.nu, b2), increment(state.count)
        # In float64: the first lengths are small differences of large numbers.
        power = b2 ** count.astype(float64)
        length = limit - 2 * count * power / (1 - power)
        ratio = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length)
        trusted, factor = length >= threshold, fnp.sqrt(fnp.where(length >= threshold, ratio, 1.0))

        def rectified(m: Any, v: Any) -> Any:
            return fnp.where(trusted, factor.astype(m.dtype) * m / (fnp.sqrt(v + eps_root) + eps), m)

        mean = mean_of(updates, mu, b1, count, nesterov)
        return tree.map(rectified, mean, corrected(nu, b2, count)), ScaleByAdamState(count, mu, nu)

    return by_history(two_moments, step)


@makes_transformation("scale_by_rms()", [3.162, -3.162])
def scale_by_rms(
    decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True, bias_correction: bool = False
) -> GradientTransformation:
    """Divide by the root of the mean square. Source: Tieleman, Hinton, "RMSProp" (2012)."""

    def step(updates: Tree, state: ScaleByRmsState) -> tuple[Tree, ScaleByRmsState]:
        nu, count = second_moment(updates, state.nu, decay), increment(state.count)
        mean = corrected(nu, decay, count) if bias_correction else nu
        return tree.map(lambda g, v: g / root(v, eps, eps_in_sqrt), updates, mean), ScaleByRmsState(count, nu)

    return by_history(lambda params: ScaleByRmsState(no_steps(), filled(params, initial_scale)), step)


@makes_transformation("scale_by_stddev()", [3.333, -3.333])
def scale_by_stddev(
    decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True, bias_correction: bool = False
) -> GradientTransformation:
    """Divide by the standard deviation: the centered form of :func:`scale_by_rms`. Source: Graves (2013)."""

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        mu, nu, count = (
            moment(updates, state.mu, decay),
            second_moment(updates, state.nu, decay),
            increment(state.count),
        )
        mean, square = (corrected(x, decay, count) if bias_correction else x for x in (mu, nu))
        made = tree.map(
            lambda g, m, v: g / root(fnp.where(fnp.isinf(v), v, fnp.maximum(v - squared(m), 0)), eps, eps_in_sqrt),
            updates,
            mean,
            square,
        )
        return made, ScaleByAdamState(count, mu, nu)

    return by_history(lambda params: ScaleByAdamState(no_steps(), zeros(params), filled(params, initial_scale)), step)


@makes_transformation("scale_by_rss(0.0)", [1.0, -1.0])
def scale_by_rss(initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> GradientTransformation:
    """Divide by the root of the sum of squares. Source: Duchi, Hazan, Singer, "Adagrad" (2011)."""

    def step(updates: Tree, state: ScaleByRssState) -> tuple[Tree, ScaleByRssState]:
        total = tree.map(lambda g, t: squared(g) + t, updates, state.sum_of_squares)
        made = tree.map(lambda g, t: fnp.where(t > 0, g / fnp.sqrt(t + eps), 0.0), updates, total)
        return made, ScaleByRssState(total)

    return by_history(lambda params: ScaleByRssState(filled(params, initial_accumulator_value)), step)


@makes_transformation("scale_by_adadelta()", [0.003, -0.003])
def scale_by_adadelta(rho: Any = 0.9, eps: Any = 1e-6) -> GradientTransformation:
    """Divide by the root mean square of gradients, multiply by that of updates. Source: Zeiler, "Adadelta" (2012).

    Args:
        eps: added under both roots.
    """

    def step(updates: Tree, state: ScaleByAdaDeltaState) -> tuple[Tree, ScaleByAdaDeltaState]:
        e_g = second_moment(updates, state.e_g, rho)
        made = tree.map(lambda g, v, x: fnp.sqrt(x + eps) / fnp.sqrt(v + eps) * g, updates, e_g, state.e_x)
        return made, ScaleByAdaDeltaState(e_g, second_moment(made, state.e_x, rho))

    return by_history(lambda params: ScaleByAdaDeltaState(zeros(params), zeros(params)), step)


@makes_transformation("scale_by_lion()", [1.0, -1.0])
def scale_by_lion(b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None) -> GradientTransformation:
    """The sign of a momentum. Source: Chen et al., "Symbolic discovery of optimization algorithms" (2023).

    Args:
        b1: weight of the momentum in the update.
        b2: decay of the momentum.
        mu_dtype: of the momentum; None is that of the parameters, at least float32.
    """

    def step(updates: Tree, state: ScaleByLionState) -> tuple[Tree, ScaleByLionState]:
        made = tree.map(lambda g, m: fnp.sign((1.0 - b1) * g + b1 * m), updates, state.mu)
        mu = cast(moment(updates, state.mu, b2), mu_dtype)
        return made, ScaleByLionState(increment(state.count), mu)

    return by_history(lambda params: ScaleByLionState(no_steps(), zeros(params, mu_dtype)), step)
