"""Transformations that leave gradients alone, and keep what was measured in their state; and chains with names."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.flatten_util import ravel_pytree
from fdl.optim.arguments import tells_call
from fdl.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    Tree,
    in_float32,
    refuse_to_hide,
    with_extra_args_support,
)
from fdl.optim.transforms import ema


class SnapshotState(NamedTuple):
    """What was measured, by its name."""

    measurement: Any


class MonitorState(NamedTuple):
    """What was measured, by names, and the states of what measures."""

    measurements: Any
    measure_states: Any


@tells_call()
def snapshot(measure_name: str, measure: Callable[[Tree], Any]) -> GradientTransformation:
    """Keep in the state what a function makes of the updates at this place of a chain.

    Args:
        measure_name: its key in ``state.measurement``.
        measure: from the updates (at first: the parameters) to a tree of arrays.

    Returns:
        A pair of pure functions; updates pass through.

    >>> from fdl import optim
    >>> t = snapshot("norm", optim.global_norm)
    >>> _, state = t.update(fnp.array([3.0, 4.0]), t.init(fnp.zeros(2)))
    >>> round(state.measurement["norm"].item(), 3)
    5.0
    """

    def update(updates: Tree, state: SnapshotState, params: Tree | None = None) -> tuple[Tree, SnapshotState]:
        return updates, SnapshotState({measure_name: measure(updates)})

    return in_float32(lambda params: SnapshotState({measure_name: measure(params)}), update)


@tells_call()
def measure_with_ema(
    measure: Callable[[Tree], Any], decay: Any, debias: bool = True, accumulator_dtype: Any = None
) -> GradientTransformation:
    """The moving average of what a function makes of the updates, for :func:`monitor`.

    Args:
        measure: from the updates to a tree of arrays.
        decay: decay of the average per step.
        debias: whether to correct for the first value, zero.
        accumulator_dtype: of the average; None is that of the measurement.

    Returns:
        A pair of pure functions, whose updates are the averages.

    >>> from fdl import optim
    >>> t = measure_with_ema(optim.global_norm, 0.5)
    >>> round(t.update(fnp.array([3.0, 4.0]), t.init(fnp.zeros(2)))[0].item(), 3)
    5.0
    """
    average = ema(decay, debias, accumulator_dtype)

    def update(updates: Tree, state: Any, params: Tree | None = None) -> tuple[Tree, Any]:
        return average.update(measure(updates), state)

    return GradientTransformation(lambda params: average.init(measure(params)), update)


@tells_call()
def monitor(measures: Mapping[str, GradientTransformation | Callable[[Tree], Any]]) -> GradientTransformation:
    """Keep in the state what several functions or transformations make of the updates.

    Args:
        measures: by name, functions of the updates or transformations such as :func:`measure_with_ema`.

    Returns:
        A pair of pure functions; updates pass through.

    >>> from fdl import optim
    >>> t = monitor({"norm": optim.global_norm})
    >>> _, state = t.update(fnp.array([3.0, 4.0]), t.init(fnp.zeros(2)))
    >>> round(state.measurements["norm"].item(), 3)
    5.0
    """

    def measuring(measure: Any) -> GradientTransformationExtraArgs:
        if not isinstance(measure, GradientTransformation):
            function = measure
            measure = GradientTransformation(lambda params: (), lambda updates, state, params: (function(updates), ()))
        return with_extra_args_support(measure)

    parts = {name: measuring(measure) for name, measure in measures.items()}

    def init(params: Tree) -> MonitorState:
        states = {name: part.init(params) for name, part in parts.items()}
        first = {name: part.update(params, states[name], params)[0] for name, part in parts.items()}
        return MonitorState(tree.map(fnp.zeros_like, first), states)

    def update(
        updates: Tree, state: MonitorState, params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, MonitorState]:
        found = {
            name: part.update(updates, state.measure_states[name], params, **extra) for name, part in parts.items()
        }
        measured, states = ({name: pair[i] for name, pair in found.items()} for i in (0, 1))
        return updates, MonitorState(measured, states)

    return in_float32(init, update, False, True)


@tells_call()
def named_chain(*transformations: tuple[str, GradientTransformation]) -> GradientTransformation:
    """:func:`chain` whose state is a dict by names.

    Args:
        *transformations: (name, transformation), in the order in which they apply.

    Returns:
        A pair of pure functions.

    Raises:
        ValueError: two have the same name.

    >>> from fdl import optim
    >>> optimizer = named_chain(("clip", optim.clip(1.0)), ("adam", optim.adam(0.1)))
    >>> sorted(optimizer.init(fnp.zeros(2)))
    ['adam', 'clip']
    """
    names = [name for name, _ in transformations]
    if len(set(names)) < len(names):
        raise ValueError(f"named_chain needs different names, got {names}")
    parts = {name: with_extra_args_support(t) for name, t in transformations}
    for t in parts.values():
        refuse_to_hide("named_chain", t)

    def update(
        updates: Tree, state: dict[str, Any], params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, dict[str, Any]]:
        states = {}
        for name, part in parts.items():
            updates, states[name] = part.update(updates, state[name], params, **extra)
        return updates, states

    def init(params: Tree) -> dict[str, Any]:
        return {name: part.init(params) for name, part in parts.items()}

    return in_float32(init, update, all(t.elementwise for t in parts.values()), True)


@tells_call()
def flatten(inner: GradientTransformation) -> GradientTransformation:
    """Apply a transformation to all leaves laid out in one vector: one step of it costs less for many small leaves.

    Args:
        inner: the transformation; what it does leaf by leaf, it does to the whole.

    Returns:
        A pair of pure functions.

    >>> from fdl import optim
    >>> optimizer = flatten(optim.adam(0.1))
    >>> optimizer.init({"w": fnp.zeros((2, 2)), "b": fnp.zeros(3)})[0].mu.shape
    (7,)
    """
    refuse_to_hide("flatten", inner)
    transformation = with_extra_args_support(inner)

    def flat(values: Tree) -> Any:
        return ravel_pytree(tree.map(fnp.asarray, values))[0]

    def update(updates: Tree, state: Any, params: Tree | None = None, **extra: Any) -> tuple[Tree, Any]:
        vector, restored = ravel_pytree(tree.map(fnp.asarray, updates))
        made, state = transformation.update(vector, state, None if params is None else flat(params), **extra)
        return restored(made), state

    return in_float32(lambda params: inner.init(flat(params)), update, inner.elementwise, True)
