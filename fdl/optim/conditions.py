"""Transformations that are applied in some steps only."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import int32
from fdl.optim.accumulation import either
from fdl.optim.arguments import tells_call
from fdl.optim.base import (
    GradientTransformation,
    Tree,
    in_float32,
    increment,
    refuse_to_hide,
    with_extra_args_support,
    zeros,
)
from fdl.scalars import Scalar, checked


class ApplyIfFiniteState(NamedTuple):
    """How many gradients in a row, and in all, were not finite; whether the last were; state of the optimizer."""

    notfinite_count: Any
    last_finite: Any
    total_notfinite: Any
    inner_state: Any


class ConditionallyTransformState(NamedTuple):
    """State of the inner transformation, and step count."""

    inner_state: Any
    step: Any


class ConditionallyMaskState(NamedTuple):
    """Step count, and state of the inner transformation."""

    step: Any
    inner_state: Any


@tells_call()
@checked(max_consecutive_errors=Scalar(0, whole=True))
def apply_if_finite(inner: GradientTransformation, max_consecutive_errors: int) -> GradientTransformation:
    """Leave out steps whose gradients are not all finite, up to so many in a row; then let them through.

    Args:
        inner: the optimizer.
        max_consecutive_errors: how many steps in a row may be left out.

    Returns:
        A pair of pure functions. Updates of steps that are left out are zero.

    Raises:
        RangeError: the number is negative or not whole.

    >>> from fdl import optim
    >>> optimizer = apply_if_finite(optim.sgd(1.0), 3)
    >>> updates, state = optimizer.update(fnp.array([1.0, fnp.nan]), optimizer.init(fnp.zeros(2)))
    >>> updates.tolist(), state.total_notfinite.item()
    ([0.0, 0.0], 1)
    """
    refuse_to_hide("apply_if_finite", inner)
    optimizer = with_extra_args_support(inner)

    def init(params: Tree) -> ApplyIfFiniteState:
        zero = fnp.zeros((), int32)
        return ApplyIfFiniteState(zero, fnp.asarray(True), zero, inner.init(params))

    def update(
        updates: Tree, state: ApplyIfFiniteState, params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, ApplyIfFiniteState]:
        finite = fnp.asarray(True)
        for g in tree.leaves(updates):
            finite = finite & fnp.all(fnp.isfinite(fnp.asarray(g)))
        errors = fnp.where(finite, 0, increment(state.notfinite_count)).astype(int32)
        made, after = optimizer.update(updates, state.inner_state, params, **extra)
        taken = finite | (errors > max_consecutive_errors)
        total = fnp.where(finite, state.total_notfinite, increment(state.total_notfinite)).astype(int32)
        following = ApplyIfFiniteState(errors, finite, total, either(taken, after, state.inner_state))
        return either(taken, made, zeros(made)), following

    return in_float32(init, update, False, True)


@tells_call()
def conditionally_transform(
    inner: GradientTransformation, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
) -> GradientTransformation:
    """Apply a transformation in some steps; in the others gradients pass through.

    Args:
        inner: the transformation.
        should_transform_fn: from the step count (and the extra arguments, by keyword) to whether to apply it.
        forward_extra_args: whether the function is given the extra arguments of ``update``.

    Returns:
        A pair of pure functions.

    >>> from fdl import optim
    >>> t = conditionally_transform(optim.scale(2.0), lambda step: step > 0)
    >>> first, state = t.update(fnp.ones(1), t.init(fnp.ones(1)))
    >>> first.item(), t.update(fnp.ones(1), state)[0].item()
    (1.0, 2.0)
    """
    return _in_some_steps(
        "conditionally_transform",
        inner,
        should_transform_fn,
        forward_extra_args,
        ConditionallyTransformState,
        lambda made, updates: updates,
    )


@tells_call()
def conditionally_mask(
    inner: GradientTransformation, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
) -> GradientTransformation:
    """Apply a transformation in some steps; in the others updates are zero.

    Args:
        inner: the transformation.
        should_transform_fn: from the step count (and the extra arguments, by keyword) to whether to apply it.
        forward_extra_args: whether the function is given the extra arguments of ``update``.

    Returns:
        A pair of pure functions.

    >>> from fdl import optim
    >>> t = conditionally_mask(optim.scale(2.0), lambda step: step > 0)
    >>> first, state = t.update(fnp.ones(1), t.init(fnp.ones(1)))
    >>> first.item(), t.update(fnp.ones(1), state)[0].item()
    (0.0, 2.0)
    """
    return _in_some_steps(
        "conditionally_mask",
        inner,
        should_transform_fn,
        forward_extra_args,
        ConditionallyMaskState,
        lambda made, updates: zeros(made),
    )


def _in_some_steps(
    name: str, inner: GradientTransformation, condition: Callable[..., Any], forward: bool, make: Any,
    otherwise: Callable[[Tree, Tree], Tree],
) -> GradientTransformation:  # fmt: skip
    """A transformation that is applied where the condition holds.

    In other steps the updates are what `otherwise` makes of the applied ones and of those that came in.
    The state, which `make` makes, has the step count and the state of the inner transformation.
    """
    refuse_to_hide(name, inner)
    transformation = with_extra_args_support(inner)

    def init(params: Tree) -> Any:
        return make(step=fnp.zeros((), int32), inner_state=inner.init(params))

    def update(updates: Tree, state: Any, params: Tree | None = None, **extra: Any) -> tuple[Tree, Any]:
        taken = condition(state.step, **(extra if forward else {}))
        made, after = transformation.update(updates, state.inner_state, params, **extra)
        following = make(step=increment(state.step), inner_state=either(taken, after, state.inner_state))
        return either(taken, made, otherwise(made, updates)), following

    return in_float32(init, update, inner.elementwise, True)
