"""Eager calls whose steps are prepared, or in the end machine code, compared with NumPy on numbers of all kinds."""

import ml_dtypes
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.array import LARGE
from fdl.composite import _OFTEN
from fdl.ops.cumulative import Cumprod, Cumsum

EDGES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 127.5, 128.0, -128.5, -129.0, 255.5, 256.0]
EDGES += [2147483520.0, 2147483648.0, -2147483648.0, 4294967040.0, 4294967296.0, 9.2e18, 1e19, 2e19, -1e19]
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def _saturated(x, dtype):
    """Python's integers of floats, within the bounds of a dtype; NaN is 0."""
    span = np.iinfo(dtype)
    whole = [0 if v != v else span.max if v == np.inf else span.min if v == -np.inf else int(v) for v in x.tolist()]
    return np.array([min(max(v, span.min), span.max) for v in whole], dtype)


@pytest.mark.parametrize("source", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_become_integers(source, dtype, rng):
    with np.errstate(over="ignore"):
        edges = np.array(EDGES).astype(source)
    for x in (
        edges,
        edges[3:9],
        edges[:0],
        edges[::-2],
        np.concatenate([edges, rng.normal(size=1500) * 90]).astype(source),
    ):
        expected = _saturated(x.astype(np.float64), dtype)
        for found in (fnp.asarray(x).astype(dtype), fdl.jit(lambda v: v.astype(dtype))(x)):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "uint32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 0), (4, 33), (3, 5, 2)])
def test_sorted_as_python_sorts(dtype, shape, rng):
    x = (rng.normal(size=shape) * 3).astype(fnp.ones(1, dtype).dtype)
    for axis in (0, -1):
        found = np.asarray(fnp.sort(fnp.asarray(x), axis))
        expected = np.apply_along_axis(lambda row: np.array(sorted(row.tolist())), axis, x) if x.size else x
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found.astype("float64"), np.asarray(expected, "float64"))


def test_zeros_of_both_signs_keep_their_order_in_a_sort():
    x = np.array([[0.0, 1.0, -0.0, np.nan, -1.0, 0.0], [-0.0, 0.0, -0.0, 2.0, np.inf, -np.inf]], np.float32)
    found = np.asarray(fnp.sort(fnp.asarray(x)))
    np.testing.assert_array_equal(found, [[-1, 0, 0, 0, 1, np.nan], [-np.inf, 0, 0, 0, 2, np.inf]])
    np.testing.assert_array_equal(np.signbit(found[:, 1:4]), [[False, True, False], [True, False, True]])


EXACT = {
    "relu": (nn.relu, lambda x: np.where(x <= 0, np.float32(0), x)),
    "where": (lambda x: fnp.where(x > 1, x, 7.0), lambda x: np.where(x > 1, x, np.float32(7))),
    "clip": (lambda x: fnp.clip(x, -1, 1), lambda x: np.clip(x, np.float32(-1), np.float32(1))),
    "astype": (lambda x: x.astype("int8"), lambda x: _saturated(x.reshape(-1), "int8").reshape(x.shape)),
    "row": (lambda x: x + x[0], lambda x: x + x[0]),
    "cumsum": (lambda x: fnp.cumsum(x, 0), lambda x: np.cumsum(x, 0)),
    "cumprod": (lambda x: fnp.cumprod(x, 1), lambda x: np.cumprod(x, 1)),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 1), (5, 7), (40, 33)])
def test_exact_functions_keep_their_bits_when_called_often(name, shape, rng):
    function, oracle = EXACT[name]
    x = (rng.normal(size=shape) * 2).astype(np.float32)
    x.flat[: x.size // 2 : 3] = np.nan
    x.flat[1::4] = -0.0
    if not x.size and name == "row":
        return
    given, expected = fnp.asarray(x), oracle(x)
    first = np.asarray(function(given))
    for number in range(_OFTEN + 4):
        found = function(given)
        if number < 3 or number > _OFTEN - 2:
            np.testing.assert_array_equal(found, expected)
            assert np.asarray(found).tobytes() == first.tobytes()
    turned = np.asfortranarray(x)[:, ::-1]
    np.testing.assert_array_equal(function(fnp.asarray(turned)), oracle(turned))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "uint32", "complex64"])
@pytest.mark.parametrize("of", [Cumsum, Cumprod])
def test_compiled_running_results_have_the_bits_of_references(of, dtype, rng):
    for shape, axis in (((0, 3), 0), ((1,), 0), ((33, 7), 0), ((7, 33), 1), ((3, 40, 5), 1)):
        x = np.asarray(fnp.asarray(rng.normal(size=shape) * 2).astype(dtype)).copy()
        if dtype not in ("int8", "uint32"):
            x.reshape(-1)[: x.size // 2] = -0.0
            x.reshape(-1)[x.size - x.size // 3 :: 5] = np.inf
        for reverse in (False, True):
            found = fdl.jit(of(axis, reverse))(x)
            with np.errstate(all="ignore"):
                expected = of(axis, reverse).reference(x)
            assert np.asarray(found).tobytes() == expected.tobytes()


@pytest.mark.parametrize("function", [np.add, np.multiply, np.maximum, np.less])
def test_large_results(function, rng):
    x, y = rng.normal(size=(2, LARGE // 4 + 5)).astype(np.float32)
    named = getattr(fnp, function.__name__)
    np.testing.assert_array_equal(named(fnp.asarray(x), fnp.asarray(y)), function(x, y))
    np.testing.assert_array_equal(named(fnp.asarray(x), 2.0), function(x, np.float32(2)))


@pytest.mark.parametrize("of", ["sum", "prod", "max", "min", "cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", ["float32", "int16", "bfloat16", "float64"])
def test_prepared_reductions_have_the_bits_of_first_calls(of, dtype, rng):
    for shape, axis in (((4, 5), 1), ((4, 5), 0), ((3, 1, 2), 2), ((1, 7), 1)):
        x = fnp.asarray(rng.normal(size=shape) * 3).astype(dtype)
        first, *others = [np.asarray(getattr(fnp, of)(x, axis)) for _ in range(4)]
        assert all((o.dtype, o.tobytes()) == (first.dtype, first.tobytes()) for o in others)
        expected = getattr(np, of)(np.asarray(x).astype(np.float64), axis)
        np.testing.assert_allclose(first.astype(np.float64), expected, {"bfloat16": 0.05}.get(dtype, 1e-5), 1e-5)


@pytest.mark.parametrize("n", [1, 3, 20])
def test_solve_again(n, rng):
    a, b = rng.normal(size=(n, n)) + 3 * np.eye(n), rng.normal(size=(n, 2))
    for _ in range(3):
        np.testing.assert_allclose(fnp.linalg.solve(a, b), np.linalg.solve(a, b), 1e-9)
        np.testing.assert_allclose(
            fnp.linalg.solve(fnp.asarray(a), fnp.asarray(b[:, 0])), np.linalg.solve(a, b[:, 0]), 1e-9
        )
    a[0, 0] = np.nan
    assert np.isnan(fnp.linalg.solve(a, b)).all()
