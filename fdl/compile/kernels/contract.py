"""Batched matrix products on the register tile.

``emit(module, target, spec, epilogue, extras)`` emits a kernel (see `kernel`) with operands (A, B, C, *extras):
C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n], for sizes known now and any element strides, negative ones and 0
(broadcast) included. Each element of C is summed over k in an order that depends on the sizes only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import Epilogue, Kernel
from fdl.compile.target import Target

Strides = tuple[int, int, int]


@dataclass(frozen=True)
class Contraction:
    """A batched matrix product, sizes and strides in elements.

    Attributes:
        dtype: float32 or float64, of all three operands.
        batch, m, n, k: sizes; any may be 0 or 1.
        a: strides of A along (batch, m, k).
        b: strides of B along (batch, k, n).
        c: strides of C along (batch, m, n).
        accumulate: add to what C holds instead of overwriting it.
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


def supports(dtype: Any) -> bool:
    """Whether contractions of this dtype have a kernel; integers, complex and 16-bit floats do not."""
    return np.dtype(dtype) in (np.float32, np.float64)


def emit(
    module: ir.Module, target: Target, spec: Contraction, epilogue: Epilogue | None = None, extras: int = 0
) -> Kernel:
    """Emit the kernel of `spec`.

    Args:
        module: where it goes.
        target: the processor.
        spec: the product.
        epilogue: applied to complete elements of C before they are stored for the last time; its indices are
            (batch, m, n), and with strided C lanes run along n all the same.
        extras: number of pointer operands after C that are passed through to the epilogue.
    """
    raise NotImplementedError
