"""Student's distribution with `df` degrees of freedom."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._operands import log1p_square
from fdl.scipy._stirling import LOG_2PI

__all__ = ["logpdf", "pdf"]


define = Distribution("1.0, 3.0", df="degrees of freedom, positive; broadcasts.")


@define(-1.576)
def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    normal = df == fnp.inf
    n = fnp.where(normal, 1.0, df)
    value = -special.betaln(n / 2, 0.5) - 0.5 * fnp.log(n) - (n + 1) / 2 * log1p_square(z / fnp.sqrt(n))
    return fnp.where(normal, -0.5 * (z * z + LOG_2PI), value) - fnp.log(scale)


pdf = define.exp(logpdf, 0.207)
