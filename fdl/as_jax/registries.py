"""Tables of classes that libraries read, or enter classes of arrays into: any subclass of ``numpy.ndarray`` is one."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import optree

from fdl.array import as_array
from fdl.as_jax.core import typeof
from fdl.tree.registry import NAMESPACE

canonicalize_dtype_handlers: dict[type[Any], Callable[..., Any]] = {np.ndarray: as_array}
pytype_aval_mappings: dict[type[Any], Callable[..., Any]] = {np.ndarray: typeof}


class _Nodes:
    """The classes that are nodes of trees."""

    def __contains__(self, nodetype: type[Any]) -> bool:
        return optree.register_pytree_node.get(nodetype, namespace=NAMESPACE) is not None


_registry = _Nodes()


def is_tree_node(typ: type[Any]) -> bool:
    """Whether a class is a node of trees.

    >>> is_tree_node(dict), is_tree_node(int)
    (True, False)
    """
    return typ in _registry


def flatten_one_level(tree: Any) -> tuple[Iterable[Any], Any]:
    """The children of a node, and its auxiliary data.

    Raises:
        ValueError: it is a leaf.

    >>> flatten_one_level({"a": 1, "b": [2, 3]})
    ([1, [2, 3]], ['a', 'b'])
    """
    children, data, *_ = optree.tree_flatten_one_level(tree, namespace=NAMESPACE)
    return children, data
