"""What pins the order of computations in JAX; fdl computes in the order in which programs say so."""

from collections.abc import Callable
from typing import Any, TypeVar

from fdl import tree
from fdl.array import as_operand as as_array

F = TypeVar("F", bound=Callable[..., Any])
__all__ = ["after_all", "composite", "create_token", "dce_sink", "optimization_barrier", "stage"]


def optimization_barrier(operand: Any, /) -> Any:
    """A pytree of arrays as it is.

    >>> import fdl
    >>> fdl.lax.optimization_barrier((1.0, 2.0))
    (Array(1., dtype=float32), Array(2., dtype=float32))
    """
    return tree.map(lambda leaf: as_array(leaf, "an operand of optimization_barrier"), operand)


def create_token(_: Any = None) -> tuple[()]:
    """A token, which orders effects in JAX: nothing.

    >>> create_token()
    ()
    """
    return ()


def after_all(*operands: Any) -> tuple[()]:
    """A token that comes after others: nothing.

    >>> after_all(create_token(), create_token())
    ()
    """
    return ()


def dce_sink(val: Any, **ignored: Any) -> None:
    """Says that a value is used.

    >>> dce_sink(2.0)
    """


def stage(x: Any, /) -> Any:
    """`x` as an array.

    >>> stage(2.0)
    Array(2., dtype=float32)
    """
    return as_array(x, "the operand of stage")


def composite(decomposition: F, name: str, version: int = 0) -> F:
    """The function `decomposition` itself; in JAX, compilers may know a better one by its `name`.

    >>> composite(lambda x: 2 * x, "my.twice")(3)
    6
    """
    return decomposition
