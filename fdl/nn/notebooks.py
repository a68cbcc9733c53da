"""What ``%load_ext fdl`` adds to a notebook: trees of arrays show as tables."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.trace import Value
from fdl.dtypes import ANY
from fdl.nn.overview import summary
from fdl.tree.levels import flatten_one_level, is_tree_node

_ARRAYS = (np.ndarray, Value, ShapeDtypeStruct)
_NUMBERS = (bool, int, float, complex, np.generic)
#: A tree is no table if so many leaves come before the first array, or if it has so many in all.
_BEFORE, _MOST = 1_000, 100_000
#: The most containers in containers of a table: one that holds itself has no end.
_DEEPEST = 50


def load_ipython_extension(shell: Any) -> None:
    """Show dicts, lists and tuples (states of optimizers are such) of arrays as tables of their leaves.

    Args:
        shell: IPython's, which calls this for ``%load_ext fdl``. Other values show as ever.
    """
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (dict, list, tuple):
        formatter.for_type(kind, tree_html)


def tree_html(value: Any) -> str | None:
    """The table of a tree whose leaves are arrays that fdl takes, or numbers beside such; None of another value."""
    own = getattr(type(value), "_repr_html_", None)
    if own is not None:
        return str(own(value))
    arrays = False
    for count, leaf in enumerate(_leaves(value)):
        if isinstance(leaf, _ARRAYS) and leaf.dtype in ANY:
            arrays = True
        elif not isinstance(leaf, _NUMBERS):
            return None
        if count >= (_MOST if arrays else _BEFORE):
            return None
    return summary(value)._repr_html_() if arrays else None


def _leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    """The leaves one after the other, so that no large tree is walked for nothing; a node too deep stands for itself.

    Empty nodes come too, as numbers, so that a tree of many of them has an end.
    """
    if depth > _DEEPEST or not is_tree_node(type(value)):
        yield value
        return
    children = value if type(value) in (list, tuple) else flatten_one_level(value)[0]
    if not children:
        yield 0
    for child in children:
        yield from _leaves(child, depth + 1)


def unload_ipython_extension(shell: Any) -> None:
    """Show dicts, lists and tuples as text again."""
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (dict, list, tuple):
        formatter.pop(kind, None)
