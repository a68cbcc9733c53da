"""Exponentials and logarithms by the instructions that take floats apart: every exponent, and any number of lanes."""

import numpy as np
import pytest

from tests.compile.test_vecmath import compiled, ulps

DTYPES = [np.float32, np.float64]


def of_every_exponent(dtype, significands):
    """Positive numbers of every exponent, subnormal ones included."""
    info = np.finfo(dtype)
    exponents = np.arange(int(np.log2(float(info.smallest_subnormal))), info.maxexp)
    with np.errstate(over="ignore"):
        x = np.ldexp(np.asarray(significands, dtype)[:, None], exponents).ravel()
    return x[(x > 0) & (x < np.inf)].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "erf", "logistic", "erf_inv"])
def test_an_element_has_the_same_bits_in_vectors_of_any_size(name, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1, 1, 130), [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, -90.0, 1e-40]]).astype(dtype)
    whole = compiled(name, dtype, lanes=64)(x)
    for lanes in (1, 2, 8, 16):
        np.testing.assert_array_equal(compiled(name, dtype, lanes=lanes)(x), whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_every_exponent_and_next_to_the_bounds_of_the_table(dtype):
    bounds = np.concatenate([np.arange(16, 33) / 16, [1.3, 1.7]])
    near = np.concatenate([np.nextafter(dtype(b), dtype([0, 4])) for b in bounds])
    x = of_every_exponent(dtype, np.concatenate([bounds, near]))
    assert ulps(compiled("log", dtype)(x), np.log(x.astype(np.longdouble))).max() <= 1.5
    steps = np.ldexp(1.0, -np.arange(2, np.finfo(dtype).nmant))
    x = np.concatenate([1 - steps, 1 + steps, [1.0]]).astype(dtype)
    assert ulps(compiled("log", dtype)(x), np.log(x.astype(np.longdouble))).max() <= 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponentials_of_every_exponent_and_next_to_where_sixteenths_change(dtype):
    info = np.finfo(dtype)
    k = np.arange(int(np.log2(float(info.smallest_subnormal))) - 2, info.maxexp + 2)
    x = ((k[:, None] + np.arange(32) / 32) * np.log(2)).ravel().astype(dtype)
    x = np.concatenate([x, np.nextafter(x, dtype(np.inf)), -x[:50]])
    with np.errstate(over="ignore", under="ignore"):
        want = np.exp(x.astype(np.longdouble))
    assert ulps(compiled("exp", dtype)(x), want).max() <= 1.1


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_in_vectors_of_any_size(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, -1e-40], dtype)
    for lanes in (1, 4, 32):
        logarithm = compiled("log", dtype, lanes=lanes)(x)
        np.testing.assert_array_equal(logarithm, [-np.inf, -np.inf, np.inf, np.nan, np.nan, 0.0, np.nan, np.nan])
        assert not np.signbit(logarithm[5])
        power = compiled("exp", dtype, lanes=lanes)(x)
        np.testing.assert_array_equal(power[:5], [1.0, 1.0, np.inf, 0.0, np.nan])
        assert not np.signbit(power[3])
