"""Further transformations of gradients by their history, each from the paper it names."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import float32
from fdl.optim.arguments import DECAY, POSITIVE, REAL, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    in_float32,
    increment,
    needs_params,
    per_leaf,
    squared,
    sum_of_squares,
    zeros,
)
from fdl.optim.moments import (
    ScaleByAdamState,
    by_history,
    cast,
    corrected,
    filled,
    moment,
    no_steps,
    second_moment,
)


class ScaleByAdanState(NamedTuple):
    """Moments of gradients, of their differences, of their squares; the last gradient; step count."""

    m: Any
    v: Any
    n: Any
    g: Any
    t: Any


class ScaleByNovogradState(NamedTuple):
    """Step count, first moments, and one second moment for every leaf."""

    count: Any
    mu: Any
    nu: Any


class ScaleByRpropState(NamedTuple):
    """Step sizes, and the last updates."""

    step_sizes: Any
    prev_updates: Any


class ScaleByAdemamixState(NamedTuple):
    """Step count, quick and slow first moments, second moments."""

    count: Any
    m1: Any
    m2: Any
    nu: Any


class ScaleByOptimisticGradientState(NamedTuple):
    """Whether no step was made yet, and the last gradients."""

    is_initial_step: Any
    previous_gradient: Any


@makes_transformation("scale_by_sign()", [1.0, -1.0])
def scale_by_sign() -> GradientTransformation:
    """Replace every element by its sign. Source: Bernstein et al. (2018)."""
    return per_leaf(fnp.sign, True)


@makes_transformation("scale_by_yogi()", [0.999, -1.0])
def scale_by_yogi(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3, eps_root: Any = 0.0, initial_accumulator_value: Any = 1e-6
) -> GradientTransformation:
    """Adam whose second moment changes additively. Source: Zaheer et al. (2018).

    Args:
        initial_accumulator_value: first value of both moments.
    """

    def init(params: Tree) -> ScaleByAdamState:
        return ScaleByAdamState(
            no_steps(), filled(params, initial_accumulator_value), filled(params, initial_accumulator_value)
        )

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        mu, count = moment(updates, state.mu, b1), increment(state.count)
        nu = tree.map(lambda g, v: v - (1 - b2) * fnp.sign(v - squared(g)) * squared(g), _dense(updates), state.nu)
        made = tree.map(
            lambda m, v: m / (fnp.sqrt(v + eps_root) + eps), corrected(mu, b1, count), corrected(nu, b2, count)
        )
        return made, ScaleByAdamState(count, mu, nu)

    return by_history(init, step)


@makes_transformation("scale_by_adan()", [1.0, -1.0], b3=DECAY)
def scale_by_adan(
    b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8, eps_root: Any = 0.0
) -> GradientTransformation:
    """Nesterov's momentum estimated from differences of gradients. Source: Xie et al., "Adan" (2022), algorithm 1.

    Args:
        b2: decay of the mean of differences.
        b3: decay of the mean of squares.
    """

    def step(updates: Tree, state: ScaleByAdanState) -> tuple[Tree, ScaleByAdanState]:
        updates, first = _dense(updates), state.t == 0
        change = tree.map(lambda g, old: fnp.where(first, 0.0, g - old).astype(g.dtype), updates, state.g)
        ahead = tree.map(lambda g, d: g + (1 - b2) * d, updates, change)
        m, v, n = moment(updates, state.m, b1), moment(change, state.v, b2), second_moment(ahead, state.n, b3)
        t = increment(state.t)
        made = tree.map(
            lambda m, v, n: (m + (1 - b2) * v) / (fnp.sqrt(n + eps_root) + eps),
            corrected(m, b1, t),
            corrected(v, b2, t),
            corrected(n, b3, t),
        )
        return made, ScaleByAdanState(m, v, n, updates, t)

    def init(params: Tree) -> ScaleByAdanState:
        return ScaleByAdanState(zeros(params), zeros(params), zeros(params), zeros(params), no_steps())

    return by_history(init, step)


@makes_transformation("scale_by_novograd()", [0.243, -0.970])
def scale_by_novograd(
    b1: Any = 0.9, b2: Any = 0.25, eps: Any = 1e-8, eps_root: Any = 0.0, weight_decay: Any = 0.0, mu_dtype: Any = None
) -> GradientTransformation:
    """Momentum of gradients that are divided by their own norm, leaf by leaf. Source: Ginsburg et al. (2019).

    Args:
        weight_decay: factor of the parameters, inside of the momentum.
    """

    def update(
        updates: Tree, state: ScaleByNovogradState, params: Tree | None = None
    ) -> tuple[Tree, ScaleByNovogradState]:
        first, count, updates = state.count == 0, increment(state.count), _dense(updates)
        square = tree.map(lambda g, v: sum_of_squares(g).astype(v.dtype), updates, state.nu)
        nu = tree.map(lambda s, v: fnp.where(first, s, b2 * v + (1 - b2) * s), square, state.nu)
        unit = tree.map(lambda g, v: g / (fnp.sqrt(v + eps_root) + eps).astype(g.dtype), updates, nu)
        if not (isinstance(weight_decay, (int, float)) and weight_decay == 0):
            params = needs_params("scale_by_novograd with weight_decay", params)
            unit = tree.map(lambda u, p: u + weight_decay * p, unit, params)
        mu = tree.map(lambda u, m: fnp.where(first, u, b1 * m + u), unit, state.mu)
        return mu, ScaleByNovogradState(count, cast(mu, mu_dtype), nu)

    def init(params: Tree) -> ScaleByNovogradState:
        norms = tree.map(lambda p: fnp.zeros((), fnp.real(fnp.asarray(p)).dtype), params)
        return ScaleByNovogradState(no_steps(), zeros(params, mu_dtype), norms)

    return in_float32(init, update)


@makes_transformation("scale_by_rprop(0.1)", [0.1, -0.1], eta_minus=POSITIVE, eta_plus=POSITIVE)
def scale_by_rprop(
    learning_rate: Any, eta_minus: Any = 0.5, eta_plus: Any = 1.2, min_step_size: Any = 1e-6, max_step_size: Any = 50.0
) -> GradientTransformation:
    """Steps of which only the signs come from the gradients. Source: Riedmiller, Braun (1993).

    Args:
        learning_rate: the first size of the steps.
        eta_minus: factor of the size where the sign has changed; the step is then left out.
        eta_plus: factor of the size where it has not.
        min_step_size: the smallest size.
        max_step_size: the largest size.
    """

    def step(updates: Tree, state: ScaleByRpropState) -> tuple[Tree, ScaleByRpropState]:
        updates = _dense(updates)
        signs = tree.map(lambda g, old: g * old, updates, state.prev_updates)

        def sized(s: Any, size: Any) -> Any:
            moved = fnp.clip(size * fnp.where(s > 0, eta_plus, eta_minus), min_step_size, max_step_size)
            return fnp.where(s == 0, size, moved).astype(size.dtype)

        sizes = tree.map(sized, signs, state.step_sizes)
        made = tree.map(
            lambda s, g, size: fnp.where(s < 0, 0.0, size * fnp.sign(g)).astype(g.dtype), signs, updates, sizes
        )
        return made, ScaleByRpropState(sizes, made)

    return by_history(lambda params: ScaleByRpropState(filled(params, learning_rate), zeros(params)), step)


@makes_transformation(
    "scale_by_ademamix()", [1.001, -1.001], b3=DECAY._replace(schedule=True), alpha=REAL._replace(schedule=True)
)
def scale_by_ademamix(
    b1: Any = 0.9, b2: Any = 0.999, b3: ScalarOrSchedule = 0.9999, alpha: ScalarOrSchedule = 6.0, eps: Any = 1e-8,
    eps_root: Any = 0.0, mu_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Adam with a second, slow mean of the gradients. Source: Pagliardini, Ablin, Grangier (2024).

    Args:
        b3: decay of the slow mean; a number or a schedule.
        alpha: weight of the slow mean; a number or a schedule.
    """

    def init(params: Tree) -> ScaleByAdemamixState:
        return ScaleByAdemamixState(no_steps(), zeros(params, mu_dtype), zeros(params, mu_dtype), zeros(params))

    def step(updates: Tree, state: ScaleByAdemamixState) -> tuple[Tree, ScaleByAdemamixState]:
        decay, weight = (x(state.count) if callable(x) else x for x in (b3, alpha))
        m1, nu, count = moment(updates, state.m1, b1), second_moment(updates, state.nu, b2), increment(state.count)
        m2 = tree.map(lambda g, m: ((1 - decay) * g + decay * m).astype(m.dtype), _dense(updates), state.m2)
        made = tree.map(
            lambda m, slow, v: (m + (weight * slow).astype(m.dtype)) / (fnp.sqrt(v + eps_root) + eps),
            corrected(m1, b1, count),
            m2,
            corrected(nu, b2, count),
        )
        return made, ScaleByAdemamixState(count, cast(m1, mu_dtype), cast(m2, mu_dtype), nu)

    return by_history(init, step)


@makes_transformation("scale_by_adopt()", [0.0, 0.0])
def scale_by_adopt(
    b1: Any = 0.9, b2: Any = 0.9999, eps: Any = 1e-6, mu_dtype: Any = None, *, nesterov: bool = False,
    use_clipping: bool = True,
) -> GradientTransformation:  # fmt: skip
    """Adam whose gradients are divided by the second moment of the steps before. Source: Taniguchi et al. (2024).

    The first step only measures the gradient's squares.

    Args:
        eps: the smallest divisor.
        use_clipping: whether elements are clipped to the fourth root of the step count.
    """

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        updates, first = _dense(updates), state.count == 0
        nu = tree.map(
            lambda g, v: fnp.where(first, squared(g), (1 - b2) * squared(g) + b2 * v).astype(v.dtype), updates, state.nu
        )
        bound = state.count.astype(float32) ** 0.25 if use_clipping else fnp.inf

        def unit(g: Any, v: Any) -> Any:
            ratio = g / fnp.maximum(fnp.sqrt(v), eps)
            return fnp.where(first, 0.0, fnp.clip(ratio, -bound, bound)).astype(g.dtype)

        units = tree.map(unit, updates, state.nu)
        mu = moment(units, state.mu, b1)
        made = moment(units, mu, b1) if nesterov else mu
        return made, ScaleByAdamState(increment(state.count), cast(mu, mu_dtype), nu)

    return by_history(lambda params: ScaleByAdamState(no_steps(), zeros(params, mu_dtype), zeros(params)), step)


@makes_transformation("scale_by_optimistic_gradient()", [1.0, -4.0], alpha=REAL, beta=REAL)
def scale_by_optimistic_gradient(alpha: Any = 1.0, beta: Any = 1.0) -> GradientTransformation:
    """Extrapolate from the last gradient: ``(alpha + beta) * new - beta * old``. Source: Mokhtari et al. (2019).

    Args:
        alpha: weight of the gradient.
        beta: weight of its change.
    """

    def step(updates: Tree, state: ScaleByOptimisticGradientState) -> tuple[Tree, ScaleByOptimisticGradientState]:
        updates = _dense(updates)
        old = tree.map(lambda g, p: fnp.where(state.is_initial_step, g, p), updates, state.previous_gradient)
        made = tree.map(lambda g, p: (alpha + beta) * g - beta * p, updates, old)
        return made, ScaleByOptimisticGradientState(fnp.asarray(False), updates)

    return by_history(lambda params: ScaleByOptimisticGradientState(fnp.asarray(True), zeros(params)), step)


def _dense(updates: Tree) -> Tree:
    """Gradients as arrays, those of tables too."""
    return tree.map(fnp.asarray, updates)
