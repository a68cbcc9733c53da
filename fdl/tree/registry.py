"""Registration of classes as nodes, and structures that pickle with it."""

import copyreg
import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import optree

from fdl.errors import TreeError
from fdl.tree.keys import GetAttrKey, Keyed

PyTreeDef = optree.PyTreeSpec
T = TypeVar("T")

NAMESPACE = "fdl"

#: The registry of `fdl.tree.map` and `reduce`, in which nodes that represent one array are leaves.
VALUES = "fdl.values"


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

    Returns:
        None.

    Raises:
        ValueError: the class is a node already.

    >>> class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> register_pytree_node(Pair, lambda p: ((p.x, p.y), None), lambda _, xs: Pair(*xs))
    >>> from fdl import tree
    >>> tree.leaves([Pair(1, 2), 3])
    [1, 2, 3]
    """
    if flatten_with_keys_func is None:
        for namespace in (NAMESPACE, VALUES):
            _register(nodetype, flatten_func, unflatten_func, namespace=namespace)
        _registrations[nodetype] = (flatten_func, unflatten_func, None)
    else:
        register_pytree_with_keys(nodetype, flatten_with_keys_func, unflatten_func, flatten_func)


def _register(nodetype: type, *functions: Any, **options: Any) -> None:
    with warnings.catch_warnings():  # a class of named tuples may have functions of its own
        warnings.filterwarnings("ignore", "PyTree type .* is a subclass of", UserWarning)
        optree.register_pytree_node(nodetype, *functions, **options)


def register_pytree_with_keys(
    nodetype: type,
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]],
    unflatten_func: Callable[[Any, Iterable[Any]], Any],
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]] | None = None,
    *,
    is_value: bool = False,
) -> None:
    """Make a class a node whose children have names in key paths.

    Args:
        nodetype: the class.
        flatten_with_keys: from an instance to (pairs of key and child, auxiliary data).
        unflatten_func: from (auxiliary data, children) to an instance.
        flatten_func: accepted for compatibility and not used: `flatten_with_keys` tells the same.
        is_value: whether :func:`map` and :func:`reduce` take an instance as one value, as they take an array.

    Returns:
        None.

    Raises:
        ValueError: the class is a node already.

    >>> from fdl import tree
    >>> class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> def flatten_with_keys(p):
    ...     return ((tree.GetAttrKey("x"), p.x), (tree.GetAttrKey("y"), p.y)), None
    >>> register_pytree_with_keys(Pair, flatten_with_keys, lambda _, children: Pair(*children))
    >>> [tree.keystr(path) for path, leaf in tree.leaves_with_path(Pair(1, 2))]
    ['.x', '.y']
    """

    def flatten_entries(node: Any) -> tuple[list[Any], Any, tuple[Any, ...]]:
        pairs, auxiliary = flatten_with_keys(node)
        pairs = list(pairs)
        return [child for _, child in pairs], auxiliary, tuple(key for key, _ in pairs)

    for namespace in (NAMESPACE,) if is_value else (NAMESPACE, VALUES):
        _register(nodetype, flatten_entries, unflatten_func, path_entry_type=Keyed, namespace=namespace)
    _registrations[nodetype] = (flatten_func, unflatten_func, flatten_with_keys)


def register_pytree_node_class(cls: type[T]) -> type[T]:
    """Make a class with methods ``tree_flatten`` and ``tree_unflatten`` (a classmethod) a node.

    Args:
        cls: the class.

    Returns:
        The class.

    Raises:
        ValueError: the class is a node already.

    >>> from fdl import tree
    >>> @register_pytree_node_class
    ... class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    ...     def tree_flatten(self):
    ...         return (self.x, self.y), None
    ...     @classmethod
    ...     def tree_unflatten(cls, auxiliary, children):
    ...         return cls(*children)
    >>> tree.leaves(Pair(1, 2))
    [1, 2]
    """
    register_pytree_node(cls, cls.tree_flatten, cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_pytree_with_keys_class(cls: type[T]) -> type[T]:
    """Make a class with methods ``tree_flatten_with_keys`` and ``tree_unflatten`` (a classmethod) a node.

    Args:
        cls: the class.

    Returns:
        The class.

    Raises:
        ValueError: the class is a node already.

    >>> from fdl import tree
    >>> @register_pytree_with_keys_class
    ... class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    ...     def tree_flatten_with_keys(self):
    ...         return ((tree.GetAttrKey("x"), self.x), (tree.GetAttrKey("y"), self.y)), None
    ...     @classmethod
    ...     def tree_unflatten(cls, auxiliary, children):
    ...         return cls(*children)
    >>> [tree.keystr(path) for path, leaf in tree.leaves_with_path(Pair(1, 2))]
    ['.x', '.y']
    """
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

    Returns:
        The class.

    Raises:
        TreeError: the fields named are not those of the class.

    >>> from dataclasses import dataclass
    >>> from fdl import tree
    >>> @register_dataclass
    ... @dataclass
    ... class Point:
    ...     x: float
    ...     y: float
    >>> tree.map(lambda v: 2 * v, Point(1.0, 2.0))
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
    names = [*data_fields, *meta_fields, *drop_fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TreeError(
            f"register_dataclass: of the fields of {nodetype.__name__}, {twice} are named twice; each is data (a "
            "child), meta (part of the structure) or dropped"
        )
    if is_dataclass(nodetype):
        wanted = {f.name for f in fields(nodetype) if f.init}
        unknown = sorted({*data_fields, *meta_fields} - {f.name for f in fields(nodetype)})
        if not wanted <= set(names) or unknown:
            raise TreeError(
                f"register_dataclass: {nodetype.__name__} has the fields {sorted(wanted)}; data_fields and meta_fields "
                f"must name each of them, but lack {sorted(wanted - set(names))} and add {unknown}"
            )
    data, meta = tuple(data_fields), tuple(meta_fields)
    keys = tuple(GetAttrKey(name) for name in data)

    def flatten_fields(node: Any) -> tuple[list[tuple[Any, Any]], Any]:
        return [(k, getattr(node, k.name)) for k in keys], tuple(getattr(node, name) for name in meta)

    def unflatten_fields(auxiliary: Any, children: Iterable[Any]) -> Any:
        return nodetype(**dict(zip(data, children, strict=True)), **dict(zip(meta, auxiliary, strict=True)))

    register_pytree_with_keys(nodetype, flatten_fields, unflatten_fields)
    return nodetype


def register_static(cls: type[T]) -> type[T]:
    """Make instances of a class nodes without children: they belong to the structure.

    Args:
        cls: the class; its instances compare and hash.

    Returns:
        The class.

    Raises:
        ValueError: the class is a node already.

    >>> from fdl import tree
    >>> @register_static
    ... class Name(str):
    ...     pass
    >>> tree.leaves([Name("relu"), 1])
    [1]
    """
    register_pytree_node(cls, lambda node: ((), node), lambda node, _: node)
    return cls


def static(**kwargs: Any) -> Any:
    """A field of a dataclass that belongs to the structure, for :func:`register_dataclass`.

    Args:
        **kwargs: as for ``dataclasses.field``.

    Returns:
        The field.

    >>> from dataclasses import dataclass
    >>> from fdl import tree
    >>> @tree.register_dataclass
    ... @dataclass
    ... class Layer:
    ...     w: float
    ...     name: str = tree.static(default="dense")
    >>> tree.leaves(Layer(1.0))
    [1.0]
    """
    return field(metadata={"static": True, **(kwargs.pop("metadata", None) or {})}, **kwargs)


class Partial(functools.partial):
    """``functools.partial`` as a pytree: arguments are children, the function belongs to the structure.

    >>> from fdl import tree
    >>> tree.leaves(Partial(max, 1, 2))
    [1, 2]

    The arguments of another ``functools.partial`` belong to its function, and are no children:

    >>> tree.leaves(Partial(functools.partial(max, 1), 2))
    [2]
    """

    def __new__(cls, func: Callable[..., Any], /, *args: Any, **keywords: Any) -> "Partial":
        if isinstance(func, functools.partial) and not isinstance(func, Partial):
            func = _Whole(func)
        return super().__new__(cls, func, *args, **keywords)


@dataclass(frozen=True, eq=False)
class _Whole:
    """A partial function that another one takes as it is, without merging their arguments."""

    function: functools.partial[Any]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.function(*args, **keywords)

    def __eq__(self, other: object) -> bool:
        return self.function == (other.function if isinstance(other, _Whole) else other)

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        return repr(self.function)


_registrations: dict[type, tuple[Any, Any, Any]] = {}


def _is_pickled_by_value(cls: type) -> bool:
    """Whether another process cannot import the class, so that its registration must be pickled with it."""
    return cls.__module__ == "__main__" or "<locals>" in cls.__qualname__


def _custom_types(treedef: PyTreeDef) -> set[Any]:
    found = {treedef.type} if treedef.kind == optree.PyTreeKind.CUSTOM else set()
    return found.union(*(_custom_types(child) for child in treedef.children()))


def _reduce_treedef(treedef: PyTreeDef) -> tuple[Any, ...]:
    registrations = [
        (cls, *_registrations[cls])
        for cls in _custom_types(treedef)
        if _is_pickled_by_value(cls) and cls in _registrations
    ]
    return _restore_treedef, (registrations, treedef.__getstate__())


def _restore_treedef(registrations: list[tuple[Any, ...]], state: Any) -> PyTreeDef:
    for cls, flatten_func, unflatten_func, flatten_with_keys in registrations:
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
