"""Transformations for some of the leaves: masks, labels, frozen parameters."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from fdl import tree
from fdl.optim.arguments import tells_call
from fdl.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    Tree,
    refuse_to_hide,
    set_to_zero,
    with_extra_args_support,
)


class MaskedNode(NamedTuple):
    """Stands where a masked transformation sees no leaf."""


class MaskedState(NamedTuple):
    """State of the inner transformation, for the leaves it sees."""

    inner_state: Any


class MultiTransformState(NamedTuple):
    """States of the inner transformations by label."""

    inner_states: Any


@tells_call()
def masked(inner: GradientTransformation, mask: Tree | Callable[[Tree], Tree]) -> GradientTransformation:
    """Apply a transformation to some leaves; the others pass through.

    Args:
        inner: the transformation.
        mask: a tree of booleans that is a prefix of the parameters, or a function from parameters to one.

    Returns:
        A pair of pure functions.

    >>> import fdl.numpy as fnp
    >>> from fdl import optim
    >>> transformation = masked(optim.scale(2.0), {"w": True, "b": False})
    >>> grads = {"w": fnp.ones(1), "b": fnp.ones(1)}
    >>> updates, state = transformation.update(grads, transformation.init(grads))
    >>> updates["w"].item(), updates["b"].item()
    (2.0, 1.0)
    """

    refuse_to_hide("masked, multi_transform", inner)

    def visible(values: Tree) -> tuple[Tree, Tree]:
        chosen = mask(values) if callable(mask) else mask
        return chosen, tree.map(lambda keep, x: x if keep else MaskedNode(), chosen, values)

    def init(params: Tree) -> MaskedState:
        return MaskedState(inner.init(visible(params)[1]))

    part = with_extra_args_support(inner)

    def update(updates: Tree, state: MaskedState, params: Tree | None = None, **extra: Any) -> tuple[Tree, MaskedState]:
        chosen, seen = visible(updates)
        made, found = part.update(seen, state.inner_state, None if params is None else visible(params)[1], **extra)
        return tree.map(lambda keep, new, old: new if keep else old, chosen, made, updates), MaskedState(found)

    return GradientTransformationExtraArgs(init, update)


@tells_call()
def multi_transform(
    transforms: Mapping[Any, GradientTransformation], param_labels: Tree | Callable[[Tree], Tree]
) -> GradientTransformation:
    """Different transformations for different leaves.

    Args:
        transforms: by label.
        param_labels: a tree of labels that is a prefix of the parameters, or a function from parameters to one.

    Returns:
        A pair of pure functions.

    Raises:
        ValueError: a label has no transformation.

    >>> import fdl.numpy as fnp
    >>> from fdl import optim
    >>> by_label = {"fast": optim.scale(2.0), "frozen": optim.set_to_zero()}
    >>> transformation = multi_transform(by_label, {"w": "fast", "b": "frozen"})
    >>> grads = {"w": fnp.ones(1), "b": fnp.ones(1)}
    >>> updates, state = transformation.update(grads, transformation.init(grads))
    >>> updates["w"].item(), updates["b"].item()
    (2.0, 0.0)
    """

    def inner(label: Hashable) -> GradientTransformation:
        def mask(values: Tree) -> Tree:
            labels = param_labels(values) if callable(param_labels) else param_labels
            unknown = {name for name in tree.leaves(labels) if name not in transforms}
            if unknown:
                raise ValueError(f"multi_transform has no transformation for the labels {sorted(map(str, unknown))}")
            return tree.map(lambda name: name == label, labels)

        return masked(transforms[label], mask)

    inners = {label: inner(label) for label in transforms}

    def init(params: Tree) -> MultiTransformState:
        return MultiTransformState({label: t.init(params) for label, t in inners.items()})

    def update(
        updates: Tree, state: MultiTransformState, params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, MultiTransformState]:
        states = {}
        for label, transformation in inners.items():
            updates, states[label] = transformation.update(updates, state.inner_states[label], params, **extra)
        return updates, MultiTransformState(states)

    return GradientTransformationExtraArgs(init, update)


partition = multi_transform
PartitionState = MultiTransformState


@tells_call()
def freeze(mask: Tree | Callable[[Tree], Tree]) -> GradientTransformation:
    """Make the updates of some leaves zero; the others pass through.

    Args:
        mask: which leaves are frozen, as in :func:`masked`.

    Returns:
        A pair of pure functions. Put it last in a chain.

    >>> import fdl.numpy as fnp
    >>> grads = {"w": fnp.ones(1), "b": fnp.ones(1)}
    >>> updates, _ = (t := freeze({"w": True, "b": False})).update(grads, t.init(grads))
    >>> updates["w"].item(), updates["b"].item()
    (0.0, 1.0)
    """
    return masked(set_to_zero(), mask)


@tells_call()
def selective_transform(
    optimizer: GradientTransformation, *, freeze_mask: Tree | Callable[[Tree], Tree]
) -> GradientTransformation:
    """An optimizer that has no state for frozen leaves, and leaves them alone.

    Args:
        optimizer: for the other leaves.
        freeze_mask: which leaves are frozen, as in :func:`masked`.

    Returns:
        A pair of pure functions.

    >>> import fdl.numpy as fnp
    >>> from fdl import optim
    >>> params = {"w": fnp.ones(1), "b": fnp.ones(1)}
    >>> optimizer = selective_transform(optim.sgd(0.5), freeze_mask={"w": True, "b": False})
    >>> updates, _ = optimizer.update(params, optimizer.init(params))
    >>> updates["w"].item(), updates["b"].item()
    (0.0, -0.5)
    """

    def labels(params: Tree) -> Tree:
        chosen = freeze_mask(params) if callable(freeze_mask) else freeze_mask
        return tree.map(lambda frozen: "freeze" if frozen else "train", chosen)

    return multi_transform({"train": optimizer, "freeze": set_to_zero()}, labels)
