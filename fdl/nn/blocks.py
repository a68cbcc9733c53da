"""Blocks made of layers: perceptrons, gates, squeeze and excitation."""

from collections.abc import Callable, Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.nn import initializers
from fdl.nn.activations import relu, sigmoid, silu
from fdl.nn.dropouts import dropout
from fdl.nn.initializers import Initializer
from fdl.nn.layers import Params, dense, init_dense
from fdl.nn.pooling import global_avg_pool


def init_mlp(
    key: Any, sizes: Sequence[int], *, bias: bool = True, w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    dtype: Any = None,
) -> list[Params]:  # fmt: skip
    """Parameters of :func:`mlp`: a dense layer between each two sizes.

    Args:
        key: random key.
        sizes: numbers of features: of the inputs, of each hidden layer, of the outputs.
        bias: whether the layers have a b.
        w_init: initializer of their w.
        dtype: of the parameters; None is float32.

    Returns:
        A list of parameters.

    >>> [p["w"].shape for p in init_mlp(random.key(0), (3, 8, 2))]
    [(3, 8), (8, 2)]
    """
    keys = random.split(key, max(len(sizes) - 1, 1))
    return [
        init_dense(k, a, b, bias=bias, w_init=w_init, dtype=dtype)
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]


def mlp(
    params: Sequence[Params], x: Any, activation: Callable[[Any], Array] = relu, *, rate: Any = 0.0, key: Any = None
) -> Array:
    """Dense layers with an activation between them.

    Args:
        params: from :func:`init_mlp`.
        x: [..., inputs].
        activation: after all layers but the last.
        rate: of the dropout after each activation.
        key: random key, for dropout; None is no dropout.

    Returns:
        [..., outputs].

    >>> mlp([{"w": -fnp.eye(1)}, {"w": fnp.eye(1)}], fnp.array([[2.0], [-3.0]])).tolist()
    [[0.0], [3.0]]
    """
    x = fnp.asarray(x)
    keys = None if key is None else random.split(key, max(len(params) - 1, 1))
    for number, layer in enumerate(params):
        x = activation(x) if number else x
        x = dense(layer, dropout(keys[number - 1], rate, x) if number and keys is not None else x)
    return x


def init_gated_mlp(
    key: Any, size: int, hidden: int, *, bias: bool = False, w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    dtype: Any = None,
) -> Params:  # fmt: skip
    """Parameters of :func:`gated_mlp`: dense layers gate, up and down.

    Args:
        key: random key.
        size: number of features.
        hidden: number of features inside.
        bias: whether the layers have a b.
        w_init: initializer of their w.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> sorted(init_gated_mlp(random.key(0), 4, 8))
    ['down', 'gate', 'up']
    """
    first, second, third = random.split(key, 3)
    return {
        "gate": init_dense(first, size, hidden, bias=bias, w_init=w_init, dtype=dtype),
        "up": init_dense(second, size, hidden, bias=bias, w_init=w_init, dtype=dtype),
        "down": init_dense(third, hidden, size, bias=bias, w_init=w_init, dtype=dtype),
    }


def gated_mlp(params: Params, x: Any, activation: Callable[[Any], Array] = silu) -> Array:
    """A perceptron whose hidden features are multiplied by gates. Source: Shazeer, "GLU variants" (2020).

    Args:
        params: from :func:`init_gated_mlp`.
        x: [..., size].
        activation: of the gates: silu is SwiGLU, gelu is GEGLU, sigmoid is GLU.

    Returns:
        [..., size].

    >>> gated_mlp(init_gated_mlp(random.key(0), 4, 8), fnp.ones((2, 4))).shape
    (2, 4)
    """
    return dense(params["down"], activation(dense(params["gate"], x)) * dense(params["up"], x))


def init_squeeze_excite(key: Any, channels: int, *, ratio: int = 16, dtype: Any = None) -> Params:
    """Parameters of :func:`squeeze_excite`: dense layers squeeze and excite.

    Args:
        key: random key.
        channels: number of channels.
        ratio: of the channels to those between the layers.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> init_squeeze_excite(random.key(0), 32)["squeeze"]["w"].shape
    (32, 2)
    """
    first, second = random.split(key)
    inner = max(channels // ratio, 1)
    return {
        "squeeze": init_dense(first, channels, inner, dtype=dtype),
        "excite": init_dense(second, inner, channels, dtype=dtype),
    }


def squeeze_excite(
    params: Params, x: Any, activation: Callable[[Any], Array] = relu, gate: Callable[[Any], Array] = sigmoid
) -> Array:
    """Multiply channels by gates that are computed from their means. Source: Hu, Shen, Sun (2018).

    Args:
        params: from :func:`init_squeeze_excite`.
        x: [batch, *space, channels].
        activation: between the layers.
        gate: of the gates.

    Returns:
        An array like x.

    >>> squeeze_excite(init_squeeze_excite(random.key(0), 32), fnp.ones((1, 4, 4, 32))).shape
    (1, 4, 4, 32)
    """
    x = fnp.asarray(x)
    means = global_avg_pool(x, keepdims=True)
    return x * gate(dense(params["excite"], activation(dense(params["squeeze"], means))))


def init_bilinear(key: Any, first: int, second: int, outputs: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`bilinear`: w [first, second, outputs] and b [outputs].

    Args:
        key: random key.
        first: number of features of the first input.
        second: number of features of the second.
        outputs: number of output features.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> init_bilinear(random.key(0), 3, 4, 2)["w"].shape
    (3, 4, 2)
    """
    params = init_dense(key, first * second, outputs, dtype=dtype)
    return params | {"w": params["w"].reshape(first, second, outputs)}


def bilinear(params: Params, x: Any, y: Any) -> Array:
    """Linear in both of two inputs.

    Args:
        params: from :func:`init_bilinear`.
        x: [..., first].
        y: [..., second].

    Returns:
        [..., outputs].

    >>> bilinear({"w": fnp.ones((1, 1, 1))}, fnp.array([2.0]), fnp.array([3.0])).tolist()
    [6.0]
    """
    made = fnp.einsum("...i,...j,ijk->...k", x, y, params["w"])
    return made + params["b"] if "b" in params else made
