"""The gradient of parameters of which some are tables: a vector for what is no table, rows and values of each table.

No value is minus zero: the sum of two rows is then what dense gradients give, in which a row that is missing is zero.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]  # the numbers of rows, in order, and their values


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
      tables: of each table the numbers of its rows that have a gradient, int32 (count,), each once and in order, and
        their values, float array (count, ...).
    """

    layout: TableLayout
    dense: np.ndarray
    tables: tuple[Pair, ...]

    @staticmethod
    def of(layout: TableLayout, dense: np.ndarray, tables: Sequence[Pair]) -> "TableGradient":
        """A gradient from rows in any order; those out of bounds are left out."""
        found = []
        for (rows, values), table in zip(tables, layout.tables, strict=True):
            order = np.argsort(rows, kind="stable")
            order = order[: np.searchsorted(rows, layout.shapes[table][0], sorter=order)]
            found.append((rows[order], values[order]))
        return TableGradient(layout, dense, tuple(found))

    def __add__(self, other: "TableGradient") -> "TableGradient":
        pairs = zip(self.tables, other.tables, strict=True)
        return TableGradient(self.layout, self.dense + other.dense, tuple(merged(a, b) for a, b in pairs))

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


def merged(one: Pair, other: Pair) -> Pair:
    """The sum of two sets of rows.

    >>> one = np.array([1, 4], np.int32), np.ones((2, 1))
    >>> rows, values = merged(one, (np.array([0, 4], np.int32), np.full((2, 1), 2.0)))
    >>> rows.tolist(), values.ravel().tolist()
    ([0, 1, 4], [2.0, 1.0, 3.0])
    """
    if not one[0].size or not other[0].size:
        return one if one[0].size else other
    place = np.searchsorted(one[0], other[0])
    common = one[0][np.minimum(place, one[0].size - 1)] == other[0]
    added = np.flatnonzero(~common)
    count = one[0].size + added.size
    theirs = place[added] + np.arange(added.size)
    mine = np.ones(count, bool)
    mine[theirs] = False
    mine = np.flatnonzero(mine)
    rows, values = np.empty(count, one[0].dtype), np.empty((count, *one[1].shape[1:]), one[1].dtype)
    for target, first, second in zip((rows, values), one, other, strict=True):
        target[mine], target[theirs] = first, second[added]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported by the shard that has it
        values[mine[place[common]]] += other[1][common]
    return rows, values
