"""The beta distribution with parameters a and b, moved to [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import LOG_2PI, deviance, stirling_rest
from fdl.scipy._tails import beta_fraction, log_probability

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution(
    "0.5, 2.0, 2.0", a="first parameter, positive; broadcasts.", b="second parameter, positive; broadcasts."
)


@define(0.405)
def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    outside, large = (z < 0) | (z > 1), (z > 0) & (z < 1) & (a >= 8) & (b >= 8)
    safe = fnp.where(outside, 0.5, z)
    plain = special.xlogy(a - 1, safe) + special.xlog1py(b - 1, -safe) - special.betaln(a, b)
    # Where terms of the size of a and b cancel: the beta function by Stirling's formula.
    c, d, y = fnp.where(large, a, 8.0), fnp.where(large, b, 8.0), fnp.where(large, z, 0.5)
    total = c + d
    rest = stirling_rest(total) - stirling_rest(c) - stirling_rest(d)
    stable = rest - deviance(c, total * y) - deviance(d, total * (1 - y)) - fnp.log(y) - fnp.log1p(-y)
    stable = stable + 0.5 * (fnp.log(c) + fnp.log(d / total) - LOG_2PI)
    return fnp.where(outside, -fnp.inf, fnp.where(large, stable, plain) - fnp.log(scale))


pdf = define.exp(logpdf, 1.5)


@define(0.5)
def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.betainc(a, b, fnp.clip((x - loc) / scale, 0.0, 1.0))


@define(0.5)
def sf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.clip((x - loc) / scale, 0.0, 1.0)
    below = z < a / (a + b)
    # On the far side the smaller probability has the digits, and 1 - z loses those of a small z.
    other = 1 - special.betainc(a, b, z)
    return fnp.where(below, other, special.betainc(b, a, 1 - z))


def _log_tail(a: Any, b: Any, z: Any, rest: Any) -> Array:
    """The logarithm of the probability below z, whose distance to one is `rest`."""

    def far(tiny: Array) -> Array:
        at = fnp.where(tiny & (z > 0), z, 0.5 * a / (a + b))
        value = logpdf(at, a, b) + fnp.log(at) + fnp.log1p(-at) + fnp.log(beta_fraction(a, b, at))
        return fnp.where(z > 0, value, -fnp.inf)

    return log_probability(special.betainc(a, b, z), special.betainc(b, a, rest), far)


@define(-0.693)
def logcdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.clip((x - loc) / scale, 0.0, 1.0)
    return _log_tail(a, b, z, 1 - z)


@define(-0.693)
def logsf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.clip((x - loc) / scale, 0.0, 1.0)
    return _log_tail(b, a, 1 - z, z)


@define(0.674)
def ppf(q: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.betaincinv(a, b, q) * scale + loc


@define(0.326)
def isf(q: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return (1 - special.betaincinv(b, a, q)) * scale + loc


def __dir__() -> list[str]:
    return __all__
