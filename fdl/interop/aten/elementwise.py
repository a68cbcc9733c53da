"""Elementwise ATen operators."""

import math
import operator as python
from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
import fdl.scipy.special as special
from fdl import lax, nn
from fdl.array import as_array
from fdl.core.types import Array
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Number = bool | int | float | complex


def rank(dtype: Any) -> int:
    """Bool, integer, floating, complex: the categories of PyTorch's promotion.

    >>> rank(np.dtype("int8")), rank(np.dtype("float32"))
    (1, 2)
    """
    if dtype == np.bool_:
        return 0
    if fnp.issubdtype(dtype, fnp.integer):
        return 1
    return 2 if fnp.issubdtype(dtype, fnp.floating) else 3


def operands(*values: Any) -> list[Any]:
    """Operands by PyTorch's promotion, in which an array without axes does not widen one with axes in its category.

    >>> [x.dtype.name for x in operands(fnp.ones(2, "float16"), fnp.float32(1))]
    ['float16', 'float16']
    """
    arrays = [v for v in values if not isinstance(v, Number)]
    if len(arrays) < 2 or not all(hasattr(v, "dtype") for v in arrays):
        return list(values)
    full = [v.dtype for v in arrays if np.ndim(v)]
    if not full or len(full) == len(arrays):
        return list(values)
    common = fnp.result_type(*full)
    return [
        as_array(v).astype(common)
        if not isinstance(v, Number) and not np.ndim(v) and rank(v.dtype) <= rank(common)
        else v
        for v in values
    ]


def binary(function: Callable[[Any, Any], Any], *names: str) -> None:
    """An operator of two operands, arrays or numbers."""
    define(*names)(lambda a, b: function(*operands(a, b)))


UNARY: dict[str, Callable[..., Any]] = {
    "abs": fnp.abs, "neg": fnp.negative, "exp": fnp.exp, "exp2": fnp.exp2, "expm1": fnp.expm1, "log": fnp.log,
    "log2": fnp.log2, "log10": fnp.log10, "log1p": fnp.log1p, "sqrt": fnp.sqrt, "rsqrt": lambda x: 1 / fnp.sqrt(x),
    "square": fnp.square, "reciprocal": lambda x: 1 / x, "sin": fnp.sin, "cos": fnp.cos, "tan": fnp.tan,
    "asin": fnp.arcsin, "acos": fnp.arccos, "atan": fnp.arctan, "sinh": fnp.sinh, "cosh": fnp.cosh, "tanh": fnp.tanh,
    "asinh": fnp.arcsinh, "acosh": fnp.arccosh, "atanh": fnp.arctanh, "sigmoid": nn.sigmoid, "erf": special.erf,
    "erfc": special.erfc, "erfinv": special.erfinv, "lgamma": special.gammaln, "digamma": special.digamma,
    "floor": fnp.floor, "ceil": fnp.ceil, "trunc": fnp.trunc, "sign": fnp.sign, "sgn": fnp.sign, "isnan": fnp.isnan,
    "isinf": fnp.isinf, "isfinite": fnp.isfinite, "logical_not": fnp.logical_not, "bitwise_not": fnp.bitwise_not,
    "deg2rad": fnp.deg2rad, "rad2deg": fnp.rad2deg, "signbit": fnp.signbit, "sinc": fnp.sinc, "real": fnp.real,
    "imag": fnp.imag, "angle": fnp.angle, "frac": lambda x: x - fnp.trunc(x), "positive": lambda x: x,
    "special_erf": special.erf, "special_expit": nn.sigmoid, "special_log1p": fnp.log1p, "special_i0": fnp.i0,
}  # fmt: skip

BINARY: dict[str, Callable[..., Any]] = {
    "mul": fnp.multiply, "maximum": fnp.maximum, "minimum": fnp.minimum, "fmax": fnp.fmax, "fmin": fnp.fmin,
    "fmod": fnp.fmod, "remainder": fnp.remainder, "floor_divide": fnp.floor_divide, "atan2": fnp.arctan2,
    "eq": fnp.equal, "ne": fnp.not_equal, "lt": fnp.less, "le": fnp.less_equal, "gt": fnp.greater,
    "ge": fnp.greater_equal, "logical_and": fnp.logical_and, "logical_or": fnp.logical_or,
    "logical_xor": fnp.logical_xor, "bitwise_and": fnp.bitwise_and, "bitwise_or": fnp.bitwise_or,
    "bitwise_xor": fnp.bitwise_xor, "__and__": fnp.bitwise_and, "__or__": fnp.bitwise_or, "__xor__": fnp.bitwise_xor,
    "bitwise_left_shift": fnp.left_shift, "bitwise_right_shift": fnp.right_shift, "__lshift__": fnp.left_shift,
    "__rshift__": fnp.right_shift, "pow": fnp.power, "hypot": fnp.hypot, "copysign": fnp.copysign,
    "logaddexp": fnp.logaddexp, "logaddexp2": fnp.logaddexp2, "nextafter": fnp.nextafter, "xlogy": special.xlogy,
    "heaviside": fnp.heaviside, "true_divide": fnp.true_divide,
}  # fmt: skip
OVERLOADS = ("default", "Tensor", "Scalar", "Tensor_Tensor", "Tensor_Scalar", "Scalar_Tensor")

#: Numbers made of extents, which Python computes.
NUMBERS: dict[str, Callable[..., Any]] = {
    "add": python.add, "sub": python.sub, "mul": python.mul, "floordiv": python.floordiv, "mod": python.mod,
    "truediv": python.truediv, "neg": python.neg, "pow": python.pow, "eq": python.eq, "ne": python.ne,
    "lt": python.lt, "le": python.le, "gt": python.gt, "ge": python.ge, "and_": python.and_, "or_": python.or_,
    "getitem": python.getitem,
}  # fmt: skip
SYMBOLIC: dict[str, Callable[..., Any]] = {
    "sym_float": float, "sym_int": int, "sym_max": max, "sym_min": min, "sym_not": python.not_, "ceil": math.ceil,
    "floor": math.floor, "trunc": math.trunc, "sqrt": math.sqrt, "_sym_sqrt": math.sqrt,
    "sym_ite": lambda test, a, b: a if test else b, "sym_sum": sum,
}  # fmt: skip

for name, function in UNARY.items():
    define(f"aten.{name}.default")(function)
for name, function in BINARY.items():
    binary(function, *[f"aten.{name}.{overload}" for overload in OVERLOADS])
for name, function in NUMBERS.items():
    define(f"python.{name}")(function)
for name, function in SYMBOLIC.items():
    define(f"sym.{name}")(function)


@define("aten.add.Tensor", "aten.add.Scalar")
def add(a: Any, b: Any, alpha: Any = 1) -> Any:
    a, b = operands(a, b)
    return fnp.add(a, b if alpha == 1 else b * alpha)


@define("aten.sub.Tensor", "aten.sub.Scalar", "aten.subtract.Tensor")
def sub(a: Any, b: Any, alpha: Any = 1) -> Any:
    a, b = operands(a, b)
    return fnp.subtract(a, b if alpha == 1 else b * alpha)


@define("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(a: Any, b: Any, alpha: Any = 1) -> Any:
    return sub(b, a, alpha)


@define("aten.div.Tensor", "aten.div.Scalar", "aten.divide.Tensor")
def div(a: Any, b: Any) -> Any:
    return fnp.true_divide(*operands(a, b))


@define("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(a: Any, b: Any, rounding_mode: str | None) -> Any:
    a, b = operands(a, b)
    if rounding_mode is None:
        return fnp.true_divide(a, b)
    if rounding_mode == "floor":
        return fnp.floor_divide(a, b)
    quotient = fnp.trunc(fnp.true_divide(a, b))
    return quotient.astype(fnp.result_type(a, b))


@define("aten.round.default", "aten.round.decimals")
def round(x: Any, decimals: int = 0) -> Any:
    return fnp.round(x, decimals)


@define("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def where(condition: Any, a: Any, b: Any) -> Any:
    return fnp.where(condition, *operands(a, b))


@define("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return fnp.where(mask, fnp.asarray(value, x.dtype), x)


@define("aten.clamp.default", "aten.clamp.Tensor", "aten.clip.default")
def clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    """Bounds themselves pass gradients on, which `fnp.clip` halves."""
    if low is not None:
        x, low = operands(x, low)
        x = fnp.where(x < low, low, x)
    if high is not None:
        x, high = operands(x, high)
        x = fnp.where(x > high, high, x)
    return x


@define("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(x: Any, low: Any) -> Any:
    return clamp(x, low)


@define("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(x: Any, high: Any) -> Any:
    return clamp(x, None, high)


@define("aten.lerp.Tensor", "aten.lerp.Scalar")
def lerp(a: Any, b: Any, weight: Any) -> Any:
    return a + weight * (b - a)


@define("aten.addcmul.default")
def addcmul(x: Any, a: Any, b: Any, value: Any = 1) -> Any:
    return x + value * a * b


@define("aten.addcdiv.default")
def addcdiv(x: Any, a: Any, b: Any, value: Any = 1) -> Any:
    return x + value * a / b


@define("aten.nan_to_num.default")
def nan_to_num(x: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    return fnp.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


@define("aten.isclose.default")
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    return fnp.isclose(a, b, rtol, atol, equal_nan)


@define("aten.relu.default")
def relu(x: Any) -> Array:
    return nn.relu(x)


@define("aten.relu6.default")
def relu6(x: Any) -> Array:
    return hardtanh(x, 0, 6)


@define("aten.hardtanh.default")
def hardtanh(x: Any, low: float = -1, high: float = 1) -> Array:
    return fnp.where(x <= low, fnp.asarray(low, x.dtype), fnp.where(x >= high, fnp.asarray(high, x.dtype), x))


@define("aten.hardsigmoid.default")
def hardsigmoid(x: Any) -> Array:
    return hardtanh(x + 3, 0, 6) / 6


@define("aten.hardswish.default")
def hardswish(x: Any) -> Array:
    return x * hardsigmoid(x)


@define("aten.gelu.default")
def gelu(x: Any, approximate: str = "none") -> Array:
    return nn.gelu(x, approximate=approximate == "tanh")


@define("aten.silu.default")
def silu(x: Any) -> Array:
    return nn.silu(x)


@define("aten.mish.default")
def mish(x: Any) -> Array:
    return nn.mish(x)


@define("aten.elu.default")
def elu(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Array:
    below = fnp.where(x > 0, fnp.zeros((), x.dtype), x)
    return fnp.where(x > 0, x * scale, alpha * scale * fnp.expm1(below * input_scale))


@define("aten.celu.default")
def celu(x: Any, alpha: float = 1.0) -> Array:
    return elu(x, alpha, 1, 1 / alpha)


@define("aten.selu.default")
def selu(x: Any) -> Array:
    return elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@define("aten.leaky_relu.default")
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Array:
    return fnp.where(x > 0, x, x * negative_slope)


@define("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(x: Any, weight: Any) -> Array:
    if np.ndim(weight) == 1 and weight.shape[0] > 1 and x.ndim > 1:
        weight = weight.reshape(-1, *[1] * (x.ndim - 2))
    return fnp.where(x > 0, x, x * weight)


@define("aten.softplus.default")
def softplus(x: Any, beta: float = 1, threshold: float = 20) -> Array:
    steep = x * beta > threshold
    return fnp.where(steep, x, nn.softplus(fnp.where(steep, fnp.zeros((), x.dtype), x) * beta) / beta)


@define("aten.log_sigmoid.default")
def log_sigmoid(x: Any) -> Array:
    return nn.log_sigmoid(x)


@define("aten.threshold.default")
def threshold(x: Any, limit: float, value: float) -> Array:
    return fnp.where(x > limit, x, fnp.asarray(value, x.dtype))


@define("aten.hardshrink.default")
def hardshrink(x: Any, limit: float = 0.5) -> Array:
    return fnp.where(fnp.abs(x) > limit, x, fnp.zeros((), x.dtype))


@define("aten.softshrink.default")
def softshrink(x: Any, limit: float = 0.5) -> Array:
    return fnp.where(fnp.abs(x) > limit, x - limit * fnp.sign(x), fnp.zeros((), x.dtype))


@define("aten.glu.default")
def glu(x: Any, dim: int = -1) -> Array:
    a, b = fnp.split(x, 2, axis=dim)
    return a * nn.sigmoid(b)


@define("aten.to.dtype", "aten._to_copy.default", "aten.to.dtype_layout", "aten.to.device")
def to_dtype(x: Any, dtype: Any = None, *others: Any) -> Any:
    return x if dtype is None else fnp.asarray(x).astype(dtype)


@define("aten.type_as.default", "aten.to.other")
def type_as(x: Any, other: Any, *others: Any) -> Any:
    return x.astype(other.dtype)


@define("fdl.stop_gradient", "aten.detach.default")
def stop_gradient(x: Any) -> Any:
    return lax.stop_gradient(x)


@define(
    "aten.clone.default", "aten.contiguous.default", "aten.alias.default", "aten.lift_fresh_copy.default",
    "aten.lift.default", "aten.lift_fresh.default",
)  # fmt: skip
def same(x: Any, *settings: Any) -> Any:
    return x
