"""ONNX's recurrent operators: one scan over time for each direction."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop.onnx_operators.shapes import reversed_rows
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Step = Callable[..., tuple[Any, Any]]
#: Activations that are left to their defaults, by the operator.
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
ACTIVATIONS = {"Sigmoid": nn.sigmoid, "Tanh": fnp.tanh, "Relu": nn.relu}


def lstm_step(u: Any, peephole: Any, activations: list[Any], carry: Any, product: Any) -> tuple[Any, Any]:
    """Hochreiter, Schmidhuber (1997), with peepholes; the gates are in the order i, o, f, c."""
    h, c = carry
    first, second, third = activations
    i, o, f, g = fnp.split(product + fnp.matmul(h, u.T), 4, axis=-1)
    if peephole is not None:
        p_i, p_o, p_f = fnp.split(peephole, 3)
        i, f = i + p_i * c, f + p_f * c
    c = first(f) * c + first(i) * second(g)
    o = o if peephole is None else o + p_o * c
    h = first(o) * third(c)
    return (h, c), h


def gru_step(u: Any, bias: Any, before: bool, activations: list[Any], carry: Any, product: Any) -> tuple[Any, Any]:
    """Cho et al. (2014), whose reset is applied before the product or, for linear_before_reset, after it."""
    (h,) = carry
    first, second = activations
    size = h.shape[-1]
    own_z, own_r, own_n = fnp.split(product, 3, axis=-1)
    gates = fnp.matmul(h, u[: 2 * size].T) + bias[: 2 * size]
    z, r = first(own_z + gates[..., :size]), first(own_r + gates[..., size:])
    weights, shift = u[2 * size :].T, bias[2 * size :]
    inner = r * (fnp.matmul(h, weights) + shift) if before else fnp.matmul(r * h, weights) + shift
    n = second(own_n + inner)
    h = (1 - z) * n + z * h
    return (h,), h


def rnn_step(u: Any, activations: list[Any], carry: Any, product: Any) -> tuple[Any, Any]:
    """Elman (1990)."""
    h = activations[0](product + fnp.matmul(carry[0], u.T))
    return (h,), h


def within(step: Step, lengths: Any, carry: Any, product: Any) -> tuple[Any, Any]:
    """A step for the rows that have not ended; of others the state stays, and outputs are zero."""
    before, number = carry
    goes_on = (number < fnp.asarray(lengths))[:, None]
    after, out = step(before, product)
    kept = tuple([fnp.where(goes_on, new, old) for new, old in zip(after, before, strict=True)])
    return (kept, number + np.int32(1)), fnp.where(goes_on, out, fnp.zeros((), out.dtype))


def network(
    kind: str,
    x: Any,
    w: Any,
    u: Any,
    bias: Any = None,
    lengths: Any = None,
    h: Any = None,
    c: Any = None,
    peepholes: Any = None,
    *,
    hidden_size: int = 0,
    direction: str = "forward",
    layout: int = 0,
    activations: list[str] | None = None,
    linear_before_reset: int = 0,
    **others: Any,
) -> tuple[Array, ...]:
    """All directions of one layer.

    Raises:
        InteropError: other activations, or settings that change cells.
    """
    others = {name: value for name, value in others.items() if (name, value) != ("input_forget", 0)}
    if others:
        raise InteropError(f"from_onnx: fdl has no {kind} with {', '.join(others)}")
    x = fnp.swapaxes(x, 0, 1) if layout else x
    count, gates = w.shape[0], w.shape[1]
    names = activations or DEFAULTS[kind] * count
    if set(names) - ACTIVATIONS.keys():
        raise InteropError(f"from_onnx: fdl has no {kind} with the activations {', '.join(names)}")
    size = u.shape[-1]
    start = [
        fnp.zeros((count, x.shape[1], size), x.dtype) if part is None else fnp.swapaxes(part, 0, 1) if layout else part
        for part in ([h, c] if kind == "LSTM" else [h])
    ]
    bias = fnp.zeros((count, 2 * gates), x.dtype) if bias is None else bias
    each, outputs, last = len(names) // count, list[Any](), list[Any]()
    for number in range(count):
        functions = [ACTIVATIONS[name] for name in names[number * each : (number + 1) * each]]
        own, inner = bias[number, :gates], bias[number, gates:]
        if kind == "LSTM":
            own = own + inner
            step: Step = partial(lstm_step, u[number], None if peepholes is None else peepholes[number], functions)
        elif kind == "GRU":
            step = partial(gru_step, u[number], inner, bool(linear_before_reset), functions)
        else:
            own = own + inner
            step = partial(rnn_step, u[number], functions)
        products = fnp.matmul(x, w[number].T) + own
        backwards, first = direction == "reverse" or number == 1, tuple([part[number] for part in start])
        if lengths is None:
            carry, out = lax.scan(step, first, products, reverse=backwards)
        else:
            products = reversed_rows(products, lengths, 1, 0) if backwards else products
            carry, out = lax.scan(partial(within, step, lengths), (first, np.int32(0)), products)
            carry, out = carry[0], reversed_rows(out, lengths, 1, 0) if backwards else out
        outputs.append(out)
        last.append(carry)
    out = fnp.stack(outputs, axis=1)
    ends = [fnp.stack(parts) for parts in zip(*last, strict=True)]
    if layout:
        out, ends = fnp.transpose(out, (2, 0, 1, 3)), [fnp.swapaxes(part, 0, 1) for part in ends]
    return out, *ends


for kind in DEFAULTS:
    define(kind)(partial(network, kind))
