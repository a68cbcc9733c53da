"""Quantiles by NumPy's methods and by weights, and index updates without wrapping, against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fdl
import fdl.numpy as fnp
from fdl.errors import RangeError

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 9, 3))
Q = np.array([0.0, 0.05, 0.5, 0.5, 0.83, 1.0])
METHODS = """linear lower higher midpoint nearest inverted_cdf averaged_inverted_cdf closest_observation
    interpolated_inverted_cdf hazen weibull median_unbiased normal_unbiased""".split()


@pytest.mark.parametrize("method", METHODS)
def test_methods(method):
    quantile = fdl.jit(fnp.quantile, static_argnames=("axis", "method"))
    for x, q in ((X, Q), (X[:, :8], np.arange(9) / 8), (X[:, :1], Q)):
        assert_allclose(quantile(x, q, axis=1, method=method), np.quantile(x, q, axis=1, method=method), atol=1e-12)
    holes = np.where(RNG.uniform(size=X.shape) < 0.3, np.nan, X)
    expected = np.nanquantile(holes, Q, axis=(0, 1), method=method)
    assert_allclose(fnp.nanquantile(holes, Q, axis=(0, 1), method=method), expected, atol=1e-12)


@pytest.mark.parametrize("axis, shape", [(1, (9,)), ((0, 1), (4, 9)), ((1, 0), (9, 4)), (None, X.shape), (1, X.shape)])
def test_weights(axis, shape):
    by = RNG.integers(0, 4, shape).astype(float)
    by.flat[0] = 0
    options = {"axis": axis, "method": "inverted_cdf"}
    expected = np.quantile(X, Q, weights=by, **options)
    assert_allclose(fnp.quantile(X, Q, weights=by, **options), expected)
    assert_allclose(fdl.jit(lambda x, w: fnp.percentile(x, 100 * Q, weights=w, **options))(X, by), expected)
    if shape == X.shape:
        holes = np.where(RNG.uniform(size=X.shape) < 0.2, np.nan, X)
        expected = np.nanquantile(holes, 0.5, weights=by, **options)
        assert_allclose(fnp.nanquantile(holes, 0.5, weights=by, **options), expected)
    assert fnp.quantile(X, 0.5, weights=by, keepdims=True, **options).ndim == 3


def test_what_weights_refuse():
    with pytest.raises(ValueError, match="inverted_cdf"):
        fnp.quantile(X, 0.5, weights=np.ones(9), axis=1)
    with pytest.raises(fdl.errors.ShapeError, match="weights="):
        fnp.quantile(X, 0.5, weights=np.ones(4), axis=1, method="inverted_cdf")


@pytest.mark.parametrize("jitted", [False, True])
def test_negative_indices_that_do_not_wrap_are_out_of_bounds(jitted):
    wrap = fdl.jit if jitted else lambda f: f
    x, places = np.float32([1, 2, 3]), np.array([0, -1, 2])
    get = wrap(lambda x, i: x.at[i].get(mode="fill", fill_value=9, wrap_negative_indices=False))
    assert_array_equal(get(fnp.asarray(x), places), [1, 9, 3])
    unset = wrap(lambda x, i: x.at[i].get(wrap_negative_indices=False))(fnp.asarray(x), places)
    assert_array_equal(unset, [1, np.nan, 3])
    for name, expected in (("set", [7, 2, 7]), ("add", [8, 2, 10]), ("multiply", [7, 2, 21]), ("min", [1, 2, 3])):
        update = wrap(lambda x, i, name=name: getattr(x.at[i], name)(7, mode="drop", wrap_negative_indices=False))
        assert_array_equal(update(fnp.asarray(x), places), expected)
    applied = wrap(lambda x, i: x.at[i].apply(lambda v: -v, wrap_negative_indices=False))(fnp.asarray(x), places)
    assert_array_equal(applied, [-1, 2, -3])
    clipped = wrap(lambda x, i: x.at[i].get(mode="clip", wrap_negative_indices=False))(fnp.asarray(x), places)
    assert_array_equal(clipped, [1, 1, 3])


@pytest.mark.parametrize("weights", [[1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [1.0, np.inf, 0.0], [0.0, 0.0, 0.0]])
def test_weights_that_mean_nothing(weights):
    def median(by):
        return fnp.quantile(np.arange(3.0), 0.5, method="inverted_cdf", weights=by)

    with pytest.raises(RangeError, match="weights="):
        median(np.array(weights))
    assert np.isnan(fdl.jit(median)(np.array(weights)))
    assert fdl.jit(median)(np.array([0.0, 0.0, 2.0])) == 2
