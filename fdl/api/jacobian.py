"""Whole Jacobians and Hessians, column by column (jacfwd) or row by row (jacrev)."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import flatten_values, normalize_numbers, returned, weakness
from fdl.api.differentiate import jvp, vjp
from fdl.api.vmap import vmap
from fdl.api.wrapping import update_wrapper, wraps
from fdl.array import as_array
from fdl.core.trace import DIRECTIONS
from fdl.dtypes import INEXACT
from fdl.errors import DifferentiationError
from fdl.ops.shape import reshape, transpose
from fdl.tracebacks import boundary


def _basis(leaves: Sequence[Any]) -> list[Any]:
    """For arrays of n elements in all: n stacked standard basis vectors, split and shaped like the arrays."""
    sizes = [leaf.type.size for leaf in leaves]
    identity = np.eye(sum(sizes))
    parts = np.split(identity, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    return [
        as_array(part.reshape(len(identity), *leaf.type.shape).astype(leaf.type.dtype))
        for part, leaf in zip(parts, leaves, strict=True)
    ]


def _select(fun: Callable[..., Any], argnums: int | Sequence[int], args: Sequence[Any], kwargs: Any) -> tuple[Any, Any]:
    numbers = normalize_numbers(argnums, len(args), "argnums")
    chosen = args[numbers[0]] if isinstance(argnums, int) else tuple(args[n] for n in numbers)

    def of_chosen(part: Any) -> Any:
        full = list(args)
        for number, value in zip(numbers, (part,) if isinstance(argnums, int) else part, strict=True):
            full[number] = value
        return fun(*full, **kwargs)

    return update_wrapper(of_chosen, fun, updated=()), chosen


def _inexact_leaves(chosen: Any, name: str) -> tuple[list[Any], Any]:
    leaves, structure = tree.flatten(chosen)
    values = [as_array(leaf) for leaf in leaves]
    for (path, _), value in zip(tree.leaves_with_path(chosen), values, strict=True):
        if value.type.dtype not in INEXACT:
            raise DifferentiationError(
                f"{name} needs floating-point inputs, but input{tree.keystr(path)} is {value.type}"
            )
    return values, structure


def jacfwd(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Callable[..., Any]:
    """The Jacobian of `fun` by forward mode: cheap for few inputs and many outputs.

    Args:
        fun: any function of arrays.
        argnums: which positional arguments to differentiate by.
        has_aux: whether `fun` returns (output, aux).
        holomorphic: accepted for complex functions that are holomorphic.

    Returns:
        A function that returns, for every output leaf, the tree of its derivatives by every input leaf, each of shape
        ``output.shape + input.shape``; with `has_aux` (Jacobian, aux).

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.jacfwd(lambda x: x**2)(fnp.array([1.0, 2.0]))
    Array([[2., 0.],
           [0., 4.]], dtype=float32)
    """

    @boundary
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        of_chosen, chosen = _select(fun, argnums, args, kwargs)
        leaves, structure = _inexact_leaves(chosen, "jacfwd")
        shapes = [leaf.type.shape for leaf in leaves]
        aux = None

        def push(*tangents: Any) -> Any:
            nonlocal aux
            found = jvp(of_chosen, (chosen,), (tree.unflatten(structure, tangents),), has_aux)
            return found[1:] if has_aux else found[1]

        pushed = vmap(push, out_axes=(0, None) if has_aux else 0, axis_name=DIRECTIONS)(*_basis(leaves))
        columns, aux = pushed if has_aux else (pushed, None)
        jacobian = tree.map(lambda c: tree.unflatten(structure, _split_columns(c, shapes)), columns)
        return (jacobian, aux) if has_aux else jacobian

    return wrapped


def _split_columns(columns: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """From (n, *out) to one (*out, *in) for every input."""
    found, start = [], 0
    columns = as_array(columns)
    ndim, out = columns.type.ndim, columns.type.shape[1:]
    moved = transpose(columns, (*range(1, ndim), 0))
    for shape in shapes:
        part = moved[..., start : start + prod(shape)]
        found.append(reshape(part, out + shape))
        start += prod(shape)
    return found


def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of `fun` by reverse mode: cheap for many inputs and few outputs; see :func:`jacfwd`.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.jacrev(lambda x: x**2)(fnp.array([1.0, 2.0]))
    Array([[2., 0.],
           [0., 4.]], dtype=float32)
    """

    @boundary
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        of_chosen, chosen = _select(fun, argnums, args, kwargs)
        if not allow_int:
            _inexact_leaves(chosen, "jacrev")
        value, pull, *aux = vjp(of_chosen, chosen, has_aux=has_aux)
        leaves, structure = tree.flatten(value)
        values = [as_array(leaf) for leaf in leaves]
        rows = vmap(lambda *cts: pull(tree.unflatten(structure, cts))[0], axis_name=DIRECTIONS)(*_basis(values))
        row_leaves, in_structure = tree.flatten(rows)
        weak = weakness(flatten_values(fun, [chosen], {})[0])
        parts, start = [], 0
        for out in values:
            shape, stop = out.type.shape, start + out.type.size
            by_input = [reshape(as_array(r)[start:stop], shape + as_array(r).type.shape[1:]) for r in row_leaves]
            by_input = returned(by_input, weak)
            parts.append(tree.unflatten(in_structure, by_input))
            start = stop
        jacobian = tree.unflatten(structure, parts)
        return (jacobian, aux[0]) if has_aux else jacobian

    return wrapped


jacobian = jacrev


def hessian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Callable[..., Any]:
    """The matrix of second derivatives of `fun`, forward over reverse; see :func:`jacfwd` for arguments and layout.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.hessian(lambda x: (x**3).sum())(fnp.array([1.0, 2.0]))
    Array([[ 6.,  0.],
           [ 0., 12.]], dtype=float32)
    """
    return jacfwd(jacrev(fun, argnums, has_aux, holomorphic), argnums, has_aux, holomorphic)
