"""Pytrees: nested containers with arrays as leaves, flattened by optree.

Tuples, lists, dicts (by sorted keys), named tuples, OrderedDicts, defaultdicts, deques and registered classes are
nodes; None is a node without children; everything else is a leaf.
"""

import builtins
import copyreg
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import optree

from fdl.errors import TreeError

PyTreeDef = optree.PyTreeSpec
IsLeaf = Callable[[Any], bool] | None
KeyPath = tuple[Any, ...]
T = TypeVar("T")

_NAMESPACE = "fdl"
_MISSING: Any = object()


@dataclass(frozen=True)
class DictKey:
    """Step into a mapping, printed ``['key']``."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclass(frozen=True)
class SequenceKey:
    """Step into a sequence, printed ``[0]``."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx}]"


@dataclass(frozen=True)
class GetAttrKey:
    """Step into an attribute, printed ``.name``."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclass(frozen=True)
class FlattenedIndexKey:
    """Step into a child of a class that was registered without keys, printed ``[<flat index 0>]``."""

    key: int

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


KeyEntry = DictKey | SequenceKey | GetAttrKey | FlattenedIndexKey


def keystr(keys: Iterable[Any], *, simple: bool = False, separator: str = "") -> str:
    """A key path as text.

    Args:
        keys: the path, as :func:`flatten_with_path` gives it.
        simple: leave out brackets and quotes.
        separator: written between the steps.

    >>> keystr((DictKey("conv1"), DictKey("w")))
    "['conv1']['w']"
    >>> keystr((DictKey("conv1"), SequenceKey(0)), simple=True, separator="/")
    'conv1/0'
    """
    return separator.join(_plain(k) if simple else str(k) for k in keys)


def _plain(key: Any) -> str:
    for name in ("key", "idx", "name"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], PyTreeDef]:
    """The leaves of a tree and its structure.

    >>> flatten({"b": (1, 2), "a": None, "c": [3]})[0]
    [1, 2, 3]
    """
    return optree.tree_flatten(tree, is_leaf, namespace=_NAMESPACE)


def leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves of a tree, left to right."""
    return optree.tree_leaves(tree, is_leaf, namespace=_NAMESPACE)


def structure(tree: Any, is_leaf: IsLeaf = None) -> PyTreeDef:
    """The structure of a tree, without its leaves; compares, hashes and pickles."""
    return optree.tree_structure(tree, is_leaf, namespace=_NAMESPACE)


def unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """The tree with this structure and these leaves.

    Raises:
        TreeError: the number of leaves is not that of the structure.
    """
    leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        raise TreeError(f"tree.unflatten got {len(leaves)} leaves for a structure with {treedef.num_leaves}: {treedef}")
    return optree.tree_unflatten(treedef, leaves)


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply `f` to the leaves of a tree, and to what stands in the same places of others.

    Args:
        f: takes one value per tree.
        tree: decides the structure of the result.
        *rest: trees that have the structure of `tree`, or have it as a prefix.
        is_leaf: treat a node for which it is true as a leaf.

    Raises:
        TreeError: a tree differs; the message names the place and the difference.

    >>> map(lambda x, y: x + y, {"w": 1, "b": 2}, {"w": 10, "b": 20})
    {'w': 11, 'b': 22}
    """
    found, treedef = flatten(tree, is_leaf)
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

    >>> reduce(lambda total, x: total + x, {"a": 1, "b": (2, 3)})
    6
    """
    start = () if initializer is _MISSING else (initializer,)
    return functools.reduce(function, leaves(tree, is_leaf), *start)


def reduce_associative(
    operation: Callable[[Any, Any], Any], tree: Any, *, identity: Any = _MISSING, is_leaf: IsLeaf = None
) -> Any:
    """Combine the leaves by an associative operation, in pairs: logarithmic depth.

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
    """Whether every leaf is true."""
    return builtins.all(leaves(tree, is_leaf))


def leaves_with_path(tree: Any, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """Pairs of key path and leaf.

    >>> [(keystr(path), leaf) for path, leaf in leaves_with_path({"w": [1, 2]})]
    [("['w'][0]", 1), ("['w'][1]", 2)]
    """
    return flatten_with_path(tree, is_leaf)[0]


def flatten_with_path(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """Pairs of key path and leaf, and the structure."""
    accessors, found, treedef = optree.tree_flatten_with_accessor(tree, is_leaf, namespace=_NAMESPACE)
    return [(_path(a), leaf) for a, leaf in zip(accessors, found, strict=True)], treedef


def map_with_path(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """As :func:`map`, with the key path of the leaf as the first argument of `f`.

    >>> map_with_path(lambda path, x: f"{keystr(path)}={x}", {"w": 1})
    {'w': "['w']=1"}
    """
    found, treedef = flatten_with_path(tree, is_leaf)
    columns = [
        _flatten_up_to(treedef, tree, other, f"tree.map_with_path: argument {i}", is_leaf)
        for i, other in enumerate(rest, 2)
    ]
    return treedef.unflatten([f(path, leaf, *row) for (path, leaf), *row in zip(found, *columns, strict=True)])


def paths(treedef: PyTreeDef) -> list[KeyPath]:
    """The key path of every leaf of a structure."""
    return [_path(a) for a in treedef.accessors()]


def transpose(outer_treedef: PyTreeDef, inner_treedef: PyTreeDef | None, pytree_to_transpose: Any) -> Any:
    """Turn a tree of trees inside out.

    Args:
        outer_treedef: structure of the outside.
        inner_treedef: structure of what stands at each leaf of it; None to take it from the first of them.
        pytree_to_transpose: a tree with the composed structure.

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
    """Repeat the leaves of a tree so that it gets the structure of another one, of which it is a prefix.

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
    """Whether every element is a leaf itself."""
    return optree.all_leaves(iterable, is_leaf, namespace=_NAMESPACE)


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """Whether a structure is that of a single leaf."""
    return treedef.num_nodes == 1 and treedef.num_leaves == 1


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """The structures of the children of the root."""
    return treedef.children()


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """The structure of a tuple whose elements have the given structures."""
    return optree.treespec_tuple(treedefs, namespace=_NAMESPACE)


def register_pytree_node(
    nodetype: type,
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]],
    unflatten_func: Callable[[Any, Iterable[Any]], Any],
    flatten_with_keys_func: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None = None,
) -> None:
    """Make a class a node.

    Args:
        nodetype: the class.
        flatten_func: from an instance to (children, auxiliary data that compares and hashes).
        unflatten_func: from (auxiliary data, children) to an instance.
        flatten_with_keys_func: as `flatten_func`, with (key, child) for every child.

    >>> class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> register_pytree_node(Pair, lambda p: ((p.x, p.y), None), lambda _, xs: Pair(*xs))
    >>> leaves([Pair(1, 2), 3])
    [1, 2, 3]
    """
    if flatten_with_keys_func is None:
        optree.register_pytree_node(nodetype, flatten_func, unflatten_func, namespace=_NAMESPACE)
        _registrations[nodetype] = (flatten_func, unflatten_func, None)
    else:
        register_pytree_with_keys(nodetype, flatten_with_keys_func, unflatten_func, flatten_func)


def register_pytree_with_keys(
    nodetype: type,
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]],
    unflatten_func: Callable[[Any, Iterable[Any]], Any],
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]] | None = None,
) -> None:
    """Make a class a node whose children have names in key paths.

    Args:
        nodetype: the class.
        flatten_with_keys: from an instance to (pairs of key and child, auxiliary data).
        unflatten_func: from (auxiliary data, children) to an instance.
        flatten_func: accepted for compatibility; `flatten_with_keys` says the same.
    """

    def flatten_entries(node: Any) -> tuple[list[Any], Any, tuple[Any, ...]]:
        pairs, auxiliary = flatten_with_keys(node)
        pairs = list(pairs)
        return [child for _, child in pairs], auxiliary, tuple(key for key, _ in pairs)

    optree.register_pytree_node(nodetype, flatten_entries, unflatten_func, path_entry_type=_Keyed, namespace=_NAMESPACE)
    _registrations[nodetype] = (flatten_func, unflatten_func, flatten_with_keys)


def register_pytree_node_class(cls: type[T]) -> type[T]:
    """Make a class with methods ``tree_flatten`` and ``tree_unflatten`` (a classmethod) a node."""
    register_pytree_node(cls, cls.tree_flatten, cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_pytree_with_keys_class(cls: type[T]) -> type[T]:
    """Make a class with methods ``tree_flatten_with_keys`` and ``tree_unflatten`` (a classmethod) a node."""
    register_pytree_with_keys(cls, cls.tree_flatten_with_keys, cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_dataclass(
    nodetype: type[T],
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
    drop_fields: Sequence[str] = (),
) -> type[T]:
    """Make a dataclass a node; usable as a decorator.

    Args:
        nodetype: the class.
        data_fields: names of the fields that are children; by default all but those whose metadata says ``static``.
        meta_fields: names of the fields that belong to the structure.
        drop_fields: names of fields that are left out.

    Raises:
        TreeError: the fields named are not those of the class.

    >>> @register_dataclass
    ... @dataclass
    ... class Point:
    ...     x: float
    ...     y: float
    >>> map(lambda v: 2 * v, Point(1.0, 2.0))
    Point(x=2.0, y=4.0)
    """
    if data_fields is None or meta_fields is None:
        if not is_dataclass(nodetype):
            raise TreeError(
                f"register_dataclass needs data_fields and meta_fields for {nodetype.__name__}, no dataclass"
            )
        kept = [f for f in fields(nodetype) if f.init and f.name not in drop_fields]
        data_fields = [f.name for f in kept if not f.metadata.get("static", False)]
        meta_fields = [f.name for f in kept if f.metadata.get("static", False)]
    elif is_dataclass(nodetype):
        named, wanted = {*data_fields, *meta_fields, *drop_fields}, {f.name for f in fields(nodetype) if f.init}
        if not wanted <= named:
            raise TreeError(f"register_dataclass: {nodetype.__name__} also has the fields {sorted(wanted - named)}")
    data, meta = tuple(data_fields), tuple(meta_fields)
    keys = tuple(GetAttrKey(name) for name in data)

    def flatten_fields(node: Any) -> tuple[list[tuple[Any, Any]], Any]:
        return [(k, getattr(node, k.name)) for k in keys], tuple(getattr(node, name) for name in meta)

    def unflatten_fields(auxiliary: Any, children: Iterable[Any]) -> Any:
        return nodetype(**dict(zip(data, children, strict=True)), **dict(zip(meta, auxiliary, strict=True)))

    register_pytree_with_keys(nodetype, flatten_fields, unflatten_fields)
    return nodetype


def register_static(cls: type[T]) -> type[T]:
    """Make instances of a class nodes without children: they belong to the structure. They must compare and hash."""
    register_pytree_node(cls, lambda node: ((), node), lambda node, _: node)
    return cls


class Partial(functools.partial):
    """``functools.partial`` as a pytree: arguments are children, the function belongs to the structure.

    >>> leaves(Partial(max, 1, 2))
    [1, 2]
    """


class _Keyed(optree.PyTreeEntry):
    """An optree path entry that is one of our keys."""


def _path(accessor: Any) -> KeyPath:
    return tuple(_key(entry) for entry in accessor)


def _key(entry: Any) -> Any:
    if isinstance(entry, _Keyed):
        return entry.entry
    if isinstance(entry, optree.NamedTupleEntry):
        return GetAttrKey(entry.field)
    if isinstance(entry, optree.MappingEntry):
        return DictKey(entry.entry)
    if isinstance(entry, optree.SequenceEntry):
        return SequenceKey(entry.entry)
    return FlattenedIndexKey(entry.entry)


def explain_difference(first: Any, second: Any, path: str = "", is_leaf: IsLeaf = None) -> str | None:
    """Where and how `second` does not have `first` as a prefix, in words; None if it has.

    >>> explain_difference({"a": (1, 2)}, {"a": (1, 2, 3)})
    "at ['a']: a tuple of 2 against a tuple of 3"
    """
    treedef = structure(first, is_leaf)
    if treedef_is_leaf(treedef):
        return None
    other = structure(second)
    same_kind = treedef.type is other.type or {treedef.type, other.type} <= _MAPPINGS
    here, there = _describe(treedef, first), _describe(other, second)
    entries, other_entries = treedef.entries(), other.entries()
    place = f"at {path}" if path else "at the root"
    if not same_kind:
        return f"{place}: {here} against {there}"
    if set(entries) != set(other_entries):
        missing = [k for k in entries if k not in other_entries]
        extra = [k for k in other_entries if k not in entries]
        if treedef.type not in _MAPPINGS:
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


_MAPPINGS = {dict, OrderedDict, defaultdict}


def _children(tree: Any) -> dict[Any, tuple[Any, Any]]:
    """Entry: (key, child) of the node at the root."""
    children, _, entries, _ = optree.tree_flatten_one_level(tree, namespace=_NAMESPACE)
    keys = [_key(accessor[0]) for accessor in structure(tree, lambda x: x is not tree).accessors()]
    return {e: (k, c) for e, k, c in zip(entries, keys, children, strict=True)}


def _describe(treedef: PyTreeDef, tree: Any) -> str:
    if treedef_is_leaf(treedef):
        return f"a leaf {getattr(tree, 'type', None) or type(tree).__name__}"
    if tree is None:
        return "None"
    if treedef.type in _MAPPINGS:
        return f"a {type(tree).__name__} with keys {list(treedef.entries())}"
    return f"a {type(tree).__name__} of {treedef.num_children}"


_registrations: dict[type, tuple[Any, Any, Any]] = {}


def _travels(cls: type) -> bool:
    """Whether another process cannot import the class, so that its registration must be pickled along."""
    return cls.__module__ == "__main__" or "<locals>" in cls.__qualname__


def _custom_types(treedef: PyTreeDef) -> set[Any]:
    found = {treedef.type} if treedef.kind == optree.PyTreeKind.CUSTOM else set()
    return found.union(*(_custom_types(child) for child in treedef.children()))


def _reduce_treedef(treedef: PyTreeDef) -> tuple[Any, ...]:
    travelling = [
        (cls, *_registrations[cls]) for cls in _custom_types(treedef) if _travels(cls) and cls in _registrations
    ]
    return _restore_treedef, (travelling, treedef.__getstate__())


def _restore_treedef(travelling: list[tuple[Any, ...]], state: Any) -> PyTreeDef:
    for cls, flatten_func, unflatten_func, flatten_with_keys in travelling:
        if cls not in _registrations:
            register_pytree_node(cls, flatten_func, unflatten_func, flatten_with_keys)
    treedef: Any = PyTreeDef.__new__(PyTreeDef)
    treedef.__setstate__(state)
    return treedef


def _partial(function: Any, children: Any) -> Partial:
    args, keywords = children
    return Partial(function, *args, **keywords)


copyreg.pickle(PyTreeDef, _reduce_treedef)
register_pytree_with_keys(
    Partial,
    lambda p: (((GetAttrKey("args"), p.args), (GetAttrKey("keywords"), p.keywords)), p.func),
    _partial,
)
