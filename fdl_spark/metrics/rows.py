"""A multiset of rows, each kept once with how often it occurs: what curves and rankings need to see of all rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST = 1 << 16  # rows that are worth sorting
PIECES = 256

Columns = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Rows:
    """Rows of several columns; equal multisets give equal `columns`, in whatever order they were put together.

    Attributes:
      pieces: columns of equally many rows, and as the last one how often each row occurs.

    >>> [column.tolist() for column in (Rows.of([2, 1, 2], [0, 1, 0]) + Rows.of([1], [0])).columns]
    [[1, 1, 2], [0, 1, 0], [1, 1, 2]]
    """

    pieces: tuple[Columns, ...]

    @staticmethod
    def of(*columns: Any) -> "Rows":
        """The rows of columns of equal length."""
        arrays = [np.asarray(column) for column in columns]
        return Rows(((*arrays, np.ones(len(arrays[0]), np.int64)),))

    def __add__(self, other: "Rows") -> "Rows":
        pieces = self.pieces + other.pieces
        sizes = [len(piece[-1]) for piece in pieces]
        largest = int(np.argmax(sizes))
        if sum(sizes) - sizes[largest] > max(LEAST, sizes[largest]):
            return Rows((_distinct(pieces),))  # so seldom that sorting costs n log n altogether
        if len(pieces) > PIECES:
            return Rows((pieces[largest], _joined(pieces[:largest] + pieces[largest + 1 :])))
        return Rows(pieces)

    @property
    def columns(self) -> Columns:
        """The distinct rows, sorted by the first column, then by the second, ..., and how often each occurs."""
        return _distinct(self.pieces)

    def __reduce__(self) -> Any:
        return Rows, ((self.columns,),)


def _joined(pieces: tuple[Columns, ...]) -> Columns:
    return tuple(map(np.concatenate, zip(*pieces, strict=True)))


def _distinct(pieces: tuple[Columns, ...]) -> Columns:
    *columns, counts = _joined(pieces)
    order = np.lexsort(columns[::-1])
    columns = [column[order] for column in columns]
    first = starts(*columns)
    return (*(column[first] for column in columns), _added(counts[order], first))


def starts(*columns: np.ndarray) -> np.ndarray:
    """Where runs of equal rows begin.

    >>> starts(np.array([1, 1, 2]), np.array([5, 5, 5]))
    array([0, 2])
    """
    differ = np.ones(len(columns[0]), bool)
    differ[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(differ)


def _added(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, first) if first.size else values[:0]
