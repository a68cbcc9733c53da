"""ATen operators of networks: convolution, pooling, normalization, attention, resizing, dropout."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn, random
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop import channels_first as images
from fdl.interop import resizing
from fdl.interop.aten.reductions import safe_softmax
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Ints = Sequence[int]


def convolve(
    x: Any, w: Any, bias: Any, stride: Ints, padding: Any, dilation: Ints, groups: int, transposed: bool, more: Ints
) -> Array:
    """A convolution of any rank, with or without an axis of batches."""
    rank = w.ndim - 2
    single = x.ndim == rank + 1
    x = x[None] if single else x
    stride, dilation = images.per_axis(stride, rank), images.per_axis(dilation, rank)
    if padding == "valid":
        padding = [0]
    if padding == "same":
        reach = [step * (extent - 1) for step, extent in zip(dilation, w.shape[2:], strict=True)]
        pads = [(total // 2, total - total // 2) for total in reach]
    else:
        pads = [(p, p) for p in images.per_axis(padding, rank)]
    if transposed:
        out = images.conv_transpose(x, w, bias, stride, pads, dilation, images.per_axis(more, rank), groups)
    else:
        out = images.conv(x, w, bias, stride, pads, dilation, groups)
    return out[0] if single else out


@define("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default", "aten.conv1d.padding",
        "aten.conv2d.padding", "aten.conv3d.padding")  # fmt: skip
def conv(
    x: Any, w: Any, bias: Any = None, stride: Ints = (1,), padding: Any = 0, dilation: Ints = (1,), groups: int = 1
) -> Array:
    return convolve(x, w, bias, stride, padding, dilation, groups, False, [0])


@define("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def conv_transpose(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Ints = (1,),
    padding: Any = 0,
    output_padding: Ints = (0,),
    groups: int = 1,
    dilation: Ints = (1,),
) -> Array:
    return convolve(x, w, bias, stride, padding, dilation, groups, True, output_padding)


@define("aten.convolution.default")
def convolution(
    x: Any,
    w: Any,
    bias: Any,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    transposed: bool,
    output_padding: Ints,
    groups: int,
) -> Array:
    return convolve(x, w, bias, stride, padding, dilation, groups, transposed, output_padding)


def pool_arguments(
    x: Any, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Any, ...]:
    """Window, steps, padding as asked for and as needed, dilation; x with an axis of batches."""
    x = x[None] if x.ndim == rank + 1 else x
    window = images.per_axis(kernel, rank)
    steps = images.per_axis(stride, rank) if stride or isinstance(stride, int) else window
    pads = [(p, p) for p in images.per_axis(padding, rank)]
    spread = images.per_axis(dilation, rank)
    needed = images.ceil_pads(x.shape[2:], window, steps, pads, spread) if ceil_mode else pads
    return x, window, steps, pads, needed, spread


def max_pool(
    rank: int, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Array:
    wide, window, steps, _, pads, spread = pool_arguments(x, rank, kernel, stride, padding, dilation, ceil_mode)
    out = images.max_pool(wide, window, steps, pads, spread)
    return out if wide.ndim == x.ndim else out[0]


def max_pool_with_indices(
    rank: int, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, Array]:
    wide, window, steps, _, pads, spread = pool_arguments(x, rank, kernel, stride, padding, dilation, ceil_mode)
    out, places = images.max_pool_indices(wide, window, steps, pads, spread)
    return (out, places) if wide.ndim == x.ndim else (out[0], places[0])


def avg_pool(
    rank: int,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array:
    wide, window, steps, pads, needed, spread = pool_arguments(x, rank, kernel, stride, padding, 1, ceil_mode)
    counted = pads if count_include_pad else None
    out = images.avg_pool(wide, window, steps, needed, spread, counted, divisor)
    return out if wide.ndim == x.ndim else out[0]


def adaptive_avg_pool(x: Any, size: Any) -> Array:
    return images.adaptive_pool(x, size if isinstance(size, list | tuple) else [size], fnp.mean)


def adaptive_max_pool(x: Any, size: Any) -> Array:
    return images.adaptive_pool(x, size if isinstance(size, list | tuple) else [size], fnp.max)


for axes in (1, 2, 3):
    define(f"aten.max_pool{axes}d.default")(lambda *args, rank=axes: max_pool(rank, *args))
    define(f"aten.max_pool{axes}d_with_indices.default")(lambda *args, rank=axes: max_pool_with_indices(rank, *args))
    define(f"aten.avg_pool{axes}d.default")(lambda *args, rank=axes: avg_pool(rank, *args))
    define(f"aten.adaptive_avg_pool{axes}d.default", f"aten._adaptive_avg_pool{axes}d.default")(adaptive_avg_pool)
    # The places of maxima, its second result, are not made.
    define(f"aten.adaptive_max_pool{axes}d.default")(lambda x, size: (adaptive_max_pool(x, size),))


@define("aten.batch_norm.default")
def batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = False,
) -> Array:
    return batch_norm_update(x, weight, bias, mean, var, training, momentum, eps)[0]


def batch_norm_update(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> tuple[Any, ...]:
    """The output, statistics of the batch, and the running statistics after it."""
    if not training:
        return images.normalized(x, mean, var, weight, bias, eps), mean, var, mean, var
    axes = (0, *range(2, x.ndim))
    batch_mean = fnp.mean(x, axis=axes)
    centered = x - fnp.expand_dims(batch_mean, axes)
    batch_var = fnp.mean(centered * centered, axis=axes)
    out = images.normalized(x, batch_mean, batch_var, weight, bias, eps)
    count = x.size // x.shape[1]
    if mean is not None:
        fresh = lax.stop_gradient(batch_var) * (count / max(count - 1, 1))
        mean = mean * (1 - momentum) + lax.stop_gradient(batch_mean) * momentum
        var = var * (1 - momentum) + fresh * momentum
    return out, batch_mean, lax.rsqrt(batch_var + eps), mean, var


@define("aten._native_batch_norm_legit_functional.default")
def native_batch_norm_functional(*args: Any) -> tuple[Any, ...]:
    return batch_norm_update(*args)


@define("aten._native_batch_norm_legit.no_stats")
def native_batch_norm_no_stats(
    x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> tuple[Any, ...]:
    return batch_norm_update(x, weight, bias, None, None, True, momentum, eps)[:3]


@define("aten._native_batch_norm_legit_no_training.default")
def native_batch_norm_no_training(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> tuple[Any, ...]:
    return batch_norm_update(x, weight, bias, mean, var, False, momentum, eps)[:3]


@define("aten.instance_norm.default")
def instance_norm(
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn: bool = False,
) -> Array:
    if not use_input_stats:
        return images.normalized(x, mean, var, weight, bias, eps)
    return images.group_norm(x, x.shape[1], weight, bias, eps)


@define("aten.layer_norm.default")
def layer_norm(
    x: Any, shape: Ints, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn: bool = True
) -> Array:
    out = images.standardize(x, range(x.ndim - len(shape), x.ndim), eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


@define("aten.native_layer_norm.default")
def native_layer_norm(x: Any, shape: Ints, weight: Any, bias: Any, eps: float) -> tuple[Array]:
    return (layer_norm(x, shape, weight, bias, eps),)


@define("aten.rms_norm.default")
def rms_norm(x: Any, shape: Ints, weight: Any = None, eps: float | None = None) -> Array:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    small = float(fnp.finfo(x.dtype).eps) if eps is None else eps
    out = x * lax.rsqrt(fnp.mean(x * x, axis=axes, keepdims=True) + small)
    return out if weight is None else out * weight


@define("aten.group_norm.default")
def group_norm(
    x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn: bool = True
) -> Array:
    return images.group_norm(x, groups, weight, bias, eps)


@define("aten.native_group_norm.default")
def native_group_norm(
    x: Any, weight: Any, bias: Any, n: int, channels: int, space: int, groups: int, eps: float
) -> tuple[Array]:
    return (images.group_norm(x, groups, weight, bias, eps),)


@define("aten.scaled_dot_product_attention.default")
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    rate: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    random_key: Any = None,
    stream: int = 0,
) -> Array:
    if enable_gqa:
        key, value = (fnp.repeat(v, query.shape[-3] // v.shape[-3], axis=-3) for v in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = fnp.matmul(query * scale, fnp.swapaxes(key, -1, -2))
    if is_causal:
        rows, columns = scores.shape[-2:]
        seen = fnp.arange(rows)[:, None] >= fnp.arange(columns)[None, :]
        scores = fnp.where(seen, scores, fnp.asarray(-np.inf, scores.dtype))
    if mask is not None and mask.dtype == np.bool_:
        scores = fnp.where(mask, scores, fnp.asarray(-np.inf, scores.dtype))
    elif mask is not None:
        scores = scores + mask
    weights = nn.softmax(scores, axis=-1) if mask is None else safe_softmax(scores, -1)
    return fnp.matmul(dropout(weights, rate, True, random_key, stream), value)


@define("aten.dropout.default")
def dropout(x: Any, rate: float, train: bool, random_key: Any = None, stream: int = 0) -> Array:
    if not train or rate == 0:
        return x
    return nn.dropout(folded(random_key, stream), rate, x)


@define("aten.native_dropout.default")
def native_dropout(
    x: Any, rate: float, train: bool | None, random_key: Any = None, stream: int = 0
) -> tuple[Array, Array]:
    """What is kept, scaled, and where that is."""
    if train is False:
        return x, fnp.ones(x.shape, bool)
    scales = dropout(fnp.ones_like(x), rate, True, random_key, stream)
    kept = scales != 0
    return fnp.where(kept, x * scales, 0), kept


@define("aten.feature_dropout.default")
def feature_dropout(x: Any, rate: float, train: bool, random_key: Any = None, stream: int = 0) -> Array:
    if not train or rate == 0:
        return x
    return nn.dropout(folded(random_key, stream), rate, x, broadcast_axes=tuple(range(2, x.ndim)))


def folded(key: Any, stream: int) -> Any:
    """The key of one random operator of a graph."""
    if key is None:
        raise InteropError("this module draws random numbers in training: call apply with key=fdl.random.key(seed)")
    return random.fold_in(key, stream)


@define("aten.rand.default")
def rand(size: Ints, dtype: Any = None, random_key: Any = None, stream: int = 0) -> Array:
    return random.uniform(folded(random_key, stream), tuple(size), np.float32 if dtype is None else dtype)


@define("aten.randn.default")
def randn(size: Ints, dtype: Any = None, random_key: Any = None, stream: int = 0) -> Array:
    return random.normal(folded(random_key, stream), tuple(size), np.float32 if dtype is None else dtype)


@define("aten.rand_like.default")
def rand_like(x: Any, dtype: Any = None, random_key: Any = None, stream: int = 0) -> Array:
    return random.uniform(folded(random_key, stream), x.shape, x.dtype if dtype is None else dtype)


@define("aten.randn_like.default")
def randn_like(x: Any, dtype: Any = None, random_key: Any = None, stream: int = 0) -> Array:
    return random.normal(folded(random_key, stream), x.shape, x.dtype if dtype is None else dtype)


@define("aten.bernoulli.default")
def bernoulli(p: Any, random_key: Any = None, stream: int = 0) -> Array:
    return (random.uniform(folded(random_key, stream), p.shape, np.float32) < p).astype(p.dtype)


#: Operators that draw random numbers: they are given a key, and a number of their own to fold into it.
RANDOM = frozenset(
    f"aten.{name}.default"
    for name in (
        "scaled_dot_product_attention", "dropout", "native_dropout", "feature_dropout", "rand", "randn", "rand_like",
        "randn_like", "bernoulli",
    )
)  # fmt: skip


def extents(x: Any, size: Any, scales: Any, rank: int) -> tuple[list[int], list[float | None]]:
    """New extents, and the scales that were asked for in place of them."""
    given: list[Any] = (
        [None] * rank if scales is None else list(scales) if isinstance(scales, list | tuple) else [scales]
    )
    if size is None:
        size = [int(extent * float(s)) for extent, s in zip(x.shape[2:], given, strict=True)]
    return list(size), given


def upsample(rank: int, method: str, x: Any, size: Any, align: bool, scales: Any) -> Array:
    """Resize the axes of space one by one."""
    sizes, given = extents(x, size, scales, rank)
    for axis, (count, scale) in enumerate(zip(sizes, given, strict=True), 2):
        step = x.shape[axis] / count if scale is None else 1 / scale
        if method == "nearest":
            places = np.minimum(np.floor(np.arange(count) * np.float32(step)), x.shape[axis] - 1)
            x = fnp.take(x, fnp.asarray(places, np.int32), axis=axis)
        elif method == "nearest-exact":
            places = np.minimum(np.floor((np.arange(count) + 0.5) * step), x.shape[axis] - 1)
            x = fnp.take(x, fnp.asarray(places, np.int32), axis=axis)
        else:
            if align:
                points = np.arange(count) * ((x.shape[axis] - 1) / max(count - 1, 1))
            else:
                points = (np.arange(count) + 0.5) * step - 0.5
                points = np.maximum(points, 0) if method == "linear" else points
            x = images.apply_along(x, axis, resizing.weights(points, x.shape[axis], method, -0.75))
    return x


for axes, method in {(1, "linear"), (2, "bilinear"), (3, "trilinear"), (2, "bicubic")}:
    kind = "cubic" if method == "bicubic" else "linear"
    define(f"aten.upsample_{method}{axes}d.vec")(
        lambda x, size, align, scales, rank=axes, kind=kind: upsample(rank, kind, x, size, align, scales)
    )
    define(f"aten.upsample_{method}{axes}d.default")(
        lambda x, size, align, *scales, rank=axes, kind=kind: upsample(rank, kind, x, size, align, scales or None)
    )
for axes in (1, 2, 3):
    for prefix, kind in (("", "nearest"), ("_", "nearest-exact")):
        name = f"aten.{prefix}upsample_nearest{'_exact' if prefix else ''}{axes}d"
        define(f"{name}.vec")(
            lambda x, size, scales, rank=axes, kind=kind: upsample(rank, kind, x, size, False, scales)
        )
        define(f"{name}.default")(
            lambda x, size, *scales, rank=axes, kind=kind: upsample(rank, kind, x, size, False, scales or None)
        )
