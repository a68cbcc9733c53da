"""The normal distribution of vectors along the last axis."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl import linalg
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.scipy._operands import inexact

__all__ = ["logpdf", "pdf"]


def logpdf(x: Any, mean: Any, cov: Any, allow_singular: None = None) -> Array:
    """The logarithm of the density.

    Args:
        x: [..., n].
        mean: [..., n], or a number.
        cov: [..., n, n], or a number: the variance of independent elements.
        allow_singular: must be None.

    Returns:
        [...]; where `mean` is a number and `cov` is one or [1, 1], n is 1 and x [...] has no axis for it, as in SciPy.

    Raises:
        NotImplementedError: `allow_singular` is given.
        ShapeError: x and cov do not fit.

    >>> round(logpdf(fnp.zeros(2), 0.0, fnp.eye(2)).item(), 3)
    -1.838
    """
    if allow_singular is not None:
        raise NotImplementedError("multivariate_normal.logpdf has no allow_singular; leave it out")
    x, mean, cov = inexact(x, mean, cov)
    if mean.ndim == 0 and cov.shape[-2:] == (1, 1) and x.shape[-1:] != (1,):
        x = fnp.expand_dims(x, -1)
    if cov.ndim == 0:
        x = fnp.expand_dims(x, -1) if mean.ndim == 0 else fnp.atleast_1d(x)
        cov = cov * fnp.eye(x.shape[-1], dtype=x.dtype)
    if x.ndim < 1 or cov.shape[-2:] != x.shape[-1:] * 2:
        raise ShapeError(f"multivariate_normal needs x [..., n] and cov [..., n, n], got {x.type} and {cov.type}")
    factor, difference = linalg.cholesky(cov), x - mean
    batch = fnp.broadcast_shapes(difference.shape[:-1], factor.shape[:-2])
    n = x.shape[-1]
    factor = fnp.broadcast_to(factor, (*batch, n, n))
    columns = fnp.broadcast_to(difference, (*batch, n))[..., None]
    z = linalg.triangular_solve(factor, columns, left_side=True, lower=True)[..., 0]
    log_root = fnp.sum(fnp.log(fnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    return -0.5 * fnp.sum(z * z, axis=-1) - 0.5 * n * math.log(2 * math.pi) - log_root


def pdf(x: Any, mean: Any, cov: Any) -> Array:
    """The density.

    Args:
        x: [..., n].
        mean: [..., n], or a number.
        cov: [..., n, n], or a number: the variance of independent elements.

    Returns:
        [...].

    Raises:
        ShapeError: x and cov do not fit.

    >>> round(pdf(fnp.zeros(2), 0.0, fnp.eye(2)).item(), 3)
    0.159
    """
    return fnp.exp(logpdf(x, mean, cov))


def __dir__() -> list[str]:
    return __all__
