"""What an optimizer is: a pair of pure functions; and how pairs combine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.core.markup import heading
from fdl.core.types import Array
from fdl.dtypes import bfloat16, float16, float32, int32
from fdl.numpy._operands import root
from fdl.optim.arguments import REAL, makes_transformation, tells_call
from fdl.scalars import checked
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
    #: The call that made it.
    called: str = ""

    def __new__(
        cls, init: Callable[[Tree], Any], update: Callable[..., tuple[Tree, Any]], elementwise: bool = False
    ) -> "GradientTransformation":
        pair = super().__new__(cls, init, update)
        pair.elementwise = elementwise
        return pair

    def __repr__(self) -> str:
        made_by = getattr(self.update, "__qualname__", "").partition(".<locals>")[0]
        return self.called or f"{type(self).__name__} of {made_by or repr(self.update)}"

    def _repr_html_(self) -> str:
        return heading("optimizer", repr(self))


class GradientTransformationExtraArgs(GradientTransformation):
    """A :class:`GradientTransformation` whose ``update(gradients, state, params, **extra)`` takes more by keyword.

    ``value=``, ``grad=`` and ``value_fn=`` are what line searches need; those that a transformation does not know are
    ignored, so that a chain passes all of them to all of its parts.
    """


def with_extra_args_support(transformation: GradientTransformation) -> GradientTransformationExtraArgs:
    """A transformation that ignores arguments by keyword which it does not know.

    Args:
        transformation: any.

    Returns:
        The same pair of functions; itself, if it takes them already.

    >>> from fdl import optim
    >>> optimizer = with_extra_args_support(optim.sgd(0.5))
    >>> optimizer.update(fnp.ones(1), optimizer.init(fnp.ones(1)), value=3.0)[0].tolist()
    [-0.5]
    """
    if isinstance(transformation, GradientTransformationExtraArgs):
        return transformation

    known = transformation.update

    def update(updates: Tree, state: Any, params: Tree | None = None, **extra: Any) -> tuple[Tree, Any]:
        return known(updates, state, params)

    result = GradientTransformationExtraArgs(transformation.init, update, transformation.elementwise)
    result.catch_up, result.tables = transformation.catch_up, transformation.tables
    result.called = transformation.called
    return result


class EmptyState(NamedTuple):
    """The state of a transformation that has none."""


def in_float32(
    init: Callable[[Tree], Any],
    update: Callable[..., tuple[Tree, Any]],
    elementwise: bool = False,
    extra_args: bool = False,
) -> GradientTransformation:
    """The pair of functions, which see leaves of 16 bits as float32 and keep their state so; updates come back in 16.

    In 16 bits squares of gradients overflow or become zero, as do the epsilons that keep divisors from it, and a mean
    with a decay of 0.999 does not move.
    """

    def updated(updates: Tree, state: Any, params: Tree | None = None, **extra: Any) -> tuple[Tree, Any]:
        made, state = update(widened(updates), state, None if params is None else widened(params), **extra)
        return tree.map(lambda u, g: u.astype(g.dtype) if _is_narrow(g) else u, made, updates), state

    kind = GradientTransformationExtraArgs if extra_args else GradientTransformation
    return kind(lambda params: init(widened(params)), updated, elementwise)


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


@tells_call()
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

    parts = [with_extra_args_support(t) for t in transformations]

    def update(
        updates: Tree, state: tuple[Any, ...], params: Tree | None = None, **extra: Any
    ) -> tuple[Tree, tuple[Any, ...]]:
        states = []
        for transformation, inner in zip(parts, state, strict=True):
            updates, inner = transformation.update(updates, inner, params, **extra)
            states.append(inner)
        return updates, tuple(states)

    result = in_float32(init, update, all(t.elementwise for t in transformations), True)
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


def global_norm(updates: Tree) -> Array:
    """The Euclidean norm of all leaves together.

    Args:
        updates: a tree of arrays.

    Returns:
        A scalar.

    >>> round(global_norm({"w": fnp.array([3.0]), "b": fnp.array(4.0)}).item(), 3)
    5.0
    """
    return root(tree.reduce(lambda s, x: s + sum_of_squares(x), updates, fnp.zeros((), float32)))


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


def widest_dtype(params: Tree) -> Any:
    """Of losses, norms and step sizes: the widest real dtype of the parameters, at least float32."""
    return fnp.result_type(float32, *(fnp.real(fnp.asarray(p)).dtype for p in tree.leaves(params)))
