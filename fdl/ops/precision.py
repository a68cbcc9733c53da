"""Narrow floats in references: computed in a wider format, rounded once."""

from collections.abc import Callable
from operator import methodcaller
from typing import Any

import numpy as np

from fdl.dtypes import bfloat16, complex64, complex128, float16, float32, float64

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


def in_float64(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """``function(*arrays)``; for floats of 32 and 16 bits evaluated in float64 and rounded to float32 and their dtype.

    NumPy's float32 functions differ with the width of the processor's vectors, by up to four units in the last place
    (the cube root of 27 is not 3 with AVX-512). Rounded from float64 they are the same everywhere.
    """
    dtype = arrays[0].dtype
    if dtype in (float64, complex128):
        return function(*arrays)
    wide, narrow = (complex128, complex64) if dtype == complex64 else (float64, float32)
    return function(*map(methodcaller("astype", wide), arrays)).astype(narrow).astype(dtype, copy=False)
