"""ATen operators of recurrent networks: one scan over time for each layer and direction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.core.types import Array
from fdl.interop.aten.networks import dropout
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def layers(
    step: Step,
    x: Any,
    start: Sequence[Any],
    weights: Sequence[Any],
    has_biases: bool,
    rate: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    random_key: Any,
    stream: int,
    projected: bool = False,
) -> tuple[Any, list[Any]]:
    """Layers of one or two directions.

    Args:
        step: (weights of a direction, carry, products with the input) -> (carry, output).
        x: [time, batch, features], or [batch, time, features] for batch_first.
        start: parts of the carry, each [layers * directions, batch, features].
        weights: of all directions of all layers, in PyTorch's order.
        has_biases: whether there are biases among them.
        rate: of dropout between layers.
        train: whether there is dropout.
        bidirectional: whether there is a second direction.
        batch_first: the order of the axes of x and the output.
        random_key: of dropout.
        stream: the number of this operator.
        projected: whether there is a projection among the weights.

    Returns:
        The output, and the last carries, stacked.
    """
    single = x.ndim == 2
    if single:
        x, start, batch_first = x[:, None], [part[:, None] for part in start], False
    x = fnp.swapaxes(x, 0, 1) if batch_first else x
    size = 2 + 2 * has_biases + projected
    groups = [weights[i : i + size] for i in range(0, len(weights), size)]
    directions = 2 if bidirectional else 1
    outputs, last = list[Any](), list[Any]()
    for number, group in enumerate(groups):
        if number % directions == 0:
            if number:
                x = dropout(fnp.concatenate(outputs, axis=-1), rate, train, random_key, 1000 * stream + number)
            outputs = []
        products = fnp.matmul(x, group[0].T)
        if has_biases:
            products = products + group[2]
        carry = tuple([part[number] for part in start])
        carry, out = lax.scan(partial(step, group), carry, products, reverse=number % directions == 1)
        outputs.append(out)
        last.append(carry)
    out = fnp.concatenate(outputs, axis=-1)
    ends = [fnp.stack(parts) for parts in zip(*last, strict=True)]
    if single:
        return out[:, 0], [part[:, 0] for part in ends]
    return fnp.swapaxes(out, 0, 1) if batch_first else out, ends


def recurrent(group: Sequence[Any], h: Any, has_biases: bool) -> Array:
    """The product of the last output with its weights, and their bias."""
    product = fnp.matmul(h, group[1].T)
    return product + group[3] if has_biases else product


def lstm_step(has_biases: bool, projected: bool) -> Step:
    """Hochreiter, Schmidhuber (1997), with a projection of the output by Sak, Senior, Beaufays (2014)."""

    def step(group: Any, carry: Any, product: Any) -> tuple[Any, Any]:
        h, c = carry
        i, f, g, o = fnp.split(product + recurrent(group, h, has_biases), 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * fnp.tanh(g)
        h = nn.sigmoid(o) * fnp.tanh(c)
        h = fnp.matmul(h, group[-1].T) if projected else h
        return (h, c), h

    return step


def gru_step(has_biases: bool) -> Step:
    """Cho et al. (2014), with the reset after the product."""

    def step(group: Any, carry: Any, product: Any) -> tuple[Any, Any]:
        (h,) = carry
        own_r, own_z, own_n = fnp.split(product, 3, axis=-1)
        r, z, n = fnp.split(recurrent(group, h, has_biases), 3, axis=-1)
        r, z = nn.sigmoid(own_r + r), nn.sigmoid(own_z + z)
        n = fnp.tanh(own_n + r * n)
        h = (1 - z) * n + z * h
        return (h,), h

    return step


def rnn_step(has_biases: bool, activation: Callable[[Any], Any]) -> Step:
    """Elman (1990)."""

    def step(group: Any, carry: Any, product: Any) -> tuple[Any, Any]:
        h = activation(product + recurrent(group, carry[0], has_biases))
        return (h,), h

    return step


@define("aten.lstm.input")
def lstm(
    x: Any,
    start: Sequence[Any],
    weights: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    rate: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    random_key: Any = None,
    stream: int = 0,
) -> tuple[Any, ...]:
    projected = start[0].shape[-1] != start[1].shape[-1]
    out, (h, c) = layers(
        lstm_step(has_biases, projected), x, start, weights, has_biases, rate, train, bidirectional, batch_first,
        random_key, stream, projected,
    )  # fmt: skip
    return out, h, c


def one_carry(make: Callable[[bool], Step]) -> Callable[..., tuple[Any, ...]]:
    """An operator whose carry is its output."""

    def operator(
        x: Any,
        start: Any,
        weights: Sequence[Any],
        has_biases: bool,
        num_layers: int,
        rate: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
        random_key: Any = None,
        stream: int = 0,
    ) -> tuple[Any, ...]:
        out, (h,) = layers(
            make(has_biases), x, [start], weights, has_biases, rate, train, bidirectional, batch_first, random_key,
            stream,
        )  # fmt: skip
        return out, h

    return operator


define("aten.gru.input")(one_carry(gru_step))
define("aten.rnn_tanh.input")(one_carry(lambda has_biases: rnn_step(has_biases, fnp.tanh)))
define("aten.rnn_relu.input")(one_carry(lambda has_biases: rnn_step(has_biases, nn.relu)))


@define("aten.lstm_cell.default")
def lstm_cell(x: Any, start: Sequence[Any], w: Any, u: Any, b: Any = None, d: Any = None) -> tuple[Any, Any]:
    product = fnp.matmul(x, w.T)
    (h, c), _ = lstm_step(b is not None, False)([w, u, b, d], start, product if b is None else product + b)
    return h, c


@define("aten.gru_cell.default")
def gru_cell(x: Any, start: Any, w: Any, u: Any, b: Any = None, d: Any = None) -> Array:
    product = fnp.matmul(x, w.T)
    return gru_step(b is not None)([w, u, b, d], (start,), product if b is None else product + b)[1]


@define("aten.rnn_tanh_cell.default")
def rnn_tanh_cell(x: Any, start: Any, w: Any, u: Any, b: Any = None, d: Any = None) -> Array:
    product = fnp.matmul(x, w.T)
    return rnn_step(b is not None, fnp.tanh)([w, u, b, d], (start,), product if b is None else product + b)[1]


#: Operators that draw random numbers, by dropout between layers.
RANDOM = frozenset({"aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input"})
