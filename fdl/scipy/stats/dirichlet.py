"""Dirichlet's distribution of K probabilities that sum to one, along the first axis."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.scipy import special
from fdl.scipy._operands import operands

__all__ = ["logpdf", "pdf"]


def logpdf(x: Any, alpha: Any) -> Array:
    """The logarithm of the density; minus infinity where x is no vector of probabilities.

    Args:
        x: [K, ...], or [K - 1, ...] without the last probability.
        alpha: [K], the concentrations, positive.

    Returns:
        [...].

    Raises:
        ShapeError: x and alpha do not fit.

    >>> round(logpdf(fnp.array([0.25, 0.75]), fnp.array([1.0, 2.0])).item(), 3)
    0.405
    """
    x, alpha = fnp.asarray(x), fnp.asarray(alpha)
    if alpha.ndim != 1 or x.ndim < 1 or x.shape[0] not in (alpha.shape[0], alpha.shape[0] - 1):
        raise ShapeError(f"dirichlet needs x [K, ...] or [K - 1, ...] and alpha [K], got {x.type} and {alpha.type}")
    if x.shape[0] != alpha.shape[0]:
        x = fnp.concatenate([x, 1 - fnp.sum(x, axis=0, keepdims=True)])
    x, alpha = operands("dirichlet.logpdf", x, fnp.expand_dims(alpha, tuple(range(1, x.ndim))))
    near = fnp.abs(fnp.sum(x, axis=0) - 1) < 8 * x.shape[0] * float(fnp.finfo(x.dtype).eps)
    inside = fnp.all((x >= 0) & (x <= 1), axis=0) & near
    safe = fnp.where(inside, x, 0.5)
    normalizer = fnp.sum(special.gammaln(alpha), axis=0) - special.gammaln(fnp.sum(alpha, axis=0))
    value = fnp.sum(special.xlogy(alpha - 1, safe), axis=0) - normalizer
    valid = fnp.all(alpha > 0, axis=0) & ~fnp.any(fnp.isnan(x), axis=0)
    return fnp.where(valid, fnp.where(inside, value, -fnp.inf), fnp.nan)


def pdf(x: Any, alpha: Any) -> Array:
    """The density.

    Args:
        x: [K, ...], or [K - 1, ...] without the last probability.
        alpha: [K], the concentrations, positive.

    Returns:
        [...].

    Raises:
        ShapeError: x and alpha do not fit.

    >>> round(pdf(fnp.array([0.25, 0.75]), fnp.array([1.0, 2.0])).item(), 3)
    1.5
    """
    return fnp.exp(logpdf(x, alpha))


def __dir__() -> list[str]:
    return __all__
