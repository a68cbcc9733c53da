"""Gather and scatter, by their lax names."""

import enum
from collections.abc import Sequence
from typing import Any

from fdl.array import as_array
from fdl.core.types import Array
from fdl.dtypes import result_type
from fdl.errors import IndexingError
from fdl.lax.structure import concatenate
from fdl.numpy._index import signed_places
from fdl.numpy._operands import cast
from fdl.ops import indexing
from fdl.ops.convert import convert
from fdl.ops.shape import reshape
from fdl.ops.windows import GatherDimensionNumbers, ScatterDimensionNumbers

__all__ = [
    "GatherDimensionNumbers",
    "GatherScatterMode",
    "ScatterDimensionNumbers",
    "gather",
    "index_take",
    "scatter",
    "scatter_add",
    "scatter_max",
    "scatter_min",
    "scatter_mul",
    "scatter_sub",
]


class GatherScatterMode(enum.Enum):
    """What happens to indices out of bounds: dropped or filled, clamped, or promised not to occur.

    >>> import fdl
    >>> fdl.lax.GatherScatterMode.from_any("drop")
    'fill'
    """

    FILL_OR_DROP = "fill"
    CLIP = "clip"
    PROMISE_IN_BOUNDS = "promise_in_bounds"

    @staticmethod
    def from_any(mode: "str | GatherScatterMode | None", default: str = "fill") -> str:
        """The name of a mode given as itself, as a string, or as None (the default)."""
        if mode is None:
            return default
        name = mode.value if isinstance(mode, GatherScatterMode) else mode
        found = {"fill": "fill", "drop": "fill", "clip": "clip", "promise_in_bounds": "promise_in_bounds"}.get(name)
        if found is None:
            raise IndexingError(f"mode must be 'fill', 'drop', 'clip' or 'promise_in_bounds', got {mode!r}")
        return found


def gather(
    operand: Any,
    start_indices: Any,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    *,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    mode: str | GatherScatterMode | None = None,
    fill_value: Any = None,
) -> Array:
    """Slices of `operand` at run-time starts.

    Args:
        operand: an array.
        start_indices: integers; the last axis holds one start index for each entry of ``start_index_map``.
        dimension_numbers: how axes of operand, indices and result belong together.
        slice_sizes: extents of a slice, one for each axis of `operand`.
        unique_indices, indices_are_sorted: promises about the indices.
        mode: for indices out of bounds: "fill" (the default), "clip" or "promise_in_bounds".
        fill_value: for "fill"; NaN, or the smallest integer, if None.

    Returns:
        An array of the dtype of `operand`: the leading axes of the indices, and at ``offset_dims`` those of a slice.

    Raises:
        IndexingError: `mode` has another name.

    Source: the operation `Gather` of XLA, https://openxla.org/xla/operation_semantics#gather

    >>> import fdl, fdl.numpy as fnp
    >>> numbers = fdl.lax.GatherDimensionNumbers((1,), (0,), (0,))
    >>> fdl.lax.gather(fnp.array([[1, 2], [3, 4], [5, 6]]), fnp.array([[2], [0]]), numbers, (1, 2))
    Array([[5, 6],
           [1, 2]], dtype=int32)
    """
    chosen = GatherScatterMode.from_any(mode)
    return indexing.gather(
        as_array(operand),
        as_array(start_indices),
        dimension_numbers,
        tuple(slice_sizes),
        chosen,
        fill_value,
        unique_indices,
        indices_are_sorted,
    )


def _scatter(kind: str, shown: str) -> Any:
    """The function that combines by `kind`; `shown` is the result of its example."""

    def run(
        operand: Any,
        scatter_indices: Any,
        updates: Any,
        dimension_numbers: ScatterDimensionNumbers,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | GatherScatterMode | None = None,
    ) -> Any:
        operand = as_array(operand)
        updates = cast(as_array(updates), operand.dtype)
        return indexing.scatter(
            kind,
            operand,
            as_array(scatter_indices),
            updates,
            dimension_numbers,
            GatherScatterMode.from_any(mode),
            unique_indices,
            indices_are_sorted,
        )

    name = "scatter" if kind == "set" else f"scatter_{kind}"
    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"""`operand` with slices at run-time starts combined ({kind}) with `updates`.

    Args:
        operand: an array.
        scatter_indices: integers; the last axis holds one start for each entry of ``scatter_dims_to_operand_dims``.
        updates: the slices.
        dimension_numbers: how axes of operand, indices and updates belong together.
        indices_are_sorted, unique_indices: promises about the indices.
        mode: for indices out of bounds: "drop" (the default), "clip" or "promise_in_bounds".

    Returns:
        An array of the shape and dtype of `operand`.

    Raises:
        IndexingError: `mode` has another name.

    Source: the operation `Scatter` of XLA, https://openxla.org/xla/operation_semantics#scatter

    >>> import fdl, fdl.numpy as fnp
    >>> numbers = fdl.lax.ScatterDimensionNumbers((), (0,), (0,))
    >>> fdl.lax.{name}(fnp.array([1, 2, 3]), fnp.array([[2], [0]]), fnp.array([4, 5]), numbers)
    Array({shown}, dtype=int32)
    """
    return run


scatter = _scatter("set", "[5, 2, 4]")
scatter_add, scatter_mul = _scatter("add", "[6, 2, 7]"), _scatter("mul", "[ 5,  2, 12]")
scatter_min, scatter_max = _scatter("min", "[1, 2, 3]"), _scatter("max", "[5, 2, 4]")


def scatter_sub(
    operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, **options: Any
) -> Array:
    """`operand` with `updates` subtracted at run-time starts; see :func:`scatter_add`.

    Args:
        operand: array of numbers.
        scatter_indices: integers; the last axis holds one start for each entry of ``scatter_dims_to_operand_dims``.
        updates: the slices.
        dimension_numbers: how axes of operand, indices and updates belong together.
        **options: the keywords of :func:`scatter_add`.

    Returns:
        An array of the shape and dtype of `operand`.

    >>> import fdl, fdl.numpy as fnp
    >>> numbers = fdl.lax.ScatterDimensionNumbers((), (0,), (0,))
    >>> fdl.lax.scatter_sub(fnp.array([1, 2, 3]), fnp.array([[2], [2]]), fnp.array([4, 5]), numbers)
    Array([ 1,  2, -6], dtype=int32)
    """
    return scatter_add(operand, scatter_indices, -as_array(updates), dimension_numbers, **options)


def index_take(src: Any, idxs: Sequence[Any], axes: Sequence[int]) -> Array:
    """Elements of `src` at tuples of indices into `axes`; those axes are replaced by one leading axis.

    Args:
        src: array of any shape and dtype.
        idxs: a vector of integers for each of `axes`, all of one length n.
        axes: the axes to index.

    Returns:
        An array of shape (n, *other extents).

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.index_take(fnp.array([[1, 2], [3, 4]]), (fnp.array([0, 1]), fnp.array([1, 0])), (0, 1))
    Array([2, 3], dtype=int32)
    """
    src = as_array(src)
    columns = [signed_places(as_array(i), src.shape[a]) for i, a in zip(idxs, axes, strict=True)]
    widest = result_type(*columns)
    indices = concatenate([reshape(convert(c, widest), (*c.shape, 1)) for c in columns], 1)
    sizes = [1 if a in axes else n for a, n in enumerate(src.shape)]
    kept = len(src.shape) - len(axes)
    numbers = GatherDimensionNumbers(tuple(range(1, kept + 1)), tuple(axes), tuple(axes))
    return gather(src, indices, numbers, sizes)
