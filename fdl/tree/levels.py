"""Trees one level at a time, and which classes are nodes."""

from typing import Any

import optree

from fdl.tree.keys import to_key
from fdl.tree.registry import NAMESPACE


def is_tree_node(typ: type) -> bool:
    """Whether instances of a class are nodes of trees.

    Args:
        typ: the class.

    Returns:
        A bool.

    >>> is_tree_node(dict), is_tree_node(int)
    (True, False)
    """
    return optree.register_pytree_node.get(typ, namespace=NAMESPACE) is not None


def flatten_one_level(tree: Any) -> tuple[list[Any], Any]:
    """The children of a node, and what belongs to its structure.

    Args:
        tree: a node.

    Returns:
        (children, auxiliary data).

    Raises:
        ValueError: it is a leaf.

    >>> flatten_one_level({"a": 1, "b": [2, 3]})[0]
    [1, [2, 3]]
    """
    children, auxiliary, _, _ = optree.tree_flatten_one_level(_node(tree), namespace=NAMESPACE)
    return list(children), auxiliary


def flatten_one_level_with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """As :func:`flatten_one_level`, with (key, child) for every child.

    Args:
        tree: a node.

    Returns:
        (pairs of key and child, auxiliary data).

    Raises:
        ValueError: it is a leaf.

    >>> [(str(key), child) for key, child in flatten_one_level_with_keys({"a": 1})[0]]
    [("['a']", 1)]
    """
    children, auxiliary = flatten_one_level(tree)
    accessors = optree.tree_accessors(tree, lambda node: node is not tree, namespace=NAMESPACE)
    return [(to_key(a[0]), child) for a, child in zip(accessors, children, strict=True)], auxiliary


def _node(tree: Any) -> Any:
    if tree is not None and not is_tree_node(type(tree)):
        raise ValueError(
            f"{type(tree).__name__} is no node of trees: {tree!r} is a leaf; register the class to make it one"
        )
    return tree


class Registry:
    """All classes that are nodes.

    >>> default_registry.is_node(list)
    True
    """

    def is_node(self, typ: type) -> bool:
        """As :func:`is_tree_node`."""
        return is_tree_node(typ)

    def flatten_one_level(self, tree: Any) -> tuple[list[Any], Any] | None:
        """As the function; None of a leaf."""
        return flatten_one_level(tree) if tree is None or is_tree_node(type(tree)) else None

    def flatten_one_level_with_keys(self, tree: Any) -> tuple[list[tuple[Any, Any]], Any] | None:
        """As the function; None of a leaf."""
        return flatten_one_level_with_keys(tree) if tree is None or is_tree_node(type(tree)) else None


default_registry = Registry()
