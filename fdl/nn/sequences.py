"""Recurrent networks over whole sequences: lengths, both directions, several layers."""

from collections.abc import Callable, Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import lax, tree
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.layers import Params
from fdl.nn.positions import padding_mask
from fdl.nn.recurrent import Carry, gru_carry, gru_cell, lstm_carry, lstm_cell, rnn_cell

Cell = Callable[[Params, Carry, Any], tuple[Carry, Array]]


def rnn(
    cell: Cell, params: Params, xs: Any, carry: Carry = None, *, lengths: Any = None, reverse: bool = False
) -> tuple[Carry, Array]:
    """Scan a cell over time.

    Args:
        cell: such as :func:`lstm_cell`: from (params, carry, x [batch, ...]) to (carry, y).
        params: of the cell.
        xs: [batch, time, ...].
        carry: the first one; None is zeros, for the cells of this module.
        lengths: integers [batch], how many steps of each example there are; None is all. Later ones change nothing,
            and their outputs are zeros.
        reverse: whether to go from the last step to the first; outputs stay at their places.

    Returns:
        The carry after the last step of each example, and the outputs [batch, time, ...].

    Raises:
        ShapeError: xs has no time, or the lengths do not fit.
        ValueError: there is no first carry for the cell.

    >>> from fdl import nn, random
    >>> params = nn.init_lstm(random.key(0), 3, 4)
    >>> (hidden, _), ys = rnn(nn.lstm_cell, params, fnp.ones((2, 5, 3)), lengths=fnp.array([5, 2]))
    >>> ys.shape, bool((ys[1, 1] == hidden[1]).all())
    ((2, 5, 4), True)
    """
    xs = fnp.asarray(xs)
    if xs.ndim < 3:
        raise ShapeError(f"rnn needs xs [batch, time, ...], got {xs.type}")
    carry = first_carry(cell, params, xs) if carry is None else carry
    times = fnp.swapaxes(xs, 0, 1)
    if lengths is None:
        last, ys = lax.scan(lambda c, x: cell(params, c, x), carry, times, reverse=reverse)
        return last, fnp.swapaxes(ys, 0, 1)
    lengths = fnp.asarray(lengths)
    if lengths.shape != xs.shape[:1]:
        raise ShapeError(f"rnn: lengths {lengths.type} do not fit xs {xs.type}")
    there = fnp.swapaxes(padding_mask(lengths, xs.shape[1]), 0, 1)

    def step(old: Carry, each: tuple[Any, Any]) -> tuple[Carry, Array]:
        x, known = each

        def chosen(new: Any, other: Any) -> Any:
            return fnp.where(known.reshape(known.shape + (1,) * (new.ndim - 1)), new, other)

        new, y = cell(params, old, chosen(x, fnp.zeros_like(x)))
        return tree.map(chosen, new, old), chosen(y, fnp.zeros_like(y))

    last, ys = lax.scan(step, carry, (times, there), reverse=reverse)
    return last, fnp.swapaxes(ys, 0, 1)


def bidirectional_rnn(
    cell: Cell, params: Params, xs: Any, carries: tuple[Carry, Carry] = (None, None), *, lengths: Any = None
) -> tuple[tuple[Carry, Carry], Array]:
    """:func:`rnn` in both directions; outputs beside each other. Source: Schuster, Paliwal (1997).

    Args:
        cell: such as :func:`lstm_cell`.
        params: a dict with "forward" and "backward".
        xs: [batch, time, ...].
        carries: the first ones, forward and backward.
        lengths: integers [batch], how many steps of each example there are; None is all.

    Returns:
        The last carries, and the outputs [batch, time, 2 size].

    >>> from fdl import nn, random
    >>> params = {name: nn.init_gru(random.key(i), 3, 4) for i, name in enumerate(("forward", "backward"))}
    >>> bidirectional_rnn(nn.gru_cell, params, fnp.ones((2, 5, 3)))[1].shape
    (2, 5, 8)
    """
    first, ahead = rnn(cell, params["forward"], xs, carries[0], lengths=lengths)
    second, back = rnn(cell, params["backward"], xs, carries[1], lengths=lengths, reverse=True)
    return (first, second), fnp.concatenate([ahead, back], axis=-1)


def stacked_rnn(
    cell: Cell, params: Sequence[Params], xs: Any, carries: Sequence[Carry] | None = None, *, lengths: Any = None,
    between: Callable[[int, Array], Array] | None = None,
) -> tuple[list[Carry], Array]:  # fmt: skip
    """Layers of :func:`rnn` (of :func:`bidirectional_rnn`, where params have "forward" and "backward").

    Args:
        cell: such as :func:`lstm_cell`.
        params: of each layer, the first one first.
        xs: [batch, time, ...].
        carries: the first ones of each layer; None is zeros.
        lengths: integers [batch], how many steps of each example there are; None is all.
        between: from the number of a layer and its outputs to the inputs of the next, such as a dropout.

    Returns:
        The last carries of each layer, and the outputs of the last layer.

    >>> from fdl import nn, random
    >>> params = [nn.init_lstm(random.key(0), 3, 4), nn.init_lstm(random.key(1), 4, 6)]
    >>> stacked_rnn(nn.lstm_cell, params, fnp.ones((2, 5, 3)))[1].shape
    (2, 5, 6)
    """
    last = []
    for number, layer in enumerate(params):
        both = "forward" in layer
        if number and between is not None:
            xs = between(number - 1, xs)
        if both:
            pair = (None, None) if carries is None else carries[number]
            carry, xs = bidirectional_rnn(cell, layer, xs, pair, lengths=lengths)
        else:
            carry, xs = rnn(cell, layer, xs, None if carries is None else carries[number], lengths=lengths)
        last.append(carry)
    return last, xs


def last_outputs(ys: Any, lengths: Any) -> Array:
    """The output of the last step of each example.

    Args:
        ys: [batch, time, ...].
        lengths: integers [batch]; an example without steps gives zeros.

    Returns:
        [batch, ...].

    >>> last_outputs(fnp.arange(6.0).reshape(2, 3, 1), fnp.array([3, 1])).ravel().tolist()
    [2.0, 3.0]
    """
    ys, lengths = fnp.asarray(ys), fnp.asarray(lengths)
    shape = (-1,) + (1,) * (ys.ndim - 1)
    chosen = fnp.take_along_axis(ys, fnp.maximum(lengths - 1, 0).reshape(shape), axis=1)[:, 0]
    return fnp.where((lengths > 0).reshape(shape[:-1]), chosen, 0.0).astype(ys.dtype)


def first_carry(cell: Cell, params: Params, xs: Array) -> Carry:
    """Zeros for the cells of this library."""
    makers = {lstm_cell: lstm_carry, gru_cell: gru_carry, rnn_cell: gru_carry}
    if cell not in makers:
        raise ValueError(f"rnn needs the first carry of {getattr(cell, '__name__', cell)}: pass carry=...")
    dtype = fnp.promote_types(xs.dtype, params["wh"].dtype)
    return makers[cell](xs.shape[:1], params["wh"].shape[0], dtype)
