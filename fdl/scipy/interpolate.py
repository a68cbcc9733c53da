"""Interpolation between points of grids, under the names of ``scipy.interpolate``."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import tree
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import is_sequence, promote
from fdl.scipy._operands import check_ascending

__all__ = ["RegularGridInterpolator"]

_METHODS = ("linear", "nearest")


def _method(method: str) -> str:
    if method not in _METHODS:
        raise ValueError(f"RegularGridInterpolator: method must be one of {_METHODS}, got {method!r}")
    return method


@tree.register_pytree_node_class
class RegularGridInterpolator:
    """A function through the values on a rectangular grid.

    It is a tree of its points, values and filling, which transforms may trace; derivatives in all of them and in the
    places where it is taken are those of the interpolation.

    Args:
        points: n vectors, each strictly ascending or descending: the coordinates of the grid along each axis.
        values: [len(points[0]), ..., len(points[n - 1]), ...]; further axes are values at each point.
        method: "linear" or "nearest"; of two points equally near, the first.
        bounds_error: False; places beyond the grid are no error.
        fill_value: result for places beyond the grid; None goes on with the outermost cell.

    Raises:
        ShapeError: values do not have the shape of the grid, or points are no vectors or none.
        DtypeError: points are complex, or the filling is and values are real.
        RangeError: points that are known are neither ascending nor descending.
        TypeError: points are no sequence.
        ValueError: another method.
        NotImplementedError: bounds_error is true.

    >>> grid = fnp.array([1.0, 2.0, 3.0]), fnp.array([4.0, 5.0, 6.0])
    >>> f = RegularGridInterpolator(grid, fnp.arange(9.0).reshape(3, 3))
    >>> f(fnp.array([[1.5, 4.5], [2.0, 6.0], [0.0, 5.0]])).tolist()
    [2.0, 5.0, nan]
    """

    def __init__(
        self,
        points: Sequence[Any],
        values: Any,
        method: str = "linear",
        bounds_error: bool = False,
        fill_value: Any = math.nan,
    ) -> None:
        """Check shapes and convert the values to a floating or complex dtype."""
        self.method = _method(method)
        if bounds_error:
            raise NotImplementedError(
                "RegularGridInterpolator does not raise for places beyond the grid; leave bounds_error out, and look "
                "for the fill_value in the result, or use fdl.debug.check"
            )
        self.bounds_error = False
        if not is_sequence(points):
            raise TypeError(f"RegularGridInterpolator: points must be a sequence of vectors, got {points!r}")
        if not len(points):
            raise ShapeError("RegularGridInterpolator needs points along one axis at least, got none")
        self.grid = tuple(promote("RegularGridInterpolator: points", p, to_inexact=True)[0] for p in points)
        (self.values,) = promote("RegularGridInterpolator: values", values, to_inexact=True)
        for axis, p in enumerate(self.grid):
            if p.ndim != 1 or not p.size:
                raise ShapeError(
                    f"RegularGridInterpolator: points[{axis}] must be a vector with elements, got {p.type}"
                )
            if p.dtype.kind == "c":
                raise DtypeError(f"RegularGridInterpolator: points[{axis}] must be real, got {p.type}")
            check_ascending(f"RegularGridInterpolator: points[{axis}]", p, or_descending=True)
        if self.values.shape[: len(self.grid)] != tuple(p.size for p in self.grid):
            lengths = [p.size for p in self.grid]
            raise ShapeError(
                f"RegularGridInterpolator: points have the lengths {lengths}, but values are {self.values.type}"
            )
        self.fill_value = None if fill_value is None else fnp.asarray(fill_value)
        if self.fill_value is not None and self.fill_value.dtype.kind == "c" != self.values.dtype.kind:
            raise DtypeError(
                f"RegularGridInterpolator: fill_value is {self.fill_value.type}, but values are {self.values.type}"
            )

    def __call__(self, xi: Any, method: str | None = None) -> Array:
        """The function at places.

        Args:
            xi: [..., n], or n arrays that broadcast.
            method: instead of the one of the interpolator.

        Returns:
            [...], followed by the further axes of the values.

        Raises:
            ShapeError: places have another number of coordinates.
        """
        method = self.method if method is None else _method(method)
        places = self._places(xi)
        coordinates = [places[..., axis] for axis in range(len(self.grid))]
        cells = [_cell(p, x) for p, x in zip(self.grid, coordinates, strict=True)]
        wide = places.shape[:-1] + (1,) * (self.values.ndim - len(self.grid))
        if method == "nearest":
            chosen = tuple(fnp.where(distance > 0.5, high, low) for low, high, distance, _ in cells)
            result = self.values[chosen]
        else:
            result = fnp.zeros((), self.values.dtype)
            for corner in itertools.product(*([(low, 1 - d), (high, d)] for low, high, d, _ in cells)):
                weight = math.prod((w for _, w in corner[1:]), start=corner[0][1])
                result = result + self.values[tuple(index for index, _ in corner)] * weight.reshape(wide)
        if self.fill_value is not None:
            outside = sum((o for *_, o in cells[1:]), start=cells[0][3])
            result = fnp.where(outside.reshape(wide), self.fill_value.astype(result.dtype), result)
        unknown = fnp.any(fnp.isnan(places), axis=-1)
        return fnp.where(unknown.reshape(wide), fnp.asarray(math.nan, result.dtype), result)

    def __repr__(self) -> str:
        extents, values = [getattr(p, "shape", p) for p in self.grid], getattr(self.values, "type", self.values)
        return f"RegularGridInterpolator(points of {extents}, {values}, method={self.method!r})"

    def _places(self, xi: Any) -> Array:
        n = len(self.grid)
        if isinstance(xi, tuple):
            found = fnp.stack(fnp.broadcast_arrays(*promote("RegularGridInterpolator: xi", *xi, to_inexact=True)), -1)
        else:
            (found,) = promote("RegularGridInterpolator: xi", xi, to_inexact=True)
            if found.ndim == 1:
                found = found.reshape(-1, 1) if n == 1 else found[None]
        if not found.ndim or found.shape[-1] != n:
            raise ShapeError(
                f"RegularGridInterpolator has {n} axes, but xi is {found.type}; its last axis are coordinates"
            )
        return found

    def tree_flatten(self) -> tuple[Any, Any]:
        """The points, the values and the filling; the method is static."""
        return (self.grid, self.values, self.fill_value), self.method

    @classmethod
    def tree_unflatten(cls, method: str, children: Any) -> "RegularGridInterpolator":
        """What `tree_flatten` took apart."""
        made = object.__new__(cls)
        made.method, made.bounds_error = method, False
        made.grid, made.values, made.fill_value = children
        return made


def _cell(points: Array, x: Array) -> tuple[Array, Array, Array, Array]:
    """The two points beside each place, how far it is from the first to the second, and whether it is beyond all."""
    n = points.size
    # A descending axis is ascending with the other sign.
    sign = fnp.where(points[-1] < points[0], -1, 1).astype(points.dtype)
    ascending, x = points * sign, x * sign.astype(x.dtype)
    low = fnp.clip(fnp.searchsorted(ascending, x) - 1, 0, max(n - 2, 0))
    high = fnp.minimum(low + 1, n - 1)
    width = ascending[high] - ascending[low]
    distance = (x - ascending[low]) / width if n > 1 else fnp.zeros_like(x)
    return low, high, distance, (x < ascending[0]) | (x > ascending[-1])


def __dir__() -> list[str]:
    return __all__
