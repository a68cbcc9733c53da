"""Reductions, running reductions and sorting."""

import itertools

import numpy as np
import pytest
from scipy.special import logsumexp

from fdl.array import as_array
from fdl.core.interpret import evaluate
from fdl.dtypes import FLOATING, bfloat16, float16
from fdl.errors import DtypeError, ShapeError
from fdl.ops.cumulative import Cumlogsumexp, Cummax, Cummin, Cumprod, Cumsum
from fdl.ops.reduce import All_, Any_, ArgMax, ArgMin, Prod, ReduceMax, ReduceMin, ReduceXor
from fdl.ops.shape import Sum
from fdl.ops.sort import Sort, TopK
from fdl.transforms.forward import jvp_values
from fdl.transforms.linearize import linearize_values


def run(operation, *arrays):
    outs = [np.asarray(o) for o in evaluate(operation, arrays)]
    return outs if operation.multiple else outs[0]


def tangent(operation, x, dx):
    return np.asarray(jvp_values(lambda a: [operation(a)], [x], [as_array(dx)])[1][0])


@pytest.mark.parametrize("dtype", [bfloat16, float16], ids=str)
def test_half_sums_are_kept_in_float32(dtype):
    ones = np.ones(4000, dtype)  # adding one by one in the dtype itself would stop at 256 or 2048
    assert run(Sum((0,)), ones) == np.float32(4000).astype(dtype)
    assert run(Cumsum(0), ones)[-1] == np.float32(4000).astype(dtype)
    tiny = np.concatenate([np.ones(1), np.full(512, 2.0**-10)]).astype(dtype)
    assert run(Sum((0,)), tiny) == 1.5


def test_integer_sums_and_products_wrap():
    x = np.full(3, 100, np.int8)
    assert run(Sum((0,)), x) == 300 - 256
    assert run(Prod((0,)), x) == (100**3 + 128) % 256 - 128
    np.testing.assert_array_equal(run(Cumsum(0), x), np.array([100, 200 - 256, 300 - 256], np.int8))


def test_reductions_of_nothing_are_neutral():
    empty = np.zeros((0, 2))
    np.testing.assert_array_equal(run(Sum((0,)), empty), [0, 0])
    np.testing.assert_array_equal(run(Prod((0,)), empty), [1, 1])
    np.testing.assert_array_equal(run(ReduceMax((0,)), empty), [-np.inf, -np.inf])
    np.testing.assert_array_equal(run(ReduceMin((0,)), empty.astype(np.int16)), [2**15 - 1] * 2)
    np.testing.assert_array_equal(run(ReduceMax((0,)), empty.astype(bool)), [False] * 2)
    assert run(All_((0,)), np.zeros(0, bool)) and not run(Any_((0,)), np.zeros(0, bool))
    with pytest.raises(ShapeError, match="with elements"):
        ArgMax(0)(empty)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_the_first_of_equals_is_found_and_nan_wins(dtype):
    x = np.array([1, 3, 3, -2, -2]).astype(dtype)
    assert run(ArgMax(0), x) == 1 and run(ArgMin(0), x) == 3
    x = np.array([1, np.nan, np.inf, np.nan, -np.inf]).astype(dtype)
    assert run(ArgMax(0), x) == 1 and run(ArgMin(0), x) == 1
    assert np.isnan(run(ReduceMax((0,)), x).astype(float)) and np.isnan(run(ReduceMin((0,)), x).astype(float))


@pytest.mark.parametrize("values", list(itertools.product([0.0, 2.0, -3.0], repeat=3)), ids=str)
def test_derivative_of_a_product_with_any_number_of_zeros(values):
    x = np.array(values)
    expected = [np.prod(np.delete(x, i)) for i in range(3)]
    found = [float(tangent(Prod((0,)), x, np.eye(3)[i])) for i in range(3)]
    assert found == expected
    last = [np.prod(np.delete(x[: j + 1], 0)) for j in range(3)]
    np.testing.assert_array_equal(tangent(Cumprod(0), x, np.eye(3)[0]), last)


def test_equal_extremes_share_the_derivative():
    x = np.array([[1.0, 4.0, 4.0], [2.0, 0.0, 1.0]])
    np.testing.assert_array_equal(tangent(ReduceMax((1,)), x, np.array([[0, 1.0, 0], [1, 0, 0]])), [0.5, 1])
    _, program, _, _ = linearize_values(lambda a: [ReduceMax((0,))(a)], [as_array(np.zeros((0, 2)))], [True])
    assert len(program.outputs) == 0  # the maximum of nothing does not depend on it


def test_reductions_of_integer_bits():
    assert run(ReduceXor((0,)), np.array([0b1100, 0b1010, 0b0001], np.uint8)) == 0b0111


def test_running_log_sum_exp_does_not_overflow():
    x = np.array([[1000.0, 1000.0, -1000.0], [-np.inf, -np.inf, 0.0], [np.inf, 1.0, 2.0]])
    expected = [[logsumexp(row[: i + 1]) for i in range(3)] for row in x]
    np.testing.assert_allclose(run(Cumlogsumexp(1), x), expected)
    weights = tangent(Cumlogsumexp(1), x[:1], np.array([[1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(weights, [[1.0, 0.5, 0.5]])
    assert np.isfinite(tangent(Cumlogsumexp(1), x[1:2], np.ones((1, 3)))).all()


def test_running_extremes():
    x = np.array([2.0, 1.0, np.nan, 5.0])
    np.testing.assert_array_equal(run(Cummax(0), x), [2, 2, np.nan, np.nan])
    np.testing.assert_array_equal(run(Cummin(0, True), x), [np.nan, np.nan, np.nan, 5])
    x, dx = np.array([1.0, 3.0, 2.0]), np.array([1.0, 10.0, 100.0])
    np.testing.assert_array_equal(tangent(Cummax(0), x, dx), [1, 10, 10])
    np.testing.assert_array_equal(tangent(Cummin(0, True), x, dx), [1, 100, 100])


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_sorting_puts_nan_last_and_keeps_the_order_of_equals(dtype):
    x = np.array([np.nan, 1, 0.0, -np.inf, -0.0, np.inf, 1]).astype(dtype)
    found, places = run(Sort(0), x, np.arange(7))
    np.testing.assert_array_equal(found.astype(float), [-np.inf, 0, -0.0, 1, 1, np.inf, np.nan])
    np.testing.assert_array_equal(places, [3, 2, 4, 1, 6, 5, 0])


def test_sorting_by_several_keys(rng):
    first, second = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    found = run(Sort(0, 2), first, second, np.arange(50))
    expected = sorted(zip(first, second, range(50), strict=True))
    np.testing.assert_array_equal(np.transpose(found), expected)


def test_complex_numbers_sort_by_real_part_first():
    (found,) = run(Sort(0), np.array([2 + 1j, 1 + 5j, 2 - 1j, 1 - 5j]))
    np.testing.assert_array_equal(found, [1 - 5j, 1 + 5j, 2 - 1j, 2 + 1j])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32, bfloat16], ids=str)
def test_top_k(dtype):
    x = np.array([3, 7, 0, 7, 5]).astype(dtype)
    values, places = run(TopK(3), x)
    np.testing.assert_array_equal(values.astype(float), [7, 7, 5])
    np.testing.assert_array_equal(places, np.array([1, 3, 4], np.int32))
    with pytest.raises(ShapeError, match="at least k = 6"):
        TopK(6)(x)
    with pytest.raises(DtypeError):
        TopK(1)(x.astype(np.complex64))


def test_the_derivative_of_sorting_follows_the_permutation():
    x, y = np.array([3.0, 1.0, 2.0]), np.array([10.0, 20.0, 30.0])
    dots = jvp_values(lambda a, b: list(Sort(0)(a, b)), [x, y], [as_array(x), as_array(y)])[1]
    np.testing.assert_array_equal(dots[0], [1, 2, 3])
    np.testing.assert_array_equal(dots[1], [20, 30, 10])
