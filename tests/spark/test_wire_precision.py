"""Rounding to bfloat16 is to nearest even, for every kind of number; what it loses is kept to the last bit."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdl_spark.compute.wire_precision import LARGEST, round_with_feedback, widen

BFLOAT16 = ml_dtypes.bfloat16
#: Every bfloat16 as float32, with all that matters in the half that is cut off: exact, near and at the middle.
TAILS = np.array([0, 1, 2, 0x4000, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xC000, 0xFFFE, 0xFFFF], np.uint32)
ALL = ((np.arange(1 << 16, dtype=np.uint32)[:, None] << 16) | TAILS).reshape(-1).view(np.float32)
FINITE = np.isfinite(ALL)


def rounded_alone(x):
    return round_with_feedback(x, np.zeros_like(x))


def expected(x):
    """By ml_dtypes, which rounds to nearest even, but that finite values stay finite."""
    with np.errstate(over="ignore"):
        near = x.astype(BFLOAT16)
    beyond = np.isfinite(x) & ~np.isfinite(near)
    return np.where(beyond, np.copysign(BFLOAT16(LARGEST), x.astype(BFLOAT16)), near)


@pytest.mark.parametrize("kind", ["all", "random"])
def test_nearest_even(kind, rng):
    x = ALL if kind == "all" else rng.integers(0, 1 << 32, 1 << 20, np.uint32).view(np.float32)
    rounded, residual = rounded_alone(x)
    assert rounded.dtype == BFLOAT16 and residual.dtype == np.float32
    nan, finite = np.isnan(x), np.isfinite(x)
    with np.errstate(invalid="ignore"):
        near = expected(x + np.float32(0))  # the sum of -0 and 0 is 0
    np.testing.assert_array_equal(rounded[~nan].view(np.uint16), near[~nan].view(np.uint16))
    assert np.isnan(rounded[nan]).all()
    np.testing.assert_array_equal(np.signbit(rounded[nan]), np.signbit(x[nan]))
    # What is lost of one float32 is a float32, at the smallest and at the largest numbers too.
    lost = x[finite].astype(np.float64) - rounded[finite].astype(np.float64)
    np.testing.assert_array_equal(residual[finite].astype(np.float64), lost)
    assert not residual[~finite].any()


def test_no_finite_number_becomes_infinite():
    """Those that would are held at the largest, and the excess goes along later."""
    largest = np.finfo(np.float32).max
    gradient = np.array([largest, -largest, largest, -largest, 3.3961776e38, LARGEST], np.float32)
    residual = np.array([0, 0, largest / 300, -largest / 300, 0, 1e36], np.float32)
    rounded, left = round_with_feedback(gradient, residual)
    np.testing.assert_array_equal(np.abs(rounded.astype(np.float64)), LARGEST)
    exact = gradient.astype(np.float64) + residual - rounded.astype(np.float64)
    np.testing.assert_allclose(left.astype(np.float64), exact, rtol=2**-24)
    again, rest = round_with_feedback(np.zeros_like(left), left)
    sent = rounded.astype(np.float64) + again.astype(np.float64) + rest.astype(np.float64)
    np.testing.assert_allclose(sent, gradient.astype(np.float64) + residual, rtol=2**-24)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_passes_and_leaves_the_residual(bad):
    residual = np.array([1e-3, -2.0, 0.0], np.float32)
    rounded, left = round_with_feedback(np.array([bad, 1.0, bad], np.float32), residual)
    np.testing.assert_array_equal(rounded.astype(np.float32), np.float32([bad, -1.0, bad]))
    np.testing.assert_array_equal(left, np.float32([1e-3, 0.0, 0.0]))


def test_the_arguments_stay(rng):
    gradient, residual = rng.normal(size=(2, 1000)).astype(np.float32)
    before = gradient.copy(), residual.copy()
    round_with_feedback(gradient, residual)
    np.testing.assert_array_equal((gradient, residual), before)


def test_rounded_and_residual_are_what_was_given(rng):
    """Over all exponents, up to the one rounding of the residual to float32."""
    x = rng.permutation(ALL[FINITE])
    gradient, residual = x[: x.size // 2], x[x.size // 2 : x.size // 2 * 2] * np.float32(2**-8)
    rounded, left = round_with_feedback(gradient, residual)
    given = gradient.astype(np.float64) + residual.astype(np.float64)
    error = np.abs(rounded.astype(np.float64) + left.astype(np.float64) - given)
    assert np.isfinite(left).all()
    # float64 holds the sum of two float32 only if their exponents are close; the second term is what it cannot hold.
    assert (error <= 0.5 * np.spacing(np.abs(left)).astype(np.float64) + 2.0**-52 * np.abs(given)).all()


def test_nothing_is_lost_over_many_steps(rng):
    """What was sent and what is left are the sum of all gradients; without feedback errors of one sign add up."""
    steps, size = 200, 1000
    scale = 10.0 ** rng.uniform(-6, 0, size)
    gradients = (scale * (1 + 0.01 * rng.normal(size=(steps, size)))).astype(np.float32)
    residual, sent, alone = np.zeros(size, np.float32), np.zeros(size), np.zeros(size)
    for gradient in gradients:
        rounded, residual = round_with_feedback(gradient, residual)
        sent += rounded.astype(np.float64)
        alone += rounded_alone(gradient)[0].astype(np.float64)
        assert (np.abs(residual) <= 2.0**-8 * np.abs(gradient)).all()
    total = gradients.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(sent + residual, total, rtol=2.0**-30)
    assert np.abs(sent / total - 1).max() < 2.0**-8 / 100 < np.abs(alone / total - 1).max()


@given(start=st.integers(0, 40), size=st.sampled_from([0, 1, 7, 8, 33, 64, 300]), seed=st.integers(0, 1000))
def test_a_number_is_rounded_alike_wherever_it_stands(start, size, seed):
    """Slices, their ends, and addresses that are not aligned."""
    x = np.random.default_rng(seed).integers(0, 1 << 32, (2, 400), np.uint32).view(np.float32)
    gradient, residual = x[0], np.nan_to_num(x[1], posinf=0, neginf=0)
    whole = round_with_feedback(gradient, residual)
    part = round_with_feedback(gradient[start : start + size], residual[start : start + size])
    for one, other in zip(whole, part, strict=True):
        assert one[start : start + size].tobytes() == other.tobytes()


def test_widening_is_exact():
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = widen(bits)
    assert wide.dtype == np.float32
    number = ~np.isnan(wide)
    np.testing.assert_array_equal(wide.view(np.uint32)[number] >> 16, bits[number])
    assert not (wide.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_array_equal(np.isnan(wide), (bits & 0x7FFF) > 0x7F80)
    back, left = round_with_feedback(wide, np.zeros_like(wide))
    np.testing.assert_array_equal(back.astype(np.float32)[number], wide[number])
    assert not left.any()
    np.testing.assert_array_equal(widen(bits.view(BFLOAT16)), wide)
