"""Structures of pytrees as JSON: dicts, lists, tuples, None, and the numbers of leaves."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from fdl import tree
from fdl.errors import ExportError

#: Keys of dicts that JSON can say.
_KEYS = (str, int, bool, type(None))


def numbered(value: Any) -> Any:
    """A tree with the numbers of the leaves, left to right, in their places; nodes of other classes become dicts.

    Dicts keep the order of their keys.
    The names in such a dict are those of the attributes of the node. A named tuple is such a node.

    Raises:
        ExportError: a dict has keys that are no text and no number.
    """
    return _plain(value, "", count())


def _plain(value: Any, path: str, numbers: Iterator[int]) -> Any:
    if value is None:
        return None
    if tree.all_leaves([value]):
        return next(numbers)
    children = tree.flatten_with_path(value, is_leaf=lambda node: node is not value)[0]
    if type(value) in (list, tuple):
        return type(value)(_plain(child, f"{path}{key}", numbers) for (key,), child in children)
    found = {}
    for (key,), child in children:
        name = getattr(key, "key", getattr(key, "name", getattr(key, "idx", None)))
        if type(name) not in _KEYS:
            raise ExportError(f"{path or 'the tree'} has a key {name!r}, which no file can hold; use text")
        found[name] = _plain(child, f"{path}{key}", numbers)
    return {name: found[name] for name in value} if type(value) is dict else found


def write_structure(value: Any) -> Any:
    """What `numbered` gives, as JSON."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, dict):
        return {"dict": [[key, write_structure(child)] for key, child in value.items()]}
    return {type(value).__name__: [write_structure(child) for child in value]}


def read_structure(data: Any) -> Any:
    """The inverse of `write_structure`.

    Raises:
        ValueError: `write_structure` has not written this.
    """
    if data is None or type(data) is int:
        return data
    ((kind, children),) = data.items()
    if kind == "dict" and all(type(key) in _KEYS for key, _ in children):
        return {key: read_structure(child) for key, child in children}
    if kind not in ("list", "tuple"):
        raise ValueError(f"there is no node {kind!r}")
    return {"list": list, "tuple": tuple}[kind](map(read_structure, children))
