"""Numbers rounded to fewer bits, and the high bits of products."""

from typing import Any

import numpy as np

from fdl.api.closures import linear_call
from fdl.api.custom import custom_jvp
from fdl.array import as_operand as as_array
from fdl.dtypes import FLOATING, INTEGER
from fdl.errors import DtypeError
from fdl.numpy._operands import matched
from fdl.ops import bitwise
from fdl.ops.arithmetic import abs_, add, mul, sub
from fdl.ops.compare import eq, ge, lt
from fdl.ops.convert import bitcast, convert
from fdl.ops.select import select
from fdl.ops.shape import full_like

__all__ = ["mulhi", "reduce_precision"]

#: Bits of exponent and mantissa.
_FORMATS = {"float64": (11, 52), "float32": (8, 23), "float16": (5, 10), "bfloat16": (8, 7)}


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    """A number rounded to a floating-point format of fewer bits, in the dtype that it has; tangents are rounded, too.

    Args:
        operand: array of floats.
        exponent_bits: at least 1; if fewer than the dtype has, larger numbers become infinite, and smaller ones 0.
        mantissa_bits: rounded to the nearest, halves to even.

    Raises:
        DtypeError: the operand is no float.
        ValueError: there are no such formats.

    >>> import fdl
    >>> fdl.lax.reduce_precision(3.14159, 5, 2)
    Array(3., dtype=float32)
    """
    x = as_array(operand, "the operand of reduce_precision")
    if x.dtype not in FLOATING:
        raise DtypeError(f"reduce_precision rounds floating-point numbers, got {x.type}")
    if exponent_bits < 1 or mantissa_bits < 0:
        raise ValueError(
            "reduce_precision needs exponent_bits of at least 1 and mantissa_bits that are not negative, got "
            f"{exponent_bits} and {mantissa_bits}"
        )

    @custom_jvp
    def rounded(x: Any) -> Any:
        return _rounded(x, exponent_bits, mantissa_bits)

    def rule(primals: Any, tangents: Any) -> Any:
        # Rounding is no linear function; it stands for one whose transpose is itself.
        def tangent(_: Any, t: Any) -> Any:
            return _rounded(t, exponent_bits, mantissa_bits)

        return rounded(*primals), linear_call(tangent, tangent, (), tangents[0])

    rounded.defjvp(rule)
    return rounded(x)


def _rounded(x: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    has_exponent, has_mantissa = _FORMATS[str(x.dtype)]
    special = bitwise.or_(ge(abs_(x), full_like(x, np.inf)), bitwise.not_(eq(x, x)))
    out = x
    if mantissa_bits < has_mantissa:
        bits = bitcast(x, np.dtype(f"uint{8 * x.dtype.itemsize}"))
        dropped = has_mantissa - mantissa_bits
        one = full_like(bits, 1)
        last = bitwise.and_(bitwise.shift_right_logical(bits, full_like(bits, dropped)), one)
        bits = add(bits, add(full_like(bits, (1 << (dropped - 1)) - 1), last))
        kept = ~np.asarray((1 << dropped) - 1, bits.dtype)
        out = select(special, x, bitcast(bitwise.and_(bits, full_like(bits, kept)), x.dtype))
    if exponent_bits < has_exponent:
        largest = 2 ** (exponent_bits - 1) - 1  # the exponent of the largest numbers
        sign = _sign(x)
        out = select(ge(abs_(out), full_like(x, 2.0 ** (largest + 1))), mul(sign, full_like(x, np.inf)), out)
        out = select(lt(abs_(out), full_like(x, 2.0 ** (1 - largest))), mul(sign, full_like(x, 0)), out)
    return out


def _sign(x: Any) -> Any:
    """1 or -1 by the sign bit of x."""
    signed = bitcast(x, np.dtype(f"int{8 * x.dtype.itemsize}"))
    return select(lt(signed, full_like(signed, 0)), full_like(x, -1), full_like(x, 1))


def mulhi(x: Any, y: Any, /) -> Any:
    """The high half of the bits of the product of two integers, which has twice as many as they.

    Args:
        x: array of integers.
        y: array of the same dtype.

    Raises:
        DtypeError: they are no integers.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.mulhi(fnp.uint32(2**31), fnp.uint32(6))
    Array(3, dtype=uint32)
    """
    a, b = matched("mulhi", as_array(x, "mulhi: x"), as_array(y, "mulhi: y"))
    dtype = a.dtype
    if dtype not in INTEGER:
        raise DtypeError(f"mulhi multiplies integers, got {a.type}")
    if dtype.itemsize < 4:
        wide = np.dtype(f"{dtype.kind}4")
        product = mul(convert(a, wide), convert(b, wide))
        shift = bitwise.shift_right_arithmetic if dtype.kind == "i" else bitwise.shift_right_logical
        return convert(shift(product, full_like(product, 8 * dtype.itemsize)), dtype)
    unsigned = np.dtype(f"u{dtype.itemsize}")  # not twice the width: there may be no arrays of 64 bits
    u, v = bitcast(a, unsigned), bitcast(b, unsigned)
    high = _high(u, v)
    if dtype.kind == "i":  # Hacker's Delight, 8-3: a sign counts 2**bits times the other factor
        zero = full_like(u, 0)
        high = sub(high, select(lt(a, full_like(a, 0)), v, zero))
        high = sub(high, select(lt(b, full_like(b, 0)), u, zero))
    return bitcast(high, dtype)


def _high(u: Any, v: Any) -> Any:
    """The high half of a product of unsigned integers, by halves of their bits."""
    bits = 4 * u.type.dtype.itemsize
    half, mask = full_like(u, bits), full_like(u, 2**bits - 1)
    (u1, u0), (v1, v0) = ((bitwise.shift_right_logical(w, half), bitwise.and_(w, mask)) for w in (u, v))
    low = bitwise.shift_right_logical(mul(u0, v0), half)
    middle = add(mul(u1, v0), low)
    rest = add(mul(u0, v1), bitwise.and_(middle, mask))
    top = add(mul(u1, v1), bitwise.shift_right_logical(middle, half))
    return add(top, bitwise.shift_right_logical(rest, half))
