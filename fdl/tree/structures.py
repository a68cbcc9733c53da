"""Comparisons of structures without trees: they never make a user's class of placeholders (decision 021)."""

from collections import OrderedDict, defaultdict
from functools import lru_cache
from typing import Any

from optree import PyTreeKind, treespec_defaultdict, treespec_dict, treespec_leaf

from fdl.config import config
from fdl.errors import TreeError
from fdl.tree.keys import to_key
from fdl.tree.registry import PyTreeDef

#: Mappings have their keys as entries; those with equal keys count as the same.
MAPPINGS = {dict, OrderedDict, defaultdict}
_SORTED = (PyTreeKind.DICT, PyTreeKind.DEFAULTDICT)


@lru_cache(maxsize=4096)
def check_keys(treedef: PyTreeDef) -> None:
    """Raise if a dict has keys that cannot be sorted: its leaves come in the order of the keys."""
    if treedef.kind in _SORTED:
        try:
            sorted(treedef.entries())
        except TypeError:
            raise TreeError(
                f"the leaves of a dict are in the order of its keys, but the keys {list(treedef.entries())} cannot be "
                "sorted; give all of them one type"
            ) from None
    for child in treedef.children():
        check_keys(child)


def in_order(treedef: PyTreeDef) -> PyTreeDef:
    """The structure, whose dicts have keys that can be sorted; they come out sorted if `config.sort_keys` is set."""
    check_keys(treedef)
    return _with_sorted_keys(treedef) if config.sort_keys else treedef


@lru_cache(maxsize=4096)
def _with_sorted_keys(treedef: PyTreeDef) -> PyTreeDef:
    """The same structure: it compares equal, but the dicts that it unflattens have their keys in order."""
    return treedef.transform(_sort_keys)


def _sort_keys(node: PyTreeDef) -> PyTreeDef:
    if node.kind not in _SORTED:
        return node
    leaves: Any = {key: treespec_leaf() for key in node.entries()}
    if node.kind == PyTreeKind.DICT:
        return treespec_dict(leaves)
    empty: Any = node.unflatten(range(node.num_children))
    return treespec_defaultdict(empty.default_factory, leaves)


def subtrees(prefix: PyTreeDef, treedef: PyTreeDef) -> list[PyTreeDef]:
    """For each leaf of a structure, the corresponding structure in another one, of which it is a prefix."""
    if prefix.is_leaf():
        return [treedef]
    mine, others = _children(prefix), _children(treedef)
    return [s for entry in prefix.entries() for s in subtrees(mine[entry][1], others[entry][1])]


def explain_structures(first: PyTreeDef, second: PyTreeDef, path: str = "", leaf: str = "array") -> str | None:
    """Where and how a structure does not have another one as a prefix, in words; None if it has.

    Args:
        first: the structure that may be a prefix.
        second: the other one.
        path: the key path of both, as text.
        leaf: what to call a leaf.
    """
    if first.is_leaf():
        return None
    place = f"at {path}" if path else "at the root"
    here, there = _describe(first, leaf), _describe(second, leaf)
    if not (first.type is second.type or {first.type, second.type} <= MAPPINGS):
        return f"{place}: {here} against {there}"
    missing, extra = missing_and_unexpected(first.entries(), second.entries())
    if missing or extra:
        parts = [f"missing {', '.join(map(repr, missing))}"] * bool(missing)
        parts += [f"unexpected {', '.join(map(repr, extra))}"] * bool(extra)
        return f"{place}: {here} against {there}" + (f": {'; '.join(parts)}" if first.type in MAPPINGS else "")
    others = _children(second)
    for entry, (key, child) in _children(first).items():
        found = explain_structures(child, others[entry][1], path + str(key), leaf)
        if found:
            return found
    return None


def missing_and_unexpected(entries: list[Any], others: list[Any]) -> tuple[list[Any], list[Any]]:
    """Entries that only the first has, and those that only the second has."""
    return [e for e in entries if e not in others], [e for e in others if e not in entries]


def _children(treedef: PyTreeDef) -> dict[Any, tuple[Any, PyTreeDef]]:
    """Entry: (key, structure of the child) of the root."""
    level = treedef.one_level()
    keys = [] if level is None else [to_key(accessor[0]) for accessor in level.accessors()]
    return {e: (k, c) for e, k, c in zip(treedef.entries(), keys, treedef.children(), strict=True)}


def _describe(treedef: PyTreeDef, leaf: str) -> str:
    if treedef.is_leaf():
        return f"a leaf {leaf}"
    if treedef.type is None or treedef.type is type(None):
        return "None"
    if treedef.type in MAPPINGS:
        return f"a {treedef.type.__name__} with keys {list(treedef.entries())}"
    return f"a {treedef.type.__name__} of {treedef.num_children}"
