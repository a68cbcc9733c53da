"""Trigonometric and hyperbolic functions and their inverses."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdl.dtypes import FLOATING
from fdl.ops.arithmetic import add, div, mul, neg, sub
from fdl.ops.elementwise import Binary
from fdl.ops.precision import in_float64
from fdl.ops.shape import full_like
from fdl.ops.transcendental import Function, rsqrt


class Sin(Function):
    """Sine."""

    function = np.sin

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return cos(x)


class Cos(Function):
    """Cosine."""

    function = np.cos

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return neg(sin(x))


class Tan(Function):
    """Tangent."""

    function = np.tan
    interval = (-1.2, 1.2)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return add(full_like(x, 1), mul(out, out))


class Asin(Function):
    """Inverse sine."""

    function = np.arcsin
    interval = (-0.9, 0.9)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return rsqrt(_one_minus_square(x))


class Acos(Function):
    """Inverse cosine."""

    function = np.arccos
    interval = (-0.9, 0.9)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return neg(rsqrt(_one_minus_square(x)))


class Atan(Function):
    """Inverse tangent."""

    function = np.arctan

    def slope(self, index: int, out: Any, x: Any) -> Any:
        one = full_like(x, 1)
        return div(one, add(one, mul(x, x)))


class Atan2(Binary):
    """The angle of the point (y, x), with the operands in the order (x, y) of their names in atan(x / y)."""

    domain = FLOATING

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float64(np.arctan2, x, y)

    def slope(self, index: int, out: Any, x: Any, y: Any) -> Any:
        square = add(mul(x, x), mul(y, y))
        return div(y, square) if index == 0 else div(neg(x), square)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.call("atan2", x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        zeros = np.array([0.0, -0.0, 0.0, -0.0, 1.0], np.float32)
        yield self, zeros, np.array([0.0, 0.0, -1.0, -1.0, -0.0], np.float32)


class Sinh(Function):
    """Hyperbolic sine."""

    function = np.sinh

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return cosh(x)


class Cosh(Function):
    """Hyperbolic cosine."""

    function = np.cosh

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return sinh(x)


class Tanh(Function):
    """Hyperbolic tangent."""

    function = np.tanh

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return sub(full_like(x, 1), mul(out, out))


class Asinh(Function):
    """Inverse hyperbolic sine."""

    function = np.arcsinh

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return rsqrt(add(mul(x, x), full_like(x, 1)))


class Acosh(Function):
    """Inverse hyperbolic cosine."""

    function = np.arccosh
    interval = (1.2, 3.0)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        one = full_like(x, 1)
        return mul(rsqrt(sub(x, one)), rsqrt(add(x, one)))  # two roots: the right branch for complex numbers


class Atanh(Function):
    """Inverse hyperbolic tangent."""

    function = np.arctanh
    interval = (-0.9, 0.9)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1), _one_minus_square(x))


def _one_minus_square(x: Any) -> Any:
    one = full_like(x, 1)
    return mul(sub(one, x), add(one, x))  # exact where x is close to one


sin, cos, tan, asin, acos, atan, atan2 = Sin(), Cos(), Tan(), Asin(), Acos(), Atan(), Atan2()
sinh, cosh, tanh, asinh, acosh, atanh = Sinh(), Cosh(), Tanh(), Asinh(), Acosh(), Atanh()
