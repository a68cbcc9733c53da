"""Pytrees: nested containers with arrays as leaves, flattened by optree.

Tuples, lists, dicts (by sorted keys), named tuples, OrderedDicts, defaultdicts, deques and registered classes are
nodes; None is a node without children; everything else is a leaf.
"""

from fdl.tree.keys import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    KeyEntry,
    KeyPath,
    SequenceKey,
    keystr,
)
from fdl.tree.operations import (
    all,
    all_leaves,
    broadcast,
    explain_difference,
    flatten,
    flatten_with_path,
    leaves,
    leaves_with_path,
    map,
    map_with_path,
    paths,
    reduce,
    reduce_associative,
    structure,
    transpose,
    treedef_children,
    treedef_is_leaf,
    treedef_tuple,
    unflatten,
)
from fdl.tree.registry import (
    Partial,
    PyTreeDef,
    register_dataclass,
    register_pytree_node,
    register_pytree_node_class,
    register_pytree_with_keys,
    register_pytree_with_keys_class,
    register_static,
    static,
)

__all__ = [
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "KeyEntry",
    "KeyPath",
    "Partial",
    "PyTreeDef",
    "SequenceKey",
    "all",
    "all_leaves",
    "broadcast",
    "explain_difference",
    "flatten",
    "flatten_with_path",
    "keystr",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "paths",
    "reduce",
    "reduce_associative",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "register_pytree_with_keys",
    "register_pytree_with_keys_class",
    "register_static",
    "static",
    "structure",
    "transpose",
    "treedef_children",
    "treedef_is_leaf",
    "treedef_tuple",
    "unflatten",
]


def __dir__() -> list[str]:
    return __all__
