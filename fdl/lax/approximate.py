"""The largest elements of an axis, by the names of approximate search; here the search is exact."""

from typing import Any

from fdl.array import as_operand as as_array
from fdl.lax.reductions import top_k
from fdl.ops.arithmetic import neg

__all__ = ["approx_max_k", "approx_min_k"]


def approx_max_k(
    operand: Any,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> tuple[Any, Any]:
    """The `k` largest elements along an axis in falling order, and their int32 indices: all of them, always.

    Args:
        operand: array of floats.
        k: how many.
        reduction_dimension: the axis.
        recall_target: accepted for ports; the share of elements that is found is 1.
        reduction_input_size_override: accepted for ports.
        aggregate_to_topk: accepted for ports.

    Returns:
        Values and indices.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.approx_max_k(fnp.array([1.0, 3.0, 2.0]), 1)
    (Array([3.], dtype=float32), Array([1], dtype=int32))
    """
    return top_k(operand, k, axis=reduction_dimension)


def approx_min_k(
    operand: Any,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> tuple[Any, Any]:
    """The `k` smallest elements along an axis in rising order; arguments as for :func:`approx_max_k`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.approx_min_k(fnp.array([1.0, 3.0, 2.0]), 1)
    (Array([1.], dtype=float32), Array([0], dtype=int32))
    """
    values, indices = top_k(neg(as_array(operand)), k, axis=reduction_dimension)
    return neg(values), indices
