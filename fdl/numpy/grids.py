"""Coordinates of grids; grids and concatenations written as index expressions: ``mgrid[0:3, 0:2]``, ``r_[1, 5:8]``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl.dtypes import as_dtype
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, cast, expand_to, shape_tuple, value
from fdl.numpy.creation import asarray
from fdl.numpy.ranges import arange, linspace
from fdl.numpy.selection import nonzero, ogrid_of
from fdl.numpy.shapes import concatenate, moveaxis, stack
from fdl.ops.shape import full, reshape


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
        if not index:
            return () if self._sparse else full(0, (0,), as_dtype(int))
        grids = meshgrid(*(_range(part) for part in index), indexing="ij", sparse=self._sparse)
        return grids if self._sparse else stack(grids)


class Joined:
    """``r_[...]`` and ``c_[...]``: numbers, arrays and slices joined along an axis.

    A string "axis,ndmin,place" in front says along which axis, how many axes at least, and where a vector's own axis
    goes; "r" and "c" make a vector a matrix of one row, or of one column.

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
            form, parts = parts[0], parts[1:]
            if form in ("r", "c"):
                joined = concatenate([self._part(p, ndmin, place) for p in parts], axis)
                return joined if joined.type.ndim > 1 else joined[None] if form == "r" else joined[:, None]
            try:
                given = [int(n) for n in form.split(",")]
            except ValueError:
                raise ValueError(f"{form!r} is none of 'r', 'c' and integers with commas, such as '0,2,-1'") from None
            axis, ndmin, place = (given + [axis, ndmin, place][len(given) :])[:3]
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


def indices(dimensions: Sequence[int], dtype: Any = None, sparse: bool = False) -> Any:
    """The coordinates of every element of an array.

    Args:
        dimensions: its shape.
        dtype: default int32.
        sparse: whether to return arrays that broadcast to it instead.

    >>> indices((2, 2))[0]
    Array([[0, 0],
           [1, 1]], dtype=int32)
    """
    shape = shape_tuple("indices", dimensions)
    grids = [cast(g, as_dtype(int if dtype is None else dtype)) for g in ogrid_of(shape)]
    if sparse:
        return tuple(grids)
    if not shape:
        return full(0, (0,), as_dtype(int if dtype is None else dtype))
    return stack([expand_to(g, shape) for g in grids])


def meshgrid(*xi: ArrayLike, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> list[Array]:
    """Coordinates on the grid that vectors span.

    Args:
        *xi: vectors.
        copy: accepted for compatibility.
        sparse: whether to return arrays that broadcast to the grid instead.
        indexing: "xy" if the first vector runs along the second axis, "ij" if along the first.

    >>> meshgrid(array([1, 2]), array([3]))
    [Array([[1, 2]], dtype=int32), Array([[3, 3]], dtype=int32)]
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    vectors = [value("meshgrid", x) for x in xi]
    if any(v.type.ndim > 1 for v in vectors):
        raise ShapeError(f"meshgrid needs vectors, got shapes {', '.join(str(v.type.shape) for v in vectors)}")
    count = len(vectors)
    place = list(range(count))
    if indexing == "xy" and count > 1:
        place[:2] = [1, 0]
    shape = [0] * count
    for p, v in zip(place, vectors, strict=True):
        shape[p] = v.type.size
    thin = [
        reshape(v, tuple(v.type.size if i == p else 1 for i in range(count)))
        for p, v in zip(place, vectors, strict=True)
    ]
    return thin if sparse else [expand_to(t, shape) for t in thin]


def ix_(*args: ArrayLike) -> tuple[Array, ...]:
    """Index arrays that select the grid of the given rows, columns, ...

    >>> [x.shape for x in ix_(array([0, 1]), array([2]))]
    [(2, 1), (1, 1)]
    """
    vectors = [asarray(a) for a in args]
    if any(v.type.ndim != 1 for v in vectors):
        raise ShapeError(f"ix_ needs vectors, got shapes {', '.join(str(v.type.shape) for v in vectors)}")
    vectors = [nonzero(v)[0] if v.type.dtype == np.bool_ else v for v in vectors]
    return tuple(meshgrid(*vectors, sparse=True, indexing="ij"))
