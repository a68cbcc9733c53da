"""The uniform distribution on [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logpdf", "pdf", "ppf"]


define = Distribution("0.5, 0.0, 4.0", loc="lower end; broadcasts.", scale="length, positive; broadcasts.")


@define(-1.386)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    inside = (x >= loc) & (x <= loc + scale)
    return fnp.where(inside, -fnp.log(scale), -fnp.inf)


pdf = define.exp(logpdf, 0.25)


@define(0.125)
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return fnp.clip((x - loc) / scale, 0.0, 1.0)


@define(3.0)
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return fnp.where((q >= 0) & (q <= 1), q * scale + loc, fnp.nan)


def __dir__() -> list[str]:
    return __all__
