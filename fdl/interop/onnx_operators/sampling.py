"""ONNX operators that read between elements: GridSample, AffineGrid, RoiAlign, DeformConv."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop import sampling
from fdl.interop.onnx_operators.shapes import numbers, visible
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Ints = Sequence[int]
METHODS = {"bilinear": "linear", "bicubic": "cubic"}


@define("GridSample")
def grid_sample(x: Any, grid: Any, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Array:
    return sampling.grid_sample(x, grid, METHODS.get(mode, mode), padding_mode, bool(align_corners))


@define("AffineGrid")
def affine_grid(theta: Any, size: Any, align_corners: int = 0) -> Array:
    return sampling.affine_grid(theta, numbers(size, "the size of AffineGrid")[2:], bool(align_corners))


@define("RoiAlign")
def roi_align(
    x: Any,
    boxes: Any,
    owners: Any,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Array:
    counts, half = (output_height, output_width), coordinate_transformation_mode == "half_pixel"
    settings = (spatial_scale, half, mode)
    if sampling_ratio:
        return sampling.roi_align(x, boxes, owners, counts, (sampling_ratio, sampling_ratio), *settings)
    # How many points a cell has depends on its size, so that regions are read one by one.
    sizes = visible(boxes, "RoiAlign with sampling_ratio=0") * spatial_scale
    results = []
    for number, (x1, y1, x2, y2) in enumerate(sizes.tolist()):
        height, width = (y2 - y1, x2 - x1) if half else (max(y2 - y1, 1.0), max(x2 - x1, 1.0))
        each = max(ceil(height / output_height), 1), max(ceil(width / output_width), 1)
        one = slice(number, number + 1)
        results.append(sampling.roi_align(x, boxes[one], owners[one], counts, each, *settings))
    return fnp.concatenate(results) if results else fnp.zeros((0, x.shape[1], *counts), x.dtype)


@define("DeformConv")
def deform_conv(
    x: Any,
    w: Any,
    offsets: Any,
    bias: Any = None,
    mask: Any = None,
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Any = None,
    offset_group: int = 1,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    window, rank = w.shape[2:], w.ndim - 2
    if rank != 2:
        raise InteropError("from_onnx: fdl has DeformConv of two axes of space")
    around = [(pads[i], pads[i + rank]) for i in range(rank)] if pads else [(0, 0)] * rank
    steps, spread = strides or [1] * rank, dilations or [1] * rank
    columns = sampling.deformed_columns(x, offsets, mask, window, steps, around, spread, offset_group)
    parts = columns.reshape(x.shape[0], group, x.shape[1] // group, *columns.shape[2:])
    kernels = w.reshape(group, w.shape[0] // group, *w.shape[1:])
    out = fnp.einsum("ngcijhw,gocij->ngohw", parts, kernels)
    out = out.reshape(x.shape[0], w.shape[0], *out.shape[3:]).astype(x.dtype)
    return out if bias is None else out + fnp.reshape(bias, (-1, 1, 1))


def region_bins(start: float, size: float, count: int, extent: int) -> list[tuple[int, int]]:
    """Where the parts of a region begin and end."""
    edges = [start + size * i / count for i in range(count + 1)]
    return [(int(np.clip(np.floor(a), 0, extent)), int(np.clip(np.ceil(b), 0, extent))) for a, b in pairwise(edges)]


@define("MaxRoiPool")
def max_roi_pool(x: Any, regions: Any, pooled_shape: Ints, spatial_scale: float = 1.0) -> Array:
    """Regions are (example, x1, y1, x2, y2); elements at both ends belong to them (Girshick, 2015)."""
    results = []
    for owner, *box in visible(regions, "MaxRoiPool").tolist():
        x1, y1, x2, y2 = (int(np.floor(v * spatial_scale + 0.5)) for v in box)
        picture, cells = x[int(owner)], []
        for top, bottom in region_bins(y1, max(y2 - y1 + 1, 1), pooled_shape[0], x.shape[2]):
            for left, right in region_bins(x1, max(x2 - x1 + 1, 1), pooled_shape[1], x.shape[3]):
                part = picture[:, top:bottom, left:right]
                cells.append(part.max(axis=(1, 2)) if part.size else fnp.zeros(x.shape[1], x.dtype))
        results.append(fnp.stack(cells, axis=1).reshape(x.shape[1], *pooled_shape))
    return fnp.stack(results)
