"""Elementwise operations, by their lax names: operands of one shape, or scalars beside one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.core.trace import Value
from fdl.dtypes import as_dtype, bool_, is_inexact
from fdl.errors import ShapeError
from fdl.numpy._operands import expand_to, promote
from fdl.ops import arithmetic, bitwise, compare, rounding, special, transcendental, trigonometric
from fdl.ops import complex as complex_ops
from fdl.ops.arithmetic import IntegerPow, StopGradient
from fdl.ops.convert import bitcast, convert
from fdl.ops.select import clamp as clamp_primitive
from fdl.ops.select import select as select_primitive

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bessel_i0e",
    "bessel_i1e",
    "betainc",
    "bitcast_convert_type",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clamp",
    "clz",
    "complex",
    "conj",
    "convert_element_type",
    "cos",
    "cosh",
    "digamma",
    "div",
    "eq",
    "erf",
    "erf_inv",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "ge",
    "gt",
    "igamma",
    "igammac",
    "imag",
    "integer_pow",
    "is_finite",
    "le",
    "lgamma",
    "log",
    "log1p",
    "logistic",
    "lt",
    "max",
    "min",
    "mul",
    "ne",
    "neg",
    "nextafter",
    "population_count",
    "pow",
    "real",
    "reciprocal",
    "rem",
    "round",
    "rsqrt",
    "select",
    "select_n",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "stop_gradient",
    "sub",
    "tan",
    "tanh",
]


def _documented(function: Callable[..., Any], name: str, operation: Any) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    function.__doc__ = operation.__class__.__doc__
    return function


def _unary(name: str, operation: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        return operation(as_array(x, f"the operand of {name}"))

    return _documented(function, name, operation)


def _binary(name: str, operation: Any) -> Callable[[Any, Any], Any]:
    def function(x: Any, y: Any) -> Any:
        return operation(*_aligned(name, x, y))

    return _documented(function, name, operation)


def _aligned(name: str, *args: Any) -> list[Any]:
    """Operands of one dtype; scalars are repeated to the shape of the others, which must be equal."""
    values = promote(name, *args)
    shapes = {v.type.shape for v in values if v.type.shape != ()}
    if len(shapes) > 1:
        raise ShapeError(
            f"lax.{name} needs operands of one shape (or scalars), got {', '.join(str(v.type) for v in values)}; "
            f"fdl.numpy broadcasts, lax does not"
        )
    shape = shapes.pop() if shapes else ()
    return [expand_to(v, shape) for v in values]


neg, sign, abs = _unary("neg", arithmetic.neg), _unary("sign", arithmetic.sign), _unary("abs", arithmetic.abs_)
exp, exp2 = _unary("exp", transcendental.exp), _unary("exp2", transcendental.exp2)
expm1, log, log1p = (_unary(n, getattr(transcendental, n)) for n in ("expm1", "log", "log1p"))
sqrt, rsqrt, cbrt = (_unary(n, getattr(transcendental, n)) for n in ("sqrt", "rsqrt", "cbrt"))
logistic = _unary("logistic", transcendental.logistic)
sin, cos, tan = (_unary(n, getattr(trigonometric, n)) for n in ("sin", "cos", "tan"))
asin, acos, atan = (_unary(n, getattr(trigonometric, n)) for n in ("asin", "acos", "atan"))
sinh, cosh, tanh = (_unary(n, getattr(trigonometric, n)) for n in ("sinh", "cosh", "tanh"))
asinh, acosh, atanh = (_unary(n, getattr(trigonometric, n)) for n in ("asinh", "acosh", "atanh"))
erf, erfc, erf_inv = (_unary(n, getattr(special, n)) for n in ("erf", "erfc", "erf_inv"))
lgamma, digamma = _unary("lgamma", special.lgamma), _unary("digamma", special.digamma)
bessel_i0e, bessel_i1e = _unary("bessel_i0e", special.i0e), _unary("bessel_i1e", special.i1e)
floor, ceil = _unary("floor", rounding.floor), _unary("ceil", rounding.ceil)
is_finite = _unary("is_finite", compare.is_finite)
bitwise_not = _unary("bitwise_not", bitwise.not_)
population_count, clz = _unary("population_count", bitwise.population_count), _unary("clz", bitwise.clz)
real, imag, conj = (_unary(n, getattr(complex_ops, n)) for n in ("real", "imag", "conj"))

add, sub, mul, div = (_binary(n, getattr(arithmetic, n)) for n in ("add", "sub", "mul", "div"))
rem, nextafter = _binary("rem", arithmetic.rem), _binary("nextafter", arithmetic.nextafter)
max, min = _binary("max", arithmetic.max_), _binary("min", arithmetic.min_)
pow, atan2 = _binary("pow", transcendental.pow_), _binary("atan2", trigonometric.atan2)
eq, ne, lt, le, gt, ge = (_binary(n, getattr(compare, n)) for n in ("eq", "ne", "lt", "le", "gt", "ge"))
bitwise_and, bitwise_or = _binary("bitwise_and", bitwise.and_), _binary("bitwise_or", bitwise.or_)
bitwise_xor = _binary("bitwise_xor", bitwise.xor)
shift_left = _binary("shift_left", bitwise.shift_left)
shift_right_logical = _binary("shift_right_logical", bitwise.shift_right_logical)
shift_right_arithmetic = _binary("shift_right_arithmetic", bitwise.shift_right_arithmetic)
igamma, igammac = _binary("igamma", special.igamma), _binary("igammac", special.igammac)
complex = _binary("complex", complex_ops.complex_)


def integer_pow(x: Any, y: int) -> Any:
    """`x` to a power that is a Python integer."""
    return IntegerPow(int(y))(as_array(x))


def square(x: Any) -> Any:
    """`x` times itself."""
    return IntegerPow(2)(as_array(x))


def reciprocal(x: Any) -> Any:
    """One divided by `x`."""
    return IntegerPow(-1)(as_array(x))


def round(x: Any, rounding_method: int = 0) -> Any:
    """`x` rounded to integers, halves away from zero (method 0) or to even (method 1)."""
    return rounding.round_(as_array(x), "even" if rounding_method else "away")


def select(pred: Any, on_true: Any, on_false: Any) -> Any:
    """`on_true` where `pred` holds, else `on_false`.

    Args:
        pred: bool; a scalar, or of the shape of the others.
        on_true, on_false: arrays of one shape and dtype (scalars are repeated).
    """
    on_true, on_false = _aligned("select", on_true, on_false)
    return select_primitive(expand_to(as_array(pred), on_true.type.shape), on_true, on_false)


def select_n(which: Any, *cases: Any) -> Any:
    """``cases[which]``, elementwise; `which` is bool (two cases) or an integer, a scalar or of the cases' shape."""
    cases = tuple(_aligned("select_n", *cases))
    which = expand_to(as_array(which), cases[0].type.shape)
    if which.type.dtype == bool_:
        if len(cases) > 2:
            raise ShapeError(f"select_n with a boolean `which` takes one or two cases, got {len(cases)}")
        return cases[0] if len(cases) == 1 else select_primitive(which, cases[1], cases[0])
    result = cases[0]
    for number, case in enumerate(cases[1:], 1):
        chosen = compare.ge(which, expand_to(as_array(np.asarray(number, which.type.dtype)), which.type.shape))
        result = select_primitive(chosen, case, result)
    return result


def clamp(min: Any, x: Any, max: Any) -> Any:
    """`x` limited to [min, max]; the limits are scalars or of its shape."""
    return clamp_primitive(*_aligned("clamp", min, x, max))


def stop_gradient(x: Any) -> Any:
    """`x` (a pytree), as a constant for differentiation.

    >>> import fdl
    >>> fdl.grad(lambda x: x * fdl.lax.stop_gradient(x))(3.0)
    Array(3., dtype=float32)
    """
    from fdl import tree

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Value) and not hasattr(leaf, "dtype") and type(leaf) is not float:
            return leaf
        leaf = as_array(leaf)
        return StopGradient()(leaf) if is_inexact(leaf.type.dtype) else leaf

    return tree.map(one, x)


def convert_element_type(operand: Any, new_dtype: Any) -> Any:
    """`operand` in another dtype."""
    return convert(as_array(operand), as_dtype(new_dtype))


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Any:
    """The bits of `operand` read as another dtype; a different width adds or removes a last axis."""
    return bitcast(as_array(operand), as_dtype(new_dtype))


def betainc(a: Any, b: Any, x: Any) -> Any:
    """The regularised incomplete beta function."""
    return special.betainc(*_aligned("betainc", a, b, x))
