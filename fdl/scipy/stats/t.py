"""Student's distribution with `df` degrees of freedom."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import distribution, log1p_square

__all__ = ["logpdf", "pdf"]

Array = Any


@distribution
def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        df: degrees of freedom, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(1.0, 3.0).item(), 3)
    -1.576
    """
    z = (x - loc) / scale
    value = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * fnp.log(df * math.pi) - fnp.log(scale)
    return value - (df + 1) / 2 * log1p_square(z / fnp.sqrt(df))


@distribution
def pdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        df: degrees of freedom, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(1.0, 3.0).item(), 3)
    0.207
    """
    return fnp.exp(logpdf(x, df, loc, scale))
