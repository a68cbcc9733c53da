"""Places of extreme elements along lines of all lengths, which are read alone, by vectors, or many at a time."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int64", "bool"])
def test_places_are_those_of_numpy(rng, dtype):
    arrays = []
    for shape in ((7, 1), (1, 5), (100, 3), (5, 9, 4), (37, 31), (35, 64), (3, 33, 2), (50, 31), (200, 23)):
        x = (rng.normal(size=shape) * 3).astype(dtype)
        if x.dtype.kind == "f":
            x[rng.random(shape) < 0.05] = np.nan
        arrays.append(x)

    def places(xp, x):
        turned = xp.swapaxes(x, 0, -1)
        return [f(y, axis) for y in (x, turned) for axis in range(x.ndim) for f in (xp.argmax, xp.argmin)]

    found = fdl.jit(lambda *xs: [places(fnp, x) for x in xs])(*arrays)
    for x, parts in zip(arrays, found, strict=True):
        for part, expected in zip(parts, places(np, x), strict=True):
            np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("width", [0, 1, 3, 10, 31])
def test_lines_beside_each_other(rng, width):
    """Columns that do not fill the last vector, of arrays that are views too."""
    x = rng.integers(-9, 9, (80, width)).astype("f4")
    x[rng.random(x.shape) < 0.02] = np.nan

    def lines(xp, x):
        views = (x, x[::-1], x[1::3], xp.stack([x, -x], 1)[:, 1])
        return [f(v[:26], 0) for v in views for f in (xp.argmax, xp.argmin, xp.cumsum, xp.cumprod)]

    for found, expected in zip(fdl.jit(lambda x: lines(fnp, x))(x), lines(np, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16"])
@pytest.mark.parametrize("count", [1, 2, 17, 33, 1000, 4099])
def test_extremes_with_nan_anywhere(rng, dtype, count):
    """In every lane, first, last and together with infinities."""
    x = (rng.normal(size=(40, count)) * 3).astype(dtype)
    if x.dtype.kind == "f":
        x[np.arange(30), rng.integers(0, count, 30)] = np.nan
        x[3, 0], x[4, -1], x[5], x[6, 0], x[31], x[32] = np.nan, np.nan, np.nan, np.inf, -np.inf, -0.0
    extremes = fdl.jit(lambda x: [f(x, axis) for f in (fnp.max, fnp.min) for axis in (0, 1)] + [x[31:].max(), x.min()])
    expected = [f(x, axis) for f in (np.max, np.min) for axis in (0, 1)] + [x[31:].max(), x.min()]
    for found, wanted in zip(extremes(x), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("extents", [(1, 40), (10, 67), (32, 33), (33, 32), (67, 10), (129, 17)])
def test_extremes_of_short_and_long_loops(extents, axis):
    """A NaN anywhere is the result, however many elements follow it."""
    x = np.random.default_rng(2).standard_normal(extents).astype(np.float32)
    for row, column in [(0, 0), (extents[0] - 1, 3), (extents[0] // 2, extents[1] - 1)]:
        x[row, column] = np.nan
    x[0, 1], x[-1, 2] = np.inf, -np.inf
    for name in ("max", "min"):
        found = fdl.jit(lambda x, name=name: getattr(fnp, name)(x, axis=axis))(x)
        np.testing.assert_array_equal(np.asarray(found), getattr(np, name)(x, axis=axis))
