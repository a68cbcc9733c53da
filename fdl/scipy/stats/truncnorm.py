"""The normal distribution between a and b standard deviations from `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.nn.activations import log1mexp
from fdl.scipy import special
from fdl.scipy._distribution import Distribution, anywhere
from fdl.scipy.stats import norm

__all__ = ["cdf", "logcdf", "logpdf", "logsf", "pdf", "sf"]


define = Distribution(
    "0.5, -1.0, 2.0",
    {"a": anywhere, "b": anywhere},
    a="lower end, in standard deviations from loc; broadcasts.",
    b="upper end, above a; broadcasts.",
)


def _log_mass(a: Array, b: Array) -> Array:
    """The logarithm of the normal probability of [a, b]: the difference of two tails on the side of the nearer end."""
    right = a > 0
    near, far = fnp.where(right, -a, b), fnp.where(right, -b, a)
    apart = special.log_ndtr(near) - special.log_ndtr(far)
    one_side = special.log_ndtr(near) + log1mexp(apart)
    both = (a <= 0) & (b > 0)
    middle = fnp.log1p(-special.ndtr(fnp.where(both, a, -1.0)) - special.ndtr(fnp.where(both, -b, -1.0)))
    return fnp.where(both, middle, one_side)


@define(-0.844)
def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    inside = (z >= a) & (z <= b)
    value = norm.logpdf(fnp.where(inside, z, 0.0)) - _log_mass(a, b) - fnp.log(scale)
    return fnp.where(a < b, fnp.where(inside, value, -fnp.inf), fnp.nan)


pdf = define.exp(logpdf, 0.43)


@define(-0.429)
def logcdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.minimum((x - loc) / scale, b)
    inside = (z > a) & (z < b)
    value = _log_mass(a, fnp.where(inside, z, b)) - _log_mass(a, b)
    return fnp.where(a < b, fnp.where(z <= a, -fnp.inf, fnp.where(inside, value, 0.0)), fnp.nan)


cdf = define.exp(logcdf, 0.651)


@define(-1.052)
def logsf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return logcdf(-x, -b, -a, -loc, scale)


sf = define.exp(logsf, 0.349)


def __dir__() -> list[str]:
    return __all__
