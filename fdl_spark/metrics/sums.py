"""Sums of doubles without rounding, so that their bits depend on no order: not of rows, batches, shards or tasks.

A double is a whole multiple of 2**-1126 once its 53 bits are taken as a whole number, and Python's whole numbers have
no end: a sum is a whole number of such units, and is rounded once, when it is read. Source: Kulisch, "Computer
Arithmetic and Validity" (2008), chapter 8; the accumulator here has as many bits as its value needs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

UNITS = 1126  # a unit is 2**-1126
MANTISSA, LOW = 53, 27  # bits of a double, and of the lower part that is summed apart so that int64 holds many of them
SHIFT = UNITS - MANTISSA
SPLITTER = float((1 << LOW) + 1)
EXPONENTS = 4096  # more than a double has


@dataclass(frozen=True)
class Sum:
    """An exact sum.

    Attributes:
      units: the sum of the finite values, in units of 2**-1126.
      nonfinite: the sum of the others; 0 if there are none.

    >>> float(Sum.of([1e16, 1.0, -1e16]) + Sum.of([2.0**-60]))
    1.0
    """

    units: int = 0
    nonfinite: float = 0.0

    @staticmethod
    def of(*values: Any) -> "Sum":
        """The sum of the elements of arrays."""
        total = Sum()
        for array in values:
            flat = np.asarray(array, np.float64).reshape(-1)
            total += sums_by(np.zeros(flat.size, np.int64), flat).get(0, Sum())
        return total

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.units + other.units, self.nonfinite + other.nonfinite)

    def __float__(self) -> float:
        return ratio(self, Sum(1 << UNITS))


def ratio(numerator: Sum, denominator: Sum) -> float:
    """The quotient of two sums, rounded once; NaN where the denominator is zero.

    >>> ratio(Sum.of([0.1] * 3), Sum.of([3.0]))
    0.1
    """
    if numerator.nonfinite or denominator.nonfinite:  # NaN is true
        return numerator.nonfinite / (denominator.nonfinite or 1.0)
    if not denominator.units:
        return float("nan")
    try:
        return numerator.units / denominator.units
    except OverflowError:
        return float("inf") if (numerator.units > 0) == (denominator.units > 0) else float("-inf")


def sums_by(keys: np.ndarray, values: np.ndarray) -> dict[int, Sum]:
    """The sum of the values of each key.

    Args:
      keys: int64 array (n,).
      values: float64 array (n,).

    >>> {key: float(total) for key, total in sums_by(np.array([3, 1, 3]), np.array([0.5, 2.0, 0.25])).items()}
    {1: 2.0, 3: 0.75}
    """
    names, places = np.unique(keys, return_inverse=True)
    finite = np.isfinite(values)
    fractions, exponents = np.frexp(np.where(finite, values, 0.0))
    whole = np.ldexp(fractions, MANTISSA).astype(np.int64)
    bins, bin_of = np.unique(places * EXPONENTS + (exponents + SHIFT), return_inverse=True)
    high, low = np.zeros((2, bins.size), np.int64)
    np.add.at(high, bin_of, whole >> LOW)
    np.add.at(low, bin_of, whole & ((1 << LOW) - 1))
    units = [0] * names.size
    for found, upper, lower in zip(bins.tolist(), high.tolist(), low.tolist(), strict=True):
        place, shift = divmod(found, EXPONENTS)
        units[place] += ((upper << LOW) + lower) << shift
    others = np.zeros(names.size)
    with np.errstate(invalid="ignore"):  # infinities of both signs make NaN
        np.add.at(others, places[~finite], values[~finite])
    return {key: Sum(unit, other) for key, unit, other in zip(names.tolist(), units, others.tolist(), strict=True)}


def product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two float64 arrays whose sum is the product, exactly, unless something overflows or underflows.

    Source: Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971).
    """
    rounded = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return rounded, ((a_high * b_high - rounded) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high
