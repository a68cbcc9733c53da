"""Cumulative maxima and minima of single lines keep the bits of the first NaN and of the last of equal zeros."""

from typing import Any

import numpy as np
import pytest

import fdl
from fdl import lax


def expected(x: Any, larger: bool, reverse: bool) -> Any:
    """Element after element: a NaN stays, an equal element replaces the one so far."""
    out = x[..., ::-1].copy() if reverse else x.copy()
    for line in np.atleast_2d(out):
        for i in range(1, len(line)):
            old, new = line[i - 1], line[i]
            if np.isnan(old) or (old > new if larger else old < new):
                line[i] = old
    return out[..., ::-1] if reverse else out


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 257), (33, 70), (2, 0)])
def test_bits(shape: tuple[int, ...], dtype: str, larger: bool, reverse: bool) -> None:
    rng = np.random.default_rng(5)
    x = rng.choice([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf], shape).astype(dtype)
    x[rng.random(shape) < 0.02] = np.nan
    bits = x.view(f"u{x.itemsize}")
    if dtype != "float16":  # a conversion keeps no more than that a number is NaN
        bits[rng.random(shape) < 0.01] = bits.dtype.type(np.array(np.nan, dtype).view(bits.dtype)) + bits.dtype.type(9)
    function = lax.cummax if larger else lax.cummin
    y = np.asarray(fdl.jit(lambda x: function(x, x.ndim - 1, reverse=reverse))(x))
    wanted = expected(x, larger, reverse)
    np.testing.assert_array_equal(y.view(bits.dtype), np.ascontiguousarray(wanted).view(bits.dtype))
