"""Prefixes of a sequence combined by an associative function."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import check_leaf, difference, require_function
from fdl.array import as_array
from fdl.control.origins import origin_of_result
from fdl.core.trace import lift
from fdl.dtypes import bool_
from fdl.errors import ShapeError, TreeError
from fdl.numpy._operands import axis_index
from fdl.ops.arithmetic import add
from fdl.ops.bitwise import or_
from fdl.ops.slicing import concatenate, pad, slice_
from fdl.ops.slicing import reverse as flip
from fdl.tracebacks import boundary


def check_combined(
    name: str,
    combine: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]],
    found: Sequence[Any],
    a: Sequence[Any],
    b: Sequence[Any],
) -> None:
    """Raise a ShapeError that names the line unless `found`, combined from `a` and `b`, has the types of `a`."""
    for place, (x, y) in enumerate(zip(found, a, strict=True)):
        if x.type == y.type:
            continue
        why = ""
        if x.type.dtype != y.type.dtype:
            types = [lift(v).type for v in (*a, *b)]
            why = ": " + origin_of_result(lambda *v: combine(v[: len(a)], v[len(a) :]), types, place)
        raise ShapeError(
            f"the function of {name} must return the types it was given, but was given {y.type} and returned "
            f"{x.type}{why}"
        )


@boundary
def associative_scan(fn: Callable[..., Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes combined by an associative function, in about 2 log2(n) vectorised steps.

    Args:
        fn: ``fn(a, b)``, associative, on pytrees of arrays with any extent along `axis`.
        elems: a pytree of arrays with one extent along `axis`.
        reverse: combine from the end.
        axis: which axis to combine along.

    Returns:
        A pytree of the structure, shapes and dtypes of `elems`.

    Source: Blelloch, "Prefix Sums and Their Applications", 1990.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.associative_scan(fnp.multiply, fnp.arange(1.0, 5.0))
    Array([ 1.,  2.,  6., 24.], dtype=float32)
    """
    require_function("associative_scan", "fn", fn)
    structure = tree.structure(elems)
    named = [(f"elems{tree.keystr(path)}", leaf) for path, leaf in tree.leaves_with_path(elems)]
    values = [check_leaf(leaf, f"{name} of associative_scan") for name, leaf in named]
    if not values:
        return elems
    places = [axis_index("associative_scan", axis, v.type.ndim) for v in values]
    place = places[0]
    if len({v.type.shape[p] for v, p in zip(values, places, strict=True)}) != 1:
        raise ShapeError(f"associative_scan needs one extent along axis {axis}, got {[str(v.type) for v in values]}")
    if reverse:
        values = [flip(v, (place,)) for v in values]

    def combine(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        found = fn(tree.unflatten(structure, a), tree.unflatten(structure, b))
        if tree.structure(found) != structure:
            raise TreeError(
                "the function of associative_scan must return the structure it was given, but given and returned "
                f"elements part {difference(structure, tree.structure(found), 'elems')}"
            )
        return [as_array(leaf, "what the function of associative_scan returned") for leaf in tree.leaves(found)]

    def checked(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        leaves = combine(a, b)
        check_combined("associative_scan", combine, leaves, a, b)
        return leaves

    found = _prefixes(checked, values, place)
    if reverse:
        found = [flip(v, (place,)) for v in found]
    return tree.unflatten(structure, found)


def _prefixes(combine: Callable[..., list[Any]], values: list[Any], axis: int) -> list[Any]:
    count = values[0].type.shape[axis]
    if count < 2:
        return values
    cut = functools.partial(_cut, axis=axis)
    pairs = combine([cut(v, 0, count - 1, 2) for v in values], [cut(v, 1, count, 2) for v in values])
    odd = _prefixes(combine, pairs, axis)
    rest = [cut(o, 0, (count - 1) // 2, 1) for o in odd]
    even = combine(rest, [cut(v, 2, count, 2) for v in values]) if count > 2 else []
    first = [cut(v, 0, 1, 1) for v in values]
    evens = [concatenate([f, e], axis) for f, e in zip(first, even, strict=True)] if even else first
    return [_interleave(e, o, axis) for e, o in zip(evens, odd, strict=True)]


def _cut(value: Any, start: int, stop: int, step: int, axis: int) -> Any:
    shape = value.type.shape
    starts, limits, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], limits[axis], steps[axis] = start, max(start, stop), step
    return slice_(value, starts, limits, steps)


def _interleave(even: Any, odd: Any, axis: int) -> Any:
    zero = np.zeros((), even.type.dtype)
    count = even.type.shape[axis] + odd.type.shape[axis]

    def widened(value: Any, low: int) -> Any:
        extent = 2 * value.type.shape[axis] - 1
        config = [(0, 0, 0)] * value.type.ndim
        config[axis] = (low, count - low - extent, 1)
        return pad(value, zero, config)

    return (or_ if even.type.dtype == bool_ else add)(widened(even, 0), widened(odd, 1))
