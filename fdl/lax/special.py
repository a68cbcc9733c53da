"""Special functions of two operands of one shape, by their lax names."""

from typing import Any

from fdl.array import as_operand as as_array
from fdl.numpy._operands import matched
from fdl.ops import quantile, special
from fdl.ops.arithmetic import mul
from fdl.ops.convert import convert
from fdl.ops.precision import accumulator
from fdl.ops.transcendental import log

__all__ = ["igamma_grad_a", "polygamma", "random_gamma_grad", "zeta"]


def _of_two(name: str, operation: Any, x: Any, y: Any) -> Any:
    """In single precision at least, in which the primitives are defined."""
    a, b = matched(name, as_array(x, name), as_array(y, name), to_inexact=True)
    dtype, wide = a.dtype, accumulator(a.dtype)
    return convert(operation(convert(a, wide), convert(b, wide)), dtype)


def zeta(x: Any, q: Any) -> Any:
    """The Hurwitz zeta function: the sum of (k + q) ** -x over k = 0, 1, ...

    >>> import fdl
    >>> round(fdl.lax.zeta(2.0, 1.0).item(), 3)
    1.645
    """
    return _of_two("zeta", special.zeta, x, q)


def polygamma(m: Any, x: Any) -> Any:
    """The derivative number `m` of the digamma function.

    >>> import fdl
    >>> round(fdl.lax.polygamma(1.0, 1.0).item(), 3)
    1.645
    """
    return _of_two("polygamma", special.polygamma, m, x)


def igamma_grad_a(a: Any, x: Any) -> Any:
    """The derivative of the lower incomplete gamma function P(a, x) by a.

    >>> import fdl
    >>> round(fdl.lax.igamma_grad_a(1.0, 1.0).item(), 3)
    -0.432
    """
    return _of_two("igamma_grad_a", special.igamma_grad_a, a, x)


def random_gamma_grad(a: Any, sample: Any) -> Any:
    """How a number drawn from the gamma distribution moves with the shape `a`, at a fixed probability.

    Source: Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients" (2018).

    >>> import fdl
    >>> round(fdl.lax.random_gamma_grad(1.0, 1.0).item(), 3)
    1.174
    """
    return _of_two("random_gamma_grad", lambda a, x: mul(x, quantile.gamma_sensitivity(a, log(x))), a, sample)
