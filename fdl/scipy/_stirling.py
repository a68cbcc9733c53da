"""Stirling's formula with its rest, for logarithms of densities in which large terms cancel.

Source: Loader, "Fast and accurate computation of binomial probabilities" (2000).
"""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array

LOG_2PI = math.log(2 * math.pi)


def stirling_rest(x: Array) -> Array:
    """What Stirling's formula leaves of the logarithm of gamma, for x of at least 8 (DLMF 5.11.1)."""
    square = 1 / (x * x)
    total = fnp.zeros_like(x)
    for coefficient in (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        total = total * square + coefficient
    return total / x


def deviance(x: Array, mean: Array) -> Array:
    """x log(x / mean) - x + mean for positive x, without cancellation where x is near the mean."""
    apart = (x - mean) / (x + mean)
    near = fnp.abs(apart) < 0.1
    v = fnp.where(near, apart, 0.0)
    square = v * v
    series: Any = 0.0
    for k in range(17, 1, -2):
        series = (series + 1 / k) * square
    # Elsewhere the ratio, or its derivative, may overflow.
    usual = fnp.abs(apart) < 0.995
    ratio = fnp.where(usual, x, 1.0) / fnp.where(usual, mean, 1.0)
    logarithm = fnp.where(usual, fnp.log(ratio), fnp.log(x) - fnp.log(mean))
    return fnp.where(near, (x - mean) * v + 2 * x * v * series, x * logarithm - x + mean)


def saddle_point(x: Array, mean: Array) -> Array:
    """The logarithm of mean**x exp(-mean) / gamma(x + 1), for x of at least 8 and mean positive."""
    return -deviance(x, mean) - stirling_rest(x) - 0.5 * (LOG_2PI + fnp.log(x))
