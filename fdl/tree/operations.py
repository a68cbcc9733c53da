"""Flattening trees, mapping over them, and explaining how two of them differ."""

import builtins
import functools
from collections.abc import Callable, Iterable
from typing import Any

import optree

from fdl.errors import TreeError
from fdl.tree.keys import KeyPath, to_key, to_path
from fdl.tree.registry import NAMESPACE, VALUES, PyTreeDef
from fdl.tree.structures import MAPPINGS, check_keys, in_order, missing_and_unexpected

IsLeaf = Callable[[Any], bool] | None

_MISSING: Any = object()


def flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], PyTreeDef]:
    """The leaves of a tree and its structure.

    Args:
        tree: any tree.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        The leaves, left to right, and the structure.

    Raises:
        TreeError: a dict has keys that cannot be sorted.

    >>> flatten({"b": (1, 2), "a": None, "c": [3]})[0]
    [1, 2, 3]
    """
    found, treedef = optree.tree_flatten(tree, is_leaf, namespace=NAMESPACE)
    return found, in_order(treedef)


def leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves of a tree, left to right.

    Args:
        tree: any tree.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        A list.

    Raises:
        TreeError: a dict has keys that cannot be sorted.

    >>> leaves({"b": (1, 2), "a": None, "c": [3]})
    [1, 2, 3]
    """
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: IsLeaf = None) -> PyTreeDef:
    """The structure of a tree, without its leaves; compares, hashes and pickles.

    Args:
        tree: any tree.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        The structure.

    >>> structure({"w": 1}) == structure({"w": 2})
    True
    """
    return in_order(optree.tree_structure(tree, is_leaf, namespace=NAMESPACE))


def unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """The tree with this structure and these leaves.

    Args:
        treedef: a structure.
        leaves: as many as the structure has.

    Returns:
        A tree.

    Raises:
        TreeError: the number of leaves is not that of the structure.

    >>> unflatten(structure({"w": 0, "b": 0}), [1, 2])
    {'w': 2, 'b': 1}
    """
    leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        raise TreeError(f"tree.unflatten got {len(leaves)} leaves for a structure with {treedef.num_leaves}: {treedef}")
    return optree.tree_unflatten(treedef, leaves)


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply `f` to the leaves of a tree and to the corresponding values of other trees.

    Args:
        f: takes one value per tree.
        tree: gives the result its structure.
        *rest: trees that have the structure of `tree`, or have it as a prefix.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        A tree with the structure of `tree`.

    Raises:
        TreeError: a tree differs; the message names the place and the difference.

    >>> map(lambda x, y: x + y, {"w": 1, "b": 2}, {"w": 10, "b": 20})
    {'w': 11, 'b': 22}
    """
    found, treedef = optree.tree_flatten(tree, is_leaf, namespace=VALUES)
    treedef = in_order(treedef)
    columns = [
        _flatten_up_to(treedef, tree, other, f"tree.map: argument {i}", is_leaf) for i, other in enumerate(rest, 2)
    ]
    return treedef.unflatten([f(*row) for row in zip(found, *columns, strict=True)])


def _flatten_up_to(treedef: PyTreeDef, tree: Any, other: Any, what: str, is_leaf: IsLeaf) -> list[Any]:
    try:
        return treedef.flatten_up_to(other)
    except (ValueError, TypeError) as error:
        difference = explain_difference(tree, other, is_leaf=is_leaf) or str(error)
        raise TreeError(f"{what} does not have the structure of the first tree: {difference}") from None


def reduce(function: Callable[[Any, Any], Any], tree: Any, initializer: Any = _MISSING, is_leaf: IsLeaf = None) -> Any:
    """Combine the leaves from left to right.

    Args:
        function: from (accumulated value, leaf) to the next accumulated value.
        tree: any tree.
        initializer: the first accumulated value; by default the first leaf.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        The accumulated value.

    Raises:
        TypeError: the tree has no leaves, and there is no initializer.

    >>> reduce(lambda total, x: total + x, {"a": 1, "b": (2, 3)})
    6
    """
    start = () if initializer is _MISSING else (initializer,)
    found, treedef = optree.tree_flatten(tree, is_leaf, namespace=VALUES)
    check_keys(treedef)
    return functools.reduce(function, found, *start)


def reduce_associative(
    operation: Callable[[Any, Any], Any], tree: Any, *, identity: Any = _MISSING, is_leaf: IsLeaf = None
) -> Any:
    """Combine the leaves by an associative operation, in pairs: logarithmic depth.

    Args:
        operation: takes two values.
        tree: any tree.
        identity: the result for a tree without leaves.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        The combined value.

    Raises:
        TreeError: the tree has no leaves, and there is no identity.

    >>> reduce_associative(lambda x, y: x + y, [1, 2, 3, 4, 5])
    15
    """
    found = leaves(tree, is_leaf)
    if not found and identity is _MISSING:
        raise TreeError("tree.reduce_associative needs `identity` for a tree without leaves")
    while len(found) > 1:
        odd = found[-1:] if len(found) % 2 else []
        found = [operation(x, y) for x, y in zip(found[::2], found[1::2], strict=False)] + odd
    return found[0] if found else identity


def all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """Whether every leaf is true.

    Args:
        tree: any tree.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        A bool.

    >>> all({"a": True, "b": [1, 0]})
    False
    """
    return builtins.all(leaves(tree, is_leaf))


def leaves_with_path(
    tree: Any, is_leaf: Callable[..., Any] | None = None, is_leaf_takes_path: bool = False
) -> list[tuple[KeyPath, Any]]:
    """Pairs of key path and leaf.

    Args:
        tree: any tree.
        is_leaf: treat a node for which it is true as a leaf.
        is_leaf_takes_path: whether `is_leaf` takes the key path of a node, and the node.

    Returns:
        A list of pairs.

    >>> from fdl.tree import keystr
    >>> [(keystr(path), leaf) for path, leaf in leaves_with_path({"w": [1, 2]})]
    [("['w'][0]", 1), ("['w'][1]", 2)]
    """
    return flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


class _Kept:
    """A node that stands in a tree as a leaf."""

    def __init__(self, node: Any) -> None:
        self.node = node


def _with_kept(tree: Any, is_leaf: Callable[..., Any], path: KeyPath) -> Any:
    """`tree` with those nodes wrapped for which ``is_leaf(path, node)`` is true."""
    if is_leaf(path, tree):
        return _Kept(tree)
    accessors, children, treedef = optree.tree_flatten_with_accessor(
        tree, lambda node: node is not tree, namespace=NAMESPACE
    )
    if treedef_is_leaf(treedef):
        return tree
    steps = [to_path(a) for a in accessors]
    return treedef.unflatten([_with_kept(c, is_leaf, path + step) for c, step in zip(children, steps, strict=True)])


def flatten_with_path(
    tree: Any, is_leaf: Callable[..., Any] | None = None, is_leaf_takes_path: bool = False
) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """Pairs of key path and leaf, and the structure.

    Args:
        tree: any tree.
        is_leaf: treat a node for which it is true as a leaf.
        is_leaf_takes_path: whether `is_leaf` takes the key path of a node, and the node.

    Returns:
        A list of pairs, and the structure.

    >>> from fdl.tree import keystr
    >>> pairs, treedef = flatten_with_path({"w": [1, 2]})
    >>> [keystr(path) for path, leaf in pairs], treedef.num_leaves
    (["['w'][0]", "['w'][1]"], 2)
    """
    if is_leaf is not None and is_leaf_takes_path:
        tree, is_leaf = _with_kept(tree, is_leaf, ()), None
    accessors, found, treedef = optree.tree_flatten_with_accessor(tree, is_leaf, namespace=NAMESPACE)
    leaves = [leaf.node if type(leaf) is _Kept else leaf for leaf in found]
    return [(to_path(a), leaf) for a, leaf in zip(accessors, leaves, strict=True)], in_order(treedef)


def map_with_path(
    f: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: Callable[..., Any] | None = None,
    is_leaf_takes_path: bool = False,
) -> Any:
    """As :func:`map`, with the key path of the leaf as the first argument of `f`.

    Args:
        f: takes a key path and one value per tree.
        tree: any tree.
        *rest: trees that have the structure of `tree`, or have it as a prefix.
        is_leaf: treat a node for which it is true as a leaf.
        is_leaf_takes_path: whether `is_leaf` takes the key path of a node, and the node.

    Returns:
        A tree with the structure of `tree`.

    Raises:
        TreeError: a tree differs; the message names the place and the difference.

    >>> from fdl.tree import keystr
    >>> map_with_path(lambda path, x: f"{keystr(path)}={x}", {"w": 1})
    {'w': "['w']=1"}
    """
    found, treedef = flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    plain = None if is_leaf_takes_path else is_leaf
    columns = [
        _flatten_up_to(treedef, tree, other, f"tree.map_with_path: argument {i}", plain)
        for i, other in enumerate(rest, 2)
    ]
    return treedef.unflatten([f(path, leaf, *row) for (path, leaf), *row in zip(found, *columns, strict=True)])


def paths(treedef: PyTreeDef) -> list[KeyPath]:
    """The key path of every leaf of a structure.

    Args:
        treedef: a structure.

    Returns:
        A list, left to right.

    >>> from fdl.tree import keystr
    >>> [keystr(path) for path in paths(structure({"w": [1, 2]}))]
    ["['w'][0]", "['w'][1]"]
    """
    return [to_path(a) for a in treedef.accessors()]


def transpose(outer_treedef: PyTreeDef, inner_treedef: PyTreeDef | None, pytree_to_transpose: Any) -> Any:
    """Turn a tree of trees inside out.

    Args:
        outer_treedef: the structure outside.
        inner_treedef: the structure of the tree at each leaf of it; None for that of the first one.
        pytree_to_transpose: a tree with the composed structure.

    Returns:
        A tree with the inner structure outside.

    Raises:
        TreeError: the tree has another structure.

    >>> transpose(structure([0, 0]), structure({"x": 0}), [{"x": 1}, {"x": 2}])
    {'x': [1, 2]}
    """
    try:
        rows = outer_treedef.flatten_up_to(pytree_to_transpose)
        inner = structure(rows[0]) if inner_treedef is None else inner_treedef
        columns = [inner.flatten_up_to(row) for row in rows]
    except (ValueError, TypeError, IndexError) as error:
        raise TreeError(
            f"tree.transpose: the tree is not composed of {outer_treedef} outside and {inner_treedef} inside: {error}"
        ) from None
    return inner.unflatten([outer_treedef.unflatten(column) for column in zip(*columns, strict=True)])


def broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> Any:
    """Repeat the leaves of a tree to give it the structure of another one, of which it is a prefix.

    Args:
        prefix_tree: the tree whose leaves are repeated.
        full_tree: the tree with the structure.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        A tree with the structure of `full_tree`.

    Raises:
        TreeError: it is not a prefix; the message names the place and the difference.

    >>> broadcast({"a": 1, "b": 2}, {"a": [0, 0], "b": 0})
    {'a': [1, 1], 'b': 2}
    """
    found, treedef = flatten(prefix_tree, is_leaf)
    subtrees = _flatten_up_to(treedef, prefix_tree, full_tree, "tree.broadcast: the full tree", is_leaf)
    repeated = [map(lambda _, leaf=leaf: leaf, sub, is_leaf=is_leaf) for leaf, sub in zip(found, subtrees, strict=True)]
    return treedef.unflatten(repeated)


def all_leaves(iterable: Iterable[Any], is_leaf: IsLeaf = None) -> bool:
    """Whether every element is a leaf itself.

    Args:
        iterable: the elements.
        is_leaf: treat a node for which it is true as a leaf.

    Returns:
        A bool.

    >>> all_leaves([1, 2]), all_leaves([1, [2]])
    (True, False)
    """
    return optree.all_leaves(iterable, is_leaf, namespace=NAMESPACE)


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """Whether a structure is that of a single leaf.

    Args:
        treedef: a structure.

    Returns:
        A bool.

    >>> treedef_is_leaf(structure(1)), treedef_is_leaf(structure([1]))
    (True, False)
    """
    return treedef.num_nodes == 1 and treedef.num_leaves == 1


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """The structures of the children of the root.

    Args:
        treedef: a structure.

    Returns:
        A list, left to right.

    >>> treedef_children(structure([1, (2, 3)])) == [structure(1), structure((2, 3))]
    True
    """
    return treedef.children()


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """The structure of a tuple whose elements have the given structures.

    Args:
        treedefs: the structures of the elements.

    Returns:
        A structure.

    >>> treedef_tuple([structure(1), structure([2])]) == structure((1, [2]))
    True
    """
    return optree.treespec_tuple(treedefs, namespace=NAMESPACE)


def explain_difference(first: Any, second: Any, path: str = "", is_leaf: IsLeaf = None) -> str | None:
    """Where and how `second` does not have `first` as a prefix, in words; None if it has.

    Args:
        first: the tree that may be a prefix.
        second: the other tree.
        path: the key path of both, as text.
        is_leaf: treat a node of the first for which it is true as a leaf.

    Returns:
        Words, or None.

    >>> explain_difference({"a": (1, 2)}, {"a": (1, 2, 3)})
    "at ['a']: a tuple of 2 against a tuple of 3"
    """
    treedef = structure(first, is_leaf)
    if treedef_is_leaf(treedef):
        return None
    other = structure(second)
    same_kind = treedef.type is other.type or {treedef.type, other.type} <= MAPPINGS
    here, there = _describe(treedef, first), _describe(other, second)
    entries, other_entries = treedef.entries(), other.entries()
    place = f"at {path}" if path else "at the root"
    if not same_kind:
        return f"{place}: {here} against {there}"
    missing, extra = missing_and_unexpected(entries, other_entries)
    if missing or extra:
        if treedef.type not in MAPPINGS:
            return f"{place}: {here} against {there}"
        parts = [f"{word} {', '.join(map_repr)}" for word, map_repr in _named(missing, extra)]
        return f"{place}: {here} against {there}: {'; '.join(parts)}"
    firsts, seconds = _children(first), _children(second)
    for entry, child in firsts.items():
        found = explain_difference(child[1], seconds[entry][1], path + str(child[0]), is_leaf)
        if found:
            return found
    return None


def _named(missing: list[Any], extra: list[Any]) -> list[tuple[str, list[str]]]:
    return [(word, [repr(k) for k in keys]) for word, keys in (("missing", missing), ("unexpected", extra)) if keys]


def _children(tree: Any) -> dict[Any, tuple[Any, Any]]:
    """Entry: (key, child) of the node at the root."""
    children, _, entries, _ = optree.tree_flatten_one_level(tree, namespace=NAMESPACE)
    keys = [to_key(accessor[0]) for accessor in structure(tree, lambda x: x is not tree).accessors()]
    return {e: (k, c) for e, k, c in zip(entries, keys, children, strict=True)}


def _describe(treedef: PyTreeDef, tree: Any) -> str:
    if treedef_is_leaf(treedef):
        return f"a leaf {getattr(tree, 'type', None) or type(tree).__name__}"
    if tree is None:
        return "None"
    if treedef.type in MAPPINGS:
        return f"a {type(tree).__name__} with keys {list(treedef.entries())}"
    return f"a {type(tree).__name__} of {treedef.num_children}"
