"""ONNX's Resize: the axes are resized one by one."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.interop import channels_first as images
from fdl.interop import resizing
from fdl.interop.onnx_operators.shapes import concrete, numbers
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def coordinates(count: int, extent: int, scale: float, mode: str) -> np.ndarray:
    """Where along an axis each element of the result is taken."""
    places = np.arange(count)
    if mode == "align_corners":
        return places * ((extent - 1) / (count - 1)) if count > 1 else np.zeros(count)
    if mode == "asymmetric":
        return places / scale
    if mode == "pytorch_half_pixel" and count == 1:
        return np.zeros(1)
    if mode == "half_pixel_symmetric":
        centre = extent / 2 * (1 - count / (scale * extent))
        return centre + (places + 0.5) / scale - 0.5
    return (places + 0.5) / scale - 0.5


def nearest(points: np.ndarray, rounding: str) -> np.ndarray:
    """Whole indices."""
    if rounding == "floor":
        return np.floor(points)
    if rounding == "ceil":
        return np.ceil(points)
    return np.ceil(points - 0.5) if rounding == "round_prefer_floor" else np.floor(points + 0.5)


@define("Resize", "Upsample")
def resize(
    x: Any,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    antialias: int = 0,
    axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Array:
    along = list(range(x.ndim)) if axes is None else [int(a) % x.ndim for a in axes]
    counts, factors = extents_of(x.shape, along, scales, sizes, keep_aspect_ratio_policy)
    regions = coordinate_transformation_mode == "tf_crop_and_resize"
    bounds = concrete(roi, "regions of Resize").reshape(2, -1).T.tolist() if regions else [(0.0, 1.0)] * len(along)
    inside: Any = np.ones([1] * x.ndim, bool)
    for axis, count, factor, (first, last) in zip(along, counts, factors, bounds, strict=True):
        extent = x.shape[axis]
        if count == extent and factor == 1 and not regions:
            continue
        if regions:
            points = region(count, extent, first, last)
            known = ((points >= 0) & (points <= extent - 1)).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
            inside = inside & known
        else:
            points = coordinates(count, extent, factor, coordinate_transformation_mode)
        if mode == "nearest":
            rounding = ("ceil" if factor < 1 else "floor") if nearest_mode == "simple" else nearest_mode
            places = np.clip(nearest(points, rounding), 0, extent - 1)
            x = fnp.take(x, fnp.asarray(places, np.int32), axis=axis)
        else:
            stretch = max(1 / factor, 1.0) if antialias else 1.0
            matrix = resizing.weights(points, extent, mode, cubic_coeff_a, bool(exclude_outside), stretch)
            x = images.apply_along(x, axis, matrix)
    return x if inside.all() else fnp.where(inside, x, fnp.asarray(extrapolation_value, x.dtype))


def extents_of(
    shape: tuple[int, ...], axes: list[int], scales: Any, sizes: Any, policy: str
) -> tuple[list[int], list[float]]:
    """The new extents of axes, and the scale of each."""
    if scales is not None and np.size(scales):
        factors = concrete(scales, "scales of Resize").tolist()
        return [int(shape[axis] * factor) for axis, factor in zip(axes, factors, strict=True)], factors
    counts = numbers(sizes, "sizes of Resize")
    factors = [count / shape[axis] for axis, count in zip(axes, counts, strict=True)]
    if policy != "stretch":
        factors = [(min if policy == "not_larger" else max)(factors)] * len(axes)
        counts = [int(np.floor(shape[axis] * factor + 0.5)) for axis, factor in zip(axes, factors, strict=True)]
    return counts, factors


def region(count: int, extent: int, first: float, last: float) -> np.ndarray:
    """Where along a part of an axis, from one of its shares to another, each element of the result is taken."""
    if count == 1:
        return np.full(1, (first + last) * (extent - 1) / 2)
    return first * (extent - 1) + np.arange(count) * ((last - first) * (extent - 1) / (count - 1))
