"""ONNX operators of networks: convolution, pooling, normalization."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.core.types import Array
from fdl.interop import channels_first as images
from fdl.interop.onnx_operators.shapes import numbers
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
    indices: int = 0,
) -> Any:
    """The largest elements, and if something reads them, their places in the whole of x."""
    window, steps, _, needed, spread = pooled(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    if not indices:
        return images.max_pool(x, window, steps, needed, spread)
    values, places = images.max_pool_indices(x, window, steps, needed, spread)
    space = x.shape[2:]
    if storage_order:  # places are counted column by column
        order = np.arange(math.prod(space), dtype=np.int32).reshape(space[::-1]).T.reshape(-1)
        places = fnp.take(fnp.asarray(order), places)
    rows = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * len(space)) * math.prod(space)
    return values, places.astype(np.int64) + fnp.asarray(rows)


@define("MaxUnpool")
def max_unpool(
    x: Any,
    places: Any,
    extents: Any = None,
    kernel_shape: Ints = (),
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    rank = len(kernel_shape)
    steps, around = strides or [1] * rank, pads or [0] * 2 * rank
    sizes = [
        (n - 1) * step - around[i] - around[i + rank] + k
        for i, (n, step, k) in enumerate(zip(x.shape[2:], steps, kernel_shape, strict=True))
    ]
    shape = (*x.shape[:2], *sizes)
    flat = fnp.zeros(math.prod(shape), x.dtype).at[fnp.reshape(places, (-1,))].set(fnp.reshape(x, (-1,)))
    result = flat.reshape(shape)
    if extents is None:
        return result
    wanted = numbers(extents, "the output shape of MaxUnpool")
    return fnp.pad(result, [(0, b - a) for a, b in zip(shape, wanted, strict=True)])


@define("LpPool")
def lp_pool(
    x: Any,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    window, steps, _, needed, spread = pooled(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    total = images.avg_pool(fnp.abs(x) ** p, window, steps, needed, spread, divisor=1)
    return (total ** (1 / p)).astype(x.dtype)


@define("GlobalLpPool")
def global_lp_pool(x: Any, p: int = 2) -> Array:
    return (fnp.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)


@define("Col2Im")
def col2im(
    x: Any, extents: Any, window: Any, dilations: Ints | None = None, pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:  # fmt: skip
    """Windows [batch, channels * window, places] added up where they come from: a convolution transposed."""
    sizes, kernel = numbers(extents, "the shape of Col2Im"), numbers(window, "the window of Col2Im")
    rank, count = len(sizes), math.prod(kernel)
    steps, spread, around = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    ends = [(around[i], around[i + rank]) for i in range(rank)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, spread, strict=True)]
    places = [(n + sum(e) - r) // s + 1 for n, e, r, s in zip(sizes, ends, reach, steps, strict=True)]
    more = [n + sum(e) - ((p - 1) * s + r) for n, e, p, s, r in zip(sizes, ends, places, steps, reach, strict=True)]
    parts = x.reshape(-1, count, *places)
    each = fnp.asarray(np.eye(count, dtype=x.dtype).reshape(count, 1, *kernel))
    out = images.conv_transpose(parts, each, None, steps, ends, spread, more)
    return out.reshape(x.shape[0], x.shape[1] // count, *sizes)


@define("CausalConvWithState")
def causal_conv(x: Any, w: Any, bias: Any = None, past: Any = None, activation: str = "none") -> tuple[Array, Array]:
    """A convolution of each channel along time with what came before, which is a state for the next call."""
    reach = w.shape[2] - 1
    before = fnp.zeros((*x.shape[:2], reach), x.dtype) if past is None else past
    whole = fnp.concatenate([before, x], axis=2)
    out = images.conv(whole, w, bias, [1], [(0, 0)], [1], x.shape[1])
    out = out if activation == "none" else nn.silu(out)
    return out.astype(x.dtype), whole[:, :, whole.shape[2] - reach :]


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


@define("MeanVarianceNormalization")
def mean_variance_normalization(x: Any, axes: Ints = (0, 2, 3)) -> Array:
    axes = tuple(axes)
    deviation = fnp.std(x, axis=axes, keepdims=True)
    return (x - fnp.mean(x, axis=axes, keepdims=True)) / (deviation + 1e-9)


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
