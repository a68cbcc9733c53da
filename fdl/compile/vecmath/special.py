"""The error functions and the cube root."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fdl.compile.values import Value
from fdl.compile.vecmath.exponential import exp, log, two_product
from fdl.compile.vecmath.tables import format_of, polynomial

if TYPE_CHECKING:
    from fdl.compile.build import Build


def _erf_small(b: "Build", x: Value) -> Value:
    """erf(x) for |x| <= 1."""
    return b.fma(x, polynomial(b, x * x, format_of(x.dtype).erf), x)


def _erfc_positive(b: "Build", x: Value) -> Value:
    """erfc(x) for x >= 1/2: (1 + 2 x) exp(x^2) erfc(x) is a smooth function of (x - K) / (x + K).

    After M. M. Shepherd and J. G. Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf",
    Math. Comp. 36 (1981).
    """
    f = format_of(x.dtype)
    limit = 28.0 if f.mantissa == 52 else 10.5
    x = b.select(x > limit, limit, x)
    scale = 3.75
    smooth = polynomial(b, (x - scale) / (x + scale), f.erfc) / b.fma(x, 2.0, 1.0)
    square, rest = two_product(b, x, x)
    return exp(b, -square, -rest) * smooth


def erf(b: "Build", x: Value) -> Value:
    """The error function."""
    size = b.abs(x)
    large = b.copysign(1.0 - _erfc_positive(b, size), x)
    return b.select(size < 1.0, _erf_small(b, x), large)


def erfc(b: "Build", x: Value) -> Value:
    """1 - erf(x)."""
    size = b.abs(x)
    tail = _erfc_positive(b, size)
    result = b.select(x < 0.0, 2.0 - tail, tail)
    return b.select(size < 0.5, 1.0 - _erf_small(b, x), result)


def cbrt(b: "Build", x: Value) -> Value:
    """Cube root: a third of the logarithm, then one step of Newton's method."""
    f = format_of(x.dtype)
    size = b.abs(x)
    tiny = size < 2.0 ** (-f.bias // 2)
    step = f.bias // 3
    scaled = b.select(tiny, size * 2.0 ** (3 * (step // 2)), size)
    root = exp(b, log(b, scaled) * (1.0 / 3.0))
    square = root * root
    root = root - b.fma(square, root, -scaled) / (square * 3.0)
    root = b.select(tiny, root * 2.0 ** -(step // 2), root)
    ordinary = (size > 0.0) & (size < np.inf)
    return b.select(ordinary, b.copysign(root, x), x)


FUNCTIONS: dict[str, Callable[..., Value]] = {"erf": erf, "erfc": erfc, "cbrt": cbrt}
