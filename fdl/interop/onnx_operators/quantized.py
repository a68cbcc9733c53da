"""ONNX operators on integers that stand for real numbers: ``(integer - zero) * scale``."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.interop.onnx_graph import dtype_of
from fdl.interop.onnx_operators import narrow
from fdl.interop.onnx_operators.networks import conv
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def spread(value: Any, x: Any, axis: int, block_size: int) -> Any:
    """A scale or a zero for each element, for each place along an axis, or for each block along it."""
    if value.ndim == 0 or value.size == 1:
        return fnp.reshape(value, ())
    axis = axis % x.ndim
    if block_size:
        repeated = fnp.repeat(value, block_size, axis=axis)
        return repeated[tuple([slice(0, n) for n in x.shape])]
    if value.ndim == 1:
        return fnp.reshape(value, [-1 if a == axis else 1 for a in range(x.ndim)])
    return value


def rounded(x: Any, zero: Any, dtype: np.dtype, saturate: bool = True) -> Any:
    """Numbers in units of the scale as integers; those out of range are moved into it."""
    if "int" not in dtype.name:
        return narrow.cast(x + zero, dtype, saturate)
    return narrow.cast(fnp.clip(fnp.round(x) + zero, *narrow.limits(dtype)), dtype)


@define("QuantizeLinear")
def quantize(
    x: Any,
    scale: Any,
    zero: Any = None,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Any:
    dtype = zero.dtype if zero is not None else dtype_of(output_dtype or 2)
    wide = dtype_of(precision) if precision else np.dtype(np.float32)
    units = (x.astype(wide) / spread(scale, x, axis, block_size).astype(wide)).astype(np.float32)
    shift = 0 if zero is None else spread(narrow.plain(zero), x, axis, block_size).astype(np.float32)
    return rounded(units, shift, np.dtype(dtype), bool(saturate))


@define("DequantizeLinear")
def dequantize(
    x: Any, scale: Any, zero: Any = None, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Array:
    difference = fnp.asarray(x.astype(np.float32))
    if zero is not None:
        difference = difference - spread(narrow.plain(zero), x, axis, block_size).astype(np.float32)
    found = difference * spread(scale, x, axis, block_size)
    return found.astype(dtype_of(output_dtype) if output_dtype else scale.dtype)


@define("DynamicQuantizeLinear")
def dynamic_quantize(x: Any) -> tuple[Array, Array, Array]:
    low, high = fnp.minimum(x.min(), 0), fnp.maximum(x.max(), 0)
    scale = (high - low) / 255
    scale = fnp.where(scale == 0, fnp.ones((), x.dtype), scale)
    zero = fnp.clip(fnp.round(-low / scale), 0, 255)
    return rounded(x / scale, zero, np.dtype(np.uint8)), scale, zero.astype(np.uint8)


def centred(x: Any, zero: Any, axis: int | None = None) -> Array:
    """Integers less their zero, as 32-bit integers; zeros may differ along an axis."""
    wide = x.astype(np.int32)
    if zero is None:
        return wide
    zero = zero.astype(np.int32)
    if zero.ndim == 1 and zero.size > 1 and axis is not None:
        zero = fnp.reshape(zero, [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
    return wide - (fnp.reshape(zero, ()) if zero.size == 1 else zero)


@define("MatMulInteger")
def matmul_integer(a: Any, b: Any, zero_a: Any = None, zero_b: Any = None) -> Array:
    return fnp.matmul(centred(a, zero_a, -2), centred(b, zero_b, -1))


@define("QLinearMatMul")
def qlinear_matmul(
    a: Any, scale_a: Any, zero_a: Any, b: Any, scale_b: Any, zero_b: Any, scale: Any, zero: Any
) -> Array:
    product = matmul_integer(a, b, zero_a, zero_b).astype(np.float32)
    factor = scale_a.astype(np.float32) * scale_b.astype(np.float32) / scale.astype(np.float32)
    return rounded(product * factor, zero.astype(np.float32), np.dtype(zero.dtype))


@define("ConvInteger")
def conv_integer(x: Any, w: Any, zero_x: Any = None, zero_w: Any = None, **settings: Any) -> Array:
    return conv(centred(x, zero_x), centred(w, zero_w, 0), None, **settings)


@define("QLinearConv")
def qlinear_conv(
    x: Any,
    scale_x: Any,
    zero_x: Any,
    w: Any,
    scale_w: Any,
    zero_w: Any,
    scale: Any,
    zero: Any,
    bias: Any = None,
    **settings: Any,
) -> Array:
    total = conv_integer(x, w, zero_x, zero_w, **settings)
    channels = [1, -1, *[1] * (x.ndim - 2)]
    if bias is not None:
        total = total + fnp.reshape(bias, channels)
    factor = scale_x * scale_w / scale
    factor = fnp.reshape(factor, channels) if factor.size > 1 else fnp.reshape(factor, ())
    return rounded(total.astype(np.float32) * factor, zero.astype(np.float32), np.dtype(zero.dtype))
