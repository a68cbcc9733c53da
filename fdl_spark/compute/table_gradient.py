"""The gradient of parameters of which some are tables: a vector for what is no table, rows and values of each table.

No value is minus zero: the sum of two rows is then what dense gradients give, in which a row that is missing is zero.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]  # the numbers of rows, each once, and their values
CACHED = 1 << 18  # bytes of rows that are added at once: they stay in a core's cache
SPARSE = 64  # rows are found through an array as long as the table if it has at most so many times more, else by search


@dataclass(frozen=True)
class TableLayout:
    """Where leaves of the parameters are in the flat vector, and which are tables.

    Attributes:
      shapes: of the leaves.
      dtypes: of the leaves.
      tables: numbers of the leaves that are tables, whose gradients are rows.
      dtype: of the flat vector and of gradients.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    tables: tuple[int, ...]
    dtype: np.dtype

    @property
    def dense(self) -> int:
        """Elements of the leaves that are no tables; at least one, so that there is something to exchange."""
        sizes = [prod(shape) for n, shape in enumerate(self.shapes) if n not in self.tables]
        return max(1, sum(sizes))

    @property
    def extents(self) -> list[int]:
        """How many rows each table has."""
        return [self.shapes[n][0] for n in self.tables]

    def places(self) -> Iterator[slice]:
        """Where each leaf is in the flat vector."""
        for start, stop in pairwise(accumulate((prod(shape) for shape in self.shapes), initial=0)):
            yield slice(start, stop)

    def gradients(self, dense: Any, tables: Iterable[Any]) -> Iterator[Any]:
        """What a gradient has of each leaf: of a table the next of `tables`, else its piece of the dense part, flat."""
        others, start = iter(tables), 0
        for n, shape in enumerate(self.shapes):
            if n in self.tables:
                yield next(others)
            else:
                yield dense[start : start + prod(shape)]
                start += prod(shape)

    def leaves(self, flat: np.ndarray) -> list[np.ndarray]:
        """The leaves of a flat vector; those of its dtype are views of it."""
        places = zip(self.places(), self.shapes, self.dtypes, strict=True)
        return [flat[place].reshape(shape).astype(dtype, copy=False) for place, shape, dtype in places]

    def flat(self, leaves: Sequence[Any]) -> np.ndarray:
        """The flat vector of leaves."""
        flat = np.empty(sum(prod(shape) for shape in self.shapes), self.dtype)
        for place, leaf in zip(self.places(), leaves, strict=True):
            flat[place] = np.asarray(leaf).reshape(-1)
        return flat


@dataclass(frozen=True)
class TableGradient:
    """A gradient.

    Attributes:
      layout: of the parameters.
      dense: of the leaves that are no tables, one after the other; float array (layout.dense,).
      tables: of each table the numbers of its rows that have a gradient, int32 (count,), each once, and their values,
        float array (count, ...).
    """

    layout: TableLayout
    dense: np.ndarray
    tables: tuple[Pair, ...]

    @staticmethod
    def of(layout: TableLayout, dense: np.ndarray, tables: Sequence[Pair]) -> "TableGradient":
        """A gradient from rows of which those out of bounds, mostly the last ones, are left out."""
        found = []
        for (rows, values), table in zip(tables, layout.tables, strict=True):
            inside = rows < layout.shapes[table][0]
            count = np.count_nonzero(inside)
            part = slice(count) if inside[:count].all() else inside
            found.append((rows[part], values[part]))
        return TableGradient(layout, dense, tuple(found))

    def __add__(self, other: "TableGradient") -> "TableGradient":
        pairs = zip(self.tables, other.tables, self.layout.extents, strict=True)
        return TableGradient(self.layout, self.dense + other.dense, tuple(added(*pair) for pair in pairs))

    def scaled(self, factor: float) -> "TableGradient":
        """The gradient times a number."""
        number = np.dtype(self.layout.dtype).type(factor)
        tables = tuple((rows, values * number) for rows, values in self.tables)
        return TableGradient(self.layout, self.dense * number, tables)

    def whole(self) -> np.ndarray:
        """The gradient as one flat vector, in which rows that are missing are zeros."""
        layout = self.layout
        flat = np.zeros(sum(prod(shape) for shape in layout.shapes), layout.dtype)
        places = zip(layout.places(), layout.shapes, layout.gradients(self.dense, self.tables), strict=True)
        for n, (place, shape, found) in enumerate(places):
            if n in layout.tables:
                rows, values = found
                flat[place].reshape(shape)[rows] = values
            else:
                flat[place] = found
        return flat

    def first_nonfinite(self) -> int:
        """The number of the first leaf whose gradient has a NaN or an infinity."""
        for n, values in enumerate(self.layout.gradients(self.dense, (values for _, values in self.tables))):
            if not np.isfinite(values).all():
                return n
        raise ValueError("all of the gradient is finite")


def added(one: Pair, other: Pair, extent: int) -> Pair:
    """The sum of two sets of rows.

    Args:
      one: rows, each once, and their values.
      other: the same.
      extent: how many rows the table has.

    >>> one = np.array([4, 1], np.int32), np.ones((2, 1))
    >>> rows, values = added(one, (np.array([0, 4], np.int32), np.full((2, 1), 2.0)), 9)
    >>> rows.tolist(), values.ravel().tolist()
    ([4, 1, 0], [3.0, 1.0, 2.0])
    """
    if not one[0].size or not other[0].size:
        return one if one[0].size else other
    return add_into(lambda count: tuple(np.empty((count, *x.shape[1:]), x.dtype) for x in one), one, other, extent)


def add_into(room: Callable[[int], Any], one: Pair, other: Pair, extent: int) -> Pair:
    """The sum of two sets of rows in the first places of arrays for at least so many, which `room` gives."""
    place = _places(one[0], other[0], extent)
    common, new = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
    count = one[0].size, one[0].size + new.size
    sums: Pair = room(count[1])
    for target, first, second in zip(sums, one, other, strict=True):
        target[: count[0]] = first
        np.take(second, new, 0, out=target[count[0] : count[1]], mode="clip")
    step = max(1, CACHED // max(1, one[1][:1].nbytes))
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported by the shard that has it
        for start in range(0, common.size, step):
            some = common[start : start + step]
            sums[1][place[some]] += other[1][some]
    return sums


def _places(rows: np.ndarray, others: np.ndarray, extent: int) -> np.ndarray:
    """Where each of other rows is among rows, -1 for those that are not."""
    if not rows.size:
        return np.full(others.size, -1)
    if extent <= SPARSE * rows.size:
        place = np.full(extent, -1, np.int32)
        place[rows] = np.arange(rows.size, dtype=np.int32)
        return place[others]
    order = np.argsort(rows)
    found = order[np.minimum(np.searchsorted(rows, others, sorter=order), rows.size - 1)]
    return np.where(rows[found] == others, found, -1)
