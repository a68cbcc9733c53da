"""Gradients of average pooling without overlap, which repeat elements, against NumPy."""

import numpy as np
import pytest

import fdl
from fdl import lax


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "complex64"])
@pytest.mark.parametrize(
    ("shape", "window", "padding"),
    [
        ((2, 6, 8, 3), (1, 2, 2, 1), [(0, 0)] * 4),
        ((2, 7, 11, 17), (1, 2, 3, 1), [(0, 0)] * 4),
        ((1, 5, 7), (1, 3, 3), [(0, 0), (1, 0), (1, 1)]),
        ((9,), (4,), [(3, 3)]),
        ((3, 4), (3, 4), [(0, 0), (0, 0)]),
        ((0, 4, 2), (1, 2, 2), [(0, 0)] * 3),
    ],
)
def test_sums_of_windows_side_by_side_have_repeated_gradients(rng, dtype, shape, window, padding):
    def pool(x):
        return lax.reduce_window(x, np.zeros((), dtype), lax.add, window, window, padding)

    places = [(n + low + high) // w for n, w, (low, high) in zip(shape, window, padding, strict=True)]
    cotangent = (rng.normal(size=places) * 9).astype(dtype)
    cotangent.reshape(-1)[:3] = [0, -0.0, 7][: cotangent.size]
    expected = cotangent
    for axis, (n, w, (low, _)) in enumerate(zip(shape, window, padding, strict=True)):
        rest = n + low - expected.shape[axis] * w
        expected = np.repeat(expected, w, axis)
        after = [(0, max(rest, 0) if a == axis else 0) for a in range(len(shape))]
        expected = np.take(np.pad(expected, after), range(low, low + n), axis)
    x = np.zeros(shape, dtype)
    found = fdl.jit(lambda ct: fdl.linear_transpose(pool, x)(ct)[0])(cotangent)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, expected)
