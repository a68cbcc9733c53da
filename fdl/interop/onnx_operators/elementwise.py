"""Elementwise ONNX operators."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

import fdl.numpy as fnp
import fdl.scipy.special as special
from fdl import lax, nn
from fdl.core.types import Array
from fdl.errors import ConcretizationError, InteropError
from fdl.interop.aten import elementwise as aten
from fdl.interop.onnx_graph import dtype_of
from fdl.interop.onnx_operators import narrow
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

UNARY: dict[str, Callable[..., Any]] = {
    "Abs": fnp.abs, "Neg": fnp.negative, "Exp": fnp.exp, "Log": fnp.log, "Sqrt": fnp.sqrt, "Sin": fnp.sin,
    "Reciprocal": lambda x: (1 / x).astype(x.dtype), "Cos": fnp.cos, "Tan": fnp.tan, "Asin": fnp.arcsin,
    "Acos": fnp.arccos, "Atan": fnp.arctan, "Sinh": fnp.sinh, "Cosh": fnp.cosh, "Tanh": fnp.tanh, "Asinh": fnp.arcsinh,
    "Acosh": fnp.arccosh, "Atanh": fnp.arctanh, "Sigmoid": nn.sigmoid, "Erf": special.erf, "Floor": fnp.floor,
    "Ceil": fnp.ceil, "Round": fnp.round, "Sign": fnp.sign, "IsNaN": fnp.isnan, "Not": fnp.logical_not,
    "BitwiseNot": fnp.bitwise_not, "Relu": nn.relu, "Softplus": nn.softplus, "Mish": nn.mish,
    "Softsign": lambda x: x / (1 + fnp.abs(x)), "HardSwish": aten.hardswish, "Identity": lambda x: x,
}  # fmt: skip

BINARY: dict[str, Callable[..., Any]] = {
    "Add": fnp.add, "Sub": fnp.subtract, "Mul": fnp.multiply, "And": fnp.logical_and, "Or": fnp.logical_or,
    "Xor": fnp.logical_xor, "Equal": fnp.equal, "Greater": fnp.greater, "GreaterOrEqual": fnp.greater_equal,
    "Less": fnp.less, "LessOrEqual": fnp.less_equal, "BitwiseAnd": fnp.bitwise_and, "BitwiseOr": fnp.bitwise_or,
    "BitwiseXor": fnp.bitwise_xor,
}  # fmt: skip

for name, function in (UNARY | BINARY).items():
    define(name)(function)


@define("Div")
def div(a: Any, b: Any) -> Array:
    if fnp.issubdtype(a.dtype, fnp.integer):  # towards zero
        quotient = fnp.abs(a) // fnp.abs(b)
        return (quotient * (fnp.sign(a) * fnp.sign(b))).astype(a.dtype)
    return fnp.true_divide(a, b)


@define("Mod")
def mod(a: Any, b: Any, fmod: int = 0) -> Array:
    return fnp.fmod(a, b) if fmod else fnp.remainder(a, b)


@define("Pow")
def power(a: Any, b: Any) -> Array:
    return fnp.power(a, b).astype(a.dtype)


@define("BitShift")
def bit_shift(a: Any, b: Any, direction: str) -> Array:
    return fnp.left_shift(a, b) if direction == "LEFT" else fnp.right_shift(a, b)


@define("IsInf")
def is_inf(x: Any, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    return fnp.isinf(x) & (((x > 0) & bool(detect_positive)) | ((x < 0) & bool(detect_negative)))


@define("Sum")
def total(*arrays: Any) -> Array:
    return reduce(fnp.add, arrays)


@define("Mean")
def mean(*arrays: Any) -> Array:
    return total(*arrays) / len(arrays)


@define("Max")
def maximum(*arrays: Any) -> Array:
    return reduce(fnp.maximum, arrays)


@define("Min")
def minimum(*arrays: Any) -> Array:
    return reduce(fnp.minimum, arrays)


@define("Where")
def where(condition: Any, a: Any, b: Any) -> Array:
    return fnp.where(condition, a, b)


@define("Clip")
def clip(x: Any, low: Any = None, high: Any = None, min: Any = None, max: Any = None) -> Array:
    return aten.clamp(x, min if low is None else low, max if high is None else high)


@define("Cast")
def cast(x: Any, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    return narrow.cast(x, dtype_of(to), bool(saturate), round_mode)


@define("CastLike")
def cast_like(x: Any, other: Any, saturate: int = 1, round_mode: str = "up") -> Any:
    return narrow.cast(x, other.dtype, bool(saturate), round_mode)


@define("Elu")
def elu(x: Any, alpha: float = 1.0) -> Array:
    return aten.elu(x, alpha)


@define("Celu")
def celu(x: Any, alpha: float = 1.0) -> Array:
    return aten.celu(x, alpha)


@define("Selu")
def selu(x: Any, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Array:
    return aten.elu(x, alpha, gamma)


@define("LeakyRelu")
def leaky_relu(x: Any, alpha: float = 0.01) -> Array:
    return aten.leaky_relu(x, alpha)


@define("PRelu")
def prelu(x: Any, slopes: Any) -> Array:
    return fnp.where(x < 0, x * slopes, x)


@define("ThresholdedRelu")
def thresholded_relu(x: Any, alpha: float = 1.0) -> Array:
    return aten.threshold(x, alpha, 0)


@define("HardSigmoid")
def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Array:
    return aten.hardtanh(x * alpha + beta, 0, 1)


@define("Gelu")
def gelu(x: Any, approximate: str = "none") -> Array:
    return aten.gelu(x, approximate)


@define("Swish")
def swish(x: Any, alpha: float = 1.0) -> Array:
    return x * nn.sigmoid(x * alpha)


@define("SwiGLU")
def swiglu(a: Any, b: Any, alpha: float = 1.0) -> Array:
    return (a * nn.sigmoid(a * alpha) * b).astype(a.dtype)


@define("BitCast")
def bit_cast(x: Any, to: int) -> Array:
    dtype = dtype_of(to)
    if np.bool_ in (x.dtype, dtype):
        return fnp.asarray(x).astype(dtype)  # a byte that is 0 or 1
    return lax.bitcast_convert_type(x, dtype)


@define("Shrink")
def shrink(x: Any, bias: float = 0.0, lambd: float = 0.5) -> Array:
    zero = fnp.zeros((), x.dtype)
    return fnp.where(x < -lambd, x + bias, fnp.where(x > lambd, x - bias, zero)).astype(x.dtype)


@define("Dropout")
def dropout(x: Any, ratio: Any = 0.5, training_mode: Any = None, **attributes: Any) -> tuple[Array, Array]:
    """As in evaluation."""
    if training_mode is not None and not (_is_known(training_mode, 0) or _is_known(ratio, 0)):
        raise InteropError(
            "from_onnx: the model has dropout in training mode, for which it gives no random key; export it for "
            "evaluation, or give a function for it: from_onnx(..., operators={'Dropout': function})"
        )
    return x, fnp.ones(x.shape, np.bool_)


def _is_known(value: Any, number: float) -> bool:
    try:
        return bool(np.all(np.asarray(value) == number))
    except ConcretizationError:
        return False
