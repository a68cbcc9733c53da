"""Quotients of gamma functions, whose factors leave the range or cancel where they do not. Computed in float64."""

from typing import Any

import numpy as np

from fdl.dtypes import FLOATING
from fdl.ops.arithmetic import add, mul, neg, sub
from fdl.ops.elementwise import Binary
from fdl.ops.special import Special, digamma, trigamma


class Ratio(Special, Binary, abstract=True):
    """A function of two numbers given in float64."""

    domain = FLOATING

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(self.compute(x.astype(np.float64), y.astype(np.float64))).astype(x.dtype)

    def compute(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The function in float64."""
        raise NotImplementedError


class DigammaStep(Ratio):
    """digamma(x + y) - digamma(x), which cancel where y is small or x large."""

    def compute(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        positive = (x > 0) & (x + y > 0)
        plain = digamma.reference(x + y) - digamma.reference(x)
        a, b = np.where(positive, x, 1.0), np.where(positive, y, 0.0)
        shift = np.zeros_like(a)
        for _ in range(10):  # to where the asymptotic series holds
            near = np.minimum(a, a + b) < 10
            shift = shift + np.where(near, b / a / (a + b), 0.0)
            a = np.where(near, a + 1, a)
        # Differences of powers of u = 1 / a and v = 1 / (a + b) by their factors: Abramowitz, Stegun (1964), 6.3.18.
        u, v = 1 / a, 1 / (a + b)
        first = b * u * v
        total, power, scale = np.log1p(b / a) + 0.5 * first, first * (u + v), np.ones_like(u)
        # The difference of 2k-th powers is that of squares times a sum of products.
        square_u, square_v = u * u, v * v
        sums = np.ones_like(u)
        for coefficient in (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12):
            total = total + coefficient * power * sums
            scale = scale * square_v
            sums = sums * square_u + scale
        return np.where(positive, total + shift, plain)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        ahead = trigamma(add(x, y))
        return ahead if index == 1 else sub(ahead, trigamma(x))


class Beta(Ratio):
    """gamma(x) gamma(y) / gamma(x + y)."""

    def compute(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        from scipy.special import beta

        return beta(x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        mine, other = (x, y) if index == 0 else (y, x)
        return neg(mul(out, digamma_step(mine, other)))


class Poch(Ratio):
    """gamma(x + y) / gamma(x)."""

    def compute(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        from scipy.special import poch

        return poch(x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        return mul(out, digamma_step(x, y) if index == 0 else digamma(add(x, y)))


digamma_step, beta, poch = DigammaStep(), Beta(), Poch()
