"""Inverses of the incomplete gamma and beta functions, under the names of ``scipy.special``."""

from typing import Any

from fdl.core.types import Array
from fdl.ops import inverses as ops
from fdl.scipy._operands import operands

__all__ = ["betaincinv", "gammainccinv", "gammaincinv"]


def gammaincinv(a: Any, y: Any) -> Array:
    """The x at which the regularized lower incomplete gamma function P(a, x) is y.

    Args:
        a: shape parameter, positive.
        y: probability, in [0, 1]; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(gammaincinv(2.0, 0.5).item(), 3)
    1.678
    """
    return ops.igamma_inv(*operands("gammaincinv", a, y))


def gammainccinv(a: Any, y: Any) -> Array:
    """The x at which the regularized upper incomplete gamma function Q(a, x) is y.

    Args:
        a: shape parameter, positive.
        y: probability, in [0, 1]; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(gammainccinv(2.0, 0.75).item(), 3)
    0.961
    """
    return ops.igammac_inv(*operands("gammainccinv", a, y))


def betaincinv(a: Any, b: Any, y: Any) -> Array:
    """The x at which the regularized incomplete beta function I_x(a, b) is y.

    Args:
        a: first parameter, positive.
        b: second parameter, positive.
        y: probability, in [0, 1], by which there is a derivative.

    Returns:
        A floating array of the common shape.

    >>> round(betaincinv(2.0, 2.0, 0.5).item(), 3)
    0.5
    """
    return ops.betainc_inv(*operands("betaincinv", a, b, y))
