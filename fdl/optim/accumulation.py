"""Gradients of several steps that make one update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import int32
from fdl.optim.arguments import makes_transformation, tells_call
from fdl.optim.base import (
    GradientTransformation,
    Tree,
    in_float32,
    increment,
    refuse_to_hide,
    sum_of_squares,
    with_extra_args_support,
    zeros,
)
from fdl.scalars import Scalar, checked

EVERY = Scalar(1, whole=True, schedule=True)


class MultiStepsState(NamedTuple):
    """Steps since the last update, updates made, state of the optimizer, mean of the gradients so far, and what was
    found out about the last gradients."""

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any
    skip_state: Any = ()


class ApplyEvery(NamedTuple):
    """Steps since the last update, and the sum of the gradients since then."""

    count: Any
    grad_acc: Any


@tells_call()
@checked(every_k=EVERY)
def multi_steps(
    optimizer: GradientTransformation,
    every_k: int | Callable[[Any], Any],
    use_grad_mean: bool = True,
    should_skip_update_fn: Callable[[Tree, Any, Tree], tuple[Any, Any]] | None = None,
) -> GradientTransformation:
    """Update once every `every_k` steps with the mean of the gradients; the updates in between are zero.

    Args:
        optimizer: what is applied to the mean.
        every_k: how many gradients make a mean, a positive integer, or a function of the number of updates made.
        use_grad_mean: whether to take the mean; otherwise the sum.
        should_skip_update_fn: from (gradients, number of updates made, parameters) to whether to leave these gradients
            out, and a tree of arrays to keep in the state; see :func:`skip_not_finite`. None leaves out nothing.

    Returns:
        A pair of pure functions.

    Raises:
        RangeError: `every_k` is not positive, or not whole; DtypeError, ShapeError if it is no number.

    >>> from fdl import optim
    >>> optimizer = multi_steps(optim.sgd(1.0), every_k=2)
    >>> first, state = optimizer.update(fnp.array(1.0), optimizer.init(fnp.array(0.0)))
    >>> second, state = optimizer.update(fnp.array(3.0), state)
    >>> first.item(), second.item()
    (0.0, -2.0)
    """

    refuse_to_hide("multi_steps", optimizer)
    inner = with_extra_args_support(optimizer)

    def init(params: Tree) -> MultiStepsState:
        zero, grads = fnp.zeros((), int32), zeros(params)
        kept = () if should_skip_update_fn is None else should_skip_update_fn(grads, zero, params)[1]
        return MultiStepsState(zero, zero, optimizer.init(params), grads, tree.map(fnp.asarray, kept))

    def gathered(total: Any, g: Any, count: Any) -> Any:
        return total + (g - total) / count.astype(total.dtype) if use_grad_mean else total + g

    def update(
        updates: Tree, state: MultiStepsState, params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, MultiStepsState]:
        done = state.mini_step + 1
        total = tree.map(lambda a, g: gathered(a, g, done), state.acc_grads, updates)
        made, after = inner.update(total, state.inner_opt_state, params, **extra)
        last = done == (every_k(state.gradient_step) if callable(every_k) else every_k)
        following = MultiStepsState(
            fnp.where(last, 0, done).astype(int32),
            state.gradient_step + last.astype(int32),
            either(last, after, state.inner_opt_state),
            either(last, zeros(total), total),
            state.skip_state,
        )
        made = either(last, made, zeros(made))
        if should_skip_update_fn is None:
            return made, following
        skip, kept = should_skip_update_fn(updates, state.gradient_step, params)
        made = either(skip, zeros(made), made)
        return made, either(skip, state, following)._replace(skip_state=tree.map(fnp.asarray, kept))

    return in_float32(init, update, optimizer.elementwise and should_skip_update_fn is None, True)


class MultiSteps:
    """:func:`multi_steps` as an object, by the names of optax.

    Args:
        opt: what is applied to the mean.
        every_k_schedule: as `every_k`.
        use_grad_mean: whether to take the mean; otherwise the sum.
        should_skip_update_fn: which gradients to leave out.

    >>> from fdl import optim
    >>> steps = MultiSteps(optim.sgd(1.0), 2)
    >>> _, state = steps.update(fnp.array(1.0), steps.init(fnp.array(0.0)))
    >>> steps.has_updated(state).item()
    False
    """

    def __init__(
        self,
        opt: GradientTransformation,
        every_k_schedule: int | Callable[[Any], Any],
        use_grad_mean: bool = True,
        should_skip_update_fn: Callable[[Tree, Any, Tree], tuple[Any, Any]] | None = None,
    ) -> None:
        self.inner_opt = opt
        self._pair = multi_steps(opt, every_k_schedule, use_grad_mean, should_skip_update_fn)
        self.init, self.update = self._pair.init, self._pair.update

    def __repr__(self) -> str:
        return self._pair.called.replace("multi_steps", "MultiSteps", 1)

    def has_updated(self, state: MultiStepsState) -> Any:
        """Whether the last call of ``update`` was one that changed parameters."""
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformation:
        """The pair of pure functions."""
        return self._pair


def skip_not_finite(updates: Tree, gradient_step: Any, params: Tree | None) -> tuple[Any, Any]:
    """Whether any gradient is not finite, for :func:`multi_steps`.

    Args:
        updates: the gradients.
        gradient_step: not used.
        params: not used.

    Returns:
        Whether to skip, and a dict with how many elements are not finite.

    >>> skip_not_finite({"w": fnp.array([1.0, fnp.inf])}, 0, None)[0].item()
    True
    """
    count = sum((fnp.sum(~fnp.isfinite(fnp.asarray(g))) for g in tree.leaves(updates)), fnp.zeros((), int32))
    return count > 0, {"should_skip": count > 0, "num_not_finite": count}


def skip_large_updates(updates: Tree, gradient_step: Any, params: Tree | None, max_squared_norm: Any) -> Any:
    """Whether the squared norm of all gradients is not below a bound, for :func:`multi_steps`.

    Args:
        updates: the gradients.
        gradient_step: not used.
        params: not used.
        max_squared_norm: the bound; give it by `functools.partial`.

    Returns:
        Whether to skip, and a dict with the squared norm.

    >>> skip_large_updates({"w": fnp.array([3.0, 4.0])}, 0, None, max_squared_norm=20.0)[0].item()
    True
    """
    norm = sum((sum_of_squares(g) for g in tree.leaves(updates)), fnp.zeros(()))
    skip = ~(norm < max_squared_norm)
    return skip, {"should_skip": skip, "norm_squared": norm}


@makes_transformation("apply_every(1)", [1.0, -4.0], k=Scalar(1, whole=True))
def apply_every(k: int = 1) -> GradientTransformation:
    """Pass on the sum of `k` updates once every `k` steps, and zeros in between.

    Args:
        k: how many updates make a sum.
    """

    def update(updates: Tree, state: ApplyEvery, params: Tree | None = None) -> tuple[Tree, ApplyEvery]:
        total = tree.map(lambda g, a: g + a, updates, state.grad_acc)
        last = state.count + 1 == k
        following = ApplyEvery(fnp.where(last, 0, increment(state.count)), either(last, zeros(total), total))
        return either(last, total, zeros(total)), following

    return in_float32(lambda params: ApplyEvery(fnp.zeros((), int32), zeros(params)), update, True)


def either(condition: Any, new: Tree, old: Tree) -> Tree:
    """The leaves of one tree or of the other."""
    return tree.map(lambda n, o: fnp.where(condition, n, o), new, old)
