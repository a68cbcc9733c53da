"""What a matrix product kernel computes."""

from dataclasses import dataclass

import numpy as np

from fdl.compile.llvm.values import HALVES
from fdl.dtypes import float32, int8, int32

Strides = tuple[int, int, int]

#: Sizes of products from which on packing bfloat16 in words pays, and multiplying by blocks.
LEAST = 8


@dataclass(frozen=True)
class Contraction:
    """A batched matrix product, sizes and strides in elements.

    Attributes:
        dtype: of A, B and C; see `ProductLowering.takes_dtype`. 16-bit floats are summed in float32 and rounded once.
            The product of two int8 is int32.
        batch, m, n, k: sizes; any may be 0 or 1.
        a: strides of A along (batch, m, k).
        b: strides of B along (batch, k, n).
        c: strides of C along (batch, m, n).
        accumulate: add to what C holds instead of overwriting it.
        paired: whether bfloat16 are packed in pairs along k.
    """

    dtype: np.dtype
    batch: int
    m: int
    n: int
    k: int
    a: Strides
    b: Strides
    c: Strides
    accumulate: bool = False
    paired: bool = False

    @property
    def sums(self) -> np.dtype:
        """The dtype of the sums."""
        return float32 if self.dtype in HALVES else self.result

    @property
    def result(self) -> np.dtype:
        """The dtype of C."""
        return int32 if self.dtype == int8 else self.dtype

    @property
    def pairs(self) -> bool:
        """Whether two elements along k are packed into one word."""
        return self.dtype == int8 or self.paired
