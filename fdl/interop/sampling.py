"""Values of [batch, channels, *space] between its elements, as transformers of space and regions read them."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.api.vmap import vmap
from fdl.core.types import Array
from fdl.interop.resizing import shares


def reflected(place: Any, extent: int, corners: bool) -> Any:
    """A place outside of an axis mirrored at its ends: the centres of the outer elements, or their outer edges.

    >>> [float(reflected(p, 3, True)) for p in (-1.0, 2.5)], float(reflected(-1.0, 3, False))
    ([1.0, 1.5], 0.0)
    """
    low, width = (0.0, extent - 1.0) if corners else (-0.5, float(extent))
    if not width:
        return fnp.zeros_like(place)
    distance = fnp.abs(place - low)
    turns = fnp.floor(distance / width)
    rest = distance - turns * width
    return low + fnp.where(turns % 2 == 0, rest, width - rest)


def moved_inside(place: Any, extent: int, outside: str, corners: bool) -> Any:
    """A place by the rule for those outside: "zeros" leaves it, "border" takes the end, "reflection" mirrors it."""
    if outside == "border":
        return fnp.clip(place, 0, extent - 1)
    return reflected(place, extent, corners) if outside == "reflection" else place


def taken(x: Any, index: Any) -> Array:
    """Elements of each example by their numbers: x [batch, channels, elements], index [batch, *places].

    >>> taken(fnp.array([[[5, 6, 7]]]), fnp.array([[2, 0]])).tolist()
    [[[7, 5]]]
    """
    return vmap(lambda one, places: fnp.take(one, places, axis=1))(x, index)


def sample(
    x: Any, places: Sequence[Any], method: str = "linear", outside: str = "zeros", corners: bool = True
) -> Array:
    """Interpolated values.

    Args:
        x: [batch, channels, *space].
        places: for each axis of space an index [batch, *places], which need not be whole.
        method: "nearest" (of two, the even one), "linear" or "cubic" (Keys, 1981, with -0.75).
        outside: what elements outside are: "zeros", those at the "border", or those of the "reflection".
        corners: whether reflection is at the centres of the outer elements, otherwise at their outer edges.

    Returns:
        [batch, channels, *places].

    >>> sample(fnp.array([[[0.0, 10.0]]]), [fnp.array([[0.25, 2.0]])]).tolist()
    [[[2.5, 0.0]]]
    """
    space, taps = x.shape[2:], list[list[tuple[Any, Any]]]()
    for place, extent in zip(places, space, strict=True):
        place = fnp.round(place) if method == "nearest" else place
        place = moved_inside(place, extent, outside, corners)
        first = fnp.floor(place)
        parts = {0: fnp.ones_like(place)} if method == "nearest" else shares(place - first, method)
        rows = []
        for offset, share in parts.items():
            near = first + offset
            if outside == "zeros":
                share = fnp.where((near >= 0) & (near < extent), share, fnp.zeros((), share.dtype))
            near = fnp.round(moved_inside(near, extent, outside, corners))
            rows.append((fnp.clip(near, 0, extent - 1).astype(np.int32), share))
        taps.append(rows)
    flat = x.reshape(*x.shape[:2], prod(space))
    total: Any = None
    for neighbours in product(*taps):
        index: Any = None
        weight: Any = None
        for (place, part), extent in zip(neighbours, space, strict=True):
            index = place if index is None else index * extent + place
            weight = part if weight is None else weight * part
        value = taken(flat, index) * weight[:, None].astype(x.dtype)
        total = value if total is None else total + value
    return total


def grid_sample(x: Any, grid: Any, method: str, outside: str, corners: bool) -> Array:
    """`sample` at places of [-1, 1], as spatial transformers (Jaderberg et al., 2015) have them.

    Args:
        x: [batch, channels, *space].
        grid: [batch, *places, axes of space], the last axis of space first.
        method: as for `sample`.
        outside: as for `sample`.
        corners: whether -1 and 1 are the centres of the outer elements, otherwise their outer edges.

    Returns:
        [batch, channels, *places].

    >>> grid_sample(fnp.array([[[0.0, 10.0]]]), fnp.array([[[0.0]]]), "linear", "zeros", True).tolist()
    [[[5.0]]]
    """
    space = x.shape[2:]
    places = []
    for axis, extent in enumerate(space):
        n = grid[..., len(space) - 1 - axis]
        places.append((n + 1) / 2 * (extent - 1) if corners else ((n + 1) * extent - 1) / 2)
    return sample(x, places, method, outside, corners)


def affine_grid(theta: Any, size: Sequence[int], corners: bool) -> Array:
    """The grid for `grid_sample` that affine maps [batch, axes, axes + 1] make of one of space.

    >>> affine_grid(fnp.array([[[1.0, 0, 0], [0, 1, 0]]]), [1, 2], False).tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    axes = []
    for extent in size:
        ends = 1.0 if corners else 1 - 1 / extent
        axes.append(np.linspace(-ends, ends, extent) if extent > 1 else np.zeros(1))
    points = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(size)], axis=-1).astype(theta.dtype)
    return fnp.einsum("...j,nij->n...i", fnp.asarray(points), theta)


def region_points(
    x: Any, start: Any, size: Any, counts: tuple[int, int], each: tuple[int, int]
) -> tuple[list[Any], list[Any]]:
    """For both axes of regions of pictures [.., h, w] the neighbours of the points to read: (index, share) pairs."""
    axes, outside = [], []
    for axis, (count, points) in enumerate(zip(counts, each, strict=True)):
        extent = x.shape[2 + axis]
        steps = (np.arange(count * points) + 0.5) / points
        place = start[axis][:, None] + steps.astype(x.dtype) * (size[axis] / count)[:, None]
        outside.append((place < -1) | (place > extent))
        place = fnp.clip(place, 0, extent - 1)
        low = fnp.floor(place)
        high = fnp.minimum(low + 1, extent - 1)
        axes.append([(low.astype(np.int32), 1 - (place - low)), (high.astype(np.int32), place - low)])
    return axes, outside


def roi_align(
    x: Any, boxes: Any, owners: Any, counts: tuple[int, int], each: tuple[int, int], scale: float, half: bool, mode: str
) -> Array:
    """Means (or maxima) of interpolated values over the cells of regions (He et al., 2017).

    Args:
        x: [batch, channels, h, w].
        boxes: [regions, 4], each x1, y1, x2, y2.
        owners: which example each region is of.
        counts: cells along both axes.
        each: points along both axes of a cell.
        scale: what boxes are multiplied by.
        half: whether 0 is the edge of the first element, otherwise its centre; then regions are at least 1 x 1.
        mode: "avg", or "max" over the points and their neighbours' parts.

    Returns:
        [regions, channels, *counts].
    """
    edges = boxes.astype(x.dtype) * scale - (0.5 if half else 0.0)
    start, size = (edges[:, 1], edges[:, 0]), (edges[:, 3] - edges[:, 1], edges[:, 2] - edges[:, 0])
    size = size if half else (fnp.maximum(size[0], 1), fnp.maximum(size[1], 1))
    axes, outside = region_points(x, start, size, counts, each)
    none = outside[0][:, :, None] | outside[1][:, None, :]
    flat = x.reshape(*x.shape[:2], -1)
    own = fnp.take(flat, owners, axis=0)
    values = []
    for (row, share), (column, part) in product(*axes):
        index = row[:, :, None] * x.shape[3] + column[:, None, :]
        weight = fnp.where(none, fnp.zeros((), x.dtype), share[:, :, None] * part[:, None, :])
        values.append(taken(own, index) * weight[:, None].astype(x.dtype))
    cells = [v.reshape(*v.shape[:2], counts[0], each[0], counts[1], each[1]) for v in values]
    if mode == "max":
        return fnp.stack(cells).max(axis=(0, 4, 6))
    return sum(cells[1:], cells[0]).mean(axis=(3, 5))


def deformed_columns(
    x: Any, offsets: Any, mask: Any, window: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]],
    dilation: Sequence[int], groups: int,
) -> Array:  # fmt: skip
    """What each window of a deformable convolution (Dai et al., 2017) reads: [batch, channels, *window, *out].

    `offsets` are [batch, groups * window * axes, *out], `mask` [batch, groups * window, *out] or None.
    """
    batch, channels, rank, out = x.shape[0], x.shape[1], len(window), offsets.shape[2:]
    merged = x.reshape(batch * groups, channels // groups, *x.shape[2:])
    moves = offsets.reshape(batch * groups, *window, rank, *out)
    places = []
    for axis in range(rank):
        grid = np.zeros((*window, *out))
        along = np.arange(window[axis]) * dilation[axis] - pads[axis][0]
        grid = grid + along.reshape([-1 if a == axis else 1 for a in range(2 * rank)])
        grid = grid + (np.arange(out[axis]) * strides[axis]).reshape(
            [-1 if a == rank + axis else 1 for a in range(2 * rank)]
        )
        moved = lax.index_in_dim(moves, axis, 1 + rank, keepdims=False)
        places.append(fnp.asarray(grid.astype(x.dtype)) + moved)
    values = sample(merged, places)
    if mask is not None:
        values = values * mask.reshape(batch * groups, 1, *window, *out)
    return values.reshape(batch, channels, *window, *out)
