"""Single precision step by step: one rounding, and the logarithm that random numbers are made of."""

from fractions import Fraction

import mpmath
import numpy as np

import fdl
from fdl.core.interpret import evaluate
from fdl.ops import single
from fdl.ops.quantile import normal_quantile


def rounded(value: Fraction) -> np.float32:
    """The float32 nearest to a fraction, the even one of two."""
    near = np.float32(float(value))
    best = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    distances = [(abs(Fraction(float(b)) - value), int(b.view(np.uint32)) & 1) for b in best]
    return best[distances.index(min(distances))]


def test_products_and_sums_are_rounded_once():
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(3, 500)).astype(np.float32)
    # Products of few digits beside much larger numbers end near the middle between two float32, a little to one side.
    odd = (rng.integers(1, 2**12, (2, 4000)) * 2 + 1).astype(np.float32)
    tiny = np.float32(2.0) ** rng.integers(-60, -40, 4000).astype(np.float32)
    halves = np.float32(2.0**-24) * (1 + np.float32(2.0**-20)) * rng.choice([-1, 1], 4000).astype(np.float32)
    ones = 1 + rng.integers(0, 2**10, 4000).astype(np.float32) * np.float32(2.0**-23)
    lowest = np.float32(2.0**-75) * odd[0], np.float32(2.0**-75) * odd[1], np.float32(1e-42) * odd[0]
    cases = [(x, y, z), (odd[0], odd[1] * tiny, odd[0]), (halves, ones, ones), lowest]
    for a, b, c in cases:
        expected = [
            rounded(Fraction(float(p)) * Fraction(float(q)) + Fraction(float(r)))
            for p, q, r in zip(a, b, c, strict=True)
        ]
        assert np.array_equal(single.fused(a, b, c), expected)


def test_the_logarithm_is_within_two_units_in_the_last_place():
    x = -(np.random.default_rng(1).random(2000) ** np.arange(1, 2001).clip(max=30)).astype(np.float32)
    exact = np.array([float(mpmath.log1p(float(v))) for v in x])
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(single.log1p(x) - exact) / unit) < 2


def test_normal_numbers_have_one_set_of_bits_where_there_are_fused_multiply_adds():
    from fdl.compile.llvm.target import host_target

    bits = np.arange(0, 0x3F800001, 2**13 - 1, dtype=np.uint32)
    u = np.concatenate([bits.view(np.float32), -bits.view(np.float32), np.float32([1, -1, 0.9999999, np.nan])])
    (expected,) = evaluate(normal_quantile, [u])
    found = np.asarray(fdl.jit(normal_quantile)(u))
    if host_target().fma:
        assert np.array_equal(found[:-1].view(np.uint32), expected[:-1].view(np.uint32)) and np.isnan(found[-1])
    else:
        assert np.allclose(found, expected, rtol=1e-6, equal_nan=True)
