"""Power transformations, and numbers of combinatorics, of ``scipy.special``."""

import math
from fractions import Fraction
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.dtypes import default_dtype
from fdl.numpy._operands import wide
from fdl.ops import gamma_ratios, special
from fdl.scipy._operands import operands

#: The last Bernoulli number that a float64 can be, and the last one that is asked for.
_FINITE, _MOST = 258, 2**20

__all__ = ["bernoulli", "boxcox", "boxcox1p", "comb"]


def boxcox(x: Any, lmbda: Any) -> Array:
    """The power transformation of Box and Cox: (x**lmbda - 1) / lmbda, and log(x) for lmbda = 0.

    Args:
        x: real array, positive; NaN for others.
        lmbda: exponent; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(boxcox(2.0, 0.5).item(), 3)
    0.828
    """
    x, lmbda = operands("boxcox", x, lmbda)
    return _transformed(x > 0, x == 0, fnp.log(fnp.where(x > 0, x, 1.0)), lmbda)


def boxcox1p(x: Any, lmbda: Any) -> Array:
    """The power transformation of Box and Cox of 1 + x, exact for small x.

    Args:
        x: real array, above -1; NaN for others.
        lmbda: exponent; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(boxcox1p(1.0, 0.5).item(), 3)
    0.828
    """
    x, lmbda = operands("boxcox1p", x, lmbda)
    return _transformed(x > -1, x == -1, fnp.log1p(fnp.where(x > -1, x, 0.0)), lmbda)


def _transformed(inside: Array, at_end: Array, logarithm: Array, lmbda: Array) -> Array:
    """The transformation of numbers with a logarithm inside of the domain; its limit at the end of it; else NaN."""
    limit = fnp.where(lmbda > 0, -1 / fnp.where(lmbda == 0, 1.0, lmbda), -fnp.inf)
    return fnp.where(inside, _power_of_log(logarithm, lmbda), fnp.where(at_end, limit, fnp.nan))


def _power_of_log(logarithm: Array, lmbda: Array) -> Array:
    """expm1(lmbda * logarithm) / lmbda; the derivative by lmbda at zero comes from the series."""
    small = fnp.abs(lmbda * logarithm) < 1e-6
    safe = fnp.where(small, 1.0, lmbda)
    series = logarithm * (1 + 0.5 * lmbda * logarithm)
    return fnp.where(small, series, fnp.expm1(safe * fnp.where(small, 0.0, logarithm)) / safe)


def comb(N: Any, k: Any, exact: bool = False, repetition: bool = False) -> Array:
    """The number of ways to take k of N things.

    Args:
        N: number of things.
        k: number that is taken; broadcasts.
        exact: must be False.
        repetition: whether a thing may be taken more than once.

    Returns:
        A floating array of the common shape; zero where N or k is negative, or k is above N.

    Raises:
        NotImplementedError: `exact` is true.

    >>> comb(5, 2).item()
    10.0
    """
    if exact:
        raise NotImplementedError("comb: arrays hold no exact integers of any size; use exact=False")
    N, k = operands("comb", N, k)
    if repetition:
        return fnp.where((N == 0) & (k == 0), 1.0, comb(N + k - 1, k))
    return _comb(wide(N), wide(k)).astype(N.dtype)


def _comb(N: Array, k: Array) -> Array:
    none = (N < 0) | (k < 0) | (k > N)
    n, taken = fnp.where(none, 1.0, N), fnp.where(none, 0.0, k)
    # The quotient poch(n - k + 1, k) / k!, of the smaller one of k and n - k, has no large terms that cancel.
    whole = (n == fnp.floor(n)) & (taken == fnp.floor(taken))
    fewer = fnp.where(whole, fnp.minimum(taken, n - taken), taken)
    found = gamma_ratios.poch(n - fewer + 1, fewer) / special.gamma(fewer + 1)
    large = fnp.exp(special.lgamma(n + 1) - special.lgamma(fewer + 1) - special.lgamma(n - fewer + 1))
    found = fnp.where(fnp.isfinite(found), found, large)
    return fnp.where(none, 0.0, fnp.where(whole & (found < 2.0**50), fnp.round(found), found))


def bernoulli(n: int) -> Array:
    """The first Bernoulli numbers, B_0 to B_n, with B_1 = -1/2.

    Args:
        n: number of the last one, from 0 to 2**20.

    Returns:
        A floating array of shape (n + 1,).

    Raises:
        TypeError: `n` is no whole number.
        ValueError: `n` is outside of that range.

    >>> bernoulli(2).tolist()
    [1.0, -0.5, 0.1666666...]
    """
    if not isinstance(n, int | np.integer):
        raise TypeError(f"bernoulli: n must be a whole number, got {n!r}")
    count = int(n)
    if not 0 <= count <= _MOST:
        raise ValueError(f"bernoulli: n is {count}; it must be from 0 to {_MOST}")
    found: list[Fraction] = [Fraction(1)]
    for m in range(1, min(count, _FINITE) + 1):
        odd = m > 1 and m % 2
        terms = (math.comb(m + 1, j) * found[j] for j in range(m))
        found.append(Fraction(0) if odd else -sum(terms, Fraction(0)) / (m + 1))
    rest = [0.0 if m % 2 else -math.inf if m % 4 == 0 else math.inf for m in range(_FINITE + 1, count + 1)]
    return fnp.asarray(np.array([*map(float, found), *rest]), default_dtype(float))
