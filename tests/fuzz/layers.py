"""The layers that random programs are made of.

A layer is made by a function of a generator of random choices, the type of its input and a dtype of parameters. It
returns parameters (NumPy arrays) and ``apply(params, x, key) -> y``, or None where it has no meaning for such an input.
Inputs have a leading axis of examples: (examples, features), (examples, time, features) or
(examples, height, width, channels).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl import checkpoint, lax, nn, ops, random, vmap

#: Extents of features, time and images.
EXTENTS = (1, 3, 7, 8, 16, 31, 64, 100, 257)


class Layer(NamedTuple):
    params: Any
    apply: Callable[[Any, Any, Any], Any]


class Choices:
    """Random choices, and parameters of one dtype."""

    def __init__(self, seed: Any, dtype: Any) -> None:
        self.rng, self.dtype = np.random.default_rng(seed), np.dtype(dtype)

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def flip(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def weights(self, *shape: int) -> np.ndarray:
        """Weights that keep the scale of what they are multiplied with."""
        fan = max(1, int(np.prod(shape[:-1])))
        return (self.rng.normal(size=shape) / fan**0.5).astype(self.dtype)

    def vector(self, size: int, around: float = 0.0) -> np.ndarray:
        return (around + 0.1 * self.rng.normal(size=size)).astype(self.dtype)


Make = Callable[[Choices, Any], Layer | None]
LAYERS: dict[str, Make] = {}


def layer(make: Make) -> Make:
    """Register a layer by its name."""
    LAYERS[make.__name__] = make
    return make


def plain(function: Callable[[Any], Any]) -> Layer:
    return Layer((), lambda params, x, key: function(x))


ACTIVATIONS = (
    nn.relu, nn.gelu, nn.silu, nn.sigmoid, nn.softplus, nn.elu, nn.selu, nn.celu, nn.leaky_relu, nn.mish, nn.relu6,
    nn.hard_swish, nn.hard_sigmoid, nn.log_sigmoid, nn.soft_sign, nn.squareplus, fnp.tanh, fnp.sin, fnp.arctan, fnp.abs,
    lambda x: fnp.exp(-x * x), lambda x: fnp.log1p(x * x), lambda x: fnp.sqrt(1 + x * x), lambda x: nn.gelu(x, False),
    lambda x: fnp.maximum(x, 0.1 * x), lambda x: fnp.where(x > 0, x, fnp.expm1(fnp.minimum(x, 0))),
    lambda x: fnp.clip(x, -1, 1), lambda x: x / (1 + fnp.abs(x)), lambda x: fnp.sign(x) * fnp.sqrt(fnp.abs(x) + 0.1),
    lambda x: x**3 / (1 + x**2), lambda x: fnp.arcsinh(x), lambda x: fnp.logaddexp(x, -x),
)  # fmt: skip


@layer
def activation(choose: Choices, x: Any) -> Layer:
    return plain(choose.pick(ACTIVATIONS))


@layer
def dense(choose: Choices, x: Any) -> Layer | None:
    size = choose.pick((*EXTENTS, 128, 784, 1024))
    if x.shape[-1] * size > 300_000:
        return None
    function = choose.pick((nn.relu, fnp.tanh, nn.gelu, nn.silu, nn.sigmoid, nn.identity))
    params = {"w": choose.weights(x.shape[-1], size), "b": choose.vector(size)}
    if choose.flip(0.2):
        del params["b"]
        return Layer(params, lambda params, x, key: function(x @ params["w"]))
    return Layer(params, lambda params, x, key: function(x @ params["w"] + params["b"]))


@layer
def dense_transposed(choose: Choices, x: Any) -> Layer | None:
    """A matrix stored the other way round, and an einsum in place of a product."""
    size = choose.pick(EXTENTS)
    params = choose.weights(size, x.shape[-1])
    if choose.flip():
        return Layer(params, lambda w, x, key: fnp.einsum("...i,oi->...o", x, w))
    return Layer(params, lambda w, x, key: x @ w.T)


@layer
def norm(choose: Choices, x: Any) -> Layer:
    size = x.shape[-1]
    kind = choose.pick(("layer", "rms", "batch", "plain", "l2"))
    params = {"w": choose.vector(size, 1.0), "b": choose.vector(size)}
    axes = tuple(range(len(x.shape) - 1))

    def apply(params: Any, x: Any, key: Any) -> Any:
        if kind == "layer":
            return nn.layer_norm(params, x)
        if kind == "rms":
            return nn.rms_norm({"w": params["w"]}, x)
        if kind == "batch":
            centred = x - x.mean(axes)
            return centred / fnp.sqrt((centred**2).mean(axes) + 0.1) * params["w"] + params["b"]
        if kind == "plain":
            return nn.standardize(x, axis=-1, epsilon=0.1) * params["w"]
        return x / fnp.sqrt((x * x).sum(-1, keepdims=True) + 0.1) * params["b"]

    return Layer(params, apply)


@layer
def group_norm(choose: Choices, x: Any) -> Layer | None:
    size = x.shape[-1]
    groups = [g for g in (1, 2, 3, 4, 8) if size % g == 0]
    if len(x.shape) != 4:
        return None
    count = choose.pick(groups)
    params = {"w": choose.vector(size, 1.0), "b": choose.vector(size)}
    return Layer(params, lambda params, x, key: nn.group_norm(params, x, count, epsilon=0.1))


@layer
def softmax(choose: Choices, x: Any) -> Layer:
    axis = int(choose.rng.integers(1, len(x.shape)))
    kind = choose.pick(("softmax", "log", "masked", "temperature"))
    if kind == "log":
        return plain(lambda x: nn.log_softmax(x, axis))
    if kind == "masked":
        return plain(lambda x: nn.softmax(fnp.where(x > -0.5, x, -1e4), axis))
    if kind == "temperature":
        return plain(lambda x: nn.softmax(x / 0.7, axis) * x)
    return plain(lambda x: nn.softmax(x, axis))


@layer
def reduction(choose: Choices, x: Any) -> Layer | None:
    """A statistic that is put back beside, or in place of, what it is of."""
    axis = int(choose.rng.integers(1, len(x.shape)))
    if x.shape[axis] == 0:
        return None
    kind = choose.pick(("sum", "mean", "max", "min", "var", "logsumexp", "prod", "argmax", "norm", "any", "median"))
    keep = choose.flip(0.7)

    def statistic(x: Any) -> Any:
        if kind == "logsumexp":
            return nn.logsumexp(x, axis, keepdims=True)
        if kind == "prod":
            return fnp.prod(fnp.tanh(x) + 1, axis, keepdims=True)
        if kind == "argmax":
            return fnp.argmax(x, axis, keepdims=True).astype(x.dtype)
        if kind == "norm":
            return fnp.sqrt(fnp.sum(x * x, axis, keepdims=True) + 0.1)
        if kind == "any":
            return fnp.any(x > 1, axis, keepdims=True).astype(x.dtype)
        return getattr(fnp, kind)(x, axis, keepdims=True)

    if keep or len(x.shape) == 2:
        return plain(lambda x: x - 0.5 * statistic(x))
    return plain(lambda x: fnp.squeeze(statistic(x), axis))


@layer
def shapes(choose: Choices, x: Any) -> Layer | None:
    """Moves: nothing is computed."""
    rank = len(x.shape)
    axis = int(choose.rng.integers(1, rank))
    size = x.shape[axis]
    kind = choose.pick(
        ("transpose", "merge", "split", "flip", "roll", "pad", "slice", "concat", "stride", "tile", "stack")
    )
    if kind == "transpose" and rank > 2:
        order = (0, *(1 + choose.rng.permutation(rank - 1)))
        return plain(lambda x: fnp.transpose(x, [int(n) for n in order]))
    if kind == "merge" and rank > 2:
        return plain(lambda x: x.reshape(x.shape[0], x.shape[1], -1) if rank == 4 else x.reshape(x.shape[0], -1))
    if kind == "split" and rank < 4:
        parts = choose.pick([n for n in (1, 2, 3, 4, 5, 7, 8, 16) if x.shape[-1] % n == 0])
        return plain(lambda x: x.reshape(*x.shape[:-1], parts, x.shape[-1] // parts))
    if kind == "flip":
        return plain(lambda x: fnp.flip(x, axis))
    if kind == "roll":
        return plain(lambda x: fnp.roll(x, 3, axis))
    if kind == "pad":
        widths = [(0, 0)] * rank
        widths[axis] = (int(choose.rng.integers(3)), int(choose.rng.integers(3)))
        mode = choose.pick(("constant", "edge") if size else ("constant",))
        return plain(lambda x: fnp.pad(x, widths, mode=mode))
    if kind == "slice" and size > 2:
        start, stop = sorted(int(n) for n in choose.rng.choice(size + 1, 2, replace=False))
        return plain(lambda x: lax.slice_in_dim(x, start, stop, axis=axis))
    if kind == "stride" and size > 2:
        return plain(lambda x: lax.slice_in_dim(x, 0, size, 2, axis=axis))
    if kind == "concat" and x.size < 30_000:
        return plain(lambda x: fnp.concatenate([x, fnp.tanh(x), x * x], axis))
    if kind == "tile" and x.size < 30_000:
        return plain(lambda x: fnp.repeat(x, 2, axis))
    if kind == "stack" and rank < 4 and x.size < 30_000:
        return plain(lambda x: fnp.stack([x, -x], axis))
    return None


@layer
def residual(choose: Choices, x: Any) -> Layer | None:
    """A block beside a skip connection."""
    inner = dense(choose, x)
    if inner is None:
        return None
    back = {"in": inner.params, "out": choose.weights(_last(inner.params), x.shape[-1])}
    return Layer(back, lambda params, x, key: x + inner.apply(params["in"], x, key) @ params["out"])


def _last(params: Any) -> int:
    return int(params["w"].shape[-1])


@layer
def rematerialized(choose: Choices, x: Any) -> Layer | None:
    """A block whose values are computed again on the way back."""
    inner = choose.pick((dense, norm, softmax, attention, recurrent, convolution))(choose, x)
    if inner is None:
        return None
    return Layer(inner.params, checkpoint(inner.apply))


@layer
def dropout(choose: Choices, x: Any) -> Layer:
    rate = choose.pick((0.0, 0.1, 0.5))
    if choose.flip():
        return Layer((), lambda params, x, key: nn.dropout(key, rate, x))
    kind = choose.pick(("normal", "uniform", "bernoulli", "per example"))

    def noisy(params: Any, x: Any, key: Any) -> Any:
        if kind == "normal":
            return x + 0.1 * random.normal(key, x.shape, x.dtype)
        if kind == "uniform":
            return x * random.uniform(key, x.shape, x.dtype, 0.5, 1.5)
        if kind == "bernoulli":
            return fnp.where(random.bernoulli(key, 0.8, x.shape), x, 0)
        keys = random.split(key, x.shape[0])
        return vmap(lambda k, row: row + 0.1 * random.normal(k, row.shape, row.dtype))(keys, x)

    return Layer((), noisy)


@layer
def sorting(choose: Choices, x: Any) -> Layer | None:
    axis = int(choose.rng.integers(1, len(x.shape)))
    size = x.shape[axis]
    if size == 0 or x.size > 60_000:
        return None
    kind = choose.pick(("sort", "argsort", "top_k", "cumsum", "cummax", "cumprod", "associative", "rank"))
    if kind == "sort":
        return plain(lambda x: fnp.sort(x, axis))
    if kind == "argsort":
        return plain(lambda x: fnp.take_along_axis(x, fnp.argsort(x, axis), axis) * 0.5 + x)
    if kind == "top_k":
        count = int(choose.rng.integers(1, min(size, 20) + 1)) if axis == len(x.shape) - 1 else 1
        return plain(lambda x: lax.top_k(x, min(count, x.shape[-1]))[0])
    if kind == "cumsum":
        return plain(lambda x: fnp.cumsum(x, axis) / size)
    if kind == "cummax":
        return plain(lambda x: lax.cummax(x, axis, reverse=True))
    if kind == "cumprod":
        return plain(lambda x: fnp.cumprod(1 + 0.1 * fnp.tanh(x), axis))
    if kind == "associative":
        return plain(lambda x: lax.associative_scan(lambda a, b: fnp.logaddexp(a, b), x, axis=axis))
    return plain(lambda x: x + fnp.argsort(fnp.argsort(x, axis), axis).astype(x.dtype) / size)


@layer
def gathers(choose: Choices, x: Any) -> Layer | None:
    """Lookups, scatters and sums of segments."""
    rows, size = x.shape[0], x.shape[-1]
    if size == 0 or rows == 0 or x.size > 60_000:
        return None
    kind = choose.pick(("embedding", "take", "segment", "scatter", "one_hot", "along", "mask", "dynamic"))
    if kind == "embedding":
        count, width = choose.pick((3, 31, 100)), choose.pick(EXTENTS)
        table, plainly = choose.weights(count, width), choose.flip()

        def look_up(table: Any, x: Any, key: Any) -> Any:
            ids = fnp.clip(fnp.floor(fnp.abs(x[..., 0]) * 10), 0, count - 1).astype("int32")
            return nn.embedding({"w": table}, ids) if plainly else table[ids]

        return Layer(table, look_up)
    if kind == "take":
        ids = choose.rng.integers(-size, size, choose.pick((1, 5, size, 2 * size)))
        return plain(lambda x: fnp.take(x, ids, axis=-1))
    if kind == "segment":
        ids = choose.rng.integers(0, 7, rows)
        return plain(lambda x: x + ops.segment_sum(x, ids[: len(x)], 7)[ids[: len(x)]] / (rows + 1))
    if kind == "scatter":
        ids = choose.rng.integers(0, size, choose.pick((1, 3, size)))
        method = choose.pick(("add", "set", "max", "multiply"))
        unique = np.unique(ids)
        return plain(lambda x: getattr(x.at[..., unique], method)(fnp.sin(x[..., unique]), unique_indices=True))
    if kind == "one_hot":
        return plain(lambda x: nn.one_hot(fnp.argmax(x, -1), size, dtype=x.dtype) * 0.5 + x)
    if kind == "along":
        ids = choose.rng.integers(0, size, (*x.shape[:-1], min(size, 4)))
        return plain(lambda x: fnp.take_along_axis(x, fnp.asarray(ids), -1))
    if kind == "mask":
        kept = choose.rng.random(size) < 0.5
        return plain(lambda x: x[..., kept] if kept.any() else x)
    width = int(choose.rng.integers(1, size + 1))
    return plain(lambda x: lax.dynamic_slice_in_dim(x, fnp.argmax(x.reshape(-1)) % size, width, axis=-1))


@layer
def attention(choose: Choices, x: Any) -> Layer | None:
    if len(x.shape) != 3 or x.shape[1] > 260 or x.shape[0] * x.shape[1] ** 2 > 300_000 or 0 in x.shape:
        return None
    heads, width = choose.pick((1, 2, 3)), choose.pick((1, 4, 7, 16, 32))
    causal, own = choose.flip(), choose.flip()
    params = {n: choose.weights(x.shape[-1], heads * width) for n in "qkv"}

    def apply(params: Any, x: Any, key: Any) -> Any:
        q, k, v = (fnp.reshape(x @ params[n], (*x.shape[:2], heads, width)) for n in "qkv")
        if own:
            out = nn.dot_product_attention(q, k, v, is_causal=causal)
        else:
            scores = fnp.einsum("bqhd,bkhd->bhqk", q, k) / width**0.5
            if causal:
                scores = fnp.where(fnp.tril(fnp.ones(scores.shape[-2:], bool)), scores, -1e4)
            out = fnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores), v)
        return out.reshape(*x.shape[:2], heads * width)

    return Layer(params, apply)


@layer
def recurrent(choose: Choices, x: Any) -> Layer | None:
    """A scan over time with an LSTM, GRU or plain cell, or over layers that share a shape."""
    if len(x.shape) != 3 or x.shape[1] > 70 or 0 in x.shape[1:]:
        return None
    size, inputs = choose.pick((1, 3, 8, 31, 64)), x.shape[-1]
    kind, reverse, unroll = choose.pick(("lstm", "gru", "plain")), choose.flip(), choose.pick((1, 1, 2))
    gates = {"lstm": 4, "gru": 3, "plain": 1}[kind]
    params = {n: choose.weights(rows, gates * size) for n, rows in (("x", inputs), ("h", size))}
    params["b"] = choose.vector(gates * size)

    def apply(params: Any, x: Any, key: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            h, c = carry
            if kind == "plain":
                h = fnp.tanh(row @ params["x"] + h @ params["h"] + params["b"])
                return (h, c), h
            fed = row @ params["x"] + params["b"]
            if kind == "gru":
                (r, z, n), (hr, hz, hn) = fnp.split(fed, 3, -1), fnp.split(h @ params["h"], 3, -1)
                z = nn.sigmoid(z + hz)
                h = (1 - z) * fnp.tanh(n + nn.sigmoid(r + hr) * hn) + z * h
                return (h, c), h
            i, f, g, o = fnp.split(fed + h @ params["h"], 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * fnp.tanh(g)
            h = nn.sigmoid(o) * fnp.tanh(c)
            return (h, c), h

        zero = fnp.zeros((x.shape[0], size), x.dtype)
        (h, _), hs = lax.scan(step, (zero, zero), fnp.swapaxes(x, 0, 1), reverse=reverse, unroll=unroll)
        return fnp.swapaxes(hs, 0, 1) + h[:, None]

    return Layer(params, apply)


@layer
def repeated(choose: Choices, x: Any) -> Layer | None:
    """The same block several times, by scan over stacked parameters, fori_loop, while_loop or map."""
    size = x.shape[-1]
    if size > 260:
        return None
    kind, times = choose.pick(("scan", "fori", "checkpointed", "map", "carry")), choose.pick((1, 2, 5))
    params = {"w": np.stack([choose.weights(size, size)] * times), "b": np.stack([choose.vector(size)] * times)}

    def block(x: Any, layer: Any) -> Any:
        return fnp.tanh(x @ layer["w"] + layer["b"]) + 0.5 * x, None

    def apply(params: Any, x: Any, key: Any) -> Any:
        if kind == "fori":
            return lax.fori_loop(0, times, lambda i, x: block(x, {"w": params["w"][i], "b": params["b"][i]})[0], x)
        if kind == "map":
            return lax.map(lambda layer: block(x, layer)[0], params).sum(0)
        if kind == "carry":

            def step(carry: Any, layer: Any) -> Any:
                x, total, count = carry
                x = block(x, layer)[0]
                return (x, total + x.sum(-1), count + 1), x.max(-1)

            (x, total, _), highest = lax.scan(step, (x, fnp.zeros(x.shape[:-1], x.dtype), 0), params)
            return x + (total / size + highest.sum(0))[..., None]
        return lax.scan(checkpoint(block) if kind == "checkpointed" else block, x, params)[0]

    return Layer(params, apply)


@layer
def branching(choose: Choices, x: Any) -> Layer | None:
    """A branch chosen by the data: of the batch, of each example, or one of several."""
    if 0 in x.shape:
        return None
    kind = choose.pick(("cond", "switch", "each"))
    if kind == "cond":
        return plain(lambda x: lax.cond(x.mean() > 0, lambda x: fnp.tanh(x), lambda x: x * 0.5 + 0.1, x))
    if kind == "switch":
        branches = [fnp.sin, lambda x: x * x, lambda x: fnp.exp(-fnp.abs(x))]
        return plain(lambda x: lax.switch(fnp.argmax(x.reshape(-1)) % 3, branches, x))
    return plain(
        vmap(lambda row: lax.cond(row.reshape(-1)[0] > 0, lambda r: r * 2, lambda r: fnp.sqrt(r * r + 0.1), row))
    )


@layer
def convolution(choose: Choices, x: Any) -> Layer | None:
    rank = len(x.shape) - 2
    if rank not in (1, 2) or 0 in x.shape:
        return None
    channels, window = x.shape[-1], [choose.pick((1, 2, 3, 5)) for _ in range(rank)]
    kind = choose.pick(("plain", "plain", "strided", "dilated", "depthwise", "grouped", "valid", "transposed", "first"))
    outputs = choose.pick((1, 3, 8, 16, 31))
    if x.size * int(np.prod(window)) * outputs > 6e6 or channels > 260:
        return None
    groups = {"depthwise": channels, "grouped": 2 if channels % 2 == 0 else 1}.get(kind, 1)
    outputs = channels * choose.pick((1, 2)) if kind == "depthwise" else outputs + outputs % groups
    padding = "VALID" if kind == "valid" and all(n >= w for n, w in zip(x.shape[1:], window, strict=False)) else "SAME"
    params = {"w": choose.weights(*window, channels // groups, outputs), "b": choose.vector(outputs)}
    function = choose.pick((nn.relu, fnp.tanh, nn.identity))

    def apply(params: Any, x: Any, key: Any) -> Any:
        if kind == "transposed":
            return function(nn.conv_transpose(params, x, strides=2))
        y = nn.conv(
            params, x, strides=2 if kind == "strided" else 1, padding=padding,
            dilation=2 if kind == "dilated" else 1, groups=groups,
        )  # fmt: skip
        return function(y)

    def channels_first(params: Any, x: Any, key: Any) -> Any:
        y = lax.conv_general_dilated(
            fnp.transpose(x, (0, 3, 1, 2)), fnp.transpose(params["w"], (3, 2, 0, 1)), (1, 1), "SAME"
        )
        return fnp.transpose(function(y + params["b"][:, None, None]), (0, 2, 3, 1))

    return Layer(params, channels_first if kind == "first" and rank == 2 else apply)


@layer
def pooling(choose: Choices, x: Any) -> Layer | None:
    if len(x.shape) != 4 or min(x.shape[1:3]) < 2 or 0 in x.shape:
        return None
    window, stride = choose.pick((2, 3)), choose.pick((1, 2))
    pool, padding = choose.pick((nn.max_pool, nn.avg_pool)), choose.pick(("SAME", "VALID"))
    if choose.flip(0.2):
        return plain(lambda x: x.mean((1, 2)))
    if min(x.shape[1:3]) < window:
        padding = "SAME"
    return plain(lambda x: pool(x, window, stride, padding))


@layer
def products(choose: Choices, x: Any) -> Layer | None:
    """Products of the input with itself."""
    if len(x.shape) == 2 and x.shape[1] <= 64 and x.shape[0] <= 260:
        return plain(lambda x: (x @ x.T) @ x / (x.shape[0] * x.shape[1] + 1))
    if len(x.shape) == 3 and x.size * x.shape[1] < 3e6:
        if choose.flip():
            return plain(lambda x: fnp.einsum("btd,bsd->bts", x, x) @ x / (x.shape[1] * x.shape[2] + 1))
        return plain(lambda x: fnp.einsum("btd,bte->bde", x, fnp.tanh(x)) / (x.shape[1] + 1))
    return None


@layer
def casts(choose: Choices, x: Any) -> Layer:
    """A detour through another dtype."""
    if choose.dtype == np.float64:
        return plain(lambda x: (x * 4).astype("int32").astype(x.dtype) / 4 + x)
    other = choose.pick(("float64", "float32"))
    return plain(lambda x: fnp.tanh(x.astype(other)).astype(x.dtype))


@layer
def algebra(choose: Choices, x: Any) -> Layer | None:
    """Fourier transforms and factorizations, which the compiler leaves to libraries."""
    size = x.shape[-1]
    if 0 in x.shape or x.size > 20_000 or choose.dtype.itemsize < 4:
        return None
    if choose.flip():
        return plain(lambda x: fnp.abs(fnp.fft.rfft(x, axis=-1)) / size)
    if len(x.shape) != 2 or size > 31:
        return None
    return plain(lambda x: fnp.linalg.solve(x.T @ x / x.shape[0] + fnp.eye(size, dtype=x.dtype), x.T).T)
