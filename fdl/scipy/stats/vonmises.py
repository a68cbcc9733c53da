"""The distribution of von Mises of an angle x around `loc`, in radians."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution, not_negative

__all__ = ["logpdf", "pdf"]


define = Distribution("1.0, 2.0", domains={"kappa": not_negative}, kappa="concentration, not negative; broadcasts.")


@define(-1.581)
def logpdf(x: Any, kappa: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    half, small = fnp.sin(0.5 * z), kappa < 1
    # Of i0e there is no derivative at zero; cos(z) - 1 in the second form is exact for small z.
    near = kappa * fnp.cos(z) - fnp.log(special.i0(fnp.where(small, kappa, 1.0)))
    far = -2 * kappa * half * half - fnp.log(special.i0e(fnp.where(small, 1.0, kappa)))
    return fnp.where(small, near, far) - math.log(2 * math.pi) - fnp.log(scale)


pdf = define.exp(logpdf, 0.206)


def __dir__() -> list[str]:
    return __all__
