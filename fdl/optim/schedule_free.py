"""Optimizers whose averages of parameters replace a schedule."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import int32
from fdl.optim.arguments import DECAY, NOT_NEGATIVE, RATE, makes_transformation, tells_call
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    identity,
    in_float32,
    increment,
    needs_params,
    refuse_to_hide,
    widest_dtype,
    with_extra_args_support,
)
from fdl.optim.constraints import add_decayed_weights
from fdl.optim.optimizers import sgd
from fdl.optim.schedules import warmup_constant_schedule
from fdl.optim.transforms import scale_by_learning_rate, scale_by_rms
from fdl.scalars import Scalar, checked


class ScheduleFreeState(NamedTuple):
    """Weight of the average, sum of weights, step count, largest rate, state of the optimizer, its own parameters."""

    b1: Any
    weight_sum: Any
    step_count: Any
    max_lr: Any
    base_optimizer_state: Any
    z: Any


@tells_call()
@checked(learning_rate=RATE, b1=Scalar(0.0, 1.0, above=True), weight_lr_power=NOT_NEGATIVE)
def schedule_free(
    base_optimizer: GradientTransformation, learning_rate: ScalarOrSchedule, b1: Any = 0.9, weight_lr_power: Any = 2.0
) -> GradientTransformation:
    """Average an optimizer's parameters, and take gradients between both. Source: Defazio et al. (2024).

    Args:
        base_optimizer: without momentum.
        learning_rate: its learning rate, a number or a schedule; weighs the average.
        b1: how near to the average the gradients are taken, above 0.
        weight_lr_power: power of the largest rate so far that is a step's weight.

    Returns:
        A pair of pure functions. Measure the model at :func:`schedule_free_eval_params`.

    Raises:
        ValueError: ``update`` was called without the parameters.

    >>> from fdl import optim
    >>> params, optimizer = fnp.ones(1), schedule_free(optim.sgd(0.5), 0.5)
    >>> updates, state = optimizer.update(fnp.ones(1), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.5]
    """
    refuse_to_hide("schedule_free", base_optimizer)
    inner = with_extra_args_support(base_optimizer)

    def init(params: Tree) -> ScheduleFreeState:
        zero = fnp.zeros((), widest_dtype(params))
        z = tree.map(fnp.asarray, params)
        return ScheduleFreeState(
            fnp.asarray(b1).astype(zero.dtype), zero, fnp.ones((), int32), zero, inner.init(params), z
        )

    def update(
        updates: Tree, state: ScheduleFreeState, params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, ScheduleFreeState]:
        params = needs_params("schedule_free", params)
        rate = learning_rate(state.step_count) if callable(learning_rate) else learning_rate
        largest = fnp.maximum(state.max_lr, fnp.asarray(rate).astype(state.max_lr.dtype))
        weight = largest**weight_lr_power
        total = state.weight_sum + weight
        share = fnp.where(total > 0, weight / fnp.where(total > 0, total, 1.0), 0.0)
        made, after = inner.update(updates, state.base_optimizer_state, params, **extra)
        z = tree.map(lambda z, u: z + fnp.asarray(u).astype(z.dtype), state.z, made)
        x = averages(state, params)
        x = tree.map(lambda x, z: x + share.astype(x.dtype) * (z - x), x, z)
        made = tree.map(lambda x, z, p: b1 * x + (1 - b1) * z - p, x, z, params)
        return made, ScheduleFreeState(state.b1, total, increment(state.step_count), largest, after, z)

    return in_float32(init, update, base_optimizer.elementwise, True)


def averages(state: ScheduleFreeState, params: Tree) -> Tree:
    """The averaged parameters, from those between them and the optimizer's own."""
    b1 = fnp.asarray(state.b1)
    return tree.map(lambda y, z: (y - (1 - b1).astype(z.dtype) * z) / b1.astype(z.dtype), params, state.z)


def schedule_free_eval_params(state: ScheduleFreeState, params: Tree) -> Tree:
    """The averaged parameters, for validation and for use.

    Args:
        state: of :func:`schedule_free`.
        params: those of the run.

    Returns:
        A tree like them.

    Raises:
        TypeError: the state is another optimizer's.

    >>> from fdl import optim
    >>> optimizer = optim.schedule_free_sgd(0.5)
    >>> schedule_free_eval_params(optimizer.init(fnp.ones(1)), fnp.ones(1)).tolist()
    [1.0]
    """
    if not isinstance(state, ScheduleFreeState):
        raise TypeError(
            f"schedule_free_eval_params needs the state of schedule_free, got {type(state).__name__}; find it in a "
            "chain's state with optim.tree.get(state, 'ScheduleFreeState')"
        )
    return tree.map(lambda x, p: x.astype(fnp.asarray(p).dtype), averages(state, params), params)


@makes_transformation("schedule_free_sgd(0.5)", [-0.5, 2.0], weight_lr_power=NOT_NEGATIVE, warmup_steps=Scalar(0.0))
def schedule_free_sgd(
    learning_rate: Any = 1.0, warmup_steps: int | None = None, b1: Any = 0.9, weight_decay: Any = None,
    weight_lr_power: Any = 2.0,
) -> GradientTransformation:  # fmt: skip
    """:func:`schedule_free` gradient descent. Source: Defazio et al. (2024).

    Args:
        warmup_steps: steps in which the rate rises to its value; None for none.
        b1: how near to the average the gradients are taken.
        weight_decay: factor of the parameters, added to the gradients; None for none.
        weight_lr_power: power of the largest rate so far that is a step's weight.
    """
    rate = learning_rate if warmup_steps is None else warmup_constant_schedule(0.0, learning_rate, warmup_steps)
    decay = identity() if weight_decay is None else add_decayed_weights(weight_decay)
    return schedule_free(chain(decay, sgd(rate)), rate, b1, weight_lr_power)


@makes_transformation(
    "schedule_free_adamw(0.1)", [-0.1, 0.1], weight_lr_power=NOT_NEGATIVE, warmup_steps=Scalar(0.0), b2=DECAY
)
def schedule_free_adamw(
    learning_rate: Any = 0.0025, warmup_steps: int | None = None, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8,
    weight_decay: Any = 0.0, weight_lr_power: Any = 2.0,
) -> GradientTransformation:  # fmt: skip
    """:func:`schedule_free` AdamW. Source: Defazio et al. (2024).

    Args:
        warmup_steps: steps in which the rate rises to its value; None for none.
        b1: how near to the average the gradients are taken.
        weight_lr_power: power of the largest rate so far that is a step's weight.
    """
    rate = learning_rate if warmup_steps is None else warmup_constant_schedule(0.0, learning_rate, warmup_steps)
    inner = chain(
        scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(rate),
    )
    return schedule_free(inner, rate, b1, weight_lr_power)
