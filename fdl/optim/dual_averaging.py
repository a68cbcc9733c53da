"""Optimizers that start from the first parameters in every step: sums of all gradients, scaled, are added to them."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.optim.arguments import DECAY, POSITIVE, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    in_float32,
    increment,
    needs_params,
    zeros,
)
from fdl.optim.constraints import add_decayed_weights
from fdl.optim.moments import no_steps
from fdl.optim.transforms import scale_by_learning_rate


class MadgradState(NamedTuple):
    """Step count, weighted sums of squared gradients and of gradients, first parameters."""

    count: Any
    grad_sum_sq: Any
    s: Any
    x0: Any


class COCOBState(NamedTuple):
    """First parameters, sum of negative gradients, largest gradient, sum of moduli, reward."""

    init_particles: Any
    cumulative_gradients: Any
    scale: Any
    subgradients: Any
    reward: Any


@makes_transformation(momentum=DECAY)
def scale_by_madgrad(learning_rate: ScalarOrSchedule, momentum: Any = 0.9, eps: Any = 1e-6) -> GradientTransformation:
    """The step of :func:`madgrad`, with its sign.

    Args:
        momentum: share of the old parameters in the new ones.

    Raises:
        ValueError: ``update`` was called without the parameters.
    """

    def init(params: Tree) -> MadgradState:
        return MadgradState(no_steps(), zeros(params), zeros(params), tree.map(fnp.asarray, params))

    def update(updates: Tree, state: MadgradState, params: Tree | None = None) -> tuple[Tree, MadgradState]:
        params, updates = needs_params("madgrad", params), tree.map(fnp.asarray, updates)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        weight = (rate + eps) * fnp.sqrt(state.count + 1.0)
        squares = tree.map(lambda v, g: v + (weight * g * g).astype(g.dtype), state.grad_sum_sq, updates)
        sums = tree.map(lambda s, g: s + (weight * g).astype(g.dtype), state.s, updates)

        def moved(x0: Any, s: Any, v: Any, x: Any) -> Any:
            return (1 - momentum) * (x0 - s / (fnp.cbrt(v) + eps) - x)

        after = MadgradState(increment(state.count), squares, sums, state.x0)
        return tree.map(moved, state.x0, sums, squares, params), after

    return in_float32(init, update)


@makes_transformation(momentum=DECAY)
def madgrad(
    learning_rate: ScalarOrSchedule, momentum: Any = 0.9, weight_decay: ScalarOrSchedule = 0.0, eps: Any = 1e-6
) -> GradientTransformation:
    """Dual averaging with cube roots of the sums of squares. Source: Defazio, Jelassi (2021).

    Args:
        momentum: share of the old parameters in the new ones.
        weight_decay: factor of the parameters, added to the gradients.

    >>> params, optimizer = fnp.zeros(1), madgrad(1.0, momentum=0.0, eps=0.0)
    >>> optimizer.update(fnp.full(1, 8.0), optimizer.init(params), params)[0].tolist()
    [-2.0]
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))


@makes_transformation(alpha=POSITIVE)
def scale_by_cocob(alpha: Any = 100.0, eps: Any = 1e-8) -> GradientTransformation:
    """The step of :func:`cocob`, with its sign.

    Args:
        alpha: how many largest gradients the sum of moduli counts at least, which makes the first bets small.
        eps: the first largest gradient.

    Raises:
        ValueError: ``update`` was called without the parameters.
    """

    def init(params: Tree) -> COCOBState:
        start = tree.map(fnp.asarray, params)
        return COCOBState(start, zeros(params), tree.map(lambda x: fnp.full_like(x, eps), start), *[zeros(params)] * 2)

    def update(updates: Tree, state: COCOBState, params: Tree | None = None) -> tuple[Tree, COCOBState]:
        params, updates = needs_params("cocob", params), tree.map(fnp.asarray, updates)
        first = state.init_particles
        largest = tree.map(lambda m, g: fnp.maximum(m, fnp.abs(g)), state.scale, updates)
        moduli = tree.map(lambda s, g: s + fnp.abs(g), state.subgradients, updates)
        reward = tree.map(lambda r, g, x, x0: fnp.maximum(r - g * (x - x0), 0.0), state.reward, updates, params, first)
        total = tree.map(lambda s, g: s - g, state.cumulative_gradients, updates)

        def moved(x: Any, x0: Any, s: Any, m: Any, a: Any, r: Any) -> Any:
            return x0 - x + s / (m * fnp.maximum(a + m, alpha * m)) * (m + r)

        made = tree.map(moved, params, first, total, largest, moduli, reward)
        return made, COCOBState(first, total, largest, moduli, reward)

    return in_float32(init, update)


@makes_transformation(alpha=POSITIVE)
def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: Any = 100.0,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    mask: Any = None,
) -> GradientTransformation:
    """Bets on the sign of the next gradient, without a learning rate. Source: Orabona, Tommasi (2017), algorithm 2.

    Args:
        learning_rate: factor of the gradients.
        alpha: as of :func:`scale_by_cocob`.
        eps: the first largest gradient.
        weight_decay: factor of the parameters, added to the gradients.

    >>> params, optimizer = fnp.zeros(2), cocob(alpha=2.0)
    >>> [round(u, 3) for u in optimizer.update(fnp.array([3.0, -1.0]), optimizer.init(params), params)[0].tolist()]
    [-0.5, 0.5]
    """
    rate = scale_by_learning_rate(learning_rate, flip_sign=False)
    return chain(add_decayed_weights(weight_decay, mask), rate, scale_by_cocob(alpha, eps))
