"""Student's distribution with `df` degrees of freedom."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._operands import log1p_square

__all__ = ["logpdf", "pdf"]


define = Distribution("1.0, 3.0", df="degrees of freedom, positive; broadcasts.")


@define(-1.576)
def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    value = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * fnp.log(df * math.pi) - fnp.log(scale)
    return value - (df + 1) / 2 * log1p_square(z / fnp.sqrt(df))


pdf = define.exp(logpdf, 0.207)
