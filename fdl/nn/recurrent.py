"""Cells of recurrent networks: ``cell(params, carry, x)`` to ``(carry, y)``, as ``fdl.lax.scan`` takes them."""

from collections.abc import Callable, Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.dtypes import as_dtype
from fdl.nn import initializers
from fdl.nn.activations import sigmoid
from fdl.nn.convolution import conv, init_conv
from fdl.nn.layers import Params

Carry = Any


def _init_gates(key: Any, inputs: int, size: int, gates: int, dtype: Any) -> Params:
    dtype = as_dtype(float if dtype is None else dtype)
    first, *rest = random.split(key, gates + 1)
    recurrent = [initializers.orthogonal()(k, (size, size), dtype) for k in rest]
    return {
        "wx": initializers.lecun_normal()(first, (inputs, gates * size), dtype),
        "wh": fnp.concatenate(recurrent, axis=1),
        "b": fnp.zeros((gates * size,), dtype),
    }


def init_lstm(key: Any, inputs: int, size: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`lstm_cell`: wx [inputs, 4 size], wh [size, 4 size] and b [4 size].

    The gates are, in this order: input, forget, cell, output. The bias of the forget gate starts at one.

    Args:
        key: random key.
        inputs: number of input features.
        size: number of hidden features.
        dtype: of the arrays; None is float32.

    Returns:
        The parameters.

    >>> init_lstm(random.key(0), 3, 2)["wx"].shape
    (3, 8)
    """
    params = _init_gates(key, inputs, size, 4, dtype)
    forget = fnp.concatenate([fnp.zeros(size), fnp.ones(size), fnp.zeros(2 * size)])
    return params | {"b": params["b"] + forget.astype(params["b"].dtype)}


def lstm_carry(batch: Sequence[int], size: int, dtype: Any = None) -> Carry:
    """The first state (hidden, cell) of :func:`lstm_cell`: zeros [*batch, size].

    Args:
        batch: extents of the batch axes, ``()`` for none.
        size: number of hidden features.
        dtype: of the arrays; None is float32.

    Returns:
        Zeros, twice.

    >>> [part.shape for part in lstm_carry((5,), 2)]
    [(5, 2), (5, 2)]
    """
    zeros = fnp.zeros((*batch, size), as_dtype(float if dtype is None else dtype))
    return zeros, zeros


def lstm_cell(params: Params, carry: Carry, x: Any) -> tuple[Carry, Array]:
    """One step of a long short-term memory. Source: Hochreiter, Schmidhuber (1997); Gers et al. (2000).

    Args:
        params: from :func:`init_lstm`.
        carry: (hidden, cell), each [..., size].
        x: [..., inputs].

    Returns:
        The new carry, and the new hidden state.

    >>> params = init_lstm(random.key(0), 3, 2)
    >>> carry, y = lstm_cell(params, lstm_carry((5,), 2), fnp.ones((5, 3)))
    >>> y.shape
    (5, 2)
    """
    hidden, cell = carry
    gates = fnp.matmul(x, params["wx"]) + fnp.matmul(hidden, params["wh"]) + params["b"]
    enter, forget, new, leave = fnp.split(gates, 4, axis=-1)
    cell = sigmoid(forget) * cell + sigmoid(enter) * fnp.tanh(new)
    hidden = sigmoid(leave) * fnp.tanh(cell)
    return (hidden, cell), hidden


def init_gru(key: Any, inputs: int, size: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`gru_cell`: wx [inputs, 3 size], wh [size, 3 size], b [3 size] and bh [size].

    The gates are, in this order: reset, update, new; bh belongs to the recurrent part of the last.

    Args:
        key: random key.
        inputs: number of input features.
        size: number of hidden features.
        dtype: of the arrays; None is float32.

    Returns:
        The parameters.

    >>> init_gru(random.key(0), 3, 2)["wx"].shape
    (3, 6)
    """
    params = _init_gates(key, inputs, size, 3, dtype)
    return params | {"bh": fnp.zeros((size,), params["b"].dtype)}


def gru_carry(batch: Sequence[int], size: int, dtype: Any = None) -> Carry:
    """The first state of :func:`gru_cell`: zeros [*batch, size].

    Args:
        batch: extents of the batch axes, ``()`` for none.
        size: number of hidden features.
        dtype: of the arrays; None is float32.

    Returns:
        Zeros.

    >>> gru_carry((5,), 2).shape
    (5, 2)
    """
    return lstm_carry(batch, size, dtype)[0]


def gru_cell(params: Params, carry: Carry, x: Any) -> tuple[Carry, Array]:
    """One step of a gated recurrent unit. Source: Cho et al. (2014), reset after the product.

    Args:
        params: from :func:`init_gru`.
        carry: hidden state [..., size].
        x: [..., inputs].

    Returns:
        The new hidden state, twice.

    >>> params = init_gru(random.key(0), 3, 2)
    >>> carry, y = gru_cell(params, gru_carry((5,), 2), fnp.ones((5, 3)))
    >>> y.shape
    (5, 2)
    """
    outer = fnp.split(fnp.matmul(x, params["wx"]) + params["b"], 3, axis=-1)
    inner = fnp.split(fnp.matmul(carry, params["wh"]), 3, axis=-1)
    reset, update = sigmoid(outer[0] + inner[0]), sigmoid(outer[1] + inner[1])
    new = fnp.tanh(outer[2] + reset * (inner[2] + params["bh"]))
    hidden = (1 - update) * new + update * carry
    return hidden, hidden


def init_rnn(key: Any, inputs: int, size: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`rnn_cell`: wx [inputs, size], wh [size, size] and b [size].

    Args:
        key: random key.
        inputs: number of input features.
        size: number of hidden features.
        dtype: of the arrays; None is float32.

    Returns:
        The parameters.

    >>> init_rnn(random.key(0), 3, 2)["wx"].shape
    (3, 2)
    """
    return _init_gates(key, inputs, size, 1, dtype)


def rnn_cell(params: Params, carry: Carry, x: Any, activation: Callable[[Any], Any] = fnp.tanh) -> tuple[Carry, Array]:
    """One step of a simple recurrent network. Source: Elman (1990).

    Args:
        params: from :func:`init_rnn`.
        carry: hidden state [..., size], first :func:`gru_carry`.
        x: [..., inputs].
        activation: of the new state.

    Returns:
        The new hidden state, twice.

    >>> params = init_rnn(random.key(0), 3, 2)
    >>> rnn_cell(params, gru_carry((5,), 2), fnp.ones((5, 3)))[1].shape
    (5, 2)
    """
    hidden = activation(fnp.matmul(x, params["wx"]) + fnp.matmul(carry, params["wh"]) + params["b"])
    return hidden, hidden


def init_conv_lstm(key: Any, inputs: int, size: int, window: Sequence[int], *, dtype: Any = None) -> Params:
    """Parameters of :func:`conv_lstm_cell`: wx [*window, inputs, 4 size], wh [*window, size, 4 size] and b [4 size].

    The gates are, in this order: input, forget, cell, output. The bias of the forget gate starts at one.

    Args:
        key: random key.
        inputs: number of input channels.
        size: number of hidden channels.
        window: extents of the window, one per space axis.
        dtype: of the arrays; None is float32.

    Returns:
        The parameters.

    >>> init_conv_lstm(random.key(0), 3, 2, (5, 5))["wh"].shape
    (5, 5, 2, 8)
    """
    first, second = random.split(key)
    x = init_conv(first, inputs, 4 * size, window, dtype=dtype)
    h = init_conv(second, size, 4 * size, window, bias=False, dtype=dtype)
    forget = fnp.concatenate([fnp.zeros(size), fnp.ones(size), fnp.zeros(2 * size)]).astype(x["b"].dtype)
    return {"wx": x["w"], "wh": h["w"], "b": forget}


def conv_lstm_carry(batch: int, space: Sequence[int], size: int, dtype: Any = None) -> Carry:
    """The first state (hidden, cell) of :func:`conv_lstm_cell`: zeros [batch, *space, size].

    Args:
        batch: number of examples.
        space: extents of the images.
        size: number of hidden channels.
        dtype: of the arrays; None is float32.

    Returns:
        Zeros, twice.

    >>> [part.shape for part in conv_lstm_carry(5, (8, 8), 2)]
    [(5, 8, 8, 2), (5, 8, 8, 2)]
    """
    return lstm_carry((batch, *space), size, dtype)


def conv_lstm_cell(params: Params, carry: Carry, x: Any) -> tuple[Carry, Array]:
    """One step of a memory of images, whose gates are convolutions. Source: Shi et al. (2015), without peepholes.

    Args:
        params: from :func:`init_conv_lstm`.
        carry: (hidden, cell), each [batch, *space, size].
        x: [batch, *space, inputs].

    Returns:
        The new carry, and the new hidden state.

    >>> params = init_conv_lstm(random.key(0), 3, 2, (3, 3))
    >>> conv_lstm_cell(params, conv_lstm_carry(1, (8, 8), 2), fnp.ones((1, 8, 8, 3)))[1].shape
    (1, 8, 8, 2)
    """
    hidden, cell = carry
    gates = conv({"w": params["wx"], "b": params["b"]}, x) + conv({"w": params["wh"]}, hidden)
    enter, forget, new, leave = fnp.split(gates, 4, axis=-1)
    cell = sigmoid(forget) * cell + sigmoid(enter) * fnp.tanh(new)
    hidden = sigmoid(leave) * fnp.tanh(cell)
    return (hidden, cell), hidden
