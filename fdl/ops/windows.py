"""Where the windows of gather and scatter lie in the operand."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from fdl.core.types import TensorType
from fdl.dtypes import INTEGER, uint64
from fdl.errors import DtypeError, ShapeError

MODES = ("fill", "clip", "promise_in_bounds")


@dataclass(frozen=True)
class GatherDimensionNumbers:
    """How the axes of a gather's operand, indices and result belong together; index vectors lie along the last axis.

    Attributes:
        offset_dims: axes of the result that run within a window.
        collapsed_slice_dims: axes of the operand whose window extent is one and which the result lacks.
        start_index_map: the axis of the operand that each entry of an index vector counts along.
        operand_batching_dims: axes of the operand that run together with axes of the indices; the result lacks them.
        start_indices_batching_dims: those axes of the indices.

    >>> rows = GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
    >>> rows.offset_dims
    (1,)
    """

    offset_dims: tuple[int, ...]
    collapsed_slice_dims: tuple[int, ...]
    start_index_map: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    start_indices_batching_dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class ScatterDimensionNumbers:
    """How the axes of a scatter's operand, indices and updates belong together; the mirror image of a gather.

    Attributes:
        update_window_dims: axes of the updates that run within a window.
        inserted_window_dims: axes of the operand whose window extent is one and which the updates lack.
        scatter_dims_to_operand_dims: the axis of the operand that each entry of an index vector counts along.
        operand_batching_dims: axes of the operand that run together with axes of the indices; the updates lack them.
        scatter_indices_batching_dims: those axes of the indices.

    >>> rows = ScatterDimensionNumbers((1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,))
    >>> rows.update_window_dims
    (1,)
    """

    update_window_dims: tuple[int, ...]
    inserted_window_dims: tuple[int, ...]
    scatter_dims_to_operand_dims: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    scatter_indices_batching_dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class Windows:
    """Windows of one size in an array of a shape; a start for each comes from an array of index vectors.

    The operand is seen as rows: the axes along which windows can move are flattened into one, the others, which every
    window spans, into a second.

    Attributes:
        shape: of the operand.
        sizes: of a window, one extent for each axis of the operand.
        index_map: the axis that each entry of an index vector counts along.
        batching: axes of the operand that run together with `indices_batching`.
        indices_batching: axes of the indices.
    """

    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    index_map: tuple[int, ...]
    batching: tuple[int, ...]
    indices_batching: tuple[int, ...]

    @cached_property
    def moving(self) -> tuple[int, ...]:
        """Axes along which a window is shorter than the operand."""
        return tuple(a for a, (n, size) in enumerate(zip(self.shape, self.sizes, strict=True)) if n != size)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All axes, the moving ones first."""
        return self.moving + tuple(a for a in range(len(self.shape)) if a not in self.moving)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """The operand as rows."""
        moving = self.moving
        count, length = prod(self.shape[a] for a in moving), prod(self.shape[a] for a in self.order[len(moving) :])
        return x.transpose(self.order).reshape(count, length)

    def unrows(self, rows: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`rows`."""
        return rows.reshape([self.shape[a] for a in self.order]).transpose(np.argsort(self.order))

    def locate(self, indices: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of every window, of shape (places of the indices..., moving extents...), and which windows lie inside.

        Windows that reach out of the operand are moved inside; only if `mode` is "fill" they count as outside.
        """
        places = indices.shape[:-1]
        if indices.dtype == uint64:
            indices = np.minimum(indices, np.uint64(2**62))
        starts: dict[int, np.ndarray] = {a: indices[..., i].astype(np.int64) for i, a in enumerate(self.index_map)}
        for axis, other in zip(self.batching, self.indices_batching, strict=True):
            starts[axis] = np.arange(self.shape[axis]).reshape([-1 if i == other else 1 for i in range(len(places))])
        inside = np.ones(places, bool)
        if mode == "fill":
            for axis, start in starts.items():
                inside &= (start >= 0) & (start <= self.shape[axis] - self.sizes[axis])
        found = np.zeros(places + (1,) * len(self.moving), np.int64)
        for i, axis in enumerate(self.moving):
            found = found * self.shape[axis]
            if axis in starts:
                start = np.minimum(np.maximum(starts[axis], 0), self.shape[axis] - self.sizes[axis])
                found = found + start.reshape(start.shape + (1,) * len(self.moving))
            if self.sizes[axis] != 1:
                found = found + np.arange(self.sizes[axis]).reshape(
                    [-1 if i == j else 1 for j in range(len(self.moving))]
                )
        return found, inside


def check(what: str, windows: Windows, indices: TensorType, mode: str, types: Sequence[TensorType]) -> None:
    """Raise unless the windows fit into the operand and the index vectors fit to the windows."""
    wrong = _mistake(windows, indices, mode)
    if wrong is not None:
        kind, text = wrong
        raise kind(f"{what} of {', '.join(map(str, types))}: {text}")


def _mistake(windows: Windows, indices: TensorType, mode: str) -> tuple[type[Exception], str] | None:
    if indices.dtype not in INTEGER:
        return DtypeError, "indices must be integers"
    if mode not in MODES:
        return ValueError, f"mode must be one of {', '.join(MODES)}, got {mode!r}"
    nowhere = 0 in indices.shape[:-1]  # where no window is, any size fits
    if len(windows.sizes) != len(windows.shape) or any(
        not (0 <= size <= (1 if a in windows.batching else n) or nowhere)
        for a, (size, n) in enumerate(zip(windows.sizes, windows.shape, strict=True))
    ):
        return ShapeError, f"a window of sizes {windows.sizes} does not fit into shape {windows.shape}"
    if not indices.shape or indices.shape[-1] != len(windows.index_map):
        return ShapeError, f"the last axis of the indices must have {len(windows.index_map)} entries"
    axes = (*windows.index_map, *windows.batching)
    if len(set(axes)) < len(axes) or not all(0 <= axis < len(windows.shape) for axis in axes):
        return ShapeError, f"index vectors and batches count along axes {axes}; these must be different ones of it"
    for axis, other in zip(windows.batching, windows.indices_batching, strict=True):
        if windows.shape[axis] != indices.shape[other]:
            return ShapeError, f"batching axes {axis} and {other} have different extents"
    return None
