"""Optimizers that find their learning rate: from distances, from the value of the loss, from plateaus."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import float32, int32
from fdl.optim.arguments import DECAY, NOT_NEGATIVE, POSITIVE, REAL, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    global_norm,
    identity,
    in_float32,
    increment,
    needs_params,
    sum_of_squares,
    widest_dtype,
    zeros,
)
from fdl.optim.constraints import add_decayed_weights
from fdl.optim.moments import no_steps
from fdl.optim.optimizers import sgd
from fdl.optim.transforms import scale_by_learning_rate
from fdl.scalars import Scalar


class DoGState(NamedTuple):
    """Whether no step was made yet, first parameters, largest distance from them, sum of gradients' squared norms."""

    is_init_step: Any
    init_params: Any
    max_dist: Any
    sum_sq_norm_grads: Any


class DoWGState(NamedTuple):
    """First parameters, weighted sum of gradients' squared norms, largest squared distance from the parameters."""

    init_params: Any
    weighted_sq_norm_grads: Any
    estim_sq_dist: Any


class ProdigyState(NamedTuple):
    """Moments, decayed sum of gradients, first parameters, estimated rate, its numerator, step count."""

    exp_avg: Any
    exp_avg_sq: Any
    grad_sum: Any
    params0: Any
    estim_lr: Any
    numerator_weighted: Any
    count: Any


class ReduceLROnPlateauState(NamedTuple):
    """Factor of the updates, best value, values without a better one, cooldown left, values in the mean, the mean."""

    scale: Any
    best_value: Any
    plateau_count: Any
    cooldown_count: Any
    count: Any
    avg_value: Any


def _scale_by_dog(init_step: tuple[str, Any], eps: Any) -> GradientTransformation:
    kind, size = init_step
    if kind not in ("distance", "heuristic", "learning_rate"):
        raise ValueError(f"dog takes init_step ('distance' | 'heuristic' | 'learning_rate', number), got {init_step!r}")

    def init(params: Tree) -> DoGState:
        zero = fnp.zeros((), widest_dtype(params))
        first = {"distance": size, "heuristic": size * (1 + global_norm(params)), "learning_rate": 0.0}[kind]
        start = tree.map(fnp.asarray, params)
        return DoGState(fnp.asarray(True), start, fnp.asarray(first).astype(zero.dtype), zero)

    def update(updates: Tree, state: DoGState, params: Tree | None = None) -> tuple[Tree, DoGState]:
        updates, params = tree.map(fnp.asarray, updates), needs_params("dog", params)
        away = global_norm(tree.map(lambda x, y: x - y, params, state.init_params))
        farthest = fnp.maximum(state.max_dist, away).astype(state.max_dist.dtype)
        total = (state.sum_sq_norm_grads + global_norm(updates) ** 2).astype(farthest.dtype)
        rate = farthest / fnp.sqrt(total + eps)
        if kind == "learning_rate":
            rate = fnp.where(state.is_init_step, size, rate)
        made = tree.map(lambda g: rate.astype(g.dtype) * g, updates)
        return made, DoGState(fnp.asarray(False), state.init_params, farthest, total)

    return in_float32(init, update)


@makes_transformation()
def dog(
    learning_rate: ScalarOrSchedule = 1.0, init_step: tuple[str, Any] = ("heuristic", 1e-6), eps: Any = 1e-8,
    weight_decay: Any = None, mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """The distance from the start over the root of the sum of squares as learning rate. Source: Ivgi et al. (2023).

    Args:
        learning_rate: factor of that rate.
        init_step: ("distance", the first one), ("heuristic", that over one plus the parameters' norm), or
            ("learning_rate", of the first step).
        eps: added under the root.
        weight_decay: factor of the parameters, added to the gradients; None for none.

    Raises:
        ValueError: `init_step` is none of these.

    >>> params, optimizer = fnp.zeros(1), dog(init_step=("distance", 0.5))
    >>> [round(u, 3) for u in optimizer.update(fnp.ones(1), optimizer.init(params), params)[0].tolist()]
    [-0.5]
    """
    decay = identity() if weight_decay is None else add_decayed_weights(weight_decay, mask)
    return chain(decay, _scale_by_dog(init_step, eps), scale_by_learning_rate(learning_rate))


def _scale_by_dowg(init_estim_sq_dist: Any, eps: Any) -> GradientTransformation:
    def init(params: Tree) -> DoWGState:
        first = eps if init_estim_sq_dist is None else init_estim_sq_dist
        start = tree.map(fnp.asarray, params)
        zero = fnp.zeros((), widest_dtype(params))
        return DoWGState(start, zero, fnp.asarray(first).astype(zero.dtype))

    def update(updates: Tree, state: DoWGState, params: Tree | None = None) -> tuple[Tree, DoWGState]:
        updates, params = tree.map(fnp.asarray, updates), needs_params("dowg", params)
        away = global_norm(tree.map(lambda x, y: x - y, params, state.init_params)) ** 2
        farthest = fnp.maximum(state.estim_sq_dist, away).astype(state.estim_sq_dist.dtype)
        total = (state.weighted_sq_norm_grads + farthest * global_norm(updates) ** 2).astype(farthest.dtype)
        rate = farthest / (fnp.sqrt(total) + eps)
        return tree.map(lambda g: rate.astype(g.dtype) * g, updates), DoWGState(state.init_params, total, farthest)

    return in_float32(init, update)


@makes_transformation(init_estim_sq_dist=POSITIVE)
def dowg(
    learning_rate: ScalarOrSchedule = 1.0, init_estim_sq_dist: Any = None, eps: Any = 1e-4, weight_decay: Any = None,
    mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """:func:`dog` with gradients weighted by distances. Source: Khaled, Mishchenko, Jin (2023).

    Args:
        learning_rate: factor of the rate.
        init_estim_sq_dist: the first squared distance; None is `eps`.
        weight_decay: factor of the parameters, added to the gradients; None for none.

    >>> params, optimizer = fnp.zeros(1), dowg(init_estim_sq_dist=0.25, eps=0.0)
    >>> [round(u, 3) for u in optimizer.update(fnp.ones(1), optimizer.init(params), params)[0].tolist()]
    [-0.5]
    """
    decay = identity() if weight_decay is None else add_decayed_weights(weight_decay, mask)
    return chain(decay, _scale_by_dowg(init_estim_sq_dist, eps), scale_by_learning_rate(learning_rate))


@makes_transformation(estim_lr0=POSITIVE, estim_lr_coef=POSITIVE, beta3=DECAY)
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0, betas: tuple[Any, Any] = (0.9, 0.999), beta3: Any = None, eps: Any = 1e-8,
    estim_lr0: Any = 1e-6, estim_lr_coef: Any = 1.0, weight_decay: Any = 0.0, safeguard_warmup: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Adam that estimates its learning rate. Source: Mishchenko, Defazio, "Prodigy" (2023).

    Args:
        learning_rate: factor of the estimate; a number or a schedule.
        betas: decays of the first and the second moment.
        beta3: decay of the estimate's sums; None is the root of the second of `betas`.
        estim_lr0: first estimate.
        estim_lr_coef: factor of later estimates.
        weight_decay: factor of the parameters.
        safeguard_warmup: whether the factor `learning_rate` is left out of the sums.

    >>> params, optimizer = fnp.ones(1), prodigy(estim_lr0=0.1)
    >>> [round(u, 3) for u in optimizer.update(fnp.ones(1), optimizer.init(params), params)[0].tolist()]
    [-0.1]
    """
    b1, b2 = betas
    b3 = b2**0.5 if beta3 is None else beta3

    def init(params: Tree) -> ProdigyState:
        kind = widest_dtype(params)
        zero = fnp.zeros((), kind)
        start = tree.map(fnp.asarray, params)
        first = fnp.asarray(estim_lr0, kind)
        return ProdigyState(zeros(params), zeros(params), zeros(params), start, first, zero, no_steps())

    def update(updates: Tree, state: ProdigyState, params: Tree | None = None) -> tuple[Tree, ProdigyState]:
        params, updates = needs_params("prodigy", params), tree.map(fnp.asarray, updates)
        count, estimate = increment(state.count), state.estim_lr
        kind = estimate.dtype
        power = count.astype(kind)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        rate = (estimate * rate * fnp.sqrt(1 - b2**power) / (1 - b1**power)).astype(kind)
        inner = sum(
            (
                fnp.sum(g * (p0 - p)).astype(kind)
                for g, p0, p in zip(*map(tree.leaves, (updates, state.params0, params)), strict=True)
            ),
            fnp.zeros((), kind),
        )
        mean = tree.map(lambda m, g: b1 * m + (1 - b1) * estimate.astype(g.dtype) * g, state.exp_avg, updates)
        square = tree.map(
            lambda v, g: b2 * v + (1 - b2) * (estimate.astype(g.dtype) * g) ** 2, state.exp_avg_sq, updates
        )
        weight = (estimate if safeguard_warmup else rate) * estimate / estim_lr0
        total = tree.map(lambda s, g: b3 * s + weight.astype(g.dtype) * g, state.grad_sum, updates)
        numerator = b3 * state.numerator_weighted + estimate / estim_lr0 * rate * inner
        size = sum((fnp.sum(fnp.abs(s)).astype(kind) for s in tree.leaves(total)), fnp.zeros((), kind))
        better = fnp.where(size > 0, estim_lr_coef * numerator / fnp.where(size > 0, size, 1.0), 0.0)

        def made(m: Any, v: Any, p: Any) -> Any:
            r, e = rate.astype(m.dtype), estimate.astype(m.dtype)
            return -weight_decay * r * p - r * m / (fnp.sqrt(v) + e * eps)

        after = ProdigyState(
            mean, square, total, state.params0, fnp.maximum(estimate, better).astype(kind), numerator, count
        )
        return tree.map(made, mean, square, params), after

    return in_float32(init, update)


@makes_transformation(f_min=REAL, max_learning_rate=NOT_NEGATIVE)
def scale_by_polyak(
    f_min: Any = 0.0, max_learning_rate: Any = 1.0, eps: Any = 0.0, variant: str = "sps"
) -> GradientTransformation:
    """Multiply by Polyak's step: what the loss is above its minimum over the gradient's squared norm.

    Source: Loizou et al. (2021). Call ``update(gradients, state, params, value=loss)``.

    Args:
        f_min: the minimum of the loss.
        max_learning_rate: the largest step.
        eps: added to the squared norm.
        variant: "sps", or "sps+", which takes no step where the loss is below `f_min`.

    Raises:
        ValueError: the variant is unknown.

    >>> t = scale_by_polyak(max_learning_rate=9.0)
    >>> t.update(fnp.array([2.0]), t.init(fnp.zeros(1)), value=fnp.array(2.0))[0].tolist()
    [1.0]
    """
    if variant not in ("sps", "sps+"):
        raise ValueError(f"scale_by_polyak takes variant 'sps' or 'sps+', got {variant!r}")

    def update(updates: Tree, state: Any, params: Tree | None = None, *, value: Any, **extra: Any) -> tuple[Tree, Any]:
        updates = tree.map(fnp.asarray, updates)
        square = sum((sum_of_squares(g) for g in tree.leaves(updates)), fnp.zeros((), float32)) + eps
        gap = fnp.asarray(value) - f_min
        gap = fnp.maximum(gap, 0.0) if variant == "sps+" else gap
        step = fnp.where(square > 0, fnp.minimum(gap / fnp.where(square > 0, square, 1.0), max_learning_rate), 0.0)
        return tree.map(lambda g: step.astype(g.dtype) * g, updates), state

    return in_float32(lambda params: (), update, False, True)


@makes_transformation(max_learning_rate=NOT_NEGATIVE, f_min=REAL, scaling=NOT_NEGATIVE._replace(schedule=True))
def polyak_sgd(
    max_learning_rate: Any = 1.0, scaling: ScalarOrSchedule = 1.0, f_min: Any = 0.0, eps: Any = 0.0,
    variant: str = "sps",
) -> GradientTransformation:  # fmt: skip
    """Gradient descent with Polyak's step. Source: Loizou et al. (2021).

    Call ``update(gradients, state, params, value=loss)``.

    Args:
        max_learning_rate: the largest step.
        scaling: factor of the step.
        f_min: the minimum of the loss.
        eps: added to the squared norm.
        variant: "sps", or "sps+", which takes no step where the loss is below `f_min`.

    >>> t = polyak_sgd(max_learning_rate=9.0)
    >>> t.update(fnp.array([2.0]), t.init(fnp.zeros(1)), value=fnp.array(2.0))[0].tolist()
    [-1.0]
    """
    return chain(sgd(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))


@makes_transformation(
    factor=Scalar(0.0, 1.0, True, True), patience=Scalar(1, whole=True), rtol=Scalar(0.0, 1.0), atol=NOT_NEGATIVE,
    cooldown=Scalar(0, whole=True), accumulation_size=Scalar(1, whole=True), min_scale=NOT_NEGATIVE,
)  # fmt: skip
def reduce_on_plateau(
    factor: Any = 0.1, patience: Any = 10, rtol: Any = 1e-4, atol: Any = 0.0, cooldown: Any = 0,
    accumulation_size: Any = 1, min_scale: Any = 0.0,
) -> GradientTransformation:  # fmt: skip
    """Shrink updates when the loss has stopped falling. Put it last; call ``update(grads, state, params, value=loss)``.

    Args:
        factor: of the updates, at each plateau.
        patience: values without a better one that make a plateau.
        rtol: how much better, relative to the best value, counts.
        atol: how much better counts.
        cooldown: values after a plateau that do not count.
        accumulation_size: losses whose mean is one value.
        min_scale: the smallest product of factors.

    >>> t = reduce_on_plateau(0.5, patience=1)
    >>> state = t.init(fnp.zeros(1))
    >>> for loss in (1.0, 1.0):
    ...     updates, state = t.update(fnp.ones(1), state, value=fnp.asarray(loss))
    >>> updates.tolist()
    [0.5]
    """

    def init(params: Tree) -> ReduceLROnPlateauState:
        zero = fnp.zeros((), int32)
        one = fnp.ones((), float32)
        return ReduceLROnPlateauState(one, fnp.asarray(fnp.inf, float32), zero, zero, zero, fnp.zeros((), float32))

    def update(
        updates: Tree, state: ReduceLROnPlateauState, params: Tree | None = None, *, value: Any, **extra: Any
    ) -> tuple[Tree, ReduceLROnPlateauState]:
        count = state.count + 1
        mean = state.avg_value + (fnp.asarray(value).astype(float32) - state.avg_value) / count.astype(float32)
        complete = count == accumulation_size
        better = mean < (1 - rtol) * state.best_value - atol
        waiting = state.cooldown_count > 0
        since = fnp.where(better | waiting, 0, state.plateau_count + 1)
        reached = (since == patience) & ~waiting

        def now(new: Any, old: Any) -> Any:
            return fnp.where(complete, new, old).astype(old.dtype)

        after = ReduceLROnPlateauState(
            now(fnp.where(reached, fnp.maximum(state.scale * factor, min_scale), state.scale), state.scale),
            now(fnp.where(better, mean, state.best_value), state.best_value),
            now(fnp.where(reached, 0, since), state.plateau_count),
            now(fnp.where(waiting, state.cooldown_count - 1, fnp.where(reached, cooldown, 0)), state.cooldown_count),
            fnp.where(complete, 0, count).astype(int32),
            fnp.where(complete, 0.0, mean).astype(float32),
        )
        return tree.map(lambda g: after.scale.astype(fnp.asarray(g).dtype) * g, updates), after

    return in_float32(init, update, False, True)
