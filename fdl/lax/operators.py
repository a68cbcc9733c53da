"""Elementwise operations, by their lax names: operands of one shape, or scalars beside one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import as_operand as as_array
from fdl.array import as_weak
from fdl.config import config
from fdl.core.trace import Value
from fdl.core.types import Array, TensorType
from fdl.dtypes import ALL, BOOLEAN, COMPLEX, FLOATING, SIGNED, UNSIGNED, WEAK, as_dtype, bool_, is_inexact
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import beside, expand_to, integer, promote
from fdl.ops import arithmetic, bitwise, compare, rounding, sigmoid, special, transcendental, trigonometric
from fdl.ops import complex as complex_ops
from fdl.ops.arithmetic import IntegerPow, StopGradient
from fdl.ops.convert import bitcast
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


_KINDS = {"boolean": BOOLEAN, "signed": SIGNED, "unsigned": UNSIGNED, "floating-point": FLOATING, "complex": COMPLEX}


def _documented(function: Callable[..., Any], name: str, operation: Any, operands: str, example: str) -> Any:
    """The function under its own name, with a docstring from the primitive's sentence, domain and result."""
    kinds = ", ".join(kind for kind, dtypes in _KINDS.items() if set(dtypes) & set(operation.domain))
    given = [dtype for dtype in operation.domain if dtype in ALL][-1]
    found = operation.result(*[TensorType((), given)] * operation.arity).dtype
    result = "the same dtype" if found == given else "dtype bool" if found == bool_ else f"dtype {found} for {given}"
    operand = "the operand" if operation.arity == 1 else "an operand"
    args, shown = example.split(" -> ")
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{operation.__class__.__doc__}

    Args:
        {operands}; dtype {kinds}.

    Returns:
        An array of that shape, of {result}.

    Raises:
        DtypeError: {operand} has another dtype.

    >>> import fdl
    >>> fdl.lax.{name}({args})
    Array({shown})
    """
    return function


def _check(name: str, operation: Any, operand: Any) -> None:
    if operand.type.dtype not in operation.domain:
        raise DtypeError(f"lax.{name} is not defined for {operand.type}; convert it first with convert_element_type")


def _unary(name: str, operation: Any, example: str) -> Callable[[Any], Array]:
    """The function that applies a primitive of one operand; `example` is "arguments -> inside of Array(...)"."""

    def function(x: Any) -> Any:
        x = as_array(x, f"the operand of {name}")
        _check(name, operation, x)
        return operation(x)

    return _documented(function, name, operation, "x: array of any shape, or scalar", example)


def _binary(name: str, operation: Any, example: str, ordered: bool = False) -> Callable[[Any, Any], Array]:
    """The function that applies a primitive of two operands; `example` as for :func:`_unary`.

    If it is `ordered`, complex numbers, which fdl.numpy compares as NumPy does, are refused.
    """

    def function(x: Any, y: Any) -> Any:
        x, y = _broadcast(name, x, y)
        _check(name, operation, x)
        if ordered and x.type.dtype.kind == "c":
            raise DtypeError(f"lax.{name} is not defined for {x.type}: complex numbers have no order")
        return operation(x, y)

    operands = "x, y: arrays of one shape (but for extents of 1) and dtype, or scalars"
    return _documented(function, name, operation, operands, example)


def _aligned(name: str, *args: Any, keys: bool = False) -> list[Any]:
    """Operands of one dtype; scalars are repeated to the shape of the others, which must be equal."""
    values = promote(name, *args, keys=keys)
    shapes = {v.type.shape for v in values if v.type.shape != ()}
    if len(shapes) > 1:
        raise ShapeError(f"lax.{name} needs operands of one shape (or scalars), got {_types(values)}")
    shape = shapes.pop() if shapes else ()
    return [expand_to(v, shape) for v in values]


def _broadcast(name: str, *args: Any) -> list[Any]:
    """Operands of one dtype and shape: scalars and, among arrays of as many axes, extents of 1 are repeated."""
    values = promote(name, *args)
    shapes = {v.type.shape for v in values if v.type.shape != ()}
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        shape = None
    if shape is None or len({len(s) for s in shapes}) > 1:
        raise ShapeError(
            f"lax.{name} needs operands of one shape, scalars, or extents of 1 along as many axes, got "
            f"{_types(values)}; fdl.numpy also adds axes in front"
        )
    return [expand_to(v, shape) for v in values]


def _types(values: Sequence[Any]) -> str:
    return ", ".join(str(v.type) for v in values)


def _chooser(name: str, which: Any, shape: tuple[int, ...]) -> Any:
    """What chooses among cases of a shape: a scalar, or an array of that shape."""
    which = as_array(which, f"the first operand of {name}")
    if which.type.shape not in ((), shape):
        raise ShapeError(
            f"lax.{name} chooses by a scalar, or by an array of the cases' shape {shape}; got {which.type}"
        )
    return expand_to(which, shape)


neg = _unary("neg", arithmetic.neg, "2.0 -> -2., dtype=float32")
sign = _unary("sign", arithmetic.sign, "-2.0 -> -1., dtype=float32")
abs = _unary("abs", arithmetic.abs_, "3.0 + 4.0j -> 5., dtype=float32")
exp = _unary("exp", transcendental.exp, "0.0 -> 1., dtype=float32")
exp2 = _unary("exp2", transcendental.exp2, "3.0 -> 8., dtype=float32")
expm1 = _unary("expm1", transcendental.expm1, "0.0 -> 0., dtype=float32")
log = _unary("log", transcendental.log, "1.0 -> 0., dtype=float32")
log1p = _unary("log1p", transcendental.log1p, "0.0 -> 0., dtype=float32")
sqrt = _unary("sqrt", transcendental.sqrt, "9.0 -> 3., dtype=float32")
rsqrt = _unary("rsqrt", transcendental.rsqrt, "4.0 -> 0.5, dtype=float32")
cbrt = _unary("cbrt", transcendental.cbrt, "27.0 -> 3., dtype=float32")
logistic = _unary("logistic", sigmoid.logistic, "0.0 -> 0.5, dtype=float32")
sin = _unary("sin", trigonometric.sin, "0.0 -> 0., dtype=float32")
cos = _unary("cos", trigonometric.cos, "0.0 -> 1., dtype=float32")
tan = _unary("tan", trigonometric.tan, "0.0 -> 0., dtype=float32")
asin = _unary("asin", trigonometric.asin, "0.5 -> 0.52359..., dtype=float32")
acos = _unary("acos", trigonometric.acos, "1.0 -> 0., dtype=float32")
atan = _unary("atan", trigonometric.atan, "1.0 -> 0.78539..., dtype=float32")
sinh = _unary("sinh", trigonometric.sinh, "0.0 -> 0., dtype=float32")
cosh = _unary("cosh", trigonometric.cosh, "0.0 -> 1., dtype=float32")
tanh = _unary("tanh", sigmoid.tanh, "0.0 -> 0., dtype=float32")
asinh = _unary("asinh", trigonometric.asinh, "1.0 -> 0.88137..., dtype=float32")
acosh = _unary("acosh", trigonometric.acosh, "1.0 -> 0., dtype=float32")
atanh = _unary("atanh", trigonometric.atanh, "0.5 -> 0.54930..., dtype=float32")
erf = _unary("erf", special.erf, "0.5 -> 0.52049..., dtype=float32")
erfc = _unary("erfc", special.erfc, "0.5 -> 0.47950..., dtype=float32")
erf_inv = _unary("erf_inv", special.erf_inv, "0.5 -> 0.47693..., dtype=float32")
lgamma = _unary("lgamma", special.lgamma, "4.0 -> 1.79175..., dtype=float32")
digamma = _unary("digamma", special.digamma, "1.0 -> -0.57721..., dtype=float32")
bessel_i0e = _unary("bessel_i0e", special.i0e, "0.0 -> 1., dtype=float32")
bessel_i1e = _unary("bessel_i1e", special.i1e, "1.0 -> 0.20791..., dtype=float32")
floor = _unary("floor", rounding.floor, "-1.5 -> -2., dtype=float32")
ceil = _unary("ceil", rounding.ceil, "-1.5 -> -1., dtype=float32")
is_finite = _unary("is_finite", compare.is_finite, 'float("nan") -> False, dtype=bool')
bitwise_not = _unary("bitwise_not", bitwise.not_, "5 -> -6, dtype=int32")
population_count = _unary("population_count", bitwise.population_count, "7 -> 3, dtype=int32")
clz = _unary("clz", bitwise.clz, "1 -> 31, dtype=int32")
real = _unary("real", complex_ops.real, "1.0 + 2.0j -> 1., dtype=float32")
imag = _unary("imag", complex_ops.imag, "1.0 + 2.0j -> 2., dtype=float32")

add = _binary("add", arithmetic.add, "1.0, 2.0 -> 3., dtype=float32")
sub = _binary("sub", arithmetic.sub, "1.0, 2.0 -> -1., dtype=float32")
mul = _binary("mul", arithmetic.mul, "3.0, 2.0 -> 6., dtype=float32")
div = _binary("div", arithmetic.div, "-7, 2 -> -3, dtype=int32")
rem = _binary("rem", arithmetic.rem, "-7, 2 -> -1, dtype=int32")
nextafter = _binary("nextafter", arithmetic.nextafter, "0.0, 1.0 -> 1.e-45, dtype=float32")
max = _binary("max", arithmetic.max_, "1.0, 2.0 -> 2., dtype=float32")
min = _binary("min", arithmetic.min_, "1.0, 2.0 -> 1., dtype=float32")
pow = _binary("pow", transcendental.pow_, "2.0, 3.0 -> 8., dtype=float32")
atan2 = _binary("atan2", trigonometric.atan2, "1.0, -1.0 -> 2.35619..., dtype=float32")
eq = _binary("eq", compare.eq, "1, 2 -> False, dtype=bool")
ne = _binary("ne", compare.ne, "1, 2 -> True, dtype=bool")
lt = _binary("lt", compare.lt, "1, 2 -> True, dtype=bool", ordered=True)
le = _binary("le", compare.le, "2, 2 -> True, dtype=bool", ordered=True)
gt = _binary("gt", compare.gt, "1, 2 -> False, dtype=bool", ordered=True)
ge = _binary("ge", compare.ge, "2, 2 -> True, dtype=bool", ordered=True)
bitwise_and = _binary("bitwise_and", bitwise.and_, "6, 3 -> 2, dtype=int32")
bitwise_or = _binary("bitwise_or", bitwise.or_, "6, 3 -> 7, dtype=int32")
bitwise_xor = _binary("bitwise_xor", bitwise.xor, "6, 3 -> 5, dtype=int32")
shift_left = _binary("shift_left", bitwise.shift_left, "3, 2 -> 12, dtype=int32")
shift_right_logical = _binary("shift_right_logical", bitwise.shift_right_logical, "-1, 28 -> 15, dtype=int32")
shift_right_arithmetic = _binary("shift_right_arithmetic", bitwise.shift_right_arithmetic, "-8, 1 -> -4, dtype=int32")
igamma = _binary("igamma", special.igamma, "1.0, 1.0 -> 0.63212..., dtype=float32")
igammac = _binary("igammac", special.igammac, "1.0, 1.0 -> 0.36787..., dtype=float32")
complex = _binary("complex", complex_ops.complex_, "1.0, 2.0 -> 1.+2.j, dtype=complex64")


def conj(x: Any) -> Array:
    """The complex conjugate.

    Args:
        x: array of complex numbers; float32 and float64 become complex first.

    Returns:
        A complex array of the shape of `x`.

    Raises:
        DtypeError: the operand has another dtype.

    >>> import fdl
    >>> fdl.lax.conj(1.0 + 2.0j)
    Array(1.-2.j, dtype=complex64)
    """
    x = as_array(x, "the operand of conj")
    whole = complex(x, 0) if x.type.dtype.kind == "f" else x
    _check("conj", complex_ops.conj, whole)
    return complex_ops.conj(whole)


def integer_pow(x: Any, y: int) -> Array:
    """`x` to a power that is a Python integer.

    Args:
        x: array of numbers.
        y: Python integer; of integers not negative.

    Returns:
        An array of the shape and dtype of `x`.

    >>> import fdl
    >>> fdl.lax.integer_pow(2.0, -1)
    Array(0.5, dtype=float32)
    """
    return IntegerPow(integer("integer_pow: y", y))(as_array(x))


def square(x: Any) -> Array:
    """`x` times itself.

    Args:
        x: array of numbers.

    Returns:
        An array of the shape and dtype of `x`.

    >>> import fdl
    >>> fdl.lax.square(-3.0)
    Array(9., dtype=float32)
    """
    return IntegerPow(2)(as_array(x))


def reciprocal(x: Any) -> Array:
    """One divided by `x`.

    Args:
        x: array of floating-point or complex numbers.

    Returns:
        An array of the shape and dtype of `x`.

    >>> import fdl
    >>> fdl.lax.reciprocal(4.0)
    Array(0.25, dtype=float32)
    """
    return IntegerPow(-1)(as_array(x))


def round(x: Any, rounding_method: int = 0) -> Array:
    """`x` rounded to integers, halves away from zero (method 0) or to even (method 1).

    Args:
        x: array of floating-point numbers.
        rounding_method: 0 or 1.

    Returns:
        An array of the shape and dtype of `x`.

    >>> import fdl
    >>> fdl.lax.round(2.5), fdl.lax.round(2.5, 1)
    (Array(3., dtype=float32), Array(2., dtype=float32))
    """
    return rounding.round_(as_array(x), "even" if rounding_method else "away")


def select(pred: Any, on_true: Any, on_false: Any) -> Array:
    """`on_true` where `pred` holds, else `on_false`.

    Args:
        pred: bool; a scalar, or of the shape of the others.
        on_true, on_false: arrays of one shape and dtype (scalars are repeated).

    Returns:
        An array of the shape and dtype of `on_true` and `on_false`.

    Raises:
        ShapeError: `on_true` and `on_false` differ in shape.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.select(fnp.array([True, False]), fnp.array([1, 2]), fnp.array([3, 4]))
    Array([1, 4], dtype=int32)
    """
    on_true, on_false = _aligned("select", on_true, on_false, keys=True)
    return select_primitive(_chooser("select", pred, on_true.type.shape), on_true, on_false)


def select_n(which: Any, *cases: Any) -> Array:
    """The elements ``cases[which]``.

    Args:
        which: bool (two cases) or integers; a scalar, or of the shape of the cases.
        *cases: arrays of one shape and dtype (scalars are repeated).

    Returns:
        An array of the shape and dtype of the cases.

    Raises:
        ShapeError: the cases differ in shape, or there are more than two for a bool.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.select_n(fnp.array([2, 0]), fnp.array([1, 2]), fnp.array([3, 4]), fnp.array([5, 6]))
    Array([5, 2], dtype=int32)
    """
    if not cases:
        raise TypeError("select_n needs at least one case")
    cases = tuple(_aligned("select_n", *cases, keys=True))
    which = _chooser("select_n", which, cases[0].type.shape)
    if which.type.dtype == bool_:
        if len(cases) > 2:
            raise ShapeError(f"select_n with a boolean `which` takes one or two cases, got {len(cases)}")
        return cases[0] if len(cases) == 1 else select_primitive(which, cases[1], cases[0])
    result = cases[0]
    for number, case in enumerate(cases[1:], 1):
        chosen = compare.ge(which, expand_to(as_array(np.asarray(number, which.type.dtype)), which.type.shape))
        result = select_primitive(chosen, case, result)
    return result


def clamp(min: Any, x: Any, max: Any) -> Array:
    """`x` limited to [min, max]; the limits are scalars or of its shape.

    Args:
        min: lower limit, a scalar or of the shape of `x`.
        x: array of numbers.
        max: upper limit, a scalar or of the shape of `x`.

    Returns:
        An array of the shape and dtype of `x`.

    Raises:
        ShapeError: a limit has another shape.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.clamp(0.0, fnp.array([-1.0, 0.5, 2.0]), 1.0)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    return clamp_primitive(*_aligned("clamp", min, x, max))


def stop_gradient(x: Any) -> Any:
    """`x` (a pytree), as a constant for differentiation.

    Args:
        x: pytree; leaves that are not floating-point or complex stay as they are.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    >>> import fdl
    >>> fdl.grad(lambda x: x * fdl.lax.stop_gradient(x))(3.0)
    Array(3., dtype=float32)
    """

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Value) and not hasattr(leaf, "dtype") and type(leaf) is not float:
            return leaf
        if type(leaf) in WEAK:
            leaf = as_weak(leaf).strong() if config.weak_arrays else as_weak(leaf)
        leaf = as_array(leaf)
        return StopGradient()(leaf) if is_inexact(leaf.type.dtype) else leaf

    return tree.map(one, x)


def convert_element_type(operand: Any, new_dtype: Any) -> Array:
    """`operand` in another dtype.

    Args:
        operand: array of any dtype.
        new_dtype: dtype of the result.

    Returns:
        An array of the shape of `operand`.

    >>> import fdl
    >>> fdl.lax.convert_element_type(2.7, "int32")
    Array(2, dtype=int32)
    """
    return beside("convert_element_type", operand, as_dtype(new_dtype))


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Array:
    """The bits of `operand` read as another dtype; a different width adds or removes a last axis.

    Args:
        operand: array of booleans or numbers.
        new_dtype: dtype as which to read them.

    Returns:
        An array of `new_dtype`, of the shape of `operand` if both have the same width.

    Raises:
        ShapeError: `new_dtype` is wider, and the last axis does not hold the parts of one element.

    >>> import fdl
    >>> fdl.lax.bitcast_convert_type(1.0, "int32")
    Array(1065353216, dtype=int32)
    """
    return bitcast(as_array(operand), as_dtype(new_dtype))


def betainc(a: Any, b: Any, x: Any) -> Array:
    """The regularized incomplete beta function.

    Args:
        a, b: positive floating-point numbers; arrays of one shape, or scalars.
        x: of the same dtype, in [0, 1].

    Returns:
        An array of that shape and dtype.

    Raises:
        ShapeError: the operands differ in shape.

    >>> import fdl
    >>> fdl.lax.betainc(1.0, 1.0, 0.25)
    Array(0.25, dtype=float32)
    """
    return special.betainc(*_broadcast("betainc", a, b, x))
