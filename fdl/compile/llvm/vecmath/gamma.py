"""The logarithm of the gamma function and its first two derivatives.

From 1 to 2 they are polynomials times what is zero at their roots; the recurrence gamma(x + 1) = x gamma(x) leads there
from 0 to 8; beyond is Stirling's formula, below 0 reflection (https://dlmf.nist.gov/5.5, 5.11). Between the poles,
where there are more roots, errors are absolute.
"""

import math
from collections.abc import Callable

import numpy as np

from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath.exponential import log
from fdl.compile.llvm.vecmath.tables import MathFunction, format_of, polynomial
from fdl.compile.llvm.vecmath.trigonometric import sin, tan
from fdl.dtypes import float32, float64

#: From here on Stirling's formula.
_LARGE = 8
#: The positive root of digamma, less 1, in two parts.
_ROOT = {float32: (0.4616321325302124, 1.243815006546356e-08), float64: (0.46163214496836236, -1.5522348162858677e-17)}


def lgamma(b: FunctionBuilder, x: Value) -> Value:
    """log(|gamma(x)|)."""

    def reflected(angle: Value, of_opposite: Value) -> Value:
        elsewhere = math.log(math.pi) - log(b, b.abs(sin(b, angle))) - log(b, size) - of_opposite
        return b.select(size < 2.0**-60, of_opposite, elsewhere)

    size = b.abs(x)
    u, product, _ = _near_one(b, size)
    logarithm = log(b, b.select(size < float(_LARGE), product, size))
    change = b.select(size < 1.0, -logarithm, logarithm)
    small = b.fma(u * (u - 1.0), polynomial(b, u, format_of(x.dtype).lgamma), change)
    inverse = 1.0 / size
    tail = polynomial(b, inverse * inverse, format_of(x.dtype).lgamma_tail)
    rest = b.fma(inverse, tail, 0.5 * math.log(2 * math.pi) - 0.5)
    large = b.fma(size - 0.5, logarithm - 1.0, rest)
    large = b.select(b.eq(size, np.inf), size, large)
    return _reflected(b, x, b.select(size < float(_LARGE), small, large), reflected, np.inf)


def digamma(b: FunctionBuilder, x: Value) -> Value:
    """The derivative of lgamma; NaN at its poles."""

    def reflected(angle: Value, of_opposite: Value) -> Value:
        # digamma(1 - x) = digamma(-x) - 1 / x, where close to zero both may be infinite
        next_to = -1.0 / x
        return b.select(b.eq(next_to, np.inf), next_to, (of_opposite + next_to) - math.pi / tan(b, angle))

    size = b.abs(x)
    u, product, slope = _near_one(b, size)
    inverses = slope / product
    high, low = _ROOT[x.dtype]
    distance = (u - high) - low
    change = b.select(size < 1.0, -inverses, inverses)
    small = b.fma(distance, polynomial(b, u, format_of(x.dtype).digamma), change)
    inverse = 1.0 / size
    square = inverse * inverse
    large = log(b, size) - b.fma(square, polynomial(b, square, format_of(x.dtype).digamma_tail), inverse * 0.5)
    found = _reflected(b, x, b.select(size < float(_LARGE), small, large), reflected, np.nan)
    return b.select(b.eq(x, 0.0), np.nan, found)


def trigamma(b: FunctionBuilder, x: Value) -> Value:
    """The derivative of digamma; infinite at its poles."""

    def reflected(angle: Value, of_opposite: Value) -> Value:
        # trigamma(1 - x) = trigamma(-x) - 1 / x^2, where close to zero both may be infinite
        sine = sin(b, angle)
        found = (math.pi / sine) * (math.pi / sine) + (inverse * inverse - of_opposite)
        return b.select(b.eq(of_opposite, np.inf), of_opposite, found)

    size = b.abs(x)
    inverse = 1.0 / size
    # What the recurrence adds on the way to the tail are inverse squares, here as total / product; that of x is last.
    low = size < float(_LARGE)
    one = b.constant(1.0, x.dtype, x.lanes)
    far, product, total = b.select(low, size + 1.0, size), one, one * 0.0
    for _ in range(1, _LARGE):
        up = far < float(_LARGE)
        factor = far * far
        total = b.select(up, b.fma(total, factor, product), total)
        product = b.select(up, product * factor, product)
        far = b.select(up, far + 1.0, far)
    step = 1.0 / far
    square = step * step
    tail = b.fma(square * step, polynomial(b, square, format_of(x.dtype).trigamma_tail), b.fma(square, 0.5, step))
    found = total / product + tail
    found = b.select(low, b.fma(inverse, inverse, found), found)
    return _reflected(b, x, found, reflected, np.inf)


def _near_one(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    """(u, p, d) for 0 <= x < 8: 1 + u, from 1 to 2, is x and a whole number, p the product of the numbers between them,
    and d its derivative by x: gamma(x) is gamma(1 + u) / p where x is less, and gamma(1 + u) p where it is more."""
    one = b.constant(1.0, x.dtype, x.lanes)
    low = x < 1.0
    u, product, slope = b.select(low, x, x - 1.0), b.select(low, x, one), b.select(low, one, one * 0.0)
    for passed in range(2, _LARGE):
        down = x >= float(passed)
        slope = b.select(down, b.fma(slope, u, product), slope)
        product = b.select(down, product * u, product)
        u = b.select(down, u - 1.0, u)
    return u, product, slope


def _reflected(
    b: FunctionBuilder, x: Value, of_size: Value, formula: Callable[[Value, Value], Value], at_poles: float
) -> Value:
    """`of_size`, but for negative lanes `formula` of pi times the distance to a whole number, and of `of_size`."""
    found = b.variable(of_size)
    left = x < 0.0
    with b.if_(b.reduce("or", left), likely=False):
        distance = x - b.round_half_even(x)
        there = b.select(b.eq(distance, 0.0), at_poles, formula(distance * math.pi, of_size))
        found.set(b.select(left, b.select(b.eq(x, -np.inf), at_poles, there), of_size))
    return found.get()


FUNCTIONS: dict[str, MathFunction] = {"lgamma": lgamma, "digamma": digamma, "trigamma": trigamma}
