"""The gamma distribution with shape parameter a."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import saddle_point
from fdl.scipy._tails import log_probability, lower_gamma_fraction, upper_gamma_fraction

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("1.0, 2.0", a="shape parameter, positive; broadcasts.")


@define(-1.0)
def logpdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    outside, large = (z < 0) | (z == fnp.inf), (z > 0) & (a >= 8)
    safe = fnp.where(outside, 1.0, z)
    plain = special.xlogy(a - 1, safe) - safe - special.gammaln(fnp.where(large, 1.0, a))
    # Where terms of the size of a cancel: a / z times the probability of a events.
    b, y = fnp.where(large, a, 8.0), fnp.where(large & ~outside, z, 1.0)
    value = fnp.where(large, saddle_point(b, y) + fnp.log(b) - fnp.log(y), plain) - fnp.log(scale)
    return fnp.where(outside, -fnp.inf, value)


pdf = define.exp(logpdf, 0.368)


@define(0.264)
def cdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammainc(a, fnp.maximum((x - loc) / scale, 0.0))


@define(0.736)
def sf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammaincc(a, fnp.maximum((x - loc) / scale, 0.0))


@define(-1.331)
def logcdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.maximum((x - loc) / scale, 0.0)

    def far(tiny: Array) -> Array:
        at = fnp.where(tiny & (z > 0), z, 0.5 * a)
        value = logpdf(at, a) + fnp.log(at) + fnp.log(lower_gamma_fraction(a, at))
        return fnp.where(z > 0, value, -fnp.inf)

    return log_probability(special.gammainc(a, z), special.gammaincc(a, z), far)


@define(-0.307)
def logsf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.maximum((x - loc) / scale, 0.0)

    def far(tiny: Array) -> Array:
        at = fnp.where(tiny & (z < fnp.inf), z, a + 1)
        value = logpdf(at, a) + fnp.log(at) + fnp.log(upper_gamma_fraction(a, at))
        return fnp.where(z < fnp.inf, value, -fnp.inf)

    return log_probability(special.gammaincc(a, z), special.gammainc(a, z), far)


@define(2.693)
def ppf(q: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammaincinv(a, q) * scale + loc


@define(0.961)
def isf(q: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammainccinv(a, q) * scale + loc


def __dir__() -> list[str]:
    return __all__
