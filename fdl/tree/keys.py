"""Key paths: the steps from the root of a tree to a leaf."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import optree

KeyPath = tuple[Any, ...]


@dataclass(frozen=True)
class DictKey:
    """Step into a mapping, printed ``['key']``.

    >>> str(DictKey("w"))
    "['w']"
    """

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclass(frozen=True)
class SequenceKey:
    """Step into a sequence, printed ``[0]``.

    >>> str(SequenceKey(0))
    '[0]'
    """

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx}]"


@dataclass(frozen=True)
class GetAttrKey:
    """Step into an attribute, printed ``.name``.

    >>> str(GetAttrKey("w"))
    '.w'
    """

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclass(frozen=True)
class FlattenedIndexKey:
    """Step into a child of a class that was registered without keys, printed ``[<flat index 0>]``.

    >>> str(FlattenedIndexKey(0))
    '[<flat index 0>]'
    """

    key: int

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


KeyEntry = DictKey | SequenceKey | GetAttrKey | FlattenedIndexKey


def keystr(keys: Iterable[Any], *, simple: bool = False, separator: str = "") -> str:
    """A key path as text.

    Args:
        keys: the path, as :func:`flatten_with_path` returns it.
        simple: leave out brackets and quotes.
        separator: text between the steps.

    Returns:
        Text.

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


class Keyed(optree.PyTreeEntry):
    """An optree path entry that is one of our keys."""


def to_path(accessor: Any) -> KeyPath:
    """The key path of an optree accessor."""
    return tuple(to_key(entry) for entry in accessor)


def to_key(entry: Any) -> Any:
    """The step that an optree path entry takes."""
    if isinstance(entry, Keyed):
        return entry.entry
    if isinstance(entry, optree.NamedTupleEntry):
        return GetAttrKey(entry.field)
    if isinstance(entry, optree.MappingEntry):
        return DictKey(entry.entry)
    if isinstance(entry, optree.SequenceEntry):
        return SequenceKey(entry.entry)
    return FlattenedIndexKey(entry.entry)
