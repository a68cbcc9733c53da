"""Reductions, statistics, sorting, sets, histograms, polynomials and signals against NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import DtypeError, ShapeError
from tests.numpy.test_shape import agree

RNG = np.random.default_rng(1)
X = RNG.normal(size=(3, 4, 5))
N = np.where(RNG.random((3, 4, 5)) < 0.3, np.nan, X)
M = RNG.random((3, 4, 5)) < 0.6
V = RNG.normal(size=9)
W = RNG.random(9)
I = RNG.integers(0, 6, 12)  # noqa: E741
Case = Callable[[Any], Any]
AXES = [None, 0, -1, (0, 2)]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "var", "std", "all", "any", "ptp", "median"])
def test_reductions(name: str, axis: Any, keepdims: bool) -> None:
    agree(lambda n: getattr(n, name)(X, axis=axis, keepdims=keepdims))
    if name not in ("ptp", "median"):
        options: dict[str, Any] = {"initial": 0.5} if name in ("max", "min") else {}
        agree(lambda n: getattr(n, name)(X, axis=axis, keepdims=keepdims, where=M, **options))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd", "nanmedian"])
def test_reductions_without_nan(name: str, axis: Any) -> None:
    agree(lambda n: getattr(n, name)(N, axis=axis))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize(
    "name",
    [
        "argmax",
        "argmin",
        "nanargmax",
        "nanargmin",
        "cumsum",
        "cumprod",
        "nancumsum",
        "nancumprod",
        "count_nonzero",
        "sort",
        "argsort",
    ],
)
def test_along_one_axis(name: str, axis: int | None) -> None:
    x = X if "nan" not in name else N
    agree(lambda n: getattr(n, name)(x, axis=axis))
    agree(
        lambda n: getattr(n, name)(
            np.round(np.nan_to_num(x)), axis=axis, **({"stable": True} if name == "argsort" else {})
        )
    )


@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 1.0, [0.1, 0.75]])
@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles(q: Any, method: str) -> None:
    q = np.asarray(q)
    for axis in (None, 1, (0, 2)):
        agree(lambda n, axis=axis: n.quantile(X, q, axis, method=method))
        agree(lambda n, axis=axis: n.nanquantile(N, q, axis, method=method, keepdims=True))
    agree(lambda n: n.percentile(X, 100 * q, 0, method=method))


def test_quantiles_of_rows_with_nan_are_nan() -> None:
    agree(lambda n: n.median(N, 1))
    agree(lambda n: n.quantile(N, 0.2, 0))


CASES: list[Case] = [
    lambda n: n.average(X, 1, W[:4]),
    lambda n: n.average(X, weights=np.abs(X)),
    lambda n: n.average(X, 0, returned=True),
    lambda n: n.var(X, 0, ddof=1),
    lambda n: n.std(X, correction=1),
    lambda n: n.var(X + 1j * N.real * 0 + 1j * X[::-1], 1),
    lambda n: n.sum(X, initial=3.0),
    lambda n: n.prod(X, 0, initial=2.0),
    lambda n: n.max(X, initial=9.0),
    lambda n: n.sum(np.zeros((0, 3)), 0),
    lambda n: n.cov(X[0]),
    lambda n: n.cov(X[0], X[1], rowvar=False),
    lambda n: n.cov(V, W, bias=True),
    lambda n: n.cov(V),
    lambda n: n.cov(X[0], fweights=np.array([1, 2, 0, 1, 3])),
    lambda n: n.cov(X[0], aweights=W[:5]),
    lambda n: n.corrcoef(X[0]),
    lambda n: n.diff(X),
    lambda n: n.diff(X, 2, 0),
    lambda n: n.diff(V, prepend=0.0, append=W[:2]),
    lambda n: n.diff(V > 0),
    lambda n: n.ediff1d(V, 1.0, 2.0),
    lambda n: n.trapezoid(X, dx=0.5),
    lambda n: n.trapezoid(V, np.sort(W)),
    lambda n: n.trapezoid(X, X, axis=0),
    lambda n: n.cumulative_sum(X, axis=1, include_initial=True),
    lambda n: n.cumulative_prod(V),
    lambda n: n.sort(X, 0),
    lambda n: n.sort(N),
    lambda n: n.argsort(N),
    lambda n: n.sort(I),
    lambda n: n.lexsort((I, I % 3)),
    lambda n: n.lexsort(X[0]),
    lambda n: n.sort_complex(np.array([2, 1j, 1])),
    lambda n: n.searchsorted(np.sort(V), X),
    lambda n: n.searchsorted(np.sort(I), I, side="right"),
    lambda n: n.searchsorted(np.array([1.0, 2.0, np.nan]), np.array([0.5, 3.0, np.nan])),
    lambda n: n.searchsorted(V, W, sorter=np.argsort(V)),
    lambda n: n.digitize(V, np.array([-1.0, 0.0, 1.0])),
    lambda n: n.digitize(V, np.array([1.0, 0.0, -1.0]), right=True),
    lambda n: n.digitize(I, np.array([2, 4]), True),
    lambda n: n.unique(I),
    lambda n: n.unique(I, True, True, True),
    lambda n: n.unique(I.reshape(4, 3) % 2, axis=0),
    lambda n: n.unique(np.array([1.0, np.nan, np.nan])),
    lambda n: n.unique(I.reshape(3, 4) % 2, return_inverse=True, return_counts=True, axis=1),
    lambda n: np.sort(n.unique_values(I)),
    lambda n: tuple(n.unique_all(I)),
    lambda n: n.union1d(I, [7, 2]),
    lambda n: n.intersect1d(I, np.array([1, 2, 9])),
    lambda n: n.setdiff1d(I, np.array([1, 2])),
    lambda n: n.setxor1d(I, np.array([1, 8])),
    lambda n: n.isin(I, [1, 2]),
    lambda n: n.isin(I, np.array([]), invert=True),
    lambda n: n.intersect1d(np.arange(5), np.array([4, 2]), return_indices=True),
    lambda n: n.bincount(I),
    lambda n: n.bincount(I, np.arange(12.0), 9),
    lambda n: n.histogram(V),
    lambda n: n.histogram(V, 4, (-1, 1)),
    lambda n: n.histogram(V, np.array([-1.0, 0.0, 2.0]), weights=W),
    lambda n: n.histogram(V, density=True),
    lambda n: n.histogram(np.ones(3)),
    lambda n: n.histogram2d(V, W, 3),
    lambda n: n.histogram2d(V, W, [2, np.array([0, 0.5, 1.0])], density=True),
    lambda n: n.histogramdd(X[0][:, :3], 2)[0],
    lambda n: n.histogram_bin_edges(V, 5),
    lambda n: n.polyval(V[:3], W),
    lambda n: n.polyadd(V, V[:2]),
    lambda n: n.polysub(V[:2], V),
    lambda n: n.polymul(V, V[:3]),
    lambda n: n.polydiv(V, V[:3])[0],
    lambda n: n.polyder(V, 2),
    lambda n: n.polyint(V, 2, [3.0, 4.0]),
    lambda n: n.poly(V[:3]),
    lambda n: n.poly(X[0, :3, :3]),
    lambda n: n.polyfit(W, V, 2),
    lambda n: n.polyfit(W, V, 1, w=W, cov=True),
    lambda n: n.sort(n.roots(np.array([0.0, 1.0, -6.0, 11.0, -6.0, 0.0])).real),
    lambda n: n.convolve(V, W[:4]),
    lambda n: n.convolve(V[:2], W, "same"),
    lambda n: n.convolve(V, W[:4], "same"),
    lambda n: n.convolve(V, W[:3], "valid"),
    lambda n: n.correlate(V, W[:3]),
    lambda n: n.correlate(V[:3], W, "full"),
    lambda n: n.correlate(V, 1j * W[:4], "same"),
    lambda n: n.interp(W, np.sort(V), W),
    lambda n: n.interp(X, np.sort(V), W, left=-1, right=-2),
    lambda n: n.interp(V, np.sort(W), V, period=1.0),
    lambda n: n.gradient(V),
    lambda n: n.gradient(X, 0.5, axis=1),
    lambda n: n.gradient(X[0]),
    lambda n: n.gradient(V, np.sort(W)),
    lambda n: n.unwrap(V * 5),
    lambda n: n.unwrap(X * 9, axis=0, period=4.0),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_agrees_with_numpy(number: int) -> None:
    agree(CASES[number])


def test_order_of_equal_elements_and_nan_when_descending() -> None:
    x = np.array([1.0, 2.0, np.nan, 2.0])
    np.testing.assert_array_equal(np.asarray(fnp.sort(x, descending=True)), [np.nan, 2, 2, 1])
    np.testing.assert_array_equal(np.asarray(fnp.argsort(x, descending=True)), [2, 1, 3, 0])


def test_half_precision_is_accumulated_in_single() -> None:
    x = fnp.full(4096, 1.0009765625, "float16")
    assert x.mean() == fnp.float16(1.0009765625) and x.dtype == x.var().dtype == np.float16
    assert fnp.full(1000, 1.0, "bfloat16").sum() == 1000


def test_sizes_make_sets_traceable() -> None:
    x = np.array([3, 1, 3, 2])
    values, counts = fdl.jit(lambda x: fnp.unique(x, return_counts=True, size=5, fill_value=0))(x)
    np.testing.assert_array_equal(np.asarray(values), [1, 2, 3, 0, 0])
    np.testing.assert_array_equal(np.asarray(counts), [1, 1, 2, 0, 0])
    np.testing.assert_array_equal(np.asarray(fdl.jit(lambda x: fnp.unique(x, size=2))(x)), [1, 2])
    np.testing.assert_array_equal(np.asarray(fdl.jit(lambda x: fnp.setdiff1d(x, np.array([1]), size=3))(x)), [2, 3, 0])
    np.testing.assert_array_equal(np.asarray(fdl.jit(lambda x: fnp.bincount(x, length=3))(x)), [0, 1, 1])


def test_reductions_of_nothing_are_errors() -> None:
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ShapeError, match=f"{name} of no elements"):
            getattr(fnp, name)(np.zeros((2, 0)), axis=1)
    with pytest.raises(ValueError, match="needs initial="):
        fnp.max(X, where=M)
    assert np.isnan(fnp.mean(np.zeros(0)))


def test_quantiles_of_nothing_are_nan() -> None:
    """As in NumPy, which warns, and in JAX, which was run beside."""
    for name in ("median", "nanmedian"):
        assert np.isnan(getattr(fnp, name)(np.zeros(0)))
        np.testing.assert_array_equal(np.asarray(getattr(fnp, name)(np.zeros((0, 2)), axis=0)), [np.nan, np.nan])
    for name in ("quantile", "nanpercentile"):
        found = np.asarray(getattr(fnp, name)(np.zeros((3, 0)), np.array([0.1, 0.2]), axis=1, keepdims=True))
        assert found.shape == (2, 3, 1) and np.isnan(found).all()


def test_rare_arguments() -> None:
    """Masks of complex extrema, no differences, and what has no meaning: these are errors in JAX and in NumPy."""
    z, mask = X[0] + 1j * X[1], M[0]
    for name, initial in (("max", -9 - 9j), ("min", 9 + 9j), ("max", 0.1), ("min", 0.1)):
        agree(lambda n, f=name, i=initial: getattr(n, f)(z, axis=1, where=mask, initial=n.asarray(i, complex)))
    agree(lambda n: n.diff(V, n=0, append=3.0))
    with pytest.raises(ValueError, match="n=-1 must not be negative"):
        fnp.diff(V, n=-1)
    for name in ("sum", "prod", "max", "min"):
        with pytest.raises(ShapeError, match=f"{name}: initial= must be a scalar, got f64"):
            getattr(fnp, name)(X, axis=0, initial=np.zeros(4, np.float32))
    with pytest.raises(DtypeError, match="cov: means are no integers"):
        fnp.cov(X[0], dtype=int)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_spacing(dtype: Any) -> None:
    x = np.array([1, -1, -1.5, 0.75, -0.75, 0, 1e-3, -1e-3, 6e-8, -6e-8, 2, -2], dtype)
    np.testing.assert_array_equal(np.asarray(fnp.spacing(x)), np.spacing(x))
