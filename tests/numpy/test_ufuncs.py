"""Methods of NumPy's ufuncs on fdl's elementwise functions, against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fdl
import fdl.numpy as fnp

RNG = np.random.default_rng(3)
X = RNG.uniform(0.5, 3, (4, 3, 2)).astype(np.float32)
N = RNG.integers(0, 100, (5, 3), np.int32)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    "name, x",
    [*((n, X) for n in "add subtract multiply divide maximum minimum logaddexp hypot fmin".split()),
     *((n, N) for n in "add subtract maximum bitwise_and bitwise_or bitwise_xor gcd floor_divide".split()),
     *((n, N > 50) for n in "logical_and logical_or logical_xor".split())],
)  # fmt: skip
def test_folds(name, x, jitted):
    ours, theirs = getattr(fnp, name), getattr(np, name)
    mask = RNG.uniform(size=x.shape) > 0.3
    wrap = fdl.jit if jitted else lambda f: f
    for axis in (0, -1):
        assert_allclose(wrap(lambda x, axis=axis: ours.reduce(x, axis))(x), theirs.reduce(x, axis), rtol=1e-5)
        assert_allclose(wrap(lambda x, axis=axis: ours.accumulate(x, axis))(x), theirs.accumulate(x, axis), rtol=1e-5)
        if not jitted:
            kept = ours.reduce(x, axis, keepdims=True, initial=x.dtype.type(1), where=mask)
            assert_allclose(kept, theirs.reduce(x, axis, keepdims=True, initial=1, where=mask), rtol=1e-5)
    where = np.array([2, 0, 3, 3])
    assert_allclose(wrap(ours.reduceat)(x, where), theirs.reduceat(x, where), rtol=1e-5)


def test_outer_products_and_what_is_empty():
    assert_allclose(fnp.power.outer(X[0, :, 0], N), np.power.outer(X[0, :, 0], N.astype(np.float32)), rtol=1e-5)
    assert fnp.add.outer(fnp.ones(2, fnp.float16), 2.0).dtype == np.float16
    for name in ("add", "multiply", "logical_or", "bitwise_xor", "logaddexp"):
        assert_array_equal(
            getattr(fnp, name).reduce(np.zeros((0, 2), bool)), getattr(np, name).reduce(np.zeros((0, 2), bool))
        )
    assert_array_equal(fnp.bitwise_and.reduce(np.zeros((0, 2), np.uint8)), [255, 255])
    for name in ("subtract", "fmax", "power"):
        with pytest.raises(ValueError, match="no identity"):
            getattr(fnp, name).reduce(np.zeros((0, 2)))
    assert_array_equal(fnp.bitwise_or.reduce(N, axis=None), np.bitwise_or.reduce(N, axis=None))
    with pytest.raises(ValueError, match="order matters"):
        fnp.subtract.reduce(N, axis=(0, 1))
    with pytest.raises(ValueError, match="two arguments"):
        fnp.sin.reduce(N)


@pytest.mark.parametrize("name", "add subtract multiply maximum minimum divide power".split())
@pytest.mark.parametrize("indices", [np.array([0, 2, 0, -1]), (np.array([[0], [1]]), np.array([1, 1])), slice(1, 3)])
def test_at_applies_as_often_as_a_place_comes(name, indices):
    x = X[:, :, 0].copy()
    b = RNG.uniform(0.5, 2, x[indices].shape).astype(np.float32)
    found = fdl.jit(lambda x, b: getattr(fnp, name).at(x, indices, b, inplace=False))(x, b)
    getattr(np, name).at(x, indices, b)
    assert_allclose(found, x, rtol=1e-5)


def test_at_of_one_operand_and_what_it_refuses():
    x = np.float32([1, 2, 3])
    found = fnp.square.at(x, np.array([1, 1]), inplace=False)
    assert_array_equal(found, [1, 16, 3])
    with pytest.raises(NotImplementedError, match="inplace=False"):
        fnp.add.at(x, 0, 1)
    with pytest.raises(TypeError, match="takes 2 operands"):
        fnp.add.at(x, 0, inplace=False)


def test_functions_of_python_become_ufuncs():
    f = fnp.frompyfunc(lambda x, y: 10 * x + y, 2, 1, identity=0)
    g = np.frompyfunc(lambda x, y: 10 * x + y, 2, 1)
    assert isinstance(f, fnp.ufunc) and isinstance(fnp.add, fnp.ufunc) and not isinstance(fnp.sum, fnp.ufunc)
    assert (f.nin, f.nout, f.nargs, f.identity) == (2, 1, 2, 0) and fnp.multiply.identity == 1
    x, y = np.arange(6).reshape(2, 3), np.arange(3)
    assert_array_equal(f(x, y), g(x, y).astype(int))
    assert_array_equal(f.reduce(x, axis=1), [12, 345])
    assert_array_equal(f.accumulate(x, axis=1), [[0, 1, 12], [3, 34, 345]])
    assert_array_equal(f.outer(y, y), np.add.outer(10 * y, y))
    assert_array_equal(fdl.vmap(f.reduce)(x), [12, 345])
    both = fnp.frompyfunc(lambda x: (x + 1, -x), 1, 2)
    assert_array_equal(both(y)[1], -y)
    with pytest.raises(ValueError, match="one result"):
        both.reduce(y)
    assert f.reduce(x, axis=None) == 12345
    step = divmod
    assert fnp.frompyfunc(step, 2, 2) == fnp.frompyfunc(step, 2, 2) != fnp.frompyfunc(step, 2, 2, identity=1)
    assert len({fnp.frompyfunc(step, 2, 2), fnp.frompyfunc(step, 2, 2)}) == 1
    with pytest.raises(TypeError, match="takes 2 arguments"):
        f(1)


def test_folds_have_derivatives():
    x = X[:, 0, 0].astype(np.float64)
    found = fdl.grad(fnp.divide.reduce)(x)
    q = np.divide.reduce(x)
    assert_allclose(found, [q / x[0], *(-q / x[1:])], rtol=1e-12)
    found = fdl.grad(fnp.logaddexp.reduce)(x)
    assert_allclose(found, np.exp(x) / np.exp(x).sum(), rtol=1e-12)


@pytest.mark.parametrize("name", ["hypot", "gcd", "lcm", "bitwise_and", "logaddexp", "fmax"])
def test_folds_of_one_element(name):
    x = np.array([[-3]]) if name in ("gcd", "lcm", "bitwise_and") else np.array([[-3.0]])
    assert_array_equal(getattr(fnp, name).reduce(x), getattr(np, name).reduce(x))
