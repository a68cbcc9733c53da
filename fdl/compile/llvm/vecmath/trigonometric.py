"""Sine, cosine, tangent and their inverses."""

import math

import numpy as np

from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath.reduction import quadrant
from fdl.compile.llvm.vecmath.tables import MathFunction, format_of, polynomial

#: Low parts of the rounded constants pi / 2 and pi.
_REST = {"float32": -8.742278000372485e-08, "float64": 1.2246467991473532e-16}


def _sin_cos(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    """(q, sin(r), cos(r)) for x = q pi / 2 + r."""
    f = format_of(x.dtype)
    q, r, low = quadrant(b, x)
    z = r * r
    sine = r + b.fma(z * r, polynomial(b, z, f.sin), b.fma(z * -0.5, low, low))
    half = z * 0.5
    whole = 1.0 - half
    cosine = whole + (((1.0 - whole) - half) + b.fma(z * z, polynomial(b, z, f.cos), -(r * low)))
    return q, sine, cosine


def _signed(b: FunctionBuilder, x: Value, negative: Value) -> Value:
    return b.select(negative, -x, x)


def sin(b: FunctionBuilder, x: Value) -> Value:
    """Sine of an angle in radians."""
    q, sine, cosine = _sin_cos(b, x)
    result = _signed(b, b.select(b.eq(q & 1, 0), sine, cosine), b.ne(q & 2, 0))
    return b.select(b.eq(x, 0.0), x, result)


def cos(b: FunctionBuilder, x: Value) -> Value:
    """Cosine of an angle in radians."""
    q, sine, cosine = _sin_cos(b, x)
    return _signed(b, b.select(b.eq(q & 1, 0), cosine, sine), b.ne((q + 1) & 2, 0))


def tan(b: FunctionBuilder, x: Value) -> Value:
    """Tangent of an angle in radians."""
    q, sine, cosine = _sin_cos(b, x)
    even = b.eq(q & 1, 0)
    return b.select(b.eq(x, 0.0), x, b.select(even, sine, -cosine) / b.select(even, cosine, sine))


def atan2(b: FunctionBuilder, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), in (-pi, pi]."""
    width, height = b.abs(x), b.abs(y)
    steep = height > width
    low, high = b.select(steep, width, height), b.select(steep, height, width)
    # Above tan(pi / 8) the angle is taken from pi / 4.
    turned = (low > high * math.tan(math.pi / 8)) | b.eq(low, np.inf)
    scale = b.select(high > 1e30, 2.0**-4, b.constant(1.0, x.dtype, x.lanes))
    low, high = low * scale, high * scale
    t = b.select(turned, low - high, low) / b.select(turned, low + high, high)
    t = b.select(b.eq(high, 0.0), 0.0, t)
    t = b.select(b.eq(low, np.inf), 0.0, t)
    z = t * t
    angle = b.fma(t * z, polynomial(b, z, format_of(x.dtype).atan), t)
    rest = _REST[str(x.dtype)]
    angle = b.select(turned, (angle + rest / 4) + math.pi / 4, angle)
    angle = b.select(steep, math.pi / 2 - (angle - rest / 2), angle)
    left = b.copysign(b.constant(1.0, x.dtype, x.lanes), x) < 0.0
    angle = b.select(left, math.pi - (angle - rest), angle)
    angle = b.copysign(angle, y)
    return b.select(b.eq(x, x) & b.eq(y, y), angle, x + y)


def atan(b: FunctionBuilder, x: Value) -> Value:
    """Inverse tangent."""
    return atan2(b, x, b.constant(1.0, x.dtype, x.lanes))


def _half_angle(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value, Value]:
    """(s, v, w, p): |x| is small, and the inverse sine of v is v + w p.

    Of a large |x| that of v / 2 is half of pi / 2 - asin(|x|): the root of (1 - |x|) / 2, which is exact.
    """
    size = b.abs(x)
    small = size < 0.5
    z = b.select(small, x * x, (1.0 - size) * 0.5)
    root = b.sqrt(z)
    v = b.select(small, size, root + root)
    return small, v, v * z, polynomial(b, z, format_of(x.dtype).asin)


def asin(b: FunctionBuilder, x: Value) -> Value:
    """Inverse sine; NaN beyond 1."""
    small, v, w, p = _half_angle(b, x)
    large = (math.pi / 2 - v) - b.fma(w, p, -_REST[str(x.dtype)] / 2)
    return b.copysign(b.select(small, b.fma(w, p, v), large), x)


def acos(b: FunctionBuilder, x: Value) -> Value:
    """Inverse cosine; NaN beyond 1."""
    small, v, w, p = _half_angle(b, x)
    rest, left = _REST[str(x.dtype)], x < 0.0
    middle = (math.pi / 2 - b.copysign(v, x)) - b.fma(b.copysign(w, x), p, -rest / 2)
    outer = b.select(left, (math.pi - v) - b.fma(w, p, -rest), b.fma(w, p, v))
    return b.select(small, middle, outer)


FUNCTIONS: dict[str, MathFunction] = {
    "sin": sin, "cos": cos, "tan": tan, "asin": asin, "acos": acos, "atan": atan, "atan2": atan2,
}  # fmt: skip
