"""Reductions, cumulative operations, sorting and products, by their lax names."""

import enum
from collections.abc import Callable, Sequence
from typing import Any

from fdl.array import as_array
from fdl.dtypes import as_dtype, int32
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import axis_index, promote
from fdl.ops import contract, cumulative, reduce
from fdl.ops import sort as sort_ops
from fdl.ops.shape import move_axis

__all__ = [
    "DotAlgorithmPreset",
    "Precision",
    "argmax",
    "argmin",
    "batch_matmul",
    "cumlogsumexp",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "dot",
    "dot_general",
    "reduce_and",
    "reduce_max",
    "reduce_min",
    "reduce_or",
    "reduce_prod",
    "reduce_sum",
    "reduce_xor",
    "sort",
    "sort_key_val",
    "top_k",
]


class Precision(enum.Enum):
    """Accepted for ports; products are always computed in the precision of the operands."""

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


class DotAlgorithmPreset(enum.Enum):
    """Accepted for ports, as :class:`Precision` is."""

    DEFAULT = 0


def _reduction(name: str, function: Callable[..., Any], text: str) -> Callable[..., Any]:
    def reduced(operand: Any, axes: Sequence[int], **ignored: Any) -> Any:
        operand = as_array(operand)
        return function(operand, tuple(axis_index(name, a, operand.ndim) for a in axes))

    reduced.__name__ = reduced.__qualname__ = name
    reduced.__doc__ = f"{text} over the given axes."
    return reduced


reduce_sum = _reduction("reduce_sum", reduce.sum_, "Sum")
reduce_prod = _reduction("reduce_prod", reduce.prod_, "Product")
reduce_max = _reduction("reduce_max", reduce.reduce_max, "Maximum")
reduce_min = _reduction("reduce_min", reduce.reduce_min, "Minimum")
reduce_and = _reduction("reduce_and", reduce.reduce_and, "Bitwise (for booleans logical) and")
reduce_or = _reduction("reduce_or", reduce.reduce_or, "Bitwise (for booleans logical) or")
reduce_xor = _reduction("reduce_xor", reduce.reduce_xor, "Bitwise (for booleans logical) exclusive or")


def argmax(operand: Any, axis: int, index_dtype: Any = int32) -> Any:
    """Index of the (first) maximum along an axis; NaN counts as largest."""
    operand = as_array(operand)
    return reduce.argmax(operand, axis_index("argmax", axis, operand.ndim), as_dtype(index_dtype))


def argmin(operand: Any, axis: int, index_dtype: Any = int32) -> Any:
    """Index of the (first) minimum along an axis; NaN counts as smallest."""
    operand = as_array(operand)
    return reduce.argmin(operand, axis_index("argmin", axis, operand.ndim), as_dtype(index_dtype))


def _cumulative(name: str, function: Callable[..., Any], text: str) -> Callable[..., Any]:
    def run(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
        operand = as_array(operand)
        return function(operand, axis_index(name, axis, operand.ndim), reverse)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{text} along an axis, from its end if `reverse`."
    return run


cumsum = _cumulative("cumsum", cumulative.cumsum, "Cumulative sum")
cumprod = _cumulative("cumprod", cumulative.cumprod, "Cumulative product")
cummax = _cumulative("cummax", cumulative.cummax, "Cumulative maximum")
cummin = _cumulative("cummin", cumulative.cummin, "Cumulative minimum")
cumlogsumexp = _cumulative("cumlogsumexp", cumulative.cumlogsumexp, "Cumulative log of the sum of exponentials")


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """An array sorted along an axis, or a tuple of arrays sorted together by the first `num_keys` of them.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.sort((fnp.array([2, 1]), fnp.array([20, 10])))
    (Array([1, 2], dtype=int32), Array([10, 20], dtype=int32))
    """
    several = isinstance(operand, (tuple, list))
    values = [as_array(o) for o in (operand if several else (operand,))]
    axis = axis_index("sort", dimension, values[0].ndim)
    outs = sort_ops.Sort(axis, num_keys, is_stable)(*values)
    return tuple(outs) if several else outs[0]


def sort_key_val(keys: Any, values: Any, dimension: int = -1, is_stable: bool = True) -> tuple[Any, Any]:
    """`keys` sorted, and `values` in the same order."""
    return sort((keys, values), dimension, is_stable)


def top_k(operand: Any, k: int, *, axis: int = -1) -> tuple[Any, Any]:
    """The `k` largest elements along an axis in falling order, and their int32 indices.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.top_k(fnp.array([1.0, 3.0, 2.0]), 2)
    (Array([3., 2.], dtype=float32), Array([1, 2], dtype=int32))
    """
    operand = as_array(operand)
    place = axis_index("top_k", axis, operand.ndim)
    if not 0 <= k <= operand.shape[place]:
        raise ShapeError(f"top_k needs k between 0 and the extent {operand.shape[place]} of the axis, got k={k}")
    last = operand.ndim - 1
    values, indices = sort_ops.top_k(move_axis(operand, place, last), int(k))
    return move_axis(values, last, place), move_axis(indices, last, place)


def dot(lhs: Any, rhs: Any, precision: Any = None, preferred_element_type: Any = None, **ignored: Any) -> Any:
    """The product of vectors and matrices: the last axis of `lhs` with the first of `rhs`."""
    lhs, rhs = promote("dot", lhs, rhs)
    if not (1 <= lhs.ndim <= 2 and 1 <= rhs.ndim <= 2) or lhs.shape[-1] != rhs.shape[0]:
        raise ShapeError(f"dot needs vectors or matrices with a common inner extent, got {lhs.type} and {rhs.type}")
    return contract.dot_general(lhs, rhs, (((lhs.ndim - 1,), (0,)), ((), ())), preferred_element_type)


def dot_general(
    lhs: Any,
    rhs: Any,
    dimension_numbers: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    precision: Any = None,
    preferred_element_type: Any = None,
    **ignored: Any,
) -> Any:
    """The general product: sums over contracting axes, elementwise along batch axes.

    Args:
        lhs, rhs: arrays.
        dimension_numbers: ``((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch))``.
        precision: accepted for ports.
        preferred_element_type: dtype in which to sum and return.

    Returns:
        Batch axes, then the other axes of `lhs`, then those of `rhs`.
    """
    lhs, rhs = promote("dot_general", lhs, rhs)
    if lhs.dtype.kind in "OV" or rhs.dtype.kind == "O":
        raise DtypeError(f"dot_general needs numbers, got {lhs.type} and {rhs.type}")
    return contract.dot_general(lhs, rhs, dimension_numbers, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: Any = None) -> Any:
    """Products of stacks of matrices with the same leading axes."""
    lhs, rhs = promote("batch_matmul", lhs, rhs)
    batch = tuple(range(lhs.ndim - 2))
    return contract.dot_general(lhs, rhs, (((lhs.ndim - 1,), (rhs.ndim - 2,)), (batch, batch)))
