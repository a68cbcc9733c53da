"""Arithmetic with whole trees, by the names of ``optax.tree``: ``optim.tree.norm(grads)``."""

import builtins
import functools
from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl import tree as trees
from fdl.optim.base import squared as square
from fdl.optim.moments import cast as cast
from fdl.optim.moments import corrected, moment

Tree = Any


def add(first: Tree, second: Tree, *others: Tree) -> Tree:
    """The sum of trees, leaf by leaf.

    >>> add({"w": 1.0}, {"w": 2.0})
    {'w': 3.0}
    """
    return trees.map(lambda *leaves: builtins.sum(leaves[1:], leaves[0]), first, second, *others)


def sub(first: Tree, second: Tree) -> Tree:
    """The difference of trees, leaf by leaf."""
    return trees.map(lambda x, y: x - y, first, second)


def mul(first: Tree, second: Tree) -> Tree:
    """The product of trees, leaf by leaf."""
    return trees.map(lambda x, y: x * y, first, second)


def div(first: Tree, second: Tree) -> Tree:
    """The quotient of trees, leaf by leaf."""
    return trees.map(lambda x, y: x / y, first, second)


def scale(scalar: Any, values: Tree) -> Tree:
    """A tree times a number."""
    return trees.map(lambda x: scalar * x, values)


def add_scale(first: Tree, scalar: Any, second: Tree) -> Tree:
    """``first + scalar * second``, leaf by leaf.

    >>> add_scale(1.0, 0.5, 4.0)
    3.0
    """
    return trees.map(lambda x, y: x + scalar * y, first, second)


def vdot(first: Tree, second: Tree) -> Any:
    """The inner product of trees, the first one conjugated.

    >>> vdot({"w": fnp.array([1.0, 2.0])}, {"w": fnp.array([3.0, 4.0])}).item()
    11.0
    """
    return trees.reduce(lambda s, x: s + x, trees.map(fnp.vdot, first, second), 0)


def sum(values: Tree) -> Any:
    """The sum of all elements.

    >>> sum({"w": fnp.ones(3), "b": fnp.ones(1)}).item()
    4.0
    """
    return trees.reduce(lambda s, x: s + fnp.sum(fnp.asarray(x)), values, 0)


def max(values: Tree) -> Any:
    """The largest element; minus infinity if there is none."""
    return trees.reduce(
        lambda s, x: fnp.maximum(s, fnp.max(fnp.asarray(x))) if fnp.size(x) else s, values, -float("inf")
    )


def min(values: Tree) -> Any:
    """The smallest element; infinity if there is none."""
    return trees.reduce(
        lambda s, x: fnp.minimum(s, fnp.min(fnp.asarray(x))) if fnp.size(x) else s, values, float("inf")
    )


def size(values: Tree) -> int:
    """How many elements there are in all.

    >>> size({"w": fnp.ones((2, 3)), "b": fnp.ones(3)})
    9
    """
    return int(trees.reduce(lambda s, x: s + fnp.size(x), values, 0))


def norm(values: Tree, ord: Any = None, squared: bool = False) -> Any:
    """A norm of all elements together.

    Args:
        values: a tree of arrays.
        ord: 2 or None, 1, or "inf".
        squared: whether to square it.

    Returns:
        An array of no axes.

    Raises:
        ValueError: there is no such norm.

    >>> round(norm({"w": fnp.array([3.0]), "b": fnp.array(4.0)}).item(), 3)
    5.0
    """
    if ord in (None, 2):
        total = fnp.asarray(sum(trees.map(lambda x: square(fnp.asarray(x)), values)))
        return total if squared else fnp.sqrt(total)
    if ord == 1:
        found = sum(trees.map(fnp.abs, values))
    elif ord in (float("inf"), "inf", "infinity"):
        found = max(trees.map(fnp.abs, values))
    else:
        raise ValueError(f"norm takes ord None, 1, 2 or 'inf', got {ord!r}")
    return fnp.asarray(found) ** 2 if squared else fnp.asarray(found)


def conj(values: Tree) -> Tree:
    """Complex conjugates."""
    return trees.map(fnp.conj, values)


def real(values: Tree) -> Tree:
    """Real parts."""
    return trees.map(fnp.real, values)


def zeros_like(values: Tree, dtype: Any = None) -> Tree:
    """Zeros of the shapes of leaves."""
    return trees.map(lambda x: fnp.zeros_like(x, dtype=dtype), values)


def ones_like(values: Tree, dtype: Any = None) -> Tree:
    """Ones of the shapes of leaves."""
    return trees.map(lambda x: fnp.ones_like(x, dtype=dtype), values)


def full_like(values: Tree, fill_value: Any, dtype: Any = None) -> Tree:
    """One number in the shapes of leaves."""
    return trees.map(lambda x: fnp.full_like(x, fill_value, dtype=dtype), values)


def clip(values: Tree, min_value: Any = None, max_value: Any = None) -> Tree:
    """Elements clipped to bounds."""
    return trees.map(lambda x: fnp.clip(x, min_value, max_value), values)


def where(condition: Any, first: Tree, second: Tree) -> Tree:
    """The leaves of one tree or of the other.

    >>> where(True, {"w": 1.0}, {"w": 2.0})["w"].item()
    1.0
    """
    return trees.map(lambda x, y: fnp.where(condition, x, y), first, second)


def allclose(first: Tree, second: Tree, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all leaves are close, as ``fnp.allclose``."""
    close = trees.map(lambda x, y: fnp.allclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan), first, second)
    return trees.reduce(lambda s, x: fnp.logical_and(s, x), close, True)


def batch_shape(values: Tree, shape: tuple[int, ...] = ()) -> Tree:
    """Leaves repeated along new leading axes."""
    return trees.map(lambda x: fnp.broadcast_to(x, (*shape, *fnp.shape(x))), values)


def cast_like(values: Tree, other: Tree) -> Tree:
    """Leaves in the dtypes of another tree's."""
    return trees.map(lambda x, y: fnp.asarray(x).astype(y.dtype) if hasattr(y, "dtype") else x, values, other)


def dtype(values: Tree, mixed_dtype_handler: str | None = None) -> Any:
    """The dtype of all leaves.

    Args:
        values: a tree of arrays.
        mixed_dtype_handler: "promote", "highest" or "lowest" if leaves may differ; None raises then.

    Returns:
        A dtype; float32 of a tree without leaves.

    Raises:
        ValueError: the leaves differ.

    >>> dtype({"w": fnp.ones(1), "b": fnp.ones(1, "float16")}, "lowest").name
    'float16'
    """
    kinds = [fnp.asarray(x).dtype for x in trees.leaves(values)]
    if not kinds:
        return fnp.zeros(0).dtype
    if mixed_dtype_handler is None and len({*kinds}) > 1:
        raise ValueError(f"the leaves have dtypes {sorted(map(str, {*kinds}))}; say which: 'highest' or 'lowest'")
    wide = functools.reduce(fnp.promote_types, kinds)
    if mixed_dtype_handler != "lowest":
        return wide
    narrow = [k for k in kinds if all(fnp.promote_types(k, other) == other for other in kinds)]
    if not narrow:
        raise ValueError(f"no dtype of {sorted(map(str, {*kinds}))} is the lowest")
    return narrow[0]


def update_moment(updates: Tree, moments: Tree, decay: Any, order: int) -> Tree:
    """``decay * moment + (1 - decay) * update ** order``, leaf by leaf."""
    return moment(trees.map(lambda g: g**order, updates), moments, decay)


def update_moment_per_elem_norm(updates: Tree, moments: Tree, decay: Any, order: int) -> Tree:
    """:func:`update_moment` of the moduli."""
    return moment(trees.map(lambda g: square(fnp.asarray(g)) ** (order / 2), updates), moments, decay)


def update_infinity_moment(updates: Tree, moments: Tree, decay: Any, eps: Any) -> Tree:
    """The larger of ``modulus + eps`` and ``decay * moment``, leaf by leaf."""
    return trees.map(lambda g, m: fnp.maximum(fnp.abs(g) + eps, decay * m), updates, moments)


def bias_correction(moments: Tree, decay: Any, count: Any) -> Tree:
    """Moments divided by ``1 - decay ** count``."""
    return corrected(trees.map(fnp.asarray, moments), decay, fnp.asarray(count))


def split_key_like(rng_key: Any, target_tree: Tree) -> Tree:
    """A random key for every leaf."""
    leaves, structure = trees.flatten(target_tree)
    keys: Any = random.split(rng_key, len(leaves)) if leaves else []
    return trees.unflatten(structure, [keys[i] for i in range(len(leaves))])


def random_like(
    rng_key: Any, target_tree: Tree, sampler: Callable[..., Any] = random.normal, dtype: Any = None
) -> Tree:
    """Random leaves of the shapes and dtypes of others.

    Args:
        rng_key: random key.
        target_tree: a tree of arrays.
        sampler: from (key, shape, dtype) to an array.
        dtype: of the leaves; None is that of each.

    Returns:
        A tree like `target_tree`.

    >>> random_like(random.key(0), {"w": fnp.zeros((2, 3))})["w"].shape
    (2, 3)
    """
    keys = split_key_like(rng_key, target_tree)
    return trees.map(lambda x, k: sampler(k, fnp.shape(x), dtype or fnp.asarray(x).dtype), target_tree, keys)


def get_all_with_path(values: Tree, key: str) -> list[tuple[str, Any]]:
    """All entries of a name within a tree: keys of dicts, fields and names of named tuples; with their paths.

    >>> from fdl import optim
    >>> [path for path, _ in get_all_with_path(optim.adam(0.1).init(fnp.zeros(2)), "mu")]
    ['0.mu']
    """
    return _found(values, key, "")


def _found(values: Any, key: str, path: str) -> list[tuple[str, Any]]:
    named = isinstance(values, tuple) and hasattr(values, "_fields")
    if named and type(values).__name__ == key:
        return [(path, values)]
    if isinstance(values, dict):
        entries = [(str(name), x) for name, x in values.items()]
    elif named:
        entries = list(zip(values._fields, values, strict=True))
    elif isinstance(values, (tuple, list)):
        entries = [(str(i), x) for i, x in enumerate(values)]
    else:
        return []
    matches = []
    for name, entry in entries:
        inner = f"{path}.{name}" if path else name
        keyed = (isinstance(values, dict) or named) and name == key
        matches += [(inner, entry)] if keyed else _found(entry, key, inner)
    return matches


def get(values: Tree, key: str, default: Any = None) -> Any:
    """The one entry of a name within a tree, see :func:`get_all_with_path`.

    Args:
        values: a tree, such as the state of an optimizer.
        key: the name.
        default: what is returned if there is none.

    Returns:
        The entry.

    Raises:
        KeyError: there are several.

    >>> from fdl import optim
    >>> get(optim.adam(0.1).init(fnp.zeros(2)), "count").item()
    0
    """
    found = _found(values, key, "")
    if len(found) > 1:
        raise KeyError(f"several entries have the name {key!r}: {[path for path, _ in found]}")
    return found[0][1] if found else default


def set(values: Tree, **entries: Any) -> Tree:
    """A tree with other entries of some names, wherever they stand.

    Args:
        values: a tree, such as the state of an optimizer.
        **entries: the new entries by name.

    Returns:
        A tree like `values`.

    Raises:
        KeyError: there is no entry of a name.

    >>> from fdl import optim
    >>> state = optim.inject_hyperparams(optim.sgd)(0.1).init(fnp.zeros(2))
    >>> set(state, learning_rate=fnp.asarray(0.5)).hyperparams["learning_rate"].item()
    0.5
    """
    for key in entries:
        if not _found(values, key, ""):
            raise KeyError(f"the tree has no entry {key!r}")
    return _replaced(values, entries)


def _replaced(values: Any, entries: dict[str, Any]) -> Any:
    if hasattr(values, "_fields"):
        if type(values).__name__ in entries:
            return entries[type(values).__name__]
        fields = {n: entries[n] if n in entries else _replaced(x, entries) for n, x in values._asdict().items()}
        return values._replace(**fields)
    if isinstance(values, dict):
        return type(values)(
            (name, entries[name] if name in entries else _replaced(x, entries)) for name, x in values.items()
        )
    if isinstance(values, (tuple, list)):
        return type(values)(_replaced(x, entries) for x in values)
    return values


def map_params(
    initable: Any, f: Callable[..., Any], state: Tree, /, *rest: Tree, transform_non_params: Any = None
) -> Tree:
    """Apply a function to those parts of an optimizer's state that have the structure of the parameters.

    Args:
        initable: the optimizer.
        f: from a leaf (and the leaves of `rest` there) to a leaf.
        state: of the optimizer.
        *rest: trees like the parameters.
        transform_non_params: from other leaves to leaves; None leaves them alone.

    Returns:
        A tree like the state.

    >>> from fdl import optim
    >>> optimizer = optim.adam(0.1)
    >>> state = map_params(optimizer, lambda x: x + 1, optimizer.init({"w": fnp.zeros(1)}))
    >>> state[0].mu["w"].item(), state[0].count.item()
    (1.0, 0)
    """
    init = initable.init if hasattr(initable, "init") else initable
    marks = init({_MARK: fnp.zeros(())})

    def marked(x: Any) -> bool:
        return isinstance(x, dict) and list(x) == [_MARK]

    def mapped(mark: Any, part: Any) -> Any:
        if marked(mark):
            return trees.map(f, part, *rest)
        return part if transform_non_params is None else trees.map(transform_non_params, part)

    return trees.map(mapped, marks, state, is_leaf=marked)


_MARK = "the parameters of an optimizer"
