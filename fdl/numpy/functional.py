"""Functions of functions: vectorize, apply_along_axis, apply_over_axes."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, axis_index, broadcast_shapes, value
from fdl.numpy.creation import asarray
from fdl.numpy.shapes import expand_dims


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """`func1d` of every vector along an axis.

    Args:
        func1d: takes a vector and the further arguments.
        axis: along which the vectors lie; the axes of the result take its place.
        arr: array.
        *args: passed on.
        **kwargs: passed on.

    >>> apply_along_axis(lambda v: v.sum(), 0, ones((2, 3)))
    Array([2., 2., 2.], dtype=float32)
    """
    from fdl.api.vmap import vmap

    x = value("apply_along_axis", arr)
    axis = axis_index("apply_along_axis", axis, x.type.ndim)

    def function(v: Any) -> Any:
        return asarray(func1d(v, *args, **kwargs))

    # Axes before the vector's stay in front of the result's axes, those behind it behind them.
    for _ in range(x.type.ndim - axis - 1):
        function = vmap(function, in_axes=-1, out_axes=-1)
    for _ in range(axis):
        function = vmap(function, in_axes=0, out_axes=0)
    return function(x)


def apply_over_axes(func: Callable[[Any, int], Any], a: ArrayLike, axes: int | Sequence[int]) -> Array:
    """`func(a, axis)` for one axis after the other; axes that it drops are put back with extent 1.

    >>> apply_over_axes(sum, ones((2, 3)), [0, 1])
    Array([[6.]], dtype=float32)
    """
    x = value("apply_over_axes", a)
    for axis in [axes] if isinstance(axes, int) else axes:
        found = func(x, axis)
        found = expand_dims(found, axis) if found.type.ndim == x.type.ndim - 1 else found
        if found.type.ndim != x.type.ndim:
            raise ShapeError(f"apply_over_axes: func turned shape {x.type.shape} into {found.type.shape}")
        x = found
    return x


Signature = tuple[list[tuple[str, ...]], list[tuple[str, ...]]]


def _parse(signature: str) -> Signature:
    """Names of the core axes of arguments and results of ``(n,m),(m)->(n)``."""
    if not re.fullmatch(r"\s*(\([\w,\s]*\)\s*,?\s*)*->\s*(\([\w,\s]*\)\s*,?\s*)+", signature):
        raise ValueError(f"vectorize: {signature!r} is not a signature like '(n,m),(m)->(n)'")

    def side(text: str) -> list[tuple[str, ...]]:
        return [tuple(re.findall(r"\w+", group)) for group in re.findall(r"\(([^)]*)\)", text)]

    left, right = signature.split("->")
    return side(left), side(right)


def vectorize(
    pyfunc: Callable[..., Any], *, excluded: Any = frozenset(), signature: str | None = None
) -> Callable[..., Any]:
    """A function of arrays with core axes that also takes leading axes, which broadcast.

    Args:
        pyfunc: takes arrays whose axes are those named in the signature (scalars without one).
        excluded: positions of arguments that are passed on unchanged.
        signature: like "(n,m),(m)->(n)".

    Returns:
        The function; it is vmapped over the leading axes.

    >>> vectorize(dot, signature="(n),(n)->()")(ones((2, 3)), ones(3))
    Array([3., 3.], dtype=float32)
    """
    from fdl.api.vmap import vmap

    parsed = None if signature is None else _parse(signature)

    @functools.wraps(pyfunc)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        free = [i for i in range(len(args)) if i not in excluded]
        arrays = [asarray(args[i]) for i in free]
        cores = _core_axes(parsed, arrays)
        lead = broadcast_shapes(*(x.type.shape[: x.type.ndim - c] for x, c in zip(arrays, cores, strict=True)))

        def call(*given: Any) -> Any:
            every = list(args)
            for i, x in zip(free, given, strict=True):
                every[i] = x
            return pyfunc(*every, **kwargs)

        # An axis that an array lacks, or has with extent 1, is not mapped for it.
        for depth in range(len(lead)):
            in_axes = tuple(
                0 if x.type.ndim - c > depth and x.type.shape[x.type.ndim - c - 1 - depth] == lead[-1 - depth] else None
                for x, c in zip(arrays, cores, strict=True)
            )
            call = vmap(call, in_axes=in_axes) if any(a == 0 for a in in_axes) else call
        squeezed = [_without_ones(x, c, lead) for x, c in zip(arrays, cores, strict=True)]
        return call(*squeezed)

    return vectorized


def _core_axes(parsed: Signature | None, arrays: list[Array]) -> list[int]:
    """How many core axes each argument has; their extents must agree."""
    if parsed is None:
        return [0] * len(arrays)
    if len(parsed[0]) != len(arrays):
        raise TypeError(f"vectorize: the signature has {len(parsed[0])} arguments, got {len(arrays)}")
    sizes: dict[str, int] = {}
    for names, x in zip(parsed[0], arrays, strict=True):
        if x.type.ndim < len(names):
            raise ShapeError(f"vectorize: an argument of shape {x.type.shape} lacks core axes {names}")
        for name, extent in zip(names, x.type.shape[x.type.ndim - len(names) :], strict=True):
            if sizes.setdefault(name, extent) != extent:
                raise ShapeError(f"vectorize: core axis {name!r} has extents {sizes[name]} and {extent}")
    return [len(names) for names in parsed[0]]


def _without_ones(x: Array, core: int, lead: tuple[int, ...]) -> Array:
    """`x` without leading axes of extent 1 that are repeated."""
    own = x.type.ndim - core
    kept = [i for i in range(own) if x.type.shape[i] == lead[len(lead) - own + i]]
    return x.reshape(tuple(x.type.shape[i] for i in kept) + x.type.shape[own:])
