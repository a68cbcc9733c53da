"""Half-precision floats in references: computed in float32, rounded once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.dtypes import bfloat16, float16, float32

HALVES = (bfloat16, float16)


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums over `dtype` are kept: float32 for 16-bit floats, else `dtype` itself."""
    return float32 if dtype in HALVES else dtype


def widened(x: np.ndarray) -> np.ndarray:
    """`x` in the dtype of its accumulator."""
    return x.astype(float32) if x.dtype in HALVES else x


def in_float32(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """``function(*arrays)``; for 16-bit floats evaluated in float32 and rounded to their dtype."""
    dtype = arrays[0].dtype
    if dtype not in HALVES:
        return function(*arrays)
    return function(*(a.astype(float32) for a in arrays)).astype(dtype)
