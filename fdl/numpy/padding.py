"""Padding, in all of its modes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.core.trace import Value
from fdl.core.weak import weak_as
from fdl.dtypes import python_number
from fdl.errors import ShapeError
from fdl.numpy import quantiles, reductions, statistics
from fdl.numpy._operands import SCALARS, Array, ArrayLike, as_written, cast, expand_to, inexact, value
from fdl.numpy.arithmetic import round as rounded
from fdl.numpy.functional import apply_along_axis
from fdl.numpy.ranges import linspace
from fdl.numpy.rearrange import flip
from fdl.numpy.shapes import between, concatenate, reshape
from fdl.ops.slicing import pad as padded

Widths = Sequence[tuple[int, int]]


def pad(array: ArrayLike, pad_width: Any, mode: str | Callable[..., Any] = "constant", **kwargs: Any) -> Array:
    """Elements added at the ends of axes.

    Args:
        array: array.
        pad_width: how many: a number, (before, after), or such a pair for each axis; or a dict by axis.
        mode: "constant", "edge", "wrap", "reflect", "symmetric", "linear_ramp", "maximum", "minimum", "mean",
            "empty", or a function as NumPy takes it.
        **kwargs: constant_values, end_values, stat_length, reflect_type, as for NumPy.

    Raises:
        ShapeError: the widths do not fit the axes, or are negative.
        RangeError: the dtype does not hold an integer of constant_values (which wraps around under JAX's name).

    >>> pad(array([1, 2]), 1)
    Array([0, 1, 2, 0], dtype=int32)
    """
    x = value("pad", array)
    widths = [(int(low), int(high)) for low, high in _pairs("pad_width", pad_width, x.type.ndim)]
    if any(n < 0 for w in widths for n in w):
        raise ShapeError(f"pad: widths must not be negative, got {pad_width}")
    return _padded(x, widths, mode, kwargs)


def _pairs(name: str, given: Any, count: int) -> list[tuple[Any, Any]]:
    """(before, after) for each axis, from a number, a pair, one entry for each axis, or a dict by axis."""
    if isinstance(given, dict):
        found: list[tuple[Any, Any]] = [(0, 0)] * count
        for axis, entry in given.items():
            found[axis] = tuple(entry) if isinstance(entry, (tuple, list)) else (entry, entry)
        return found
    if not isinstance(given, (tuple, list, np.ndarray)) and np.ndim(given) == 0:
        return [(given, given)] * count
    entries = [tuple(e) if isinstance(e, (tuple, list)) or np.ndim(e) else e for e in given]
    if all(not isinstance(e, tuple) for e in entries):
        if len(entries) == 1:
            return [(entries[0], entries[0])] * count
        if len(entries) == 2:
            return [(entries[0], entries[1])] * count
    entries = [e if isinstance(e, tuple) else (e, e) for e in entries]
    entries = [e if len(e) == 2 else e * 2 for e in entries]
    if len(entries) == 1:
        entries = entries * count
    if len(entries) != count or any(len(e) != 2 for e in entries):
        raise ShapeError(f"pad: {name}={given} does not fit an array of {count} axes")
    return entries


def _padded(x: Array, widths: Widths, mode: str | Callable[..., Any], options: dict[str, Any]) -> Array:
    """`x` padded axis after axis."""
    if callable(mode):
        return _by_function(x, widths, mode, options)
    known = {
        "constant": {"constant_values"},
        "linear_ramp": {"end_values"},
        "maximum": {"stat_length"},
        "minimum": {"stat_length"},
        "mean": {"stat_length"},
        "median": {"stat_length"},
        "reflect": {"reflect_type"},
        "symmetric": {"reflect_type"},
        "edge": set(),
        "wrap": set(),
        "empty": set(),
    }
    if mode not in known:
        raise ValueError(f"pad: mode must be one of {', '.join(known)}, got {mode!r}")
    if set(options) - known[mode]:
        raise ValueError(f"pad: mode {mode!r} does not take {', '.join(sorted(set(options) - known[mode]))}")
    if options.get("reflect_type", "even") not in ("even", "odd"):
        raise ValueError(f"pad: reflect_type must be 'even' or 'odd', got {options['reflect_type']!r}")
    per_axis = {k: _pairs(k, v, x.type.ndim) for k, v in options.items() if k != "reflect_type" and v is not None}
    for axis, (low, high) in enumerate(widths):
        if low or high:
            arguments = {k: v[axis] for k, v in per_axis.items()}
            x = _one_axis(x, axis, low, high, mode, arguments, options.get("reflect_type") == "odd")
    return x


def _one_axis(x: Array, axis: int, low: int, high: int, mode: str, options: dict[str, Any], odd: bool) -> Array:
    extent = x.type.shape[axis]
    if mode in ("constant", "empty"):
        before, after = options.get("constant_values", (0, 0))
        if before is after:
            return _constant_border(x, low, high, axis, before)
        return _constant_border(_constant_border(x, low, 0, axis, before), 0, high, axis, after)
    if not extent:
        raise ShapeError(f"pad: axis {axis} has no elements, which mode {mode!r} needs")
    if mode == "edge":
        return _between_borders(_slice(x, axis, 0), x, _slice(x, axis, extent - 1), axis, low, high)
    if mode == "wrap":
        return concatenate([_repeated(x, axis, low, True), x, _repeated(x, axis, high, False)], axis)
    if mode in ("reflect", "symmetric"):
        return _mirrored(x, axis, low, high, mode == "symmetric", odd)
    if mode == "linear_ramp":
        ends = options.get("end_values", (0, 0))
        ramps = [_ramp(x, axis, width, ends[side], side) for side, width in enumerate((low, high))]
        return concatenate([ramps[0], x, ramps[1]], axis)
    lengths = options.get("stat_length", (extent, extent))
    before = _statistic(mode, between(x, axis, 0, min(lengths[0], extent)), axis)
    after = _statistic(mode, between(x, axis, extent - min(lengths[1], extent), extent), axis)
    return _between_borders(before, x, after, axis, low, high)


def _constant_border(x: Array, low: int, high: int, axis: int, fill: Any) -> Array:
    """`x` with a constant added at both ends of an axis."""
    config = [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.type.ndim)]
    fill = fill if type(python_number(fill)) in SCALARS else _scalar(fill)
    return padded(x, weak_as(x, as_written("pad: constant_values", fill, x.type.dtype)), config)


def _scalar(fill: Any) -> Any:
    """A number or an array of one element as a scalar Value."""
    return reshape(fill if isinstance(fill, Value) else value("pad", np.asarray(fill)), ())


def _slice(x: Array, axis: int, place: int) -> Array:
    return between(x, axis, place, place + 1)


def _between_borders(before: Array, x: Array, after: Array, axis: int, low: int, high: int) -> Array:
    """`x` between copies of two slices."""
    shapes = [(*x.type.shape[:axis], n, *x.type.shape[axis + 1 :]) for n in (low, high)]
    return concatenate([expand_to(before, shapes[0]), x, expand_to(after, shapes[1])], axis)


def _repeated(x: Array, axis: int, width: int, in_front: bool) -> Array:
    """The `width` elements that come before (or after) `x` if it goes on periodically."""
    extent = x.type.shape[axis]
    copies = concatenate([x] * (-(-width // extent) or 1), axis)
    size = copies.type.shape[axis]
    return between(copies, axis, size - width, size) if in_front else between(copies, axis, 0, width)


def _mirrored(x: Array, axis: int, low: int, high: int, with_edge: bool, odd: bool) -> Array:
    """Mirrored at the ends as often as need be; with `odd` the differences from the edge are negated."""
    while low or high:
        extent = x.type.shape[axis]
        reach = extent if with_edge else extent - 1
        if not reach:
            return _between_borders(x, x, x, axis, low, high)
        before, after = min(low, reach), min(high, reach)
        skip = 0 if with_edge else 1
        front = flip(between(x, axis, skip, skip + before), axis)
        back = flip(between(x, axis, extent - skip - after, extent - skip), axis)
        if odd:
            front, back = 2 * _slice(x, axis, 0) - front, 2 * _slice(x, axis, extent - 1) - back
        x = concatenate([front, x, back], axis)
        low, high = low - before, high - after
    return x


def _ramp(x: Array, axis: int, width: int, end: Any, side: int) -> Array:
    """From the edge to `end`, the edge itself left out."""
    edge = _slice(x, axis, 0 if side == 0 else x.type.shape[axis] - 1)
    working = inexact(x.type.dtype)
    edge, end = cast(edge, working), expand_to(cast(_scalar(end), working), edge.type.shape)
    ramp = linspace(end, edge, width, endpoint=False, dtype=x.type.dtype, axis=axis)
    ramp = ramp.reshape((*x.type.shape[:axis], width, *x.type.shape[axis + 1 :]))
    return ramp if side == 0 else flip(ramp, axis)


def _statistic(mode: str, x: Array, axis: int) -> Array:
    functions: dict[str, Any] = {
        "maximum": reductions.max,
        "minimum": reductions.min,
        "mean": statistics.mean,
        "median": quantiles.median,
    }
    found = functions[mode](x, axis, keepdims=True)
    return cast(rounded(found) if x.type.dtype.kind in "iu" else found, x.type.dtype)


def _by_function(x: Array, widths: Widths, function: Callable[..., Any], options: dict[str, Any]) -> Array:
    """NumPy's interface: the function gets every padded vector, with zeros at its ends, and returns the new one."""
    for axis, (low, high) in enumerate(widths):
        x = _constant_border(x, low, high, axis, 0)
    for axis, pair in enumerate(widths):
        x = apply_along_axis(lambda row, axis=axis, pair=pair: function(row, pair, axis, options), axis, x)
    return x
