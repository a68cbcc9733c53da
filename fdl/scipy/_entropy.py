"""Products with logarithms, and what is made of them: entropies and divergences. Elementwise."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.api.custom import custom_jvp
from fdl.core.types import Array
from fdl.scipy._operands import operands


@custom_jvp
def _xlogy(x: Array, y: Array) -> Array:
    return fnp.where((x == 0) & ~fnp.isnan(y), 0.0, x * fnp.log(y))


@_xlogy.defjvp
def _xlogy_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return _xlogy(x, y), dx * fnp.log(y) + dy * (x / y)


def xlogy(x: Any, y: Any) -> Array:
    """x log(y), zero where x is zero unless y is NaN.

    Args:
        x: array.
        y: array that broadcasts with x.

    Returns:
        A floating array of the common shape.

    >>> xlogy(0.0, 0.0).item()
    0.0
    """
    return _xlogy(*operands("xlogy", x, y))


@custom_jvp
def _xlog1py(x: Array, y: Array) -> Array:
    return fnp.where((x == 0) & ~fnp.isnan(y), 0.0, x * fnp.log1p(y))


@_xlog1py.defjvp
def _xlog1py_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return _xlog1py(x, y), dx * fnp.log1p(y) + dy * (x / (1 + y))


def xlog1py(x: Any, y: Any) -> Array:
    """x log(1 + y), zero where x is zero unless y is NaN.

    Args:
        x: array.
        y: array that broadcasts with x.

    Returns:
        A floating array of the common shape.

    >>> xlog1py(0.0, -1.0).item()
    0.0
    """
    return _xlog1py(*operands("xlog1py", x, y))


def entr(x: Any) -> Array:
    """-x log(x), zero at zero and -inf below.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> round(entr(0.5).item(), 3)
    0.347
    """
    return _entr(*operands("entr", x))


@custom_jvp
def _entr(x: Array) -> Array:
    return fnp.where(x < 0, -math.inf, fnp.where(x == 0, 0.0, -_xlogy(x, x)))


@_entr.defjvp
def _entr_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _entr(x), -dx * (fnp.log(x) + 1)


def rel_entr(p: Any, q: Any) -> Array:
    """p log(p / q), zero where p is zero, inf outside its domain.

    Args:
        p: array, not negative.
        q: array that broadcasts with p.

    Returns:
        A floating array of the common shape.

    >>> round(rel_entr(1.0, 0.5).item(), 3)
    0.693
    """
    p, q = operands("rel_entr", p, q)
    inside, zero = (p > 0) & (q > 0), (p == 0) & (q >= 0)
    p_safe, q_safe = fnp.where(inside, p, 1.0), fnp.where(inside, q, 1.0)
    value = p_safe * (fnp.log(p_safe) - fnp.log(q_safe))
    outside = fnp.where(fnp.isnan(p) | fnp.isnan(q), math.nan, fnp.full_like(p, math.inf))
    return fnp.where(inside, value, fnp.where(zero, 0.0, outside))


def kl_div(p: Any, q: Any) -> Array:
    """p log(p / q) - p + q.

    Args:
        p: array, not negative.
        q: array that broadcasts with p.

    Returns:
        A floating array of the common shape.

    >>> round(kl_div(1.0, 0.5).item(), 3)
    0.193
    """
    p, q = operands("kl_div", p, q)
    inside = (p >= 0) & (q >= 0) & ((p == 0) | (q > 0))
    found = rel_entr(p, q)
    return fnp.where(inside, found - p + q, found)
