"""Integrals of elementary functions that have names in ``scipy.special``."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.ops import integrals as ops
from fdl.scipy._hypergeometric import wofz
from fdl.scipy._operands import operands

__all__ = ["dawsn", "erfcx", "exp1", "expi", "expn", "fresnel", "owens_t", "sici", "spence"]

_elementwise = fill_docstring({"x": "real array of any shape."}, "A floating array like x.")
_pair = fill_docstring({"x": "real array of any shape."}, "Two floating arrays like x.")


@_elementwise
def exp1(x: Any) -> Array:
    """The integral of exp(-t) / t from x to infinity.

    >>> round(exp1(1.0).item(), 3)
    0.219
    """
    return ops.exp1(*operands("exp1", x))


@_elementwise
def expi(x: Any) -> Array:
    """The principal value of the integral of exp(t) / t from minus infinity to x.

    >>> round(expi(1.0).item(), 3)
    1.895
    """
    return ops.expi(*operands("expi", x))


def expn(n: Any, x: Any) -> Array:
    """The integral of exp(-x t) / t**n from 1 to infinity.

    Args:
        n: order, a whole number that is not negative.
        x: real array, not negative.

    Returns:
        A floating array of the common shape.

    >>> round(expn(2, 1.0).item(), 3)
    0.148
    """
    return ops.expn(*operands("expn", n, x))


@_pair
def sici(x: Any) -> tuple[Array, Array]:
    """The sine and the cosine integral: sin(t) / t from 0, and Euler's constant + log(x) + (cos(t) - 1) / t from 0.

    >>> [round(v.item(), 3) for v in sici(1.0)]
    [0.946, 0.337]
    """
    (x,) = operands("sici", x)
    return ops.sine_integral(x), ops.cosine_integral(x)


@_pair
def fresnel(x: Any) -> tuple[Array, Array]:
    """The integrals of sin(pi t**2 / 2) and of cos(pi t**2 / 2) from 0 to x.

    >>> [round(v.item(), 3) for v in fresnel(1.0)]
    [0.438, 0.78]
    """
    (x,) = operands("fresnel", x)
    return ops.fresnel_sin(x), ops.fresnel_cos(x)


@_elementwise
def dawsn(x: Any) -> Array:
    """Dawson's integral: exp(-x**2) times the integral of exp(t**2) from 0 to x.

    >>> round(dawsn(1.0).item(), 3)
    0.538
    """
    return ops.dawsn(*operands("dawsn", x))


@_elementwise
def erfcx(x: Any) -> Array:
    """exp(x**2) erfc(x), which does not underflow; of complex numbers, too.

    >>> round(erfcx(10.0).item(), 4)
    0.0561
    """
    (x,) = operands("erfcx", x)
    return wofz(1j * x) if fnp.iscomplexobj(x) else ops.erfcx(x)


@_elementwise
def spence(x: Any) -> Array:
    """The integral of log(t) / (1 - t) from 1 to x: the dilogarithm of 1 - x.

    >>> round(spence(0.0).item(), 3)
    1.645
    """
    return ops.spence(*operands("spence", x))


def owens_t(h: Any, a: Any) -> Array:
    """Owen's T: the probability that X > h and 0 < Y < a X, for X and Y normal and independent.

    Args:
        h: real array.
        a: real array that broadcasts with h.

    Returns:
        A floating array of the common shape.

    >>> round(owens_t(0.0, 1.0).item(), 3)
    0.125
    """
    return ops.owens_t(*operands("owens_t", h, a))
