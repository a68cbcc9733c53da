"""Conditions that are checked while compiled functions run."""

from typing import Any, TypeVar

from fdl import tree
from fdl.array import as_operand
from fdl.config import config
from fdl.control.check import Check
from fdl.core.trace import source_line
from fdl.errors import DtypeError
from fdl.ops.bitwise import not_

T = TypeVar("T")


def check(condition: Any, message: str, *values: Any, **named: Any) -> None:
    """Raise an error at run time unless a condition holds, also inside of jit, vmap, grad and loops.

    A check that holds costs a comparison. With ``fdl.config.runtime_checks = False`` there are none.

    Args:
        condition: a boolean array of any shape; all of its elements must be true.
        message: a format string, as for ``str.format``.
        *values, **named: arrays or numbers that it shows.

    Raises:
        CheckError: when the function runs: `message`, the index in the batch, the steps of the loops, and the line.

    >>> import fdl, fdl.numpy as fnp
    >>> @fdl.jit
    ... def inverse(x):
    ...     fdl.debug.check(x != 0, "cannot divide by {}", x)
    ...     return 1 / x
    >>> inverse(2.0)
    Array(0.5, dtype=float32)
    >>> fdl.vmap(inverse)(fnp.array([1.0, 0.0]))
    Traceback (most recent call last):
    fdl.errors.CheckError: cannot divide by 0.0, at index 1 of the batch (checked at ...)
    """
    if not config.runtime_checks:
        return
    condition = as_operand(condition, "the condition of check")
    if condition.dtype != bool:
        raise DtypeError(f"check needs a boolean condition, got {condition.type}; compare first, for example x > 0")
    shown = [as_operand(v, "a value of check") for v in (*values, *named.values())]
    Check(message, source_line(), tuple(named))(condition, *shown)


def error_if(x: T, pred: Any, msg: str) -> T:
    """`x`, and an error at run time where a condition holds.

    Args:
        x: any tree.
        pred: a boolean array of any shape.
        msg: what the error says.

    Returns:
        `x`.

    Raises:
        CheckError: when the function runs, if any element of `pred` is true.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.jit(lambda x: fnp.sqrt(fdl.debug.error_if(x, x < 0, "x must not be negative")))(4.0)
    Array(2., dtype=float32)
    """
    if config.runtime_checks:
        pred = as_operand(pred, "the condition of error_if")
        if pred.dtype != bool:
            raise DtypeError(f"error_if needs a boolean condition, got {pred.type}; compare first, for example x < 0")
        Check(msg.replace("{", "{{").replace("}", "}}"), source_line())(not_(pred))
    return tree.map(lambda leaf: leaf, x)
