"""Means of gradients and of their squares: what most transformations of gradients keep as their state."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import float64, int32
from fdl.optim.base import GradientTransformation, Tree, in_float32, increment, squared, zeros

S = TypeVar("S")


class ScaleByAdamState(NamedTuple):
    """Step count, first and second moments."""

    count: Any
    mu: Any
    nu: Any


def by_history(init: Callable[[Tree], S], step: Callable[[Tree, S], tuple[Tree, S]]) -> GradientTransformation:
    """The element-wise transformation whose updates depend on gradients and state, not on the parameters."""

    def update(updates: Tree, state: S, params: Tree | None = None) -> tuple[Tree, S]:
        return step(updates, state)

    return in_float32(init, update, True)


def two_moments(params: Tree) -> ScaleByAdamState:
    return ScaleByAdamState(no_steps(), zeros(params), zeros(params))


def filled(params: Tree, value: Any) -> Tree:
    return tree.map(lambda p: fnp.full_like(p, value), params)


def no_steps() -> Any:
    return fnp.zeros((), int32)


def cast(values: Tree, dtype: Any) -> Tree:
    return values if dtype is None else tree.map(lambda x: x.astype(dtype), values)


def moment(updates: Tree, moments: Tree, decay: Any) -> Tree:
    return tree.map(lambda g, m: (1 - decay) * g + decay * m, updates, moments)


def second_moment(updates: Tree, moments: Tree, decay: Any) -> Tree:
    return tree.map(lambda g, m: (1 - decay) * squared(g) + decay * m, updates, moments)


def corrected(moments: Tree, decay: Any, count: Any) -> Tree:
    """Moments divided by the total weight of the gradients in them."""
    # In float64: one minus a power near one.
    factor = 1 / (1 - decay ** count.astype(float64))
    return tree.map(lambda m: m * factor.astype(m.dtype), moments)


def mean_of(updates: Tree, mu: Tree, b1: Any, count: Any, nesterov: bool) -> Tree:
    if not nesterov:
        return corrected(mu, b1, count)
    ahead, now = b1 / (1 - b1 ** increment(count).astype(float64)), (1 - b1) / (1 - b1 ** count.astype(float64))
    return tree.map(lambda m, g: ahead.astype(m.dtype) * m + now.astype(g.dtype) * g, mu, updates)


def root(x: Any, eps: Any, inside: bool) -> Any:
    return fnp.sqrt(x + eps) if inside else fnp.sqrt(x) + eps
