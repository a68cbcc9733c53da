"""Averages of parameters over steps: a moving average beside them, and slow ones that they go back to."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import int32
from fdl.optim.arguments import FRACTION, makes_transformation, tells_call
from fdl.optim.base import (
    GradientTransformation,
    Tree,
    apply_updates,
    in_float32,
    needs_params,
    refuse_to_hide,
)
from fdl.scalars import Scalar, checked
from fdl.sparse.rows import Rows


class ParamsEmaState(NamedTuple):
    """Moving average of the parameters."""

    params_ema: Any


class LookaheadState(NamedTuple):
    """Steps since the slow parameters moved last, the slow parameters, and the state of the inner optimizer."""

    count: Any
    slow: Any
    inner_state: Any


@makes_transformation()
def params_ema(decay: Any) -> GradientTransformation:
    """Keep a moving average of the parameters in the state, beginning with the first; updates pass through.

    Put it last in a chain, as it adds the updates that it sees to the parameters. Source: Polyak, Juditsky (1992).

    Args:
        decay: decay of the average per step.

    Raises:
        ValueError: ``update`` was called without the parameters.

    >>> params, transformation = fnp.zeros(2), params_ema(0.75)
    >>> _, state = transformation.update(fnp.array([1.0, -4.0]), transformation.init(params), params)
    >>> state.params_ema.tolist()
    [0.25, -1.0]
    """

    def update(updates: Tree, state: ParamsEmaState, params: Tree | None = None) -> tuple[Tree, ParamsEmaState]:
        after = apply_updates(needs_params("params_ema", params), updates)
        return updates, ParamsEmaState(tree.map(lambda e, p: decay * e + (1 - decay) * p, state.params_ema, after))

    return in_float32(lambda params: ParamsEmaState(tree.map(fnp.asarray, params)), update, True)


@tells_call()
@checked(sync_period=Scalar(1, whole=True), slow_step_size=FRACTION)
def lookahead(optimizer: GradientTransformation, sync_period: int, slow_step_size: Any) -> GradientTransformation:
    """Once every so many steps move slow parameters towards those of the optimizer, and go on from there.

    Source: Zhang, Lucas, Hinton, Ba, "Lookahead optimizer" (2019).

    Args:
        optimizer: what takes the steps in between.
        sync_period: how many, a positive integer.
        slow_step_size: the fraction of the way that the slow parameters go.

    Returns:
        A pair of pure functions.

    Raises:
        ValueError: ``update`` was called without the parameters.
        RangeError: a number is NaN or outside of its range; DtypeError, ShapeError if it is none.

    >>> from fdl import optim
    >>> params, optimizer = fnp.array(0.0), lookahead(optim.sgd(1.0), sync_period=2, slow_step_size=0.5)
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update(fnp.array(-3.0), state, params)
    ...     params = optim.apply_updates(params, updates)
    >>> params.item()  # half-way to 6
    3.0
    """
    refuse_to_hide("lookahead", optimizer)

    def init(params: Tree) -> LookaheadState:
        return LookaheadState(fnp.zeros((), int32), tree.map(fnp.asarray, params), optimizer.init(params))

    def update(updates: Tree, state: LookaheadState, params: Tree | None = None) -> tuple[Tree, LookaheadState]:
        params = needs_params("lookahead", params)
        made, inner = optimizer.update(updates, state.inner_state, params)
        last = state.count + 1 == sync_period

        def moved(slow: Any, fast: Any) -> Any:
            return fnp.where(last, slow + slow_step_size * (fast - slow), slow)

        def step(made: Any, slow: Any, param: Any) -> Any:
            return fnp.where(last, slow - param, made.dense() if isinstance(made, Rows) else made)

        slow = tree.map(moved, state.slow, apply_updates(params, made))
        count = fnp.where(last, 0, state.count + 1).astype(int32)
        return tree.map(step, made, slow, params), LookaheadState(count, slow, inner)

    return in_float32(init, update, optimizer.elementwise)
