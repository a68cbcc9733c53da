"""Which example of an axis, named by an enclosing vmap, has the largest or smallest value."""

from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.lax.collectives import axis_index, pmax, pmin
from fdl.ops.compare import eq
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full_like

__all__ = ["pargmax", "pargmin"]


def pargmax(x: Any, axis_name: Any) -> Any:
    """The number of the example that has the largest `x` (an array, elementwise); of the first of them.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pargmax(x, "i"), axis_name="i")(fnp.array([5, 7, 7]))
    Array([1, 1, 1], dtype=int32)
    """
    return _first_with(x, pmax(x, axis_name), axis_name)


def pargmin(x: Any, axis_name: Any) -> Any:
    """The number of the example that has the smallest `x` (an array, elementwise); of the first of them.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pargmin(x, "i"), axis_name="i")(fnp.array([5, 7, 2]))
    Array([2, 2, 2], dtype=int32)
    """
    return _first_with(x, pmin(x, axis_name), axis_name)


def _first_with(x: Any, wanted: Any, axis_name: Any) -> Any:
    """The number of the first example whose `x` is the wanted one."""
    x = as_array(x)
    number = broadcast_in_dim(axis_index(axis_name), x.type.shape, ())
    return pmin(select(eq(x, wanted), number, full_like(number, np.iinfo(np.int32).max)), axis_name)
