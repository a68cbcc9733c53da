"""What an optimizer is: a pair of pure functions; and how pairs combine."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import bfloat16, float16, float32, int32
from fdl.optim.arguments import REAL, makes_transformation
from fdl.scalars import Scalar, checked
from fdl.sparse.rows import Rows

Tree = Any
Schedule = Callable[[Any], Any]
ScalarOrSchedule = Any

_LARGEST = 2**31 - 1


class _Pair(NamedTuple):
    init: Callable[[Tree], Any]
    update: Callable[..., tuple[Tree, Any]]


class GradientTransformation(_Pair):
    """A pair of pure functions that turns gradients into updates, one step at a time.

    Attributes:
        init: from parameters to the first state, a pytree of arrays.
        update: from (gradients, state, parameters or None) to (updates, next state). Add the updates to the parameters
            with :func:`apply_updates`.
        elementwise: whether an element of the updates depends on the same element of gradients, state and parameters
            only (and on scalars such as the step count), so that the function may be applied to parts of the
            parameters, or to all of them laid out in one vector.
        catch_up: makes up for steps that rows of tables have missed, see :func:`catch_up`; None if none can miss any.
        tables: which leaves are tables, as :func:`by_rows` was told, if what becomes of a row depends on that row
            alone, so that it does not matter how many rows a gradient (:class:`fdl.Rows`) names; else None.

    >>> from fdl import optim
    >>> init, update = optim.sgd(0.5)
    >>> updates, state = update({"w": fnp.ones(1)}, init({"w": fnp.zeros(1)}))
    >>> updates["w"].tolist()
    [-0.5]
    """

    elementwise: bool
    catch_up: Callable[..., tuple[Tree, Any]] | None = None
    tables: Any = None

    def __new__(
        cls, init: Callable[[Tree], Any], update: Callable[..., tuple[Tree, Any]], elementwise: bool = False
    ) -> "GradientTransformation":
        pair = super().__new__(cls, init, update)
        pair.elementwise = elementwise
        return pair


class EmptyState(NamedTuple):
    """The state of a transformation that has none."""


class MaskedNode(NamedTuple):
    """Stands where a masked transformation sees no leaf."""


class MaskedState(NamedTuple):
    """State of the inner transformation, for the leaves it sees."""

    inner_state: Any


class MultiTransformState(NamedTuple):
    """States of the inner transformations by label."""

    inner_states: Any


class MultiStepsState(NamedTuple):
    """Steps since the last update, updates made, state of the optimizer, mean of the gradients so far."""

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any


def in_float32(
    init: Callable[[Tree], Any], update: Callable[..., tuple[Tree, Any]], elementwise: bool = False
) -> GradientTransformation:
    """The pair of functions, which see leaves of 16 bits as float32 and keep their state so; updates come back in 16.

    In 16 bits squares of gradients overflow or become zero, as do the epsilons that keep divisors from it, and a mean
    with a decay of 0.999 does not move.
    """

    def updated(updates: Tree, state: Any, params: Tree | None = None) -> tuple[Tree, Any]:
        made, state = update(widened(updates), state, None if params is None else widened(params))
        return tree.map(lambda u, g: u.astype(g.dtype) if _is_narrow(g) else u, made, updates), state

    return GradientTransformation(lambda params: init(widened(params)), updated, elementwise)


def widened(values: Tree) -> Tree:
    """A tree with its leaves of 16 bits, :class:`fdl.Rows` too, in float32."""
    return tree.map(
        lambda x: (x if isinstance(x, Rows) else fnp.asarray(x)).astype(float32) if _is_narrow(x) else x, values
    )


def _is_narrow(x: Any) -> bool:
    return getattr(x, "dtype", None) in (float16, bfloat16)


@makes_transformation()
def stateless(function: Callable[[Tree, Tree | None], Tree], elementwise: bool = False) -> GradientTransformation:
    """The transformation ``function(updates, params)``, which needs no state.

    Args:
        function: from (updates, parameters or None) to updates.
        elementwise: see :class:`GradientTransformation`.

    >>> params, transformation = fnp.full(2, 2.0), stateless(lambda updates, params: updates + params)
    >>> updates, state = transformation.update(fnp.array([1.0, -4.0]), transformation.init(params), params)
    >>> updates.tolist()
    [3.0, -2.0]
    """

    def update(updates: Tree, state: EmptyState, params: Tree | None = None) -> tuple[Tree, EmptyState]:
        return function(updates, params), state

    return in_float32(lambda params: EmptyState(), update, elementwise)


def per_leaf(function: Callable[[Any], Any], elementwise: bool = False) -> GradientTransformation:
    """The transformation that applies a function to every leaf of the gradients; an elementwise one keeps zeros."""

    def apply(g: Any) -> Any:
        return g.map(function) if elementwise and isinstance(g, Rows) else function(g)

    return stateless(lambda updates, params: tree.map(apply, updates), elementwise)


@makes_transformation("identity()", [1.0, -4.0])
def identity() -> GradientTransformation:
    """Leaves the gradients as they are."""
    return stateless(lambda updates, params: updates, True)


@makes_transformation("set_to_zero()", [0.0, 0.0])
def set_to_zero() -> GradientTransformation:
    """Makes all updates zero: frozen parameters."""
    return per_leaf(fnp.zeros_like, True)


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Apply transformations one after the other; element-wise if all of them are.

    Args:
        *transformations: in the order in which they apply.

    Returns:
        A pair of pure functions. Its state is the tuple of their states.

    Raises:
        ValueError: something follows an exact :func:`by_rows`, whose steps may come later.

    >>> from fdl import optim
    >>> optimizer = chain(optim.clip(1.0), optim.sgd(0.1))
    >>> optimizer.elementwise
    True
    """

    def init(params: Tree) -> tuple[Any, ...]:
        return tuple(t.init(params) for t in transformations)

    def update(updates: Tree, state: tuple[Any, ...], params: Tree | None = None) -> tuple[Tree, tuple[Any, ...]]:
        states = []
        for transformation, inner in zip(transformations, state, strict=True):
            updates, inner = transformation.update(updates, inner, params)
            states.append(inner)
        return updates, tuple(states)

    result = in_float32(init, update, all(t.elementwise for t in transformations))
    *before, last = transformations or (None,)
    if any(t.catch_up is not None for t in before):
        raise ValueError("what follows exact by_rows in a chain would not see the steps that rows make up for")
    if last is not None and last.catch_up is not None:
        result.catch_up = lambda params, state, rows: _last_catches_up(last.catch_up, params, state, rows)
    of_tables = [t for t in transformations if t.tables is not None]
    if len(of_tables) == 1 and all(t.elementwise for t in transformations if t is not of_tables[0]):
        result.tables = of_tables[0].tables
    return result


def _last_catches_up(catch_up: Any, params: Tree, state: tuple[Any, ...], rows: Tree) -> tuple[Tree, Any]:
    params, last = catch_up(params, state[-1], rows)
    return params, (*state[:-1], last)


def refuse_to_hide(name: str, inner: GradientTransformation) -> None:
    """Raise if a transformation has rows to make up for, which one around it would not let it do."""
    if inner.catch_up is not None:
        raise ValueError(
            f"{name} would hide that rows have to catch up; put by_rows outside, and say by its argument `tables` "
            "which leaves are tables"
        )


def masked(inner: GradientTransformation, mask: Tree | Callable[[Tree], Tree]) -> GradientTransformation:
    """Apply a transformation to some leaves; the others pass through.

    Args:
        inner: the transformation.
        mask: a tree of booleans that is a prefix of the parameters, or a function from parameters to one.

    Returns:
        A pair of pure functions.

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

    def update(updates: Tree, state: MaskedState, params: Tree | None = None) -> tuple[Tree, MaskedState]:
        chosen, seen = visible(updates)
        made, found = inner.update(seen, state.inner_state, None if params is None else visible(params)[1])
        return tree.map(lambda keep, new, old: new if keep else old, chosen, made, updates), MaskedState(found)

    return GradientTransformation(init, update)


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
        updates: Tree, state: MultiTransformState, params: Tree | None = None
    ) -> tuple[Tree, MultiTransformState]:
        states = {}
        for label, transformation in inners.items():
            updates, states[label] = transformation.update(updates, state.inner_states[label], params)
        return updates, MultiTransformState(states)

    return GradientTransformation(init, update)


@checked(every_k=Scalar(1, whole=True))
def multi_steps(optimizer: GradientTransformation, every_k: int) -> GradientTransformation:
    """Update once every `every_k` steps with the mean of the gradients; the updates in between are zero.

    Args:
        optimizer: what is applied to the mean.
        every_k: how many gradients make a mean, a positive integer.

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

    def init(params: Tree) -> MultiStepsState:
        zero = fnp.zeros((), int32)
        return MultiStepsState(zero, zero, optimizer.init(params), zeros(params))

    def update(updates: Tree, state: MultiStepsState, params: Tree | None = None) -> tuple[Tree, MultiStepsState]:
        done = state.mini_step + 1
        mean = tree.map(lambda a, g: a + (g - a) / done.astype(a.dtype), state.acc_grads, updates)
        made, inner = optimizer.update(mean, state.inner_opt_state, params)
        last = done == every_k

        def either(new: Tree, old: Tree) -> Tree:
            return tree.map(lambda n, o: fnp.where(last, n, o), new, old)

        following = MultiStepsState(
            fnp.where(last, 0, done).astype(int32),
            state.gradient_step + last.astype(int32),
            either(inner, state.inner_opt_state),
            either(zeros(mean), mean),
        )
        return either(made, zeros(made)), following

    return in_float32(init, update, optimizer.elementwise)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Parameters plus updates, in the dtype of the parameters.

    Args:
        params: a tree of arrays.
        updates: a tree of the same structure and shapes; only the rows of :class:`fdl.Rows` change.

    Returns:
        A tree like the parameters.

    >>> apply_updates({"w": 1.0}, {"w": 0.5})["w"].item()
    1.5
    """

    def add(p: Any, u: Any) -> Any:
        p = fnp.asarray(p)
        if isinstance(u, Rows):
            return u.added_to(p)
        return fnp.asarray(p + u).astype(p.dtype)

    return tree.map(add, params, updates)


@checked(step_size=REAL)
def incremental_update(new_tensors: Tree, old_tensors: Tree, step_size: Any) -> Tree:
    """Move old values a fraction of the way to new ones: ``step_size * new + (1 - step_size) * old``.

    Args:
        new_tensors: a tree of arrays.
        old_tensors: a tree like it.
        step_size: the fraction.

    Returns:
        A tree like them.

    >>> incremental_update(fnp.array(2.0), fnp.array(0.0), 0.25).item()
    0.5
    """
    return tree.map(lambda new, old: step_size * new + (1.0 - step_size) * old, new_tensors, old_tensors)


def global_norm(updates: Tree) -> Any:
    """The Euclidean norm of all leaves together.

    Args:
        updates: a tree of arrays.

    Returns:
        A scalar.

    >>> round(global_norm({"w": fnp.array([3.0]), "b": fnp.array(4.0)}).item(), 3)
    5.0
    """
    return fnp.sqrt(tree.reduce(lambda s, x: s + sum_of_squares(x), updates, fnp.zeros((), float32)))


def sum_of_squares(x: Any) -> Any:
    """The sum of the squared moduli of the elements."""
    x = widened(x)
    return fnp.sum(squared(x.combined().values if isinstance(x, Rows) else fnp.asarray(x)))


def squared(x: Any) -> Any:
    """Squared modulus."""
    return fnp.real(x * fnp.conj(x)) if fnp.iscomplexobj(x) else x * x


def zeros(params: Tree, dtype: Any = None) -> Tree:
    """Zeros like every leaf."""
    return tree.map(lambda p: fnp.zeros_like(p, dtype=dtype), params)


def increment(count: Any) -> Any:
    """The next step count; it stays at the largest int32 instead of wrapping around."""
    return fnp.where(count < _LARGEST, count + 1, _LARGEST).astype(int32)


def needs_params(name: str, params: Tree | None) -> Tree:
    """Raise unless the parameters were passed to ``update``."""
    if params is None:
        raise ValueError(f"{name} needs the parameters: call update(grads, state, params)")
    return params
