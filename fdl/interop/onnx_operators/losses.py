"""ONNX's losses and quantization."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.core.types import Array
from fdl.interop.aten.reductions import nll_loss
from fdl.interop.onnx_graph import dtype_of
from fdl.interop.onnx_operators.shapes import numbers
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


@define("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    logs: Any, target: Any, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean"
) -> Array:
    ignored = -(2**31) if ignore_index is None else ignore_index
    return nll_loss(logs, fnp.asarray(target).astype(np.int32), weight, REDUCTIONS[reduction], ignored)


@define("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean"
) -> tuple[Array, Array]:
    logs = nn.log_softmax(x, axis=1)
    return negative_log_likelihood_loss(logs, target, weight, ignore_index, reduction), logs


@define("EyeLike")
def eye_like(x: Any, dtype: int | None = None, k: int = 0) -> Array:
    rows, columns = x.shape
    return fnp.eye(rows, columns, k=k, dtype=x.dtype if dtype is None else dtype_of(dtype))


@define("CumProd")
def cumprod(x: Any, axis: Any, exclusive: int = 0, reverse: int = 0) -> Array:
    along = numbers(axis, "the axis of CumProd")[0]
    x = fnp.flip(x, along) if reverse else x
    out = fnp.cumprod(x, axis=along, dtype=x.dtype)
    if exclusive:
        before = [(1, 0) if axis == along % x.ndim else (0, 0) for axis in range(x.ndim)]
        padded = fnp.pad(out, before, constant_values=1)
        out = padded[tuple([slice(0, n) for n in x.shape])]
    return fnp.flip(out, along) if reverse else out


@define("RotaryEmbedding")
def rotary_embedding(
    x: Any,
    cosines: Any,
    sines: Any,
    positions: Any = None,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Array:
    """[batch, heads, length, size], or [batch, length, heads * size]."""
    shape = x.shape
    if x.ndim == 3:
        x = x.reshape(shape[0], shape[1], num_heads, -1).swapaxes(1, 2)
    if positions is not None:
        cosines, sines = fnp.take(cosines, positions, axis=0), fnp.take(sines, positions, axis=0)
    cosines, sines = cosines[:, None], sines[:, None]
    size = rotary_embedding_dim or x.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    first, second = (
        (turned[..., 0::2], turned[..., 1::2]) if interleaved else (turned[..., : size // 2], turned[..., size // 2 :])
    )
    parts = (first * cosines - second * sines, first * sines + second * cosines)
    out = fnp.stack(parts, axis=-1).reshape(turned.shape) if interleaved else fnp.concatenate(parts, axis=-1)
    out = fnp.concatenate([out, rest], axis=-1)
    return out.swapaxes(1, 2).reshape(shape) if len(shape) == 3 else out
