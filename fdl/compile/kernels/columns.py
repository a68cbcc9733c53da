"""Gathers and scatters that read their index vectors as columns: an array of numbers for each entry of a vector.

Index arrays of a user are such columns. Stacked to index vectors they would be stored once more, and those that count
from the end once before that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from fdl.core.operation import Operation
from fdl.core.types import NumPyArray, TensorType
from fdl.dtypes import int64, uint64
from fdl.ops.indexing import Gather, Scatter

Item = TypeVar("Item")


@dataclass(frozen=True)
class _ByColumns(Operation):
    """Base: exists only inside the compiler.

    Operands are those of `moved` without the index vectors, and then the columns.

    Attributes:
        moved: the operation on index vectors.
        extents: for each column what is added to its negative numbers, which count from the end; 0 if nothing is.
    """

    lowering_kind = "kernel"
    moved: Any
    extents: tuple[int, ...]

    @property
    def name(self) -> str:
        """That of the operation."""
        return str(self.moved.name)

    def divide(self, operands: Sequence[Item]) -> tuple[list[Item], list[Item]]:
        """(operands of the operation but for the index vectors, columns)."""
        count = len(operands) - len(self.extents)
        return list(operands[:count]), list(operands[count:])

    def result(self, *types: TensorType) -> Any:
        """That of the operation."""
        (x, *updates), columns = self.divide(types)
        vectors = TensorType((*columns[0].shape, len(columns)), int64)
        return self.moved.result(x, vectors, *updates)

    def reference(self, *arrays: NumPyArray) -> Any:
        """That of the operation on index vectors."""
        (x, *updates), columns = self.divide(arrays)
        held = [np.minimum(c, np.uint64(2**62)) if c.dtype == uint64 else c for c in columns]
        numbers = [c.astype(int64) for c in held]
        counted = [np.where(c < 0, c + extent, c) for c, extent in zip(numbers, self.extents, strict=True)]
        return self.moved.reference(x, np.stack(counted, -1), *updates)


@dataclass(frozen=True)
class GatherByColumns(_ByColumns):
    """A gather of windows whose places are given by columns."""

    moved: Gather


@dataclass(frozen=True)
class ScatterByColumns(_ByColumns):
    """A scatter of windows whose places are given by columns."""

    moved: Scatter
