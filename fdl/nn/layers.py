"""Layers as pure functions of explicit parameters.

Every layer ``name`` with parameters comes with ``init_name(key, ...)``, which makes them: a dict in which ``w``
multiplies and ``b`` is added. The layer takes the parameters first, then the input, then its settings by keyword. The
channels (features) are the last axis of the input; all axes before those that a layer works on are batch axes.
Parameters are float32 unless ``dtype`` says otherwise.

>>> from fdl import nn, random
>>> import fdl.numpy as fnp
>>> params = nn.init_dense(random.key(0), 3, 4)
>>> {name: p.shape for name, p in params.items()}
{'w': (3, 4), 'b': (4,)}
>>> nn.dense(params, fnp.ones((2, 3))).shape
(2, 4)
"""

from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.dtypes import as_dtype
from fdl.errors import ShapeError
from fdl.nn import initializers
from fdl.nn.attention import dot_product_attention
from fdl.nn.initializers import Initializer
from fdl.numpy._operands import floating, wide
from fdl.ops.arithmetic import stop_gradient
from fdl.scalars import Scalar, checked

Params = dict[str, Any]


def weights(
    key: Any,
    shape: Sequence[int],
    outputs: Sequence[int],
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
    dtype: Any,
) -> Params:
    """Parameters w of one shape and, if `bias`, b of another."""
    first, second = random.split(key)
    dtype = as_dtype(float if dtype is None else dtype)
    params = {"w": w_init(first, tuple(shape), dtype)}
    return params | {"b": b_init(second, tuple(outputs), dtype)} if bias else params


def shifted(params: Params, y: Array) -> Array:
    """`y` plus the parameter b, if there is one."""
    return y + params["b"] if "b" in params else y


def init_dense(
    key: Any,
    inputs: int,
    outputs: int,
    *,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    b_init: Initializer = initializers.zeros,
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`dense`: w [inputs, outputs] and b [outputs].

    Args:
        key: random key.
        inputs: number of input features.
        outputs: number of output features.
        bias: whether there is a b.
        w_init: initializer of w.
        b_init: initializer of b.
        dtype: of the parameters.

    Returns:
        The parameters.

    >>> init_dense(random.key(0), 3, 4)["w"].shape
    (3, 4)
    """
    return weights(key, (inputs, outputs), (outputs,), bias, w_init, b_init, dtype)


def dense(params: Params, x: Any) -> Array:
    """A linear map of the last axis: x w + b.

    Args:
        params: from :func:`init_dense`.
        x: [..., inputs].

    Returns:
        [..., outputs].

    Raises:
        ShapeError: the last axis of x does not fit w.

    >>> dense({"w": fnp.ones((2, 1)), "b": fnp.ones(1)}, fnp.array([[2.0, 3.0]])).tolist()
    [[6.0]]
    """
    x = fnp.asarray(x)
    if x.ndim == 0 or x.shape[-1] != params["w"].shape[0]:
        raise ShapeError(f"dense with w {params['w'].type} needs inputs [..., {params['w'].shape[0]}], got {x.type}")
    return shifted(params, fnp.matmul(x, params["w"]))


def init_embedding(
    key: Any,
    count: int,
    size: int,
    *,
    w_init: Initializer = initializers.normal(1.0),  # noqa: B008
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`embedding`: w [count, size].

    Args:
        key: random key.
        count: number of rows, one per id.
        size: length of a row.
        w_init: initializer of w.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> init_embedding(random.key(0), 10, 4)["w"].shape
    (10, 4)
    """
    return weights(key, (count, size), (), False, w_init, initializers.zeros, dtype)


def embedding(params: Params, ids: Any) -> Array:
    """Rows of a table.

    Args:
        params: from :func:`init_embedding`.
        ids: integers of any shape, from 0 up to count - 1.

    Returns:
        An array of shape ``(*ids.shape, size)``.

    >>> embedding({"w": fnp.eye(3)}, fnp.array([2])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    return fnp.take(params["w"], fnp.asarray(ids), axis=0)


@checked(rate=Scalar(0.0, 1.0, below=True))
def dropout(key: Any, rate: Any, x: Any) -> Array:
    """Zero elements with probability `rate`, and scale the others by 1 / (1 - rate). Source: Srivastava et al. (2014).

    Args:
        key: random key; a new one every step.
        rate: probability, from 0 up to, but not including, 1. For evaluation do not call it, or pass 0.
        x: array.

    Returns:
        An array like x.

    Raises:
        RangeError: the rate is outside [0, 1); DtypeError, ShapeError if it is no number.

    >>> sorted(set(dropout(random.key(0), 0.5, fnp.ones(100)).tolist()))
    [0.0, 2.0]
    """
    x = fnp.asarray(x)
    if isinstance(rate, (int, float)) and rate == 0:
        return x
    kept = random.uniform(key, x.shape) >= rate
    return fnp.where(kept, x / (1 - rate), fnp.zeros_like(x))


def init_layer_norm(size: int, *, bias: bool = True, dtype: Any = None) -> Params:
    """Parameters of :func:`layer_norm`, :func:`rms_norm` and :func:`group_norm`: ones w [size] and zeros b [size].

    Args:
        size: number of channels.
        bias: whether there is a b.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> params = init_layer_norm(2)
    >>> params["w"].tolist(), params["b"].tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    dtype = as_dtype(float if dtype is None else dtype)
    params = {"w": fnp.ones((size,), dtype)}
    return params | {"b": fnp.zeros((size,), dtype)} if bias else params


init_group_norm = init_layer_norm


def init_rms_norm(size: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`rms_norm`: ones w [size].

    Args:
        size: number of channels.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> init_rms_norm(2)["w"].tolist()
    [1.0, 1.0]
    """
    return init_layer_norm(size, bias=False, dtype=dtype)


def layer_norm(params: Params, x: Any, *, epsilon: float = 1e-5) -> Array:
    """Standardize every vector along the last axis, then scale and shift. Source: Ba, Kiros, Hinton (2016).

    Args:
        params: from :func:`init_layer_norm`.
        x: [..., channels].
        epsilon: added under the root.

    Returns:
        An array like x.

    >>> y = layer_norm(init_layer_norm(2), fnp.array([1.0, 3.0]))
    >>> [round(v, 2) for v in y.tolist()]
    [-1.0, 1.0]
    """
    x = floating(x)
    return shifted(params, _standardized(x, (-1,), epsilon) * params["w"])


def rms_norm(params: Params, x: Any, *, epsilon: float = 1e-6) -> Array:
    """Divide every vector along the last axis by its root mean square, then scale. Source: Zhang, Sennrich (2019).

    Args:
        params: from :func:`init_rms_norm`.
        x: [..., channels].
        epsilon: added under the root.

    Returns:
        An array like x.

    >>> y = rms_norm(init_rms_norm(2), fnp.array([3.0, -3.0]))
    >>> [round(v, 2) for v in y.tolist()]
    [1.0, -1.0]
    """
    x = floating(x)
    numbers = wide(x)
    unit = numbers / fnp.sqrt(fnp.mean(numbers * numbers, axis=-1, keepdims=True) + epsilon)
    return shifted(params, unit.astype(x.dtype) * params["w"])


def group_norm(params: Params, x: Any, groups: int, *, epsilon: float = 1e-5) -> Array:
    """Standardize groups of channels over space, then scale and shift. Source: Wu, He (2018).

    Args:
        params: from :func:`init_group_norm`.
        x: [batch, *space, channels].
        groups: a divisor of the number of channels.
        epsilon: added to the variance.

    Returns:
        An array like x.

    Raises:
        ShapeError: the groups do not divide the channels.

    >>> x = fnp.array([[[1.0, 3.0, 5.0, 9.0]]])
    >>> y = group_norm(init_group_norm(4), x, 2)
    >>> [round(v, 2) for v in y.ravel().tolist()]
    [-1.0, 1.0, -1.0, 1.0]
    """
    x = floating(x)
    if x.shape[-1] % groups:
        raise ShapeError(f"group_norm: {groups} groups do not divide the channels of {x.type}")
    split = x.reshape((*x.shape[:-1], groups, x.shape[-1] // groups))
    axes = (*range(1, x.ndim - 1), -1)
    return shifted(params, _standardized(split, axes, epsilon).reshape(x.shape) * params["w"])


def _standardized(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    numbers = wide(x)
    centered = numbers - fnp.mean(numbers, axis=tuple(axes), keepdims=True)
    deviation = fnp.sqrt(fnp.mean(centered * centered, axis=tuple(axes), keepdims=True) + epsilon)
    return (centered / deviation).astype(x.dtype)


def init_batch_norm(size: int, *, dtype: Any = None) -> tuple[Params, Params]:
    """Parameters w, b and running statistics mean, var of :func:`batch_norm`, all [size].

    Args:
        size: number of channels.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters, and the running statistics.

    >>> params, stats = init_batch_norm(2)
    >>> stats["mean"].tolist(), stats["var"].tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    dtype = as_dtype(float if dtype is None else dtype)
    stats = {"mean": fnp.zeros((size,), dtype), "var": fnp.ones((size,), dtype)}
    return init_layer_norm(size, dtype=dtype), stats


def batch_norm(
    params: Params, stats: Params, x: Any, *, training: bool, momentum: float = 0.9, epsilon: float = 1e-5
) -> tuple[Array, Params]:
    """Standardize channels over everything else, then scale and shift. Source: Ioffe, Szegedy (2015).

    Args:
        params: w and b.
        stats: running mean and variance.
        x: [..., channels].
        training: whether to use (and record) the statistics of x; otherwise the running ones are used.
        momentum: weight of the old running statistics.
        epsilon: added to the variance.

    Returns:
        The output, and the new running statistics. No gradient flows into them.

    >>> params, stats = init_batch_norm(1)
    >>> y, stats = batch_norm(params, stats, fnp.array([[0.0], [2.0]]), training=True)
    >>> [round(v, 2) for v in y.ravel().tolist()], round(stats["mean"].item(), 2)
    ([-1.0, 1.0], 0.1)
    """
    x = floating(x)
    dtype, x = x.dtype if training else fnp.result_type(x, stats["mean"], stats["var"]), wide(x)
    if training:
        axes = tuple(range(x.ndim - 1))
        mean = fnp.mean(x, axis=axes)
        var = fnp.mean(fnp.square(x - mean), axis=axes)
        seen = {"mean": mean, "var": var}
        stats = {
            name: momentum * old + (1 - momentum) * stop_gradient(seen[name]).astype(old.dtype)
            for name, old in stats.items()
        }
    else:
        mean, var = stats["mean"], stats["var"]
    unit = (x - mean) / fnp.sqrt(wide(fnp.asarray(var)) + epsilon)
    return shifted(params, unit.astype(dtype) * params["w"]), stats


def init_multi_head_attention(
    key: Any,
    size: int,
    heads: int,
    *,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`multi_head_attention`: dense layers query, key, value and out, each [size, size].

    Args:
        key: random key.
        size: number of features, a multiple of the heads.
        heads: number of heads.
        bias: whether the layers have a b.
        w_init: initializer of their w.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    Raises:
        ShapeError: the heads do not divide the size.

    >>> sorted(init_multi_head_attention(random.key(0), 8, heads=2))
    ['key', 'out', 'query', 'value']
    """
    if size % heads:
        raise ShapeError(f"multi_head_attention: {heads} heads do not divide the size {size}")
    names = ("query", "key", "value", "out")
    keys = random.split(key, len(names))
    return {
        n: init_dense(k, size, size, bias=bias, w_init=w_init, dtype=dtype) for n, k in zip(names, keys, strict=True)
    }


def multi_head_attention(params: Params, x: Any, context: Any = None, *, heads: int, **settings: Any) -> Array:
    """Attention of every position of x to every position of `context`. Source: Vaswani et al. (2017), section 3.2.2.

    Args:
        params: from :func:`init_multi_head_attention`.
        x: [batch, queries, size].
        context: [batch, keys, size]; None is x itself.
        heads: number of heads, a divisor of size.
        **settings: passed to :func:`dot_product_attention`, for example ``is_causal=True``.

    Returns:
        [batch, queries, size].

    >>> params = init_multi_head_attention(random.key(0), 8, heads=2)
    >>> multi_head_attention(params, fnp.ones((1, 5, 8)), heads=2, is_causal=True).shape
    (1, 5, 8)
    """
    x = fnp.asarray(x)
    context = x if context is None else fnp.asarray(context)

    def split(name: str, value: Array) -> Array:
        return dense(params[name], value).reshape((*value.shape[:-1], heads, -1))

    out = dot_product_attention(split("query", x), split("key", context), split("value", context), **settings)
    return dense(params["out"], out.reshape(x.shape))
