"""Rows of the elementwise functions of fdl.numpy."""

import numpy as np

import fdl.numpy as fnp
from tests.namesakes.draws import ALL, BOOL, COMPLEX, FLOATS, INTS, REALS, Draw
from tests.namesakes.engine import Call, Table, call, common

TABLE = Table(fnp, np)
row = TABLE.row


def one(dtypes, **settings):
    return lambda d: call(d.array(dtypes, **settings))


def _number_of(c: Call):
    return np.dtype(np.int32) if common(c).kind == "b" else common(c)


REAL_AND_COMPLEX = (
    "sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp exp2 log sqrt log1p log2 log10"
)
for name in REAL_AND_COMPLEX.split():
    row(name, one(REALS), kind="inexact", ulps=8)
for alias, name in zip(
    "asin acos atan asinh acosh atanh".split(), "arcsin arccos arctan arcsinh arccosh arctanh".split(), strict=True
):
    row(alias, one(REALS), getattr(np, name), kind="inexact", ulps=8)
row("expm1 cbrt deg2rad rad2deg degrees radians", one(REALS), kind="inexact", ulps=8)
row("sinc", one(REALS, low=-20, high=20), kind="inexact", near=True)
row("i0", one(REALS, low=-9, high=9), kind="inexact", ulps=16)
row("fabs rint", one(REALS), kind="inexact")
row("spacing", one(("float32", "float64")), kind="raw")
row("square", one(ALL), zeros=False, dtype=_number_of)
row("negative", one(FLOATS + INTS))
row("positive conjugate conj", one(FLOATS + INTS + COMPLEX))
row("absolute", one(ALL), dtype=lambda c: c.args[0].real.dtype)
row("abs", one(ALL), np.abs, dtype=lambda c: c.args[0].real.dtype)
row("sign", one(FLOATS + INTS))
row("floor ceil trunc", one(REALS))
row("reciprocal", one(FLOATS))


def _round(d: Draw) -> Call:
    x = d.array(REALS, low=-2000, high=2000)
    halves = x.dtype.kind == "f" and d.flag()
    x = (np.round(x.astype(np.float64)) / 2).astype(x.dtype) if halves else x
    return call(x, **d.some(decimals=0 if halves else d.pick(0, 1, 2, -1, -2)))


row("round around", _round, np.round, ulps=8, zeros=False, lenient=True)
row("isnan isinf isfinite", one(ALL), dtype=bool)
row("isneginf isposinf", one(REALS), dtype=bool)
row("iscomplex isreal", one(ALL), dtype=bool)
row("signbit", one(FLOATS + INTS), dtype=bool)
row("logical_not", one(ALL), dtype=bool)
row("invert bitwise_invert bitwise_not", one(INTS + BOOL), np.invert)
row("bitwise_count", one(INTS), dtype=None)
row("real", one(ALL), dtype=lambda c: c.args[0].real.dtype)
row("imag", one(ALL), dtype=lambda c: c.args[0].real.dtype)


def _angle(d: Draw) -> Call:
    return call(d.array(FLOATS[:2] + COMPLEX), **d.some(deg=True))


row("angle", _angle, dtype=None, ulps=8, zeros=False)
row("frexp", one(FLOATS), dtype=lambda c: (c.args[0].dtype, np.dtype(np.int32)))
row("modf", one(REALS), kind="inexact")


def _nan_to_num(d: Draw) -> Call:
    return call(d.array(("float64", "float32", "float16", *INTS, "bool")), **d.some(nan=1.5, posinf=2.0, neginf=-3.0))


row("nan_to_num", _nan_to_num, kind="raw")


def pair(names: str, dtypes, oracle=None, **settings) -> None:
    """Rows of functions of two operands, which promote."""
    row(names, lambda d: call(*d.operands(dtypes)), oracle, promoted=True, **settings)


pair("add multiply", ALL, zeros=False)
pair("subtract", FLOATS + INTS + COMPLEX, zeros=False)
pair("maximum minimum fmax fmin", REALS, zeros=False)
pair("logaddexp logaddexp2", FLOATS, kind="inexact", ulps=8, near=True)
pair("divide true_divide arctan2 hypot copysign heaviside", REALS, kind="inexact")
pair("atan2", REALS, np.arctan2, kind="inexact")
pair("nextafter", ("float32", "float64"), kind="raw")
pair("equal not_equal", ALL, dtype=bool)
pair("less less_equal greater greater_equal", REALS, dtype=bool)
pair("logical_and logical_or logical_xor", ALL, dtype=bool)
pair("bitwise_and bitwise_or bitwise_xor", INTS + BOOL, refuses=lambda c: common(c).kind == "f")


def _quotients(d: Draw) -> Call:
    return call(*d.operands((*FLOATS, "int32", "int8", "uint8", "int64", "bool")))


def _unless_bool(function):
    """NumPy divides booleans as int8; fdl, like JAX, as int32."""
    return lambda x, y: function(x.astype(np.int32), y.astype(np.int32)) if x.dtype == bool else function(x, y)


def floor_divide(x, y):
    """NumPy's, and the Array API's values where an operand is infinite."""
    found = np.floor_divide(x, y)
    return found if np.asarray(x).dtype.kind in "iub" else np.where(np.isinf(x) | np.isinf(y), x / y, found)


for name in "floor_divide remainder mod fmod".split():
    row(
        name,
        _quotients,
        _unless_bool(floor_divide if name == "floor_divide" else getattr(np, name)),
        promoted=True,
        dtype=_number_of,
        ulps=4,
        near=True,
        examples=3,
    )
row(
    "divmod",
    _quotients,
    _unless_bool(lambda x, y: (floor_divide(x, y), np.remainder(x, y))),
    promoted=True,
    dtype=_number_of,
    near=True,
    examples=3,
)


def _powers(d: Draw) -> Call:
    if d.flag():
        return call(d.array(("int32", "int8", "uint8", "int64")), d.array(("int32", "uint8"), (), low=0, high=8))
    return call(*d.operands(FLOATS))


row("power pow", _powers, np.power, promoted=True, ulps=8)
pair("float_power", REALS, lambda x, y: np.power(x, y), kind="inexact", ulps=8)
row("gcd lcm", lambda d: call(*d.operands(("int32", "int8", "uint8", "int64"), low=-60, high=60)), promoted=True)
row("ldexp", lambda d: call(d.array(FLOATS), d.array(("int32",), (), low=-5, high=5)), dtype=lambda c: c.args[0].dtype)


def _shift(d: Draw) -> Call:
    x = d.array(INTS)
    return call(x, d.elements(x.dtype, (), False, 0, 8 * x.itemsize + 3))


row("left_shift bitwise_left_shift", _shift, np.left_shift)
row("right_shift bitwise_right_shift", _shift, np.right_shift)


def _clip(d: Draw) -> Call:
    x = d.array(REALS)
    return call(x, **d.some(min=d.elements(x.dtype, (), False), max=d.elements(x.dtype, (), False)))


row("clip", _clip, zeros=False, lenient=True)


def _close(d: Draw) -> Call:
    x, y = d.operands(("float32", "float64", "int32"))
    y = x if d.flag() else y
    return call(x, y, **d.some(equal_nan=True, rtol=0.1, atol=0.5))


row("isclose", _close, dtype=bool, promoted=True)
row("allclose", _close, dtype=bool, promoted=True)
row("array_equal", _close_without_tolerance := (lambda d: call(*_close(d).args, **d.some(equal_nan=True))), dtype=bool)
row("array_equiv", lambda d: call(*d.operands(("float32", "int32"))), dtype=bool)


def _unwrap(d: Draw) -> Call:
    x = d.array(("float32", "float64"), least=1, low=-20, high=20)
    return call(
        x, **d.some(axis=d.axis(x, none=False), discont=d.pick(4.0, 0.5), period=d.pick(6.283185307179586, 4.0))
    )


row("unwrap", _unwrap, near=True, ulps=16)
