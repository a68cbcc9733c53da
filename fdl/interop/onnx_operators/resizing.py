"""ONNX's Resize: the axes are resized one by one."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import InteropError
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
    if antialias or coordinate_transformation_mode == "tf_crop_and_resize" or keep_aspect_ratio_policy != "stretch":
        raise InteropError("from_onnx: fdl resizes without antialias, regions and aspect ratios")
    along = list(range(x.ndim)) if axes is None else numbers(axes, "axes of Resize")
    factors = None if scales is None or not np.size(scales) else concrete(scales, "scales of Resize").tolist()
    if factors is None:
        counts = numbers(sizes, "sizes of Resize")
        factors = [count / x.shape[axis] for axis, count in zip(along, counts, strict=True)]
    else:
        counts = [int(x.shape[axis] * factor) for axis, factor in zip(along, factors, strict=True)]
    for axis, count, factor in zip(along, counts, factors, strict=True):
        extent = x.shape[axis]
        if count == extent and factor == 1:
            continue
        points = coordinates(count, extent, factor, coordinate_transformation_mode)
        if mode == "nearest":
            rounding = ("ceil" if factor < 1 else "floor") if nearest_mode == "simple" else nearest_mode
            places = np.clip(nearest(points, rounding), 0, extent - 1)
            x = fnp.take(x, fnp.asarray(places, np.int32), axis=axis)
        else:
            matrix = resizing.weights(points, extent, mode, cubic_coeff_a, bool(exclude_outside))
            x = images.apply_along(x, axis, matrix)
    return x
