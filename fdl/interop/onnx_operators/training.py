"""Operators of the domain ai.onnx.preview.training: one step of an optimizer for several arrays at once."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Update = Callable[..., tuple[Any, ...]]


def for_each(update: Update, states: int) -> Callable[..., tuple[Array, ...]]:
    """An operator (rate, step, arrays, gradients, states...) from the update of one array."""

    def operator(rate: Any, step: Any, *operands: Any, **settings: Any) -> tuple[Array, ...]:
        count = len(operands) // (2 + states)
        columns = [operands[i * count : (i + 1) * count] for i in range(2 + states)]
        rows = [update(rate, step, *row, **settings) for row in zip(*columns, strict=True)]
        return tuple([value for column in zip(*rows, strict=True) for value in column])

    return operator


def adagrad(
    rate: Any, step: Any, x: Any, g: Any, h: Any, decay_factor: float = 0.0, epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
) -> tuple[Any, ...]:  # fmt: skip
    """Duchi, Hazan, Singer (2011)."""
    g = norm_coefficient * x + g
    h = h + g * g
    x = x - rate / (1 + step * decay_factor) * g / (fnp.sqrt(h) + epsilon)
    return x, h


def adam(
    rate: Any, step: Any, x: Any, g: Any, v: Any, h: Any, alpha: float = 0.9, beta: float = 0.999,
    epsilon: float = 0.0, norm_coefficient: float = 0.0, norm_coefficient_post: float = 0.0,
) -> tuple[Any, ...]:  # fmt: skip
    """Kingma, Ba (2015)."""
    g = norm_coefficient * x + g
    v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
    turn = fnp.where(step > 0, step, 1).astype(x.dtype)
    corrected = fnp.where(step > 0, rate * fnp.sqrt(1 - beta**turn) / (1 - alpha**turn), rate)
    return (1 - norm_coefficient_post) * (x - corrected * v / (fnp.sqrt(h) + epsilon)), v, h


def momentum(
    rate: Any, step: Any, x: Any, g: Any, v: Any, alpha: float = 0.0, beta: float = 0.0, mode: str = "standard",
    norm_coefficient: float = 0.0,
) -> tuple[Any, ...]:  # fmt: skip
    """Polyak (1964), or Nesterov (1983)."""
    g = norm_coefficient * x + g
    v = alpha * v + fnp.where(step > 0, beta, 1.0).astype(x.dtype) * g
    return x - rate * (v if mode == "standard" else g + alpha * v), v


for name, update, states in (("Adagrad", adagrad, 1), ("Adam", adam, 2), ("Momentum", momentum, 1)):
    define(f"ai.onnx.preview.training.{name}")(for_each(update, states))
