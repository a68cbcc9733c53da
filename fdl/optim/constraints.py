"""Transformations of gradients that bound them, and those that look at the parameters."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import int32
from fdl.optim.arguments import NOT_NEGATIVE, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Schedule,
    Tree,
    global_norm,
    in_float32,
    increment,
    needs_params,
    per_leaf,
    stateless,
    sum_of_squares,
)
from fdl.optim.masks import masked
from fdl.optim.transforms import ScaleByScheduleState
from fdl.sparse.rows import Rows


@makes_transformation()
def scale_by_trust_ratio(min_norm: Any = 0.0, trust_coefficient: Any = 1.0, eps: Any = 0.0) -> GradientTransformation:
    """Multiply every leaf by the norm of its parameter over the norm of its update. Source: You et al. (2017, 2020).

    Args:
        eps: added to the norm of the update.

    Raises:
        ValueError: ``update`` was called without the parameters.

    >>> params, transformation = fnp.array([3.0, 4.0]), scale_by_trust_ratio()
    >>> updates, state = transformation.update(fnp.array([0.6, 0.8]), transformation.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [3.0, 4.0]
    """

    def function(updates: Tree, params: Tree | None) -> Tree:
        return tree.map(ratio, updates, needs_params("scale_by_trust_ratio", params))

    def ratio(update: Any, param: Any) -> Any:
        ours, theirs = (fnp.maximum(fnp.sqrt(sum_of_squares(x)), min_norm) for x in (param, update))
        zero = (ours == 0.0) | (theirs == 0.0)
        return update * fnp.where(zero, 1.0, trust_coefficient * ours / (theirs + eps)).astype(update.dtype)

    return stateless(function)


@makes_transformation("add_decayed_weights(0.5)", [2.0, -3.0], params="fnp.full(2, 2.0)")
def add_decayed_weights(
    weight_decay: ScalarOrSchedule = 0.0, mask: Tree | Callable[[Tree], Tree] | None = None
) -> GradientTransformation:
    """Add the parameters, multiplied by a number or a schedule, to the gradients.

    Args:
        weight_decay: the factor.

    Raises:
        ValueError: ``update`` was called without the parameters.
    """
    if callable(weight_decay):
        whole = _scheduled_decay(weight_decay)
    else:
        whole = stateless(
            lambda updates, params: tree.map(
                lambda g, p: g + weight_decay * p, updates, needs_params("add_decayed_weights", params)
            ),
            True,
        )
    return whole if mask is None else masked(whole, mask)


def _scheduled_decay(schedule: Schedule) -> GradientTransformation:
    def update(
        updates: Tree, state: ScaleByScheduleState, params: Tree | None = None
    ) -> tuple[Tree, ScaleByScheduleState]:
        factor = fnp.asarray(schedule(state.count))
        params = needs_params("add_decayed_weights", params)
        made = tree.map(lambda g, p: g + factor.astype(g.dtype) * p, updates, params)
        return made, ScaleByScheduleState(increment(state.count))

    return in_float32(lambda params: ScaleByScheduleState(fnp.zeros((), int32)), update, True)


@makes_transformation("clip(2.0)", [1.0, -2.0])
def clip(max_delta: Any) -> GradientTransformation:
    """Clip every element to [-max_delta, max_delta]."""
    return per_leaf(lambda g: fnp.clip(g, -max_delta, max_delta), True)


@makes_transformation(threshold=NOT_NEGATIVE)
def clip_by_block_rms(threshold: Any) -> GradientTransformation:
    """Shrink every leaf whose root mean square exceeds a threshold.

    Args:
        threshold: the largest root mean square, not negative.

    >>> params, transformation = fnp.zeros(2), clip_by_block_rms(1.0)
    >>> updates, state = transformation.update(fnp.array([3.0, -3.0]), transformation.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [1.0, -1.0]
    """
    return per_leaf(lambda g: g / fnp.maximum(1.0, fnp.sqrt(sum_of_squares(g) / g.size) / threshold))


@makes_transformation()
def clip_by_block_norm(max_norm: Any) -> GradientTransformation:
    """Shrink every leaf whose own norm exceeds `max_norm`.

    >>> params, transformation = fnp.zeros(2), clip_by_block_norm(1.0)
    >>> updates, state = transformation.update(fnp.array([3.0, 4.0]), transformation.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [0.6, 0.8]
    """

    def shrunk(g: Any) -> Any:
        norm = fnp.sqrt(sum_of_squares(g))
        return g * fnp.where(norm > max_norm, max_norm / norm, 1.0).astype(g.dtype)

    return per_leaf(shrunk)


@makes_transformation()
def clip_by_global_norm(max_norm: Any) -> GradientTransformation:
    """Shrink all leaves together if their norm exceeds `max_norm`. Source: Pascanu, Mikolov, Bengio (2013).

    >>> params, transformation = fnp.zeros(2), clip_by_global_norm(1.0)
    >>> updates, state = transformation.update(fnp.array([3.0, 4.0]), transformation.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [0.6, 0.8]
    """

    def function(updates: Tree, params: Tree | None) -> Tree:
        updates = tree.map(lambda g: g.combined() if isinstance(g, Rows) else g, updates)
        norm = global_norm(updates)

        def shrunk(g: Any) -> Any:
            return fnp.where(norm <= max_norm, g, g / norm.astype(g.dtype) * max_norm)

        return tree.map(lambda g: g.map(shrunk) if isinstance(g, Rows) else shrunk(g), updates)

    return stateless(function)


@makes_transformation()
def zero_nans() -> GradientTransformation:
    """Replace NaN by zero.

    >>> params, transformation = fnp.zeros(2), zero_nans()
    >>> updates, state = transformation.update(fnp.array([fnp.nan, 2.0]), transformation.init(params), params)
    >>> updates.tolist()
    [0.0, 2.0]
    """
    return per_leaf(lambda g: fnp.where(fnp.isnan(g), 0, g), True)


@makes_transformation()
def centralize() -> GradientTransformation:
    """Subtract from every slice along the first axis of a leaf its mean; vectors stay. Source: Yong et al. (2020).

    >>> params, transformation = fnp.zeros((1, 2)), centralize()
    >>> updates, state = transformation.update(fnp.array([[1.0, 3.0]]), transformation.init(params), params)
    >>> updates.tolist()
    [[-1.0, 1.0]]
    """

    def centered(g: Any) -> Any:
        return g - fnp.mean(g, axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g

    return per_leaf(centered)


@makes_transformation()
def keep_params_nonnegative() -> GradientTransformation:
    """Change updates so that no parameter becomes negative.

    Raises:
        ValueError: ``update`` was called without the parameters.

    >>> params, transformation = fnp.ones(2), keep_params_nonnegative()
    >>> updates, state = transformation.update(fnp.array([-2.0, 0.5]), transformation.init(params), params)
    >>> updates.tolist()
    [-1.0, 0.5]
    """
    return stateless(
        lambda updates, params: tree.map(
            lambda u, p: fnp.where(p + u < 0.0, -p, u), updates, needs_params("keep_params_nonnegative", params)
        ),
        True,
    )


@makes_transformation(clipping=NOT_NEGATIVE)
def adaptive_grad_clip(
    clipping: Any, eps: Any = 1e-3, axis: int | tuple[int, ...] | None = None
) -> GradientTransformation:
    """Bound the norm of every unit's gradient relative to that of its parameters. Source: Brock et al. (2021).

    Args:
        clipping: the largest ratio.
        eps: the smallest norm of parameters that counts.
        axis: the axes of a unit; None is all but the last one, and all of a vector.

    Raises:
        ValueError: ``update`` was called without the parameters.

    >>> params, transformation = fnp.array([3.0, 4.0]), adaptive_grad_clip(0.1)
    >>> updates, state = transformation.update(fnp.array([6.0, 8.0]), transformation.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [0.3, 0.4]
    """

    def norm(x: Any) -> Any:
        axes = axis
        if axes is None:  # of dense layers and convolutions: the window and the inputs
            axes = None if fnp.squeeze(x).ndim <= 1 else tuple(range(x.ndim - 1)) if x.ndim != 3 else 0
        return fnp.sqrt(fnp.sum(fnp.real(x * fnp.conj(x)), axis=axes, keepdims=True))

    def clipped(g: Any, p: Any) -> Any:
        g = fnp.asarray(g)
        size, most = norm(g), clipping * fnp.maximum(norm(fnp.asarray(p)), eps)
        return fnp.where(size < most, g, g * (most / fnp.maximum(size, 1e-6)).astype(g.dtype))

    return stateless(lambda updates, params: tree.map(clipped, updates, needs_params("adaptive_grad_clip", params)))
