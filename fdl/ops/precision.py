"""Narrow floats in references: computed in a wider format, rounded once."""

from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import Any

import numpy as np

from fdl.core.types import TensorType
from fdl.dtypes import bfloat16, complex64, complex128, float16, float32, float64

HALVES = (bfloat16, float16)

#: Elements that are converted at a time.
_BLOCK = 2**16


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums over `dtype` are kept: float32 for 16-bit floats, else `dtype` itself."""
    return float32 if dtype in HALVES else dtype


def widened(x: np.ndarray) -> np.ndarray:
    """`x` in the dtype of its accumulator."""
    return x.astype(float32) if x.dtype in HALVES else x


def reduced(function: np.ufunc, x: np.ndarray, axes: Sequence[int], dtype: np.dtype | None = None) -> np.ndarray:
    """``function.reduce`` over `axes` in the accumulator of `dtype`, block by block, so that no converted copy is made.

    Args:
        function: an associative and commutative function of two numbers.
        x: what is reduced.
        axes: counted from the front.
        dtype: of the result; None is that of `x`.
    """
    dtype = x.dtype if dtype is None else dtype
    wide, axes = accumulator(dtype), tuple(axes)
    if x.dtype == wide or x.size <= _BLOCK or not axes:
        return np.asarray(function.reduce(x.astype(wide, copy=False), axes, wide)).astype(dtype, copy=False)
    longest = max(range(x.ndim), key=lambda a: x.shape[a])
    step = max(1, _BLOCK * x.shape[longest] // x.size)
    places = range(0, x.shape[longest], step)
    blocks = (x[(slice(None),) * longest + (slice(i, i + step),)] for i in places)
    # What is left of a block keeps the accumulator's precision until all of them are combined.
    if longest in axes:
        parts = np.stack([reduced(function, b, axes, wide) for b in blocks])
        return np.asarray(function.reduce(parts, 0, wide)).astype(dtype, copy=False)
    kept = longest - sum(a < longest for a in axes)
    return np.concatenate([reduced(function, b, axes, dtype) for b in blocks], kept)


def reduced_for(function: np.ufunc, x: TensorType, axes: Sequence[int]) -> Callable[[np.ndarray], Any]:
    """:func:`reduced` for arrays of one type."""
    axes = tuple(axes)
    if x.dtype != accumulator(x.dtype):
        return lambda x: reduced(function, x, axes)
    reduce, dtype = function.reduce, x.dtype
    return lambda x: reduce(x, axes, dtype)


def accumulated(function: np.ufunc, x: np.ndarray, axis: int, dtype: np.dtype | None = None) -> np.ndarray:
    """``function.accumulate`` along an axis in the accumulator of `dtype`, block by block like :func:`reduced`."""
    dtype = x.dtype if dtype is None else dtype
    wide = accumulator(dtype)
    if x.dtype == wide == dtype or x.size <= _BLOCK:
        return function.accumulate(x.astype(wide, copy=False), axis, wide).astype(dtype, copy=False)
    out, last = np.empty(x.shape, dtype), None
    source, target = np.moveaxis(x, axis, 0), np.moveaxis(out, axis, 0)
    step = max(1, _BLOCK * x.shape[axis] // x.size)
    for i in range(0, x.shape[axis], step):
        block = source[i : i + step].astype(wide)
        if last is not None:
            block[0] = function(last, block[0])
        block = function.accumulate(block, 0, wide)
        target[i : i + step], last = block, block[-1]
    return out


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
    if dtype is float32 and len(arrays) == 1:  # the quick way of what most eager calls are
        return function(arrays[0].astype(float64)).astype(float32)
    if dtype in (float64, complex128):
        return function(*arrays)
    wide, narrow = (complex128, complex64) if dtype == complex64 else (float64, float32)
    return function(*map(methodcaller("astype", wide), arrays)).astype(narrow).astype(dtype, copy=False)
