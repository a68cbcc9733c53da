"""Images of any number of axes, under the names of ``scipy.ndimage``."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import broadcast_shapes

__all__ = ["map_coordinates"]

# Beyond these an index is outside of every image; a larger one is no int32.
_FAR = 2.0**30


def _mirror(index: Array, size: int) -> Array:
    period = max(2 * (size - 1), 1)
    return fnp.abs((index + (size - 1)) % period - (size - 1)) if size > 1 else fnp.zeros_like(index)


def _reflect(index: Array, size: int) -> Array:
    index = index % (2 * size)
    return fnp.where(index < size, index, 2 * size - 1 - index)


_OUTSIDE: dict[str, Callable[[Array, int], Array]] = {
    "constant": lambda index, size: fnp.clip(index, 0, size - 1),
    "nearest": lambda index, size: fnp.clip(index, 0, size - 1),
    "wrap": lambda index, size: index % size,
    "mirror": _mirror,
    "reflect": _reflect,
}


def _index(coordinate: Array) -> Array:
    return coordinate if coordinate.dtype.kind in "iu" else fnp.clip(coordinate, -_FAR, _FAR).astype(dtypes.int32)


def _rounded(x: Array) -> Array:
    """Whole numbers, halves away from zero."""
    return fnp.where(fnp.abs(x - fnp.trunc(x)) == 0.5, fnp.trunc(x) + fnp.sign(x), fnp.round(x))


def _neighbours(coordinate: Array, order: int) -> list[tuple[Array, Array | None]]:
    """The pixels that a coordinate is made of: their indices and weights."""
    if order == 0:
        return [(_index(coordinate if coordinate.dtype.kind in "iu" else _rounded(coordinate)), None)]
    if coordinate.dtype.kind in "iub":
        coordinate = coordinate.astype(dtypes.default_dtype(float))
    lower = fnp.floor(coordinate)
    upper = coordinate - lower
    return [(_index(lower), 1 - upper), (_index(lower) + 1, upper)]


def map_coordinates(
    input: Any, coordinates: Sequence[Any], order: int, mode: str = "constant", cval: Any = 0.0
) -> Array:
    """An array's values at coordinates between its elements.

    Args:
        input: array of n axes.
        coordinates: n arrays of indices, which need not be whole numbers; they broadcast.
        order: 0 takes the nearest element, 1 interpolates linearly.
        mode: what is outside: "constant" is `cval`, "nearest" the nearest element, "wrap" the array again, "mirror"
            the array backwards without its edge, "reflect" with its edge.
        cval: outside, in mode "constant".

    Returns:
        An array of the coordinates' common shape, in the dtype of `input`; linear interpolation of whole numbers is
        rounded. As in JAX, modes "constant" and "wrap" are SciPy's "grid-constant" and "grid-wrap".

    Raises:
        NotImplementedError: another order or mode.
        DtypeError: coordinates are complex.
        ShapeError: there are not as many coordinates as axes, they do not broadcast, or `input` is empty and the mode
            is not "constant".

    >>> image = fnp.arange(12.0).reshape(3, 4)
    >>> map_coordinates(image, [fnp.array([0.5, 1.5]), fnp.array([1.5, 2.5])], order=1).tolist()
    [3.5, 8.5]
    """
    image = fnp.asarray(input)
    if not isinstance(mode, str) or mode not in _OUTSIDE:
        raise NotImplementedError(f"map_coordinates does not yet support mode {mode!r}; it has {sorted(_OUTSIDE)}")
    if order not in (0, 1):
        raise NotImplementedError(f"map_coordinates requires order<=1, got {order!r}")
    if not np.iterable(coordinates):
        raise ShapeError(f"map_coordinates: coordinates are a sequence of length {image.ndim}, got {coordinates!r}")
    places = [fnp.asarray(c) for c in coordinates]
    if any(p.dtype.kind == "c" for p in places):
        raise DtypeError(f"map_coordinates: coordinates are real, got {[str(p.type) for p in places]}")
    if len(places) != image.ndim or not places:
        raise ShapeError(
            f"map_coordinates: coordinates must be a sequence of length {image.ndim}, one array for each axis of "
            f"{image.type}, got {len(places)}"
        )
    shape = broadcast_shapes(*(p.shape for p in places), name="map_coordinates: coordinates")
    outside = fnp.asarray(cval).astype(image.dtype)
    if not image.size:
        if mode != "constant":
            raise ShapeError(f"map_coordinates has nothing to take in mode {mode!r} from {image.type}")
        return fnp.broadcast_to(outside, shape)
    total: Any = None
    for items in itertools.product(*(_neighbours(p, order) for p in places)):
        indices = tuple(_OUTSIDE[mode](index, size) for (index, _), size in zip(items, image.shape, strict=True))
        values = image[indices]
        if mode == "constant":
            inside = [(index >= 0) & (index < size) for (index, _), size in zip(items, image.shape, strict=True)]
            values = fnp.where(math.prod(inside[1:], start=inside[0]), values, outside)
        weights = [weight for _, weight in items if weight is not None]
        if weights:
            values = math.prod(weights[1:], start=weights[0]) * values
        total = values if total is None else total + values
    if order == 1 and image.dtype.kind in "iu":
        total = _rounded(total)
    return total.astype(image.dtype)


def __dir__() -> list[str]:
    return __all__
