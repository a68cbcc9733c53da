"""Tokens that are given to models with a table of positions."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import ShapeError


def within(name: str, tokens: Any, length: int) -> Array:
    """Tokens [batch, tokens], of which there are no more than positions.

    Args:
        name: of the function that they are given to.
        tokens: integers [batch, tokens].
        length: how many positions there are.

    Returns:
        The array.

    Raises:
        ShapeError: they have other axes, or are too many: compiled, what is not in the table would be NaN.

    >>> within("gpt2.apply", [[1, 2]], 2).shape
    (1, 2)
    """
    tokens = fnp.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape[1] > length:
        raise ShapeError(f"{name} needs tokens [batch, tokens], at most {length} a row, got {tokens.type}")
    return tokens
