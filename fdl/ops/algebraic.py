"""Bends made of roots and quotients."""

from typing import Any

import numpy as np

from fdl.dtypes import FLOATING
from fdl.ops.arithmetic import abs_, add, div, mul
from fdl.ops.elementwise import Binary, Unary
from fdl.ops.precision import in_float32
from fdl.ops.shape import full_like
from fdl.ops.transcendental import hypot, sqrt


class SoftSign(Unary):
    """x / (1 + |x|)."""

    domain = FLOATING

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float32(lambda x: x / (1 + np.abs(x)), x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        one = full_like(x, 1)
        inverse = div(one, add(one, abs_(x)))
        return mul(inverse, inverse)

    def lower(self, build: Any, x: Any) -> Any:
        return x / (build.abs(x) + 1.0)


class Squareplus(Binary):
    """(x + sqrt(x**2 + y)) / 2 for y that is not negative."""

    domain = FLOATING

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float32(_squareplus, x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        return div(out if index == 0 else full_like(x, 0.25), hypot(x, sqrt(y)))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        large = build.abs(x) * 0.5 + hypot.lower(build, x, build.sqrt(y)) * 0.5
        return build.select(x < 0.0, y * 0.25 / large, large)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.5, 4.0, shape)).astype(dtype)


def _squareplus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    half = x.dtype.type(0.5)
    large = half * np.abs(x) + half * np.hypot(x, np.sqrt(y))
    return np.where(x < 0, half * half * y / large, large)  # the product of the two solutions is -y / 4


soft_sign, squareplus = SoftSign(), Squareplus()
