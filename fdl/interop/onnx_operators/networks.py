"""ONNX operators of networks: convolution, pooling, normalization."""

from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.interop import channels_first as images
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Ints = Sequence[int]


def window_pads(
    x: Any, window: Ints, strides: Ints, dilation: Ints, pads: Ints | None, auto_pad: str
) -> list[tuple[int, int]]:
    """Padding (low, high) an axis, as given or as auto_pad says."""
    rank = len(window)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        around = []
        for extent, size, stride, step in zip(x.shape[2:], window, strides, dilation, strict=True):
            total = max((-(extent // -stride) - 1) * stride + (size - 1) * step + 1 - extent, 0)
            low = total // 2 if auto_pad == "SAME_UPPER" else -(total // -2)
            around.append((low, total - low))
        return around
    if pads is None or auto_pad == "VALID":
        return [(0, 0)] * rank
    return [(pads[i], pads[i + rank]) for i in range(rank)]


@define("Conv")
def conv(
    x: Any,
    w: Any,
    bias: Any = None,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    window = w.shape[2:]
    steps, spread = strides or [1] * len(window), dilations or [1] * len(window)
    return images.conv(x, w, bias, steps, window_pads(x, window, steps, spread, pads, auto_pad), spread, group)


@define("ConvTranspose")
def conv_transpose(
    x: Any,
    w: Any,
    bias: Any = None,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    window, rank = w.shape[2:], w.ndim - 2
    steps, spread, more = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    around: list[tuple[int, int]] = window_pads(x, window, steps, spread, pads, "NOTSET")
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = output_shape[-rank:] if output_shape else [n * s for n, s in zip(x.shape[2:], steps, strict=True)]
        around = []
        for i in range(rank):
            total = steps[i] * (x.shape[2 + i] - 1) + more[i] + (window[i] - 1) * spread[i] + 1 - wanted[i]
            low = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            around.append((low, total - low))
    return images.conv_transpose(x, w, bias, steps, around, spread, more, group)


def pooled(
    x: Any,
    kernel_shape: Ints,
    auto_pad: str,
    ceil_mode: int,
    dilations: Ints | None,
    pads: Ints | None,
    strides: Ints | None,
) -> tuple[Any, ...]:
    """Window, steps, padding as given and as needed, dilation."""
    rank = len(kernel_shape)
    steps, spread = strides or [1] * rank, dilations or [1] * rank
    around = window_pads(x, kernel_shape, steps, spread, pads, auto_pad)
    needed = images.ceil_pads(x.shape[2:], kernel_shape, steps, around, spread) if ceil_mode else around
    return kernel_shape, steps, around, needed, spread


@define("MaxPool")
def max_pool(
    x: Any,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> Array:
    window, steps, _, needed, spread = pooled(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    return images.max_pool(x, window, steps, needed, spread)


@define("AveragePool")
def average_pool(
    x: Any,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    window, steps, around, needed, spread = pooled(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    return images.avg_pool(x, window, steps, needed, spread, around if count_include_pad else None)


@define("GlobalAveragePool")
def global_average_pool(x: Any) -> Array:
    return fnp.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@define("GlobalMaxPool")
def global_max_pool(x: Any) -> Array:
    return fnp.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@define("BatchNormalization")
def batch_normalization(
    x: Any,
    scale: Any,
    bias: Any,
    mean: Any,
    var: Any,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> tuple[Array, ...]:
    if not training_mode:
        return images.normalized(x, mean, var, scale, bias, epsilon), mean, var
    axes = (0, *range(2, x.ndim))
    own_mean, own_var = fnp.mean(x, axis=axes), fnp.var(x, axis=axes)
    running = [old * momentum + new * (1 - momentum) for old, new in ((mean, own_mean), (var, own_var))]
    return images.normalized(x, own_mean, own_var, scale, bias, epsilon), *running


@define("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, bias: Any, epsilon: float = 1e-5) -> Array:
    return images.group_norm(x, x.shape[1], scale, bias, epsilon)


@define("GroupNormalization")
def group_normalization(
    x: Any, scale: Any, bias: Any, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    return images.group_norm(x, num_groups, scale, bias, epsilon)


@define("LayerNormalization")
def layer_normalization(
    x: Any, scale: Any, bias: Any = None, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Array, ...]:
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = fnp.mean(x, axis=axes, keepdims=True)
    inverse = lax.rsqrt(fnp.mean((x - mean) ** 2, axis=axes, keepdims=True) + epsilon)
    out = (x - mean) * inverse * scale
    return (out if bias is None else out + bias), mean, inverse


@define("RMSNormalization")
def rms_normalization(x: Any, scale: Any, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Array:
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x * lax.rsqrt(fnp.mean(x * x, axis=axes, keepdims=True) + epsilon) * scale


@define("LRN")
def lrn(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Array:
    low = (size - 1) // 2
    squares = fnp.pad(x * x, [(0, 0), (low, size - 1 - low), *[(0, 0)] * (x.ndim - 2)])
    total = sum((lax.slice_in_dim(squares, i, i + x.shape[1], axis=1) for i in range(1, size)),
                lax.slice_in_dim(squares, 0, x.shape[1], axis=1))  # fmt: skip
    return x / (bias + alpha / size * total) ** beta
