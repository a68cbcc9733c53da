"""Changes of dtype."""

import numpy as np
import pytest

from fdl.array import as_array
from fdl.core.interpret import evaluate
from fdl.dtypes import FLOATING, INTEGER, bfloat16, bool_, float16, float32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.complex import complex_, conj, imag, real
from fdl.ops.convert import Convert, bitcast, convert
from fdl.ops.select import clamp, select


def to(dtype, x):
    return np.asarray(evaluate(Convert(np.dtype(dtype)), [np.asarray(x)])[0])


@pytest.mark.parametrize("dtype", INTEGER, ids=str)
def test_floats_saturate_and_truncate(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.9, float(high) * 2, 0.5])
    np.testing.assert_array_equal(to(dtype, x), np.array([0, high, low, high, low, 2, high, 0], dtype))
    assert to(dtype, -2.9) == (-2 if low < 0 else 0)


def test_the_largest_float_below_the_limit_is_exact():
    below = np.nextafter(2.0**63, 0)
    assert to(np.int64, below) == int(below) and to(np.int64, 2.0**63) == 2**63 - 1
    assert to(np.uint64, 2.0**63) == 2**63


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_truth_is_being_different_from_zero(dtype):
    x = np.array([0.0, -0.0, 0.25, np.nan]).astype(dtype)
    np.testing.assert_array_equal(to(bool_, x), [False, False, True, True])


def test_integers_wrap_and_complex_numbers_lose_their_imaginary_part():
    np.testing.assert_array_equal(to(np.uint8, np.array([-1, 256, 300])), np.array([255, 0, 44], np.uint8))
    np.testing.assert_array_equal(to(np.int32, np.array([2.7 + 9j, -1.5j])), [2, 0])
    np.testing.assert_array_equal(to(bool_, np.array([1j, 0])), [True, False])


def test_rounding_to_16_bits_is_to_nearest_even():
    assert to(bfloat16, np.float32(1 + 2**-8)) == 1 and to(bfloat16, np.float32(1 + 3 * 2**-8)) == 1 + 2**-6
    assert to(float16, np.float64(1 + 2**-11)) == 1 and to(float16, 65520.0) == np.inf


def test_bits():
    one = as_array(np.float32(1))
    assert bitcast(one, np.uint32).concrete() == 0x3F800000
    np.testing.assert_array_equal(bitcast(one, np.uint16), [0x0000, 0x3F80])
    assert bitcast(bitcast(one, np.uint8), np.float32).concrete() == 1
    assert bitcast(as_array(np.array(0x3F80, np.uint16)), bfloat16).concrete() == 1
    with pytest.raises(ShapeError, match="last axis must have the extent 4"):
        bitcast(as_array(np.zeros(3, np.uint8)), np.float32)


def test_nothing_is_done_for_the_same_dtype():
    x = as_array(np.ones(2, np.float32))
    assert convert(x, float32) is x and bitcast(x, float32) is x


def test_parts_of_complex_numbers_keep_infinities_and_signs():
    x, y = np.array([np.inf, 1.0, -0.0]), np.array([np.nan, -np.inf, -0.0])
    z = complex_(x, y)
    np.testing.assert_array_equal(real(z), x)
    np.testing.assert_array_equal(imag(z), y)
    assert np.signbit(np.asarray(real(z))[2]) and not np.signbit(np.asarray(imag(conj(z)))[2])
    with pytest.raises(DtypeError):
        conj(x)


def test_select_and_clamp():
    x = np.array([np.nan, 1.0, 5.0])
    np.testing.assert_array_equal(select(np.array([True, False, True]), x, -x), [np.nan, -1, 5])
    np.testing.assert_array_equal(clamp(np.full(3, 2.0), x, np.full(3, 4.0)), [np.nan, 2, 4])
    with pytest.raises(DtypeError, match="boolean predicate"):
        select(np.array([1, 0, 1]), x, x)
