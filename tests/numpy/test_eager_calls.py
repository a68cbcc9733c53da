"""Small operations outside all transforms go almost straight to NumPy."""

import threading

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn, random
from fdl.errors import DonationError, IndexingError, RangeError, ShapeError
from fdl.numpy import indexing
from tests import python_calls

KEY, X, Y, PLACES = random.key(0), fnp.arange(6.0), fnp.ones(6), fnp.array([0, 4])
MANY = fnp.ones((64, 64))


@pytest.mark.parametrize(
    ("function", "most"),
    [
        (lambda: X + Y, 8),
        (lambda: X * 2.0, 9),
        (lambda: fnp.tanh(X), 7),
        (lambda: X[0], 8),
        (lambda: X[1:3, None], 10),
        (lambda: X[PLACES], 8),
        (lambda: X.at[1].set(2.0), 12),
        (lambda: X[[1, 2]], 8),
        (lambda: X.reshape(2, 3), 6),
        (lambda: MANY.T, 4),
        (lambda: MANY @ MANY, 7),
        (lambda: fnp.sum(X), 7),
        (lambda: nn.softmax(X), 15),
        (lambda: random.normal(KEY, (3,)), 10),
        (lambda: nn.softmax(MANY), 12),
        (lambda: fnp.exp(MANY), 14),
        (lambda: fdl.grad(lambda x: fnp.tanh(x * x).sum())(X), 290),
    ],
)
def test_few_python_calls(function, most):
    for _ in range(6):
        function()
    assert python_calls(function) - 1 <= most


@pytest.mark.parametrize("index", [1, -1, slice(1, 4), (0, slice(None)), (slice(None, None, -2), 1), ()])
@pytest.mark.parametrize("value", [7, 2.5, "row"])
@pytest.mark.parametrize("kind", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "bfloat16"])
def test_written_as_by_the_general_way(index, value, kind, dtype, rng, monkeypatch):
    x = fnp.asarray(rng.normal(size=(4, 3)) * 5).astype(dtype)
    value = x[index] if value == "row" else value

    found = getattr(x.at[index], kind)(value)
    monkeypatch.setattr(indexing, "_write_at_once", lambda *args: None)
    expected = getattr(x.at[index], kind)(value)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(found.astype("float32")), np.asarray(expected.astype("float32")))


def test_what_numpy_takes_otherwise_is_refused_as_before():
    x = fnp.zeros((3, 4))
    with pytest.raises(IndexingError, match="out of bounds"):
        x[3]
    with pytest.raises(IndexingError, match="out of bounds"):
        x[fnp.array([0, 3])]
    with pytest.raises(IndexingError, match="out of bounds"):
        x.at[3].set(1.0)
    with pytest.raises(ShapeError, match="broadcast"):
        x.at[0].set(fnp.zeros((1, 1, 4)))
    assert x.at[0].set(fnp.ones(1)).sum() == 4


def test_numbers_beside_arrays_are_told_apart():
    x = fnp.array([1.0, -2.0])
    for _ in range(2):
        assert np.signbit(np.asarray(x * 0.0)).tolist() == [False, True]
        assert np.signbit(np.asarray(x * -0.0)).tolist() == [True, False]
        assert [(x * n).tolist() for n in (2, 2.0, np.float64(2), True, 3)] == [[2, -4]] * 3 + [[1, -2], [3, -6]]
        assert (x + np.nan).tolist() != (x + 1.0).tolist() == [2.0, -1.0]
        assert (x * 1e300).tolist() == [np.inf, -np.inf]
        assert (fnp.array([1, 2], "int8") + 2).dtype == "int8" and (fnp.array([1, 2]) + 2.0).dtype == "float32"
        with pytest.raises(RangeError):
            fnp.array([1, 2], "int8") + 300
    y = fdl.jit(lambda x: x + 1, donate_argnums=0)(fnp.maximum(fnp.zeros(3), 2.0))
    assert y.tolist() == [3.0] * 3 and (fnp.zeros(3) + 2.0).tolist() == [2.0] * 3


@pytest.mark.parametrize("shape", [(), (0,), (3, 1), (40, 30)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_cotangents_of_what_is_read_twice_add_up(shape, dtype, rng):
    x = fnp.asarray(rng.normal(size=shape)).astype(dtype)
    for _ in range(4):
        found = fdl.grad(lambda x: fnp.sum(x * x + x * 3))(x)
    expected = 2 * np.asarray(x, np.float64) + 3
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, 0.02 if dtype == "bfloat16" else 1e-5, 1e-2)
    assert found.dtype == x.dtype


VIEWED = [np.arange(6.0).reshape(2, 3)[:, ::-1], np.zeros((0, 4)), np.ones((2, 1, 3, 2))[::-1].T, np.float32(3.0)]


@pytest.mark.parametrize("given", VIEWED, ids=lambda x: str(np.shape(x)))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_views_without_dispatch_are_numpys(given, dtype):
    x, given = fnp.asarray(given).astype(dtype), np.asarray(fnp.asarray(given).astype(dtype))
    shapes = [(-1,), given.shape, given.shape[::-1], (1, *given.shape), (*given.shape, -1)]
    for shape in [s for s in shapes if given.size or -1 not in s or 0 not in s]:
        for found in (x.reshape(shape), x.reshape(*shape), fnp.reshape(x, shape)):
            expected = given.reshape(shape)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert np.asarray(found).tobytes() == expected.tobytes()
    assert x.T.shape == given.T.shape and np.asarray(x.T).tobytes() == given.T.tobytes()


@pytest.mark.parametrize("shape", [(-2,), (4, -2), (5,), (-1, -1), (-1, 0), (7, -1), ()])
def test_shapes_that_do_not_fit_are_refused_in_eager_and_traced_calls(shape):
    with pytest.raises(ShapeError, match="do not fill shape"):
        X.reshape(*shape)
    with pytest.raises(ShapeError, match="do not fill shape"):
        fdl.jit(lambda x: x.reshape(shape))(X)


def test_views_of_what_was_donated_are_refused():
    x = fnp.arange(6.0) + 1
    view = x.T
    fdl.jit(lambda x: x * 2, donate_argnums=0)(x)
    np.testing.assert_array_equal(view, np.arange(6.0) + 1)
    for function in (lambda: x.T, lambda: x.reshape(2, 3)):
        with pytest.raises(DonationError, match="donated"):
            function()


@pytest.mark.parametrize("function", [lambda x: x.T.sum(1), lambda x: x.reshape(-1, 2)[:, 0]])
def test_views_inside_of_transforms(function, rng):
    x = fnp.asarray(rng.normal(size=(3, 4)).astype(np.float32))
    np.testing.assert_array_equal(fdl.jit(function)(x), function(x))
    np.testing.assert_array_equal(fdl.vmap(function)(x[None])[0], function(x))
    tangent = fdl.jvp(function, (x,), (x,))[1]
    np.testing.assert_array_equal(tangent, function(x))


def test_no_warnings_in_any_thread():
    found = []

    def work():
        found.append([float(v) for v in (X[:1] / X[:1], Y[0] / 0.0, fnp.log(X[0] - 1), fnp.float32(3e38) * Y[0] * 10)])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    np.testing.assert_array_equal(found, [[np.nan, np.inf, np.nan, np.inf]] * 3)
    assert np.geterr()["divide"] == "warn"


def test_what_is_written_does_not_show_in_what_was():
    x = fnp.zeros(3)
    view = x[:2]
    y = x.at[0].set(5)
    assert x[0] == 0 and view[0] == 0 and y[0] == 5
