"""Sharpness-aware minimization: gradients at the worst point nearby."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import int32
from fdl.optim.accumulation import either
from fdl.optim.arguments import POSITIVE, makes_transformation, tells_call
from fdl.optim.base import (
    GradientTransformation,
    Tree,
    apply_updates,
    global_norm,
    in_float32,
    needs_params,
    refuse_to_hide,
    stateless,
)
from fdl.scalars import Scalar, checked


class SAMState(NamedTuple):
    """Steps since the last descent, states of both optimizers, and the parameters to go back to (() if opaque)."""

    steps_since_sync: Any
    opt_state: Any
    adv_state: Any
    cache: Any


@makes_transformation("normalize()", [0.243, -0.97])
def normalize() -> GradientTransformation:
    """Divide all leaves by their common norm; gradients of norm zero stay. Source: Foret et al. (2021)."""
    return stateless(lambda updates, params: scaled(updates, 1.0, 0.0))


@makes_transformation("normalize_by_update_norm(2.0, 0.0)", [0.485, -1.94], scale_factor=POSITIVE)
def normalize_by_update_norm(scale_factor: Any = 1.0, eps: Any = 1e-6) -> GradientTransformation:
    """Give all leaves together one norm.

    Args:
        scale_factor: the norm.
        eps: added to the norm that they have.
    """
    return stateless(lambda updates, params: scaled(updates, scale_factor, eps))


def scaled(updates: Tree, size: Any, eps: Any) -> Tree:
    """Leaves with another common norm."""
    norm = (global_norm(updates) + eps) / size
    norm = fnp.where(norm > 0, norm, 1.0)
    return tree.map(lambda g: g / norm.astype(g.dtype), updates)


@tells_call()
@checked(sync_period=Scalar(1, whole=True))
def sam(
    optimizer: GradientTransformation,
    adv_optimizer: GradientTransformation,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
) -> GradientTransformation:
    """Climb for some steps, then descend from where the climb began with the gradient at its end.

    Source: Foret et al., "Sharpness-aware minimization" (2021).

    Args:
        optimizer: what descends.
        adv_optimizer: what climbs, such as ``chain(normalize(), sgd(rho))``.
        sync_period: gradients for each descent: one less than this many steps climb.
        reset_state: whether the state of `adv_optimizer` begins anew for each climb.
        opaque_mode: whether one call of ``update`` does the whole climb, with ``grad_fn=`` from (parameters, number of
            the step in the climb) to gradients; otherwise each call is one step.

    Returns:
        A pair of pure functions.

    Raises:
        ValueError: ``update`` was called without the parameters, or opaque without ``grad_fn=``.

    >>> from fdl import optim
    >>> optimizer = sam(optim.sgd(0.5), optim.chain(optim.normalize(), optim.sgd(0.1)), opaque_mode=True)
    >>> params = fnp.array([1.0])
    >>> updates, _ = optimizer.update(2 * params, optimizer.init(params), params, grad_fn=lambda p, step: 2 * p)
    >>> [round(u, 3) for u in updates.tolist()]  # -0.5 times the gradient at 1.1
    [-1.1]
    """
    refuse_to_hide("sam", optimizer)
    refuse_to_hide("sam", adv_optimizer)

    def init(params: Tree) -> SAMState:
        cache = () if opaque_mode else tree.map(fnp.asarray, params)
        return SAMState(fnp.zeros((), int32), optimizer.init(params), adv_optimizer.init(params), cache)

    def climb(updates: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
        made, state = adv_optimizer.update(updates, state, params)
        return tree.map(lambda u: -u, made), state

    def step(updates: Tree, state: SAMState, params: Tree | None = None, **extra: Any) -> tuple[Tree, SAMState]:
        params = needs_params("sam", params)
        first, last = state.steps_since_sync == 0, state.steps_since_sync == sync_period - 1
        cache = either(first, params, state.cache)
        up, adv_state = climb(updates, state.adv_state, params)
        down, opt_state = optimizer.update(updates, state.opt_state, cache)
        down = tree.map(lambda c, p, u: c - p + u, cache, params, down)
        again = adv_optimizer.init(params) if reset_state else state.adv_state
        following = SAMState(
            fnp.where(last, 0, state.steps_since_sync + 1).astype(int32),
            either(last, opt_state, state.opt_state),
            either(last, again, adv_state),
            cache,
        )
        return either(last, down, up), following

    def opaque(
        updates: Tree, state: SAMState, params: Tree | None = None, *, grad_fn: Callable[..., Tree] | None = None,
        **extra: Any,
    ) -> tuple[Tree, SAMState]:  # fmt: skip
        start = point = needs_params("sam", params)
        if grad_fn is None:
            raise ValueError("sam with opaque_mode=True needs update(grads, state, params, grad_fn=...)")
        adv_state = state.adv_state
        for number in range(sync_period - 1):
            up, adv_state = climb(updates, adv_state, point)
            point = apply_updates(point, up)
            updates = grad_fn(point, number)
        made, opt_state = optimizer.update(updates, state.opt_state, start)
        adv_state = adv_optimizer.init(start) if reset_state else adv_state
        return made, SAMState(state.steps_since_sync, opt_state, adv_state, ())

    return in_float32(init, opaque if opaque_mode else step, False, True)
