"""Numbers beside arrays of 64 bits: no function rounds them on the way, and integers that do not fit are no others."""

import operator

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax

VECTOR = np.linspace(0.1, 1.3, 7)
MATRIX = np.arange(9.0).reshape(3, 3) / 7


def _filled(n: float) -> np.ndarray:
    found = MATRIX.copy()
    np.fill_diagonal(found, n)
    return found


#: Functions of a number, with arrays of float64, and what NumPy computes.
FUNCTIONS = {
    "lax.full": (lambda x, n: lax.full((2,), n, "float64"), lambda x, n: np.full(2, n)),
    "full": (lambda x, n: fnp.full((2,), n, "float64"), lambda x, n: np.full(2, n)),
    "lax.full_like": (lambda x, n: lax.full_like(x, n), np.full_like),
    "full_like": (lambda x, n: fnp.full_like(x, n), np.full_like),
    "convert_element_type": (lambda x, n: lax.convert_element_type(n, "float64"), lambda x, n: n),
    "percentile": (lambda x, n: fnp.percentile(x, n * 100), lambda x, n: np.percentile(x, n * 100)),
    "quantile": (lambda x, n: fnp.quantile(x, n), np.quantile),
    "gradient": (lambda x, n: fnp.gradient(x, n), np.gradient),
    "insert": (lambda x, n: fnp.insert(x, 1, n), lambda x, n: np.insert(x, 1, n)),
    "fill_diagonal": (
        lambda x, n: fnp.fill_diagonal(fnp.asarray(MATRIX), n, inplace=False),
        lambda x, n: _filled(n),
    ),
    "diff": (lambda x, n: fnp.diff(x, prepend=n, append=n), lambda x, n: np.diff(x, prepend=n, append=n)),
    "ediff1d": (lambda x, n: fnp.ediff1d(x, n, n), lambda x, n: np.ediff1d(x, n, n)),
    "isin": (lambda x, n: fnp.isin(x, n), np.isin),
    "isin of a number": (lambda x, n: fnp.isin(n, x), lambda x, n: np.isin(n, x)),
    "array_equal": (lambda x, n: fnp.array_equal(x[0], n), lambda x, n: True),
    "array_equiv": (lambda x, n: fnp.array_equiv(x[:1], n), lambda x, n: True),
    "linspace": (lambda x, n: fnp.linspace(n, x[3], 5), lambda x, n: np.linspace(n, x[3], 5)),
    "logspace": (lambda x, n: fnp.logspace(n, x[3], 5), lambda x, n: np.logspace(n, x[3], 5)),
    "geomspace": (lambda x, n: fnp.geomspace(n, 2, 5, dtype="float64"), lambda x, n: np.geomspace(n, 2, 5)),
    "scipy's logsumexp": (
        lambda x, n: fdl.scipy.special.logsumexp(x, b=n),
        lambda x, n: np.log(np.sum(n * np.exp(x))),
    ),
    "nn.logsumexp": (lambda x, n: fdl.nn.logsumexp(x, b=n), lambda x, n: np.log(np.sum(n * np.exp(x)))),
    "lax.reduce": (lambda x, n: lax.reduce(x, n, lax.add, (0,)), lambda x, n: np.sum(x) + n),
    "reduce_window": (
        lambda x, n: lax.reduce_window(x, n, lax.add, (7,), (1,), "VALID"),
        lambda x, n: np.sum(x, keepdims=True) + n,
    ),
    "lax.pad": (lambda x, n: lax.pad(x, n, [(1, 1, 0)]), lambda x, n: np.pad(x, 1, constant_values=n)),
    "pad": (lambda x, n: fnp.pad(x, 1, constant_values=n), lambda x, n: np.pad(x, 1, constant_values=n)),
    "stop_gradient": (lambda x, n: lax.stop_gradient(n) * x, lambda x, n: n * x),
    "clip": (lambda x, n: fnp.clip(x, n, n * 5), lambda x, n: np.clip(x, n, n * 5)),
    "clip of a number": (lambda x, n: fnp.clip(n, x * 0, x * 9), lambda x, n: np.clip(n, x * 0, x * 9)),
    "where": (lambda x, n: fnp.where(x > 0.5, x, n), lambda x, n: np.where(x > 0.5, x, n)),
    "at.set": (lambda x, n: x.at[1:].set(n), lambda x, n: np.append(x[:1], [n] * 6)),
    "at.add": (lambda x, n: x.at[:].add(n), np.add),
    "append": (lambda x, n: fnp.append(x, n), np.append),
    "put": (lambda x, n: fnp.put(x, 0, n, inplace=False), lambda x, n: np.append(n, x[1:])),
    "place": (lambda x, n: fnp.place(x, x > 0.5, n, inplace=False), lambda x, n: np.where(x > 0.5, n, x)),
    "histogram_bin_edges": (
        lambda x, n: fnp.histogram_bin_edges(x, 3, (n, 1)),
        lambda x, n: np.histogram_bin_edges(x, 3, (n, 1)),
    ),
    "setdiff1d": (lambda x, n: fnp.setdiff1d(x, n, size=6), np.setdiff1d),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_keep_their_digits_beside_arrays(name: str) -> None:
    ours, theirs = FUNCTIONS[name]
    x = fnp.asarray(VECTOR)
    for n in (0.1, np.float64(0.1)):
        expected = np.asarray(theirs(VECTOR, 0.1))
        for found in (ours(x, n), fdl.jit(lambda n: ours(x, n))(n)):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=2e-15, atol=1e-16)


COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("compare", COMPARISONS)
def test_integers_are_compared_with_numbers_that_their_dtype_does_not_hold(compare) -> None:
    for x in (np.array([0, 255], np.uint8), np.array([[-128], [127]], np.int8), np.array(3, np.uint64)):
        for n in (-(2**70), -129, 256, 2**70, 2**64):
            for a, b in ((fnp.asarray(x), n), (n, fnp.asarray(x))):
                expected = compare(x, n) if b is n else compare(n, x)
                for found in (compare(a, b), fdl.jit(lambda: compare(a, b))()):  # noqa: B023
                    assert found.dtype == bool
                    np.testing.assert_array_equal(found, expected)
    x = np.array([0, 255], np.uint8)
    np.testing.assert_array_equal(compare(fnp.asarray(x), np.int64(-1)), compare(x, -1))
    assert not fnp.array_equal(fnp.uint8(255), -1)


def test_arithmetic_with_a_number_that_does_not_fit_says_so() -> None:
    x = fnp.array([200, 3], "uint8")
    for n in (-1, 300, np.int64(-1), np.int64(300)):
        for call in (operator.add, operator.mul, fnp.maximum, fnp.where):
            with pytest.raises(fdl.errors.RangeError, match="does not fit into uint8"):
                call(*((x > 9,) * (call is fnp.where)), x, n)
    np.testing.assert_array_equal(x * np.int64(3), np.array([200, 3], np.uint8) * 3)


def test_numbers_too_large_for_a_dtype_become_infinite_without_a_warning() -> None:
    x = fnp.ones(2)
    for call in (
        lambda: x * 1e300,
        lambda: fnp.float16(x) + 1e9,
        lambda: fnp.full(2, 1e300),
        lambda: fnp.array([1e300]),
        lambda: x.at[:].set(1e300),
        lambda: fnp.maximum(x, np.float64(1e300)),
        lambda: fdl.jit(lambda x, n: x * n)(x, 1e300),
    ):
        assert np.isinf(call()).all()
