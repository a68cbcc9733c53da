"""Reductions, cumulative operations, sorting and products, by their lax names."""

from collections.abc import Callable, Sequence
from typing import Any

from fdl.array import as_operand as as_array
from fdl.core.types import Array
from fdl.dtypes import as_dtype, int32
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index, integer, integers, promote
from fdl.ops import contract, cumulative, reduce
from fdl.ops import sort as sort_ops
from fdl.ops.shape import move_axis

__all__ = [
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


def _reduction(name: str, function: Callable[..., Any], text: str, example: str) -> Callable[..., Any]:
    """The function that reduces by a primitive; `example` is "list -> inside of Array(...)"."""

    def reduced(operand: Any, axes: Sequence[int], **ignored: Any) -> Any:
        operand = as_array(operand)
        return function(operand, tuple(axis_index(name, a, operand.ndim) for a in integers(f"{name}: axes", axes)))

    given, shown = example.split(" -> ")
    reduced.__name__ = reduced.__qualname__ = name
    reduced.__doc__ = f"""{text} over the given axes.

    Args:
        operand: array of any shape.
        axes: the axes to reduce.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array of the dtype of `operand` and its shape without `axes`.

    Raises:
        ShapeError: an axis is out of bounds.
        DtypeError: the reduction is not defined for the dtype.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.{name}(fnp.array({given}), (0,))
    Array({shown})
    """
    return reduced


_BITWISE = "Bitwise (for booleans logical)"
reduce_sum = _reduction("reduce_sum", reduce.sum_, "Sum", "[1, 2, 4] -> 7, dtype=int32")
reduce_prod = _reduction("reduce_prod", reduce.prod_, "Product", "[2, 3, 4] -> 24, dtype=int32")
reduce_max = _reduction("reduce_max", reduce.reduce_max, "Maximum", "[1, 4, 2] -> 4, dtype=int32")
reduce_min = _reduction("reduce_min", reduce.reduce_min, "Minimum", "[4, 1, 2] -> 1, dtype=int32")
reduce_and = _reduction("reduce_and", reduce.reduce_and, f"{_BITWISE} and", "[7, 3, 6] -> 2, dtype=int32")
reduce_or = _reduction("reduce_or", reduce.reduce_or, f"{_BITWISE} or", "[1, 2, 1] -> 3, dtype=int32")
reduce_xor = _reduction("reduce_xor", reduce.reduce_xor, f"{_BITWISE} exclusive or", "[1, 2, 1] -> 2, dtype=int32")


def argmax(operand: Any, axis: int, index_dtype: Any = int32) -> Array:
    """Index of the (first) maximum along an axis; NaN counts as largest.

    Args:
        operand: array of real numbers or booleans, with an extent above zero along `axis`.
        axis: the axis to reduce.
        index_dtype: integer dtype of the result.

    Returns:
        An array of `index_dtype`, of the shape of `operand` without `axis`.

    Raises:
        ShapeError: the axis is out of bounds.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.argmax(fnp.array([1.0, 3.0, 3.0]), 0)
    Array(1, dtype=int32)
    """
    operand = as_array(operand)
    return reduce.argmax(operand, axis_index("argmax", axis, operand.ndim), as_dtype(index_dtype))


def argmin(operand: Any, axis: int, index_dtype: Any = int32) -> Array:
    """Index of the (first) minimum along an axis; NaN counts as smallest.

    Args:
        operand: array of real numbers or booleans, with an extent above zero along `axis`.
        axis: the axis to reduce.
        index_dtype: integer dtype of the result.

    Returns:
        An array of `index_dtype`, of the shape of `operand` without `axis`.

    Raises:
        ShapeError: the axis is out of bounds.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.argmin(fnp.array([3.0, 1.0, 1.0]), 0)
    Array(1, dtype=int32)
    """
    operand = as_array(operand)
    return reduce.argmin(operand, axis_index("argmin", axis, operand.ndim), as_dtype(index_dtype))


def _cumulative(name: str, function: Callable[..., Any], text: str, example: str) -> Callable[..., Any]:
    """The function that accumulates by a primitive; `example` is "list -> inside of Array(...)"."""

    def run(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
        operand = as_array(operand)
        return function(operand, axis_index(name, axis, operand.ndim), reverse)

    given, shown = example.split(" -> ")
    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"""{text} along an axis.

    Args:
        operand: array of numbers, with at least one axis.
        axis: the axis to accumulate along.
        reverse: whether to start from its end.

    Returns:
        An array of the shape and dtype of `operand`.

    Raises:
        ShapeError: the axis is out of bounds.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.{name}(fnp.array({given}))
    Array({shown})
    """
    return run


cumsum = _cumulative("cumsum", cumulative.cumsum, "Cumulative sum", "[1, 2, 3] -> [1, 3, 6], dtype=int32")
cumprod = _cumulative("cumprod", cumulative.cumprod, "Cumulative product", "[1, 2, 3] -> [1, 2, 6], dtype=int32")
cummax = _cumulative("cummax", cumulative.cummax, "Cumulative maximum", "[1, 3, 2] -> [1, 3, 3], dtype=int32")
cummin = _cumulative("cummin", cumulative.cummin, "Cumulative minimum", "[3, 1, 2] -> [3, 1, 1], dtype=int32")
cumlogsumexp = _cumulative(
    "cumlogsumexp",
    cumulative.cumlogsumexp,
    "Cumulative log of the sum of exponentials",
    "[0.0, 0.0] -> [0.        , 0.69314...], dtype=float32",
)


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """An array sorted along an axis, or a tuple of arrays sorted together by the first `num_keys` of them.

    Args:
        operand: array of real numbers or booleans, or a tuple or list of arrays of one shape.
        dimension: the axis to sort along.
        is_stable: whether equal elements keep their order.
        num_keys: how many of the arrays are compared, one after another.

    Returns:
        An array, or a tuple of arrays, of the shapes and dtypes of `operand`.

    Raises:
        ShapeError: the arrays differ in shape.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.sort((fnp.array([2, 1]), fnp.array([20, 10])))
    (Array([1, 2], dtype=int32), Array([10, 20], dtype=int32))
    """
    several = isinstance(operand, (tuple, list))
    values = [as_array(o) for o in (operand if several else (operand,))]
    if not values:
        raise ShapeError("sort needs at least one operand")
    axis = axis_index("sort", dimension, values[0].ndim)
    outs = sort_ops.Sort(axis, num_keys, is_stable)(*values)
    return tuple(outs) if several else outs[0]


def sort_key_val(keys: Any, values: Any, dimension: int = -1, is_stable: bool = True) -> tuple[Any, Any]:
    """`keys` sorted, and `values` in the same order.

    Args:
        keys: array of real numbers or booleans.
        values: array of the same shape, of any dtype.
        dimension: the axis to sort along.
        is_stable: whether the values of equal keys keep their order.

    Returns:
        The sorted keys and values, of their shapes and dtypes.

    Raises:
        ShapeError: the arrays differ in shape.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.sort_key_val(fnp.array([3, 1, 2]), fnp.array([30.0, 10.0, 20.0]))
    (Array([1, 2, 3], dtype=int32), Array([10., 20., 30.], dtype=float32))
    """
    return sort((keys, values), dimension, is_stable)


def top_k(operand: Any, k: int, *, axis: int = -1) -> tuple[Any, Any]:
    """The `k` largest elements along an axis in falling order, and their int32 indices.

    Args:
        operand: array of real numbers.
        k: how many, at most the extent of the axis.
        axis: the axis to search.

    Returns:
        Values (dtype of `operand`) and indices (int32), of the shape of `operand` with extent `k` along the axis.

    Raises:
        ShapeError: `k` is negative or larger than the extent.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.top_k(fnp.array([1.0, 3.0, 2.0]), 2)
    (Array([3., 2.], dtype=float32), Array([1, 2], dtype=int32))
    """
    operand = as_array(operand)
    place = axis_index("top_k", axis, operand.ndim)
    k = integer("top_k: k", k)
    if not 0 <= k <= operand.shape[place]:
        raise ShapeError(f"top_k needs k between 0 and the extent {operand.shape[place]} of the axis, got k={k}")
    last = operand.ndim - 1
    values, indices = sort_ops.top_k(move_axis(operand, place, last), k)
    return move_axis(values, last, place), move_axis(indices, last, place)


def dot(lhs: Any, rhs: Any, precision: Any = None, preferred_element_type: Any = None, **ignored: Any) -> Array:
    """The product of vectors and matrices: the last axis of `lhs` with the first of `rhs`.

    Args:
        lhs: array of shape (k,) or (m, k).
        rhs: array of shape (k,) or (k, n), of the same dtype.
        precision: accepted for ports.
        preferred_element_type: dtype in which to sum and return.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array of shape (), (m,), (n,) or (m, n).

    Raises:
        ShapeError: the operands are not vectors or matrices, or k differs.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.dot(fnp.array([[1.0, 2.0], [3.0, 4.0]]), fnp.array([1.0, 1.0]))
    Array([3., 7.], dtype=float32)
    """
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
) -> Array:
    """The general product: sums over contracting axes, elementwise along batch axes.

    Args:
        lhs, rhs: arrays of numbers of one dtype.
        dimension_numbers: ``((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch))``.
        precision: accepted for ports.
        preferred_element_type: dtype in which to sum and return.
        **ignored: further keywords, accepted for ports.

    Returns:
        Batch axes, then the other axes of `lhs`, then those of `rhs`.

    Raises:
        ShapeError: paired axes differ in extent.
        DtypeError: an operand does not consist of numbers.

    Source: the operation `DotGeneral` of XLA, https://openxla.org/xla/operation_semantics#dotgeneral

    >>> import fdl, fdl.numpy as fnp
    >>> rows = fnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> fdl.lax.dot_general(rows, rows, (((1,), (1,)), ((0,), (0,))))
    Array([ 5., 25.], dtype=float32)
    """
    lhs, rhs = promote("dot_general", lhs, rhs)
    return contract.dot_general(lhs, rhs, dimension_numbers, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: Any = None) -> Array:
    """Products of stacks of matrices with the same leading axes.

    Args:
        lhs: array of shape (*batch, m, k).
        rhs: array of shape (*batch, k, n), of the same dtype.
        precision: accepted for ports.

    Returns:
        An array of shape (*batch, m, n).

    Raises:
        ShapeError: batch axes or k differ.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.batch_matmul(fnp.ones((2, 1, 3)), fnp.ones((2, 3, 4))).shape
    (2, 1, 4)
    """
    lhs, rhs = promote("batch_matmul", lhs, rhs)
    batch = tuple(range(lhs.ndim - 2))
    return contract.dot_general(lhs, rhs, (((lhs.ndim - 1,), (rhs.ndim - 2,)), (batch, batch)))
