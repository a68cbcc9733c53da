"""Reductions by any monoid, whole or over sliding windows, by their lax names."""

import functools
import itertools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.vmap import vmap
from fdl.array import Array, as_array
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.dtypes import bool_, is_inexact
from fdl.errors import ShapeError, TreeError
from fdl.lax.associative import check_combined
from fdl.lax.convolution import Padding, padding_pairs
from fdl.numpy._operands import axis_index, element, integers
from fdl.ops import reduce as reductions
from fdl.ops import window as windows
from fdl.ops.reduce import identity
from fdl.ops.shape import broadcast_in_dim, move_axis, reshape
from fdl.ops.slicing import concatenate, pad, slice_

__all__ = ["reduce", "reduce_window"]

Monoid = Callable[[Any, Any], Any]


def monoid_name(computation: Monoid, dtype: np.dtype) -> str | None:
    """Which primitive a function of two scalars is: "add", "mul", "max", "min", "and", "or", "xor", or None."""
    scalar = TensorType((), dtype)
    program, captured = trace_program(lambda x, y: [as_array(computation(x, y))], [scalar, scalar])
    if captured or len(program.equations) != 1:
        return None
    equation = program.equations[0]
    return equation.operation.name if set(equation.inputs) == set(program.inputs) else None


def identity_element(name: str, dtype: np.dtype) -> Any:
    """The identity element of a monoid."""
    if name in ("max", "min"):
        return identity(dtype, name == "max")
    if name == "and":
        return True if dtype == bool_ else -1
    return 1 if name == "mul" else 0


def _is_identity(init: Any, name: str) -> bool:
    if type(init) is not Array:
        return False
    value = init.concrete()
    lowest = name in ("max", "min") and is_inexact(value.dtype) and value == (-np.inf if name == "max" else np.inf)
    return bool(lowest or value == np.asarray(identity_element(name, value.dtype)).astype(value.dtype))


_REDUCTIONS = {
    "add": reductions.sum_,
    "mul": reductions.prod_,
    "max": reductions.reduce_max,
    "min": reductions.reduce_min,
    "and": reductions.reduce_and,
    "or": reductions.reduce_or,
    "xor": reductions.reduce_xor,
}


def reduce(
    operands: Any, init_values: Any, computation: Callable[..., Any], dimensions: Sequence[int], **ignored: Any
) -> Any:
    """Combine elements along axes by a monoid.

    Args:
        operands: an array, or a pytree of arrays of one shape.
        init_values: a scalar for each, the first operand of the combination.
        computation: associative, on scalars (pytrees of them).
        dimensions: the axes.
        **ignored: further keywords, accepted for ports.

    Returns:
        Arrays in the structure of `operands`, of their dtypes and their shape without `dimensions`.

    Raises:
        ShapeError: an axis is out of bounds.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.reduce(fnp.arange(4.0), 0.0, fdl.lax.add, (0,))
    Array(6., dtype=float32)
    """
    leaves, structure = tree.flatten(operands)
    values = [as_array(leaf) for leaf in leaves]
    starts = tree.leaves(init_values)
    if len(starts) != len(values):
        raise TreeError(f"lax.reduce needs one init value for each of {len(values)} operands, got {len(starts)}")
    inits = [element("an init value of lax.reduce", i, v.dtype) for i, v in zip(starts, values, strict=True)]
    axes = tuple(axis_index("reduce", d, values[0].ndim) for d in integers("reduce: dimensions", dimensions))
    if len(values) == 1:
        name = monoid_name(computation, values[0].dtype)
        if name in _REDUCTIONS:
            total = _REDUCTIONS[name](values[0], axes)
            init = inits[0]
            done = total if _is_identity(init, name) else computation(broadcast_in_dim(init, total.shape, ()), total)
            return tree.unflatten(structure, [done])
    return tree.unflatten(structure, _fold(computation, structure, values, inits, axes))


def _fold(computation: Any, structure: Any, values: list[Any], inits: list[Any], axes: tuple[int, ...]) -> list[Any]:
    """Any monoid, by combining halves until one element is left."""
    kept = tuple(a for a in range(values[0].ndim) if a not in axes)
    shape = tuple(values[0].shape[a] for a in kept)
    rows = [reshape(_front(v, axes), (prod(v.shape[a] for a in axes), *shape)) for v in values]

    def combine(xs: Sequence[Any], ys: Sequence[Any]) -> list[Any]:
        function = computation
        for _ in range(xs[0].ndim):
            function = vmap(function)
        return tree.leaves(function(tree.unflatten(structure, xs), tree.unflatten(structure, ys)))

    def checked(xs: Sequence[Any], ys: Sequence[Any]) -> list[Any]:
        found = [as_array(leaf) for leaf in combine(xs, ys)]
        check_combined("reduce", combine, found, xs, ys)
        return found

    while rows[0].shape[0] > 1:
        half, odd = divmod(rows[0].shape[0], 2)
        pairs = checked([_part(r, 0, half) for r in rows], [_part(r, half, 2 * half) for r in rows])
        rows = [
            concatenate([p, _part(r, 2 * half, 2 * half + 1)], 0) if odd else p
            for p, r in zip(pairs, rows, strict=True)
        ]
    first = [broadcast_in_dim(i, (1, *shape), ()) for i in inits]
    done = checked(first, rows) if rows[0].shape[0] else first
    return [reshape(d, shape) for d in done]


def _front(value: Any, axes: Sequence[int]) -> Any:
    for place, axis in enumerate(sorted(axes)):
        value = move_axis(value, axis, place)
    return value


def _part(value: Any, start: int, stop: int) -> Any:
    return slice_(value, (start, *[0] * (value.ndim - 1)), (stop, *value.shape[1:]), (1,) * value.ndim)


def reduce_window(
    operand: Any,
    init_value: Any,
    computation: Monoid,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """Combine the elements under a sliding window by a monoid.

    Args:
        operand: an array, or a pytree of arrays of one shape.
        init_value: a scalar, combined with every window and used as padding; of a pytree one for each array.
        computation: associative, such as ``fdl.lax.add`` or ``fdl.lax.max``; of a pytree it takes two pytrees.
        window_dimensions, window_strides: extent and step along every axis.
        padding: "SAME", "VALID", or a (low, high) pair for every axis.
        base_dilation, window_dilation: distances of the elements of the operand and of the window.

    Returns:
        An array of the dtype of `operand`, with an element for every place of the window, or a pytree of such.

    Raises:
        ShapeError: `window_dimensions` or `window_strides` do not have an entry for every axis, or the arrays do not
            have one shape.
        TreeError: `operand` and `init_value` are not of one structure, or have no array.

    Source: the operation `ReduceWindow` of XLA, https://openxla.org/xla/operation_semantics#reducewindow

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.reduce_window(fnp.arange(4.0), -fnp.inf, fdl.lax.max, (2,), (2,), "VALID")
    Array([1., 3.], dtype=float32)
    """
    leaves, structure = tree.flatten(operand)
    starts, of_starts = tree.flatten(init_value)
    if of_starts != structure:
        raise TreeError(f"reduce_window: init_value has the structure {of_starts}, operand {structure}")
    operands = [as_array(leaf) for leaf in leaves]
    if not operands:
        raise TreeError("reduce_window needs an array, got a tree without one")
    if any(x.shape != operands[0].shape for x in operands):
        raise ShapeError(f"reduce_window needs arrays of one shape, got {', '.join(str(x.type) for x in operands)}")
    named = "the init value of lax.reduce_window"
    inits = [element(named, start, x.dtype) for start, x in zip(starts, operands, strict=True)]
    first = operands[0]
    window = integers("reduce_window: window_dimensions", window_dimensions)
    strides = integers("reduce_window: window_strides", window_strides)
    base, dilation = tuple(base_dilation or (1,) * first.ndim), tuple(window_dilation or (1,) * first.ndim)
    if not len(window) == len(strides) == first.ndim:
        raise ShapeError(
            f"reduce_window of {first.type} needs {first.ndim} window dimensions and strides, got "
            f"{window} and {strides}"
        )
    spread = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    extents = [max((n - 1) * d + 1, 0) for n, d in zip(first.shape, base, strict=True)]
    pads = padding_pairs("reduce_window", extents, spread, strides, padding)
    name = monoid_name(computation, first.dtype) if tree.all_leaves([operand]) else None
    if name in ("add", "max", "min"):
        kind = "sum" if name == "add" else name
        found = windows.reduce_window(kind, first, window, strides, pads, base, dilation)
        return (
            found if _is_identity(inits[0], name) else computation(found, broadcast_in_dim(inits[0], found.shape, ()))
        )
    edges = [(low, high, d - 1) for (low, high), d in zip(pads, base, strict=True)]
    padded = [pad(x, init, edges) for x, init in zip(operands, inits, strict=True)]
    return _combine_windows(structure, padded, inits, computation, window, strides, dilation, spread)


def _combine_windows(
    structure: Any, padded: Any, inits: Any, computation: Monoid, window: Any, strides: Any, dilation: Any, spread: Any
) -> Any:
    """Any monoid: one strided slice for every place in the window."""
    counts = [max((n - k) // s + 1, 0) for n, k, s in zip(padded[0].shape, spread, strides, strict=True)]
    parts = []
    for place in itertools.product(*map(range, window)):
        starts = [p * d for p, d in zip(place, dilation, strict=True)]
        limits = [b + (c - 1) * s + 1 if c else b for b, c, s in zip(starts, counts, strides, strict=True)]
        parts.append(tree.unflatten(structure, [slice_(x, starts, limits, strides) for x in padded]))
    function = computation
    for _ in counts:
        function = vmap(function)
    start = tree.unflatten(structure, [broadcast_in_dim(init, tuple(counts), ()) for init in inits])
    return functools.reduce(function, parts, start)
