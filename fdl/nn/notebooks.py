"""What ``%load_ext fdl`` adds to a notebook: trees of arrays show as tables."""

from typing import Any

from fdl import tree
from fdl.nn.overview import summary


def load_ipython_extension(shell: Any) -> None:
    """Show dicts, lists and tuples (states of optimizers are such) of arrays as tables of their leaves.

    Args:
        shell: IPython's, which calls this for ``%load_ext fdl``. Other values show as ever.
    """
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (dict, list, tuple):
        formatter.for_type(kind, tree_html)


def tree_html(value: Any) -> str | None:
    """The table of a tree whose leaves have a shape and a dtype, or are numbers beside such; None of another value."""
    own = getattr(type(value), "_repr_html_", None)
    if own is not None:
        return str(own(value))
    leaves = tree.leaves(value)
    typed = [hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves]
    if not any(typed) or not all(
        known or isinstance(leaf, (bool, int, float, complex)) for known, leaf in zip(typed, leaves, strict=True)
    ):
        return None
    return summary(value)._repr_html_()


def unload_ipython_extension(shell: Any) -> None:
    """Show dicts, lists and tuples as text again."""
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (dict, list, tuple):
        formatter.pop(kind, None)
