"""Printing from inside compiled functions."""

import builtins
from typing import Any

from fdl.lax.callbacks import debug_callback


def print(fmt: str, *args: Any, ordered: bool = False, **kwargs: Any) -> None:
    """Print values at run time, also under jit, vmap and grad.

    Args:
        fmt: a format string as for ``str.format``.
        *args, **kwargs: the values, pytrees of arrays.
        ordered: accepted for compatibility with JAX; prints always happen in program order.

    >>> import fdl
    >>> fdl.jit(lambda x: fdl.debug.print("x is {}", x))(2.0)
    x is 2.0
    """
    debug_callback(lambda *a, **k: builtins.print(fmt.format(*a, **k)), *args, **kwargs)
