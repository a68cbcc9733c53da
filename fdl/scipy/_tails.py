"""Logarithms of probabilities, also of those that are smaller than a floating-point number can be."""

from collections.abc import Callable

import fdl.numpy as fnp
from fdl.core.types import Array

_LEVELS = 24


def log_of_tail(tail: Array, rest: Array) -> Array:
    """The logarithm of a probability, given what it lacks to one too; the smaller one of both has the digits."""
    small = tail < 0.5
    return fnp.where(small, fnp.log(fnp.where(small, tail, 0.5)), fnp.log1p(-fnp.where(small, 0.5, rest)))


def log_probability(tail: Array, rest: Array, far: Callable[[Array], Array]) -> Array:
    """`log_of_tail`, and where the tail is tiny, what `far` makes of a mask of these places."""
    tiny = tail < float(fnp.finfo(tail.dtype).tiny) * 2.0**20
    return fnp.where(tiny, far(tiny), log_of_tail(fnp.where(tiny, 0.25, tail), fnp.where(tiny, 0.75, rest)))


def lower_gamma_fraction(a: Array, z: Array) -> Array:
    """P(a, z) over z times its density: a continued fraction for z below a (DLMF 8.9.1)."""
    value = fnp.ones_like(z) * (a + 2 * _LEVELS)
    for k in range(_LEVELS, 0, -1):
        value = a + 2 * k - 1 + k * z / value
        value = a + 2 * k - 2 - (a + k - 1) * z / value
    return 1 / value


def upper_gamma_fraction(a: Array, z: Array) -> Array:
    """Q(a, z) over z times its density: a continued fraction for z above a (DLMF 8.9.2)."""
    value = z + 2 * _LEVELS + 1 - a
    for k in range(_LEVELS, 0, -1):
        value = z + 2 * k - 1 - a - k * (k - a) / value
    return 1 / value


def beta_fraction(a: Array, b: Array, z: Array) -> Array:
    """I_z(a, b) over z (1 - z) times its density: a continued fraction for z below the mean (DLMF 8.17.22)."""
    value = fnp.ones_like(z)
    for m in range(_LEVELS, 0, -1):
        value = 1 + m * (b - m) * z / ((a + 2 * m - 1) * (a + 2 * m)) / value
        value = 1 - (a + m - 1) * (a + b + m - 1) * z / ((a + 2 * m - 2) * (a + 2 * m - 1)) / value
    return 1 / (a * value)
