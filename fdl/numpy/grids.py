"""Grids and concatenations written as index expressions: ``mgrid[0:3, 0:2]``, ``r_[1, 2, 5:8]``."""

from typing import Any

import numpy as np

from fdl.numpy._operands import Array
from fdl.numpy.creation import asarray
from fdl.numpy.ranges import arange, linspace
from fdl.numpy.rearrange import meshgrid
from fdl.numpy.shapes import concatenate, moveaxis, stack


def _range(part: slice) -> Array:
    """The numbers a slice stands for; an imaginary step is their count, the stop included."""
    start, step = (0 if part.start is None else part.start), (1 if part.step is None else part.step)
    if isinstance(step, complex):
        return linspace(start, part.stop, int(abs(step)))
    return arange(start, part.stop, step)


class Grid:
    """``mgrid[slices]`` (all coordinates in one array) and ``ogrid[slices]`` (arrays that broadcast).

    >>> mgrid[0:2, 0:3].shape, [g.shape for g in ogrid[0:2, 0:3]]
    ((2, 2, 3), [(2, 1), (1, 3)])
    """

    def __init__(self, sparse: bool) -> None:
        self._sparse = sparse

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Any:
        """The coordinates of the grid that the slices span."""
        if isinstance(index, slice):
            return _range(index)
        grids = meshgrid(*(_range(part) for part in index), indexing="ij", sparse=self._sparse)
        return grids if self._sparse else stack(grids)


class Joined:
    """``r_[...]`` and ``c_[...]``: numbers, arrays and slices joined along an axis.

    A string "axis,ndmin,place" in front says along which axis, how many axes at least, and where a vector's own axis
    goes.

    >>> r_[1, 5:8], c_[[1, 2], [3, 4]]
    (Array([1, 5, 6, 7], dtype=int32), Array([[1, 3],
           [2, 4]], dtype=int32))
    """

    def __init__(self, axis: int, ndmin: int, place: int) -> None:
        self._settings = axis, ndmin, place

    def __getitem__(self, index: Any) -> Array:
        """The parts joined."""
        parts = index if isinstance(index, tuple) else (index,)
        axis, ndmin, place = self._settings
        if parts and isinstance(parts[0], str):
            given = [int(n) for n in parts[0].split(",")]
            axis, ndmin, place = (given + [axis, ndmin, place][len(given) :])[:3]
            parts = parts[1:]
        return concatenate([self._part(p, ndmin, place) for p in parts], axis)

    @staticmethod
    def _part(part: Any, ndmin: int, place: int) -> Array:
        x = _range(part) if isinstance(part, slice) else asarray(part)
        own = x.type.ndim
        if own == 0:
            return x.reshape((1,) * max(ndmin, 1))
        if own >= ndmin:
            return x
        x = x.reshape((1,) * (ndmin - own) + x.type.shape)
        if place == -1:
            return x
        return moveaxis(x, tuple(range(ndmin - own, ndmin)), tuple(range(place, place + own)))


mgrid, ogrid = Grid(sparse=False), Grid(sparse=True)
r_, c_ = Joined(0, 1, -1), Joined(-1, 2, 0)
s_, index_exp = np.s_, np.index_exp
