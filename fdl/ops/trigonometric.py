"""Trigonometric and hyperbolic functions and their inverses."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from fdl.dtypes import FLOATING
from fdl.ops.arithmetic import abs_, add, div, mul, neg, sub
from fdl.ops.compare import gt
from fdl.ops.elementwise import Binary
from fdl.ops.precision import in_float64
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.transcendental import Function, direction, rsqrt


class Sin(Function):
    """Sine."""

    function = np.sin

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return cos(x)


class Cos(Function):
    """Cosine."""

    function = np.cos

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return neg(sin(x))


class Tan(Function):
    """Tangent."""

    function = np.tan
    interval = (-1.2, 1.2)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return add(full_like(x, 1), mul(out, out))


class Asin(Function):
    """Inverse sine."""

    function = np.arcsin
    interval = (-0.9, 0.9)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return rsqrt(_one_minus_square(x))


class Acos(Function):
    """Inverse cosine."""

    function = np.arccos
    interval = (-0.9, 0.9)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return neg(rsqrt(_one_minus_square(x)))


class Atan(Function):
    """Inverse tangent."""

    function = np.arctan

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        far, near, _ = _far(x)
        one = full_like(x, 1)
        divisor = add(one, mul(near, near))
        if far is None:
            return div(one, divisor)
        inverse = div(one, select(far, abs_(x), divisor))  # one division, of both cases
        return select(far, mul(inverse, inverse), inverse)


class Atan2(Binary):
    """The angle of the point (y, x), with the operands in the order (x, y) of their names in atan(x / y)."""

    domain = FLOATING

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float64(np.arctan2, x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        a, b, size = direction(x, y)
        return div(div(b if index == 0 else neg(a), add(mul(a, a), mul(b, b))), size)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.call("atan2", x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        zeros = np.array([0.0, -0.0, 0.0, -0.0, 1.0], np.float32)
        yield self, zeros, np.array([0.0, 0.0, -1.0, -1.0, -0.0], np.float32)


class Sinh(Function):
    """Hyperbolic sine."""

    function = np.sinh

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return cosh(x)


class Cosh(Function):
    """Hyperbolic cosine."""

    function = np.cosh

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return sinh(x)


class Asinh(Function):
    """Inverse hyperbolic sine."""

    function = np.arcsinh

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        far, near, inverse = _far(x)
        return _chosen(far, inverse, rsqrt(add(mul(near, near), full_like(x, 1))))


class Acosh(Function):
    """Inverse hyperbolic cosine."""

    function = np.arccosh
    interval = (1.2, 3.0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        one = full_like(x, 1)
        return mul(rsqrt(sub(x, one)), rsqrt(add(x, one)))  # two roots: the right branch for complex numbers


class Atanh(Function):
    """Inverse hyperbolic tangent."""

    function = np.arctanh
    interval = (-0.9, 0.9)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1), _one_minus_square(x))


def _far(x: Any) -> tuple[Any, Any, Any]:
    """Where 1 + x * x is x * x, x elsewhere (and 1 there), and 1 / |x|; complex numbers are never so far."""
    one = full_like(x, 1)
    if x.type.dtype.kind == "c":
        return None, x, one
    size = abs_(x)
    far = gt(size, full_like(x, 2.0 ** (ml_dtypes.finfo(x.type.dtype).nmant // 2 + 2)))
    return far, select(far, one, x), div(one, size)


def _chosen(far: Any, there: Any, elsewhere: Any) -> Any:
    return elsewhere if far is None else select(far, there, elsewhere)


def _one_minus_square(x: Any) -> Any:
    one = full_like(x, 1)
    return mul(sub(one, x), add(one, x))  # exact where x is close to one


sin, cos, tan, asin, acos, atan, atan2 = Sin(), Cos(), Tan(), Asin(), Acos(), Atan(), Atan2()
sinh, cosh, asinh, acosh, atanh = Sinh(), Cosh(), Asinh(), Acosh(), Atanh()
