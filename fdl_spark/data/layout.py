"""Arrays one after the other in one run of bytes: the columns of a block, and what a task keeps from step to step."""

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from fdl_spark.spark.wire import dtype_name

ALIGNMENT = 64  # bytes: arrays start at whole cache lines


@dataclass(frozen=True)
class Layout:
    """Where arrays are in a run of bytes, which says nothing of them itself.

    Attributes:
      arrays: dtype and shape of each.

    >>> Layout((("<f4", (3,)), ("|u1", (70,)))).size
    192
    """

    arrays: tuple[tuple[str, tuple[int, ...]], ...]

    @staticmethod
    def of(arrays: Sequence[np.ndarray]) -> "Layout":
        """The layout of arrays as they are."""
        return Layout(tuple((dtype_name(array.dtype), array.shape) for array in arrays))

    @property
    def size(self) -> int:
        """Number of bytes; at least one, as nothing cannot be mapped."""
        return max(1, sum(length for _, length in self._places()))

    def views(self, buffer: mmap.mmap | np.ndarray) -> list[np.ndarray]:
        """The arrays in a buffer."""
        places = zip(self.arrays, self._places(), strict=True)
        return [np.ndarray(shape, dtype, buffer, start) for (dtype, shape), (start, _) in places]

    def pack(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The arrays as one of bytes."""
        packed = np.zeros(self.size, np.uint8)
        for view, array in zip(self.views(packed), arrays, strict=True):
            view[...] = array
        return packed

    def write(self, file: BinaryIO, arrays: Sequence[np.ndarray]) -> None:
        """Write the arrays to a new file."""
        for (start, _), array in zip(self._places(), arrays, strict=True):
            file.seek(start)
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.truncate(self.size)

    def _places(self) -> Iterator[tuple[int, int]]:
        """Where each array starts, and how many bytes it takes up to the next one."""
        start = 0
        for dtype, shape in self.arrays:
            length = -(-math.prod(shape) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
            yield start, length
            start += length
