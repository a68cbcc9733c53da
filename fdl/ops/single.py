"""Single precision, step by step as native code computes it, so that references have the same bits.

NumPy's own functions differ with the processor. Here are the few that random numbers are made of.
"""

from typing import Any

import numpy as np

_UNIT = np.float32(2.0**23)  # from here on floats are whole numbers
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_MIDDLE = np.sqrt(np.float32(0.5)).view(np.uint32)  # where the mantissa of a logarithm begins
_OFFSET = 128  # of exponents, even, so that none is negative

#: (log((1 + s) / (1 - s)) - 2 s) / s^3 as a polynomial in s^2, lowest degree first, for mantissas between sqrt(1/2)
#: and sqrt(2).
LOG = (0.666666865, 0.399887592, 0.295809865)
#: log(2) in two parts, the first short enough for exact products with exponents.
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.4286068203094173e-06


def fused(x: Any, y: Any, z: Any) -> Any:
    """x * y + z of float32 in one rounding, in processors without the instruction too.

    The product is exact in float64, and the sum is rounded there first. That changes the second rounding only where
    the sum lies on the middle between two float32, or among subnormal ones; there the rest of the sum (Knuth's
    two-sum) decides, by the last bit of the sum (round to odd: Boldo, Melquiond 2008).
    """
    product = np.multiply(x, y, dtype=np.float64)
    total = np.asarray(product + z)
    bits = total.view(np.int64)
    doubtful = ((bits & 0x1FFFFFFF) == 0x10000000) | (np.abs(total) < 2.0**-126)
    if doubtful.any():
        part = total - product
        rest = (product - (total - part)) + (z - part)
        toward = np.where((rest > 0) == (total > 0), 1, -1)
        total = np.where(doubtful & (rest != 0) & (bits & 1 == 0), bits + toward, bits).view(np.float64)
    return total.astype(np.float32)


def log1p(x: np.ndarray) -> np.ndarray:
    """log(1 + x) for -1 < x <= 0, up to 1.5 units in the last place. The method is that of the compiler's `log1p`."""
    u = x + _ONE
    lost = (x - (u - _ONE)) / u
    bits = u.view(np.uint32)
    exponent = (bits + np.uint32((_OFFSET << 23) - int(_MIDDLE))) >> np.uint32(23)
    mantissa = (bits - ((exponent - np.uint32(_OFFSET)) << np.uint32(23))).view(np.float32)
    k = (exponent | _UNIT.view(np.uint32)).view(np.float32) - np.float32(2.0**23 + _OFFSET)
    t = mantissa - _ONE
    s = t / (t + _TWO)
    z = s * s
    half = t * t * _HALF
    polynomial: Any = np.float32(LOG[-1])
    for coefficient in LOG[-2::-1]:
        polynomial = fused(polynomial, z, np.float32(coefficient))
    rest = half - fused(s, fused(z, polynomial, half), fused(k, np.float32(LN2_LOW), lost))
    return k * np.float32(LN2_HIGH) - (rest - t)
