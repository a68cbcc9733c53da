"""Places of extreme elements along lines of all lengths, which are read alone, by vectors, or many at a time."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int64", "bool"])
def test_places_are_those_of_numpy(rng, dtype):
    arrays = []
    for shape in ((7, 1), (1, 5), (100, 3), (5, 9, 4), (37, 31), (35, 64), (3, 33, 2)):
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
