"""Extremes along short rows, and sums into small tables: compiled against NumPy, with NaN and both zeros anywhere."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp

VALUES = np.array([np.nan, -np.inf, -2.0, -0.0, 0.0, 1.5, np.inf, 3.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int32"])
@pytest.mark.parametrize("extent", [1, 2, 3, 5, 8, 10, 17])
def test_extremes_of_short_rows(dtype, extent):
    rng = np.random.default_rng(extent)
    values = np.nan_to_num(VALUES, posinf=7, neginf=-7) if dtype.startswith("int") else VALUES
    x = fnp.asarray(rng.choice(values, (301, extent)), dtype)
    x = x.at[:7].set(fnp.asarray(rng.choice(values[1:], (7, extent)), dtype))
    wide = np.asarray(x, np.float64)
    for name, expected in (("max", wide.max(1)), ("min", wide.min(1))):
        found = fdl.jit(lambda x, name=name: getattr(x, name)(1))(x)
        assert found.dtype == x.dtype
        assert np.array_equal(np.asarray(found, np.float64), expected, equal_nan=True), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes_of_pairs(dtype):
    x, y = (np.asarray(v, dtype).ravel() for v in np.meshgrid(VALUES, VALUES))
    for name, function in (("maximum", np.maximum), ("minimum", np.minimum)):
        for size in (len(x), 1):
            for start in range(0, len(x), size):
                a, b = x[start : start + size], y[start : start + size]
                found = fdl.jit(lambda a, b, name=name: getattr(fnp, name)(a, b))(a, b)
                with np.errstate(invalid="ignore"):
                    assert np.array_equal(found, function(a, b), equal_nan=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [7, 1000, 40_000])  # within and beyond what is asked for before it is needed
def test_sums_into_tables(threads, rows):
    rng = np.random.default_rng(rows)
    places, values = rng.integers(-rows // 9, rows + rows // 9, 20_011), rng.integers(-9, 9, 20_011)
    inside = (places >= 0) & (places < rows)
    expected = np.zeros(rows, np.int64)
    np.add.at(expected, places[inside], values[inside])
    before = fdl.get_num_threads()
    fdl.set_num_threads(threads)
    try:
        placed = np.where(places < 0, rows, places)  # negative places count from the end
        for dtype in ("float32", "int32"):
            table = fdl.jit(lambda v, p: fnp.zeros(rows, v.dtype).at[p].add(v, mode="drop"))
            found = table(fnp.asarray(values, dtype), fnp.asarray(placed, "int32"))
            assert np.array_equal(np.asarray(found, np.int64), expected)
        counts = fdl.jit(lambda p: fnp.bincount(p, length=rows))(fnp.asarray(np.clip(places, 0, None), "int32"))
        assert np.array_equal(counts, np.bincount(np.clip(places, 0, None), minlength=rows)[:rows])
    finally:
        fdl.set_num_threads(before)
