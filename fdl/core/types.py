"""The type of a value: a shape and a dtype."""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fdl.dtypes import short_name

#: For signatures: an fdl.Array or a tracer. Operators and methods are installed at run time, which no checker follows.
if TYPE_CHECKING:
    from fdl.core.interface import Array as Array
else:
    Array = Any

#: Any dtype, and an array of any dtype, where a type checker wants to know what of.
DType = np.dtype[np.generic]
NumPyArray = np.ndarray[tuple[int, ...], DType]

#: A number of Python or NumPy.
Number = int | float | bool | np.generic | np.ndarray
#: A dtype, a scalar type of NumPy, or a name of one; None stands for float64, as in NumPy.
DTypeLike = np.dtype | type | str | None


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (a tuple of ints) and NumPy dtype of an n-d array; prints as ``f32[2,3]``."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def with_shape(self, shape: tuple[int, ...]) -> "TensorType":
        """The same dtype with another shape."""
        return TensorType(tuple(shape), self.dtype)

    def with_dtype(self, dtype: np.dtype | None) -> "TensorType":
        """The same shape with another dtype; with None, itself."""
        return self if dtype is None else TensorType(self.shape, dtype)

    def weakened(self, dtype: np.dtype) -> "TensorType":
        """The type itself, which says nothing of weakness."""
        return self

    def __str__(self) -> str:
        return f"{short_name(self.dtype)}[{','.join(map(str, self.shape))}]"
