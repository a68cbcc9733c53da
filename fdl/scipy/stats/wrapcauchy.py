"""Cauchy's distribution wrapped around the circle: of an angle in [0, 2 pi]."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy._distribution import Distribution

__all__ = ["logpdf", "pdf"]


define = Distribution("1.0, 0.5", domains={"c": lambda c: (c > 0) & (c < 1)}, c="concentration, in (0, 1); broadcasts.")


@define(-1.783)
def logpdf(x: Any, c: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    outside = (z < 0) | (z > 2 * math.pi)
    half = fnp.sin(0.5 * fnp.where(outside, 1.0, z))
    away = fnp.log((1 - c) ** 2 + 4 * c * half * half)  # 1 + c**2 - 2 c cos(z)
    value = fnp.log1p(-c * c) - math.log(2 * math.pi) - away - fnp.log(scale)
    return fnp.where(outside, -fnp.inf, value)


pdf = define.exp(logpdf, 0.168)


def __dir__() -> list[str]:
    return __all__
