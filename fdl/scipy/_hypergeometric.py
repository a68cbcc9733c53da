"""Hypergeometric functions, Bessel functions, and functions of complex numbers of ``scipy.special``."""

import operator
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.numpy._operands import complex_of
from fdl.ops import hypergeometric as ops
from fdl.ops import special
from fdl.scipy._operands import operands

__all__ = ["bessel_jn", "hyp1f1", "hyp2f1", "loggamma", "wofz"]


def hyp1f1(a: Any, b: Any, x: Any) -> Array:
    """Kummer's function: the sum of (a)_k / (b)_k x**k / k! over k = 0, 1, ...

    Args:
        a: real array.
        b: real array; no whole number below one.
        x: real array, by which there is a derivative.

    Returns:
        A floating array of the common shape.

    >>> round(hyp1f1(1.0, 2.0, 1.0).item(), 3)
    1.718
    """
    return ops.hyp1f1(*operands("hyp1f1", a, b, x))


def hyp2f1(a: Any, b: Any, c: Any, x: Any) -> Array:
    """Gauss' hypergeometric function: the sum of (a)_k (b)_k / (c)_k x**k / k! over k = 0, 1, ...

    Args:
        a: real array.
        b: real array.
        c: real array; no whole number below one.
        x: real array, below one, by which there is a derivative.

    Returns:
        A floating array of the common shape.

    >>> round(hyp2f1(1.0, 1.0, 2.0, 0.5).item(), 3)
    1.386
    """
    return ops.hyp2f1(*operands("hyp2f1", a, b, c, x))


def bessel_jn(z: Any, *, v: int, n_iter: int = 50) -> Array:
    """The Bessel functions of the first kind of orders 0, 1, ..., v.

    Args:
        z: real array.
        v: the highest order, not negative.
        n_iter: accepted for compatibility; the result is exact to the last digits without it.

    Returns:
        A floating array of shape (v + 1, *z.shape).

    Raises:
        TypeError: `v` is no whole number.
        ValueError: `v` is negative.

    >>> [round(j, 3) for j in bessel_jn(1.0, v=2).tolist()]
    [0.765, 0.44, 0.115]
    """
    order = operator.index(v)
    if order < 0:
        raise ValueError(f"bessel_jn: v is {order}; it must not be negative")
    (z,) = operands("bessel_jn", z)
    return fnp.stack([ops.BesselJ(n)(z) for n in range(order + 1)])


def wofz(z: Any) -> Array:
    """Faddeeva's function: exp(-z**2) erfc(-i z).

    Args:
        z: real or complex array.

    Returns:
        A complex array like z.

    >>> [round(part, 3) for part in (wofz(1.0).real.item(), wofz(1.0).imag.item())]
    [0.368, 0.607]
    """
    (z,) = operands("wofz", z)
    return ops.wofz(z.astype(complex_of(z.dtype)))


def loggamma(x: Any) -> Array:
    """The logarithm of the gamma function, continued from the positive numbers; cut along the negative ones.

    Args:
        x: real or complex array.

    Returns:
        An inexact array like x; NaN at negative real numbers.

    >>> round(loggamma(4.0).item(), 3)
    1.792
    """
    (x,) = operands("loggamma", x)
    if fnp.iscomplexobj(x):
        return ops.log_gamma(x)
    outside = x < 0
    return fnp.where(outside, fnp.nan, special.lgamma(fnp.where(outside, 1.0, x)))
