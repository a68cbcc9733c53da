"""Arithmetic at the edges: wrapping, division by zero, signs of zero, rounding, bits."""

import math

import numpy as np
import pytest

from fdl.array import as_array
from fdl.core.interpret import evaluate
from fdl.dtypes import FLOATING, INTEGER, SIGNED, UNSIGNED, bfloat16, float16
from fdl.errors import DtypeError
from fdl.ops import arithmetic, bitwise, rounding
from fdl.ops.arithmetic import IntegerPow
from fdl.transforms.forward import jvp_values

EDGES = {d: sorted({0, 1, 2, 3, 7, np.iinfo(d).max, np.iinfo(d).max - 1, np.iinfo(d).min}) for d in INTEGER}
for _dtype in SIGNED:
    EDGES[_dtype] += [-1, -2, -3, -7]


def run(operation, *arrays):
    return np.asarray(evaluate(operation, arrays)[0])


def pairs(dtype):
    x, y = np.meshgrid(np.array(EDGES[dtype], dtype), np.array(EDGES[dtype], dtype))
    return x.reshape(-1), y.reshape(-1)


def wrapped(value: int, dtype: np.dtype) -> int:
    bits = dtype.itemsize * 8
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


@pytest.mark.parametrize("dtype", INTEGER, ids=str)
def test_integers_wrap_around(dtype):
    x, y = pairs(dtype)
    for operation, exact in (
        (arithmetic.add, lambda a, b: a + b),
        (arithmetic.sub, lambda a, b: a - b),
        (arithmetic.mul, lambda a, b: a * b),
    ):
        expected = [wrapped(exact(int(a), int(b)), dtype) for a, b in zip(x, y, strict=True)]
        np.testing.assert_array_equal(run(operation, x, y), np.array(expected, dtype))


@pytest.mark.parametrize("dtype", INTEGER, ids=str)
def test_integer_division_truncates_and_is_total(dtype):
    x, y = pairs(dtype)
    quotients, rests = [], []
    for a, b in zip(map(int, x), map(int, y), strict=True):
        quotient = (
            wrapped(-1, dtype) if b == 0 else wrapped(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1), dtype)
        )
        quotients.append(quotient)
        rests.append(a if b == 0 else wrapped(int(math.copysign(1, a)) * (abs(a) % abs(b)), dtype))
    np.testing.assert_array_equal(run(arithmetic.div, x, y), np.array(quotients, dtype))
    np.testing.assert_array_equal(run(arithmetic.rem, x, y), np.array(rests, dtype))


def test_float_remainder_has_the_sign_of_the_dividend():
    x = np.array([7.5, -7.5, 7.5, np.inf, 1.0, 1.0, -0.0])
    y = np.array([2.0, 2.0, -2.0, 2.0, np.inf, 0.0, 1.0])
    np.testing.assert_array_equal(run(arithmetic.rem, x, y), [1.5, -1.5, 1.5, np.nan, 1.0, np.nan, -0.0])


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_extremes_and_signs_of_special_values(dtype):
    x = np.array([1, np.nan, -np.inf, 2]).astype(dtype)
    y = np.array([2, 1, np.nan, -3]).astype(dtype)
    np.testing.assert_array_equal(run(arithmetic.max_, x, y).astype(float), [2, np.nan, np.nan, 2])
    np.testing.assert_array_equal(run(arithmetic.min_, x, y).astype(float), [1, np.nan, np.nan, -3])
    signs = run(arithmetic.sign, np.array([-0.0, 0.0, np.nan, -np.inf, 3]).astype(dtype)).astype(float)
    np.testing.assert_array_equal(signs, [0, 0, np.nan, -1, 1])
    assert np.signbit(signs[0]) and not np.signbit(signs[1])


def test_integer_powers():
    x = np.array([-3, -1, 1, 2, 7], np.int8)
    np.testing.assert_array_equal(run(IntegerPow(3), x), np.array([-27, -1, 1, 8, 343 - 256], np.int8))
    assert run(IntegerPow(200), np.array(-1, np.int8)) == 1
    assert run(IntegerPow(200), np.array(3, np.uint8)) == 3**200 % 256
    with pytest.raises(DtypeError, match="to the power -1 is not an integer"):
        IntegerPow(-1)(x)
    np.testing.assert_allclose(run(IntegerPow(-2), np.array([0.5, 4.0])), [4.0, 0.0625])
    np.testing.assert_array_equal(run(IntegerPow(0), np.array([0.0, np.nan])), [1.0, 1.0])


def test_equal_operands_share_the_derivative_of_an_extreme():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 0.0])
    for operation, expected in ((arithmetic.max_, [0.5, 0, 1]), (arithmetic.min_, [0.5, 1, 0])):
        _, (dot,) = jvp_values(lambda a, b, f=operation: [f(a, b)], [x, y], [as_array(np.ones(3)), None])
        np.testing.assert_array_equal(dot, expected)


def test_the_sign_of_a_complex_number_turns_across_the_radius():
    z, dz = np.array([3 + 4j, 2j, 0]), np.array([3 + 4j, 1, 1])
    _, (dot,) = jvp_values(lambda a: [arithmetic.sign(a)], [z], [as_array(dz)])
    np.testing.assert_allclose(np.asarray(dot), [0, 0.5, 0], atol=1e-15)


def test_nextafter_steps_by_one_unit():
    one = np.ones(2, np.float32)
    found = run(arithmetic.nextafter, one, np.array([2, 0], np.float32))
    np.testing.assert_array_equal(found - 1, [2.0**-23, -(2.0**-24)])
    assert run(arithmetic.nextafter, np.ones((), bfloat16), np.full((), 2, bfloat16)) == 1 + 2**-7


@pytest.mark.parametrize("dtype", INTEGER, ids=str)
def test_bits_against_python_integers(dtype):
    bits = dtype.itemsize * 8
    x = np.array(EDGES[dtype], dtype)
    unsigned = [int(v) % (1 << bits) for v in x]
    np.testing.assert_array_equal(run(bitwise.population_count, x), [v.bit_count() for v in unsigned])
    np.testing.assert_array_equal(run(bitwise.clz, x), [bits - v.bit_length() for v in unsigned])
    for count in (0, 1, bits - 1, bits, bits + 3, *([-1] if dtype in SIGNED else [])):
        y, far = np.full(len(x), count, dtype), not 0 <= count < bits
        left = [0 if far else wrapped(v << count, dtype) for v in unsigned]
        right = [0 if far else wrapped(v >> count, dtype) for v in unsigned]
        sign = [
            wrapped(wrapped(int(v), np.dtype(f"i{dtype.itemsize}")) >> (bits - 1 if far else count), dtype) for v in x
        ]
        np.testing.assert_array_equal(run(bitwise.shift_left, x, y), np.array(left, dtype))
        np.testing.assert_array_equal(run(bitwise.shift_right_logical, x, y), np.array(right, dtype))
        np.testing.assert_array_equal(run(bitwise.shift_right_arithmetic, x, y), np.array(sign, dtype))


def test_not_of_booleans_is_logical():
    np.testing.assert_array_equal(run(bitwise.not_, np.array([True, False])), [False, True])
    np.testing.assert_array_equal(run(bitwise.not_, np.array([0, 5], np.uint8)), np.array([255, 250], np.uint8))


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_rounding_of_halves(dtype):
    x = np.array([-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 2.25, np.inf, np.nan]).astype(dtype)
    even = run(rounding.Round("even"), x).astype(float)
    away = run(rounding.Round("away"), x).astype(float)
    np.testing.assert_array_equal(even, [-2, -2, -0.0, -0.0, 0, 2, 2, 2, np.inf, np.nan])
    np.testing.assert_array_equal(away, [-3, -2, -1, -0.0, 1, 2, 3, 2, np.inf, np.nan])
    assert np.signbit(even[2]) and np.signbit(away[3])


def test_rounding_away_does_not_add_a_half_in_floating_point():
    below = np.nextafter(0.5, 0.0)
    np.testing.assert_array_equal(run(rounding.Round("away"), np.array([below, 2.0**52 + 1])), [0, 2.0**52 + 1])


def test_unsigned_numbers_have_no_absolute_value_but_wrap_when_negated():
    for dtype in UNSIGNED:
        assert run(arithmetic.neg, np.ones((), dtype)) == np.iinfo(dtype).max
    assert run(arithmetic.abs_, np.array(-128, np.int8)) == -128
    assert run(arithmetic.abs_, np.array(-0.0, float16)) == 0
