"""Functions of functions: vectorize, apply_along_axis, apply_over_axes."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from fdl.api.arguments import require_function
from fdl.api.vmap import vmap
from fdl.array import as_array
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, axis_index, broadcast_shapes, integers, value
from fdl.numpy.creation import asarray
from fdl.numpy.shapes import expand_dims
from fdl.tracebacks import boundary


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
    require_function("apply_over_axes", "func", func)
    x = value("apply_over_axes", a)
    for axis in [axes] if isinstance(axes, int) else integers("apply_over_axes: axes", axes):
        found = func(x, axis)
        found = expand_dims(found, axis) if found.type.ndim == x.type.ndim - 1 else found
        if found.type.ndim != x.type.ndim:
            raise ShapeError(f"apply_over_axes: func turned shape {x.type.shape} into {found.type.shape}")
        x = found
    return x


Signature = tuple[list[tuple[str, ...]], list[tuple[str, ...]]]


def _parse(signature: str) -> Signature:
    """Names of the core axes of arguments and results of ``(n,m),(m)->(n)``."""
    pattern = r"\s*(\([\w,\s]*\)\s*,?\s*)*->\s*(\([\w,\s]*\)\s*,?\s*)+"
    if not isinstance(signature, str) or not re.fullmatch(pattern, signature):
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
        excluded: positions and names of arguments that are passed on unchanged, as all keywords and None are.
        signature: like "(n,m),(m)->(n)".

    Returns:
        The function; it is vmapped over the leading axes.

    Raises:
        ShapeError: an argument or a result contradicts the signature.

    >>> vectorize(dot, signature="(n),(n)->()")(ones((2, 3)), ones(3))
    Array([3., 3.], dtype=float32)
    """
    require_function("vectorize", "pyfunc", pyfunc)
    parsed = None if signature is None else _parse(signature)
    if isinstance(excluded, (int, str)) or not all(isinstance(e, str) or (type(e) is int and e >= 0) for e in excluded):
        raise TypeError(f"vectorize: excluded is a set of positions, not negative, and names; got {excluded!r}")

    @boundary
    @functools.wraps(pyfunc)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        free = [i for i in range(len(args)) if i not in excluded]
        if parsed is not None and len(parsed[0]) != len(free):
            raise TypeError(f"vectorize: the signature {signature} has {len(parsed[0])} arguments, got {len(free)}")
        names = None if parsed is None else [n for n, i in zip(parsed[0], free, strict=True) if args[i] is not None]
        free = [i for i in free if args[i] is not None]
        arrays = [asarray(args[i]) for i in free]
        sizes: dict[str, int] = {}
        cores = _core_axes(names, arrays, sizes)
        leads = [x.type.shape[: x.type.ndim - c] for x, c in zip(arrays, cores, strict=True)]
        lead = broadcast_shapes(*leads, name="vectorize: the leading axes")

        def call(*given: Any) -> Any:
            every = list(args)
            for i, x in zip(free, given, strict=True):
                every[i] = x
            result = pyfunc(*every, **kwargs)
            if parsed is not None:
                _check_results(str(signature), parsed[1], result, dict(sizes))
            return result

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


def _core_axes(terms: list[tuple[str, ...]] | None, arrays: list[Array], sizes: dict[str, int]) -> list[int]:
    """How many core axes each argument has; puts their extents, which must agree, into `sizes`."""
    if terms is None:
        return [0] * len(arrays)
    for names, x in zip(terms, arrays, strict=True):
        if x.type.ndim < len(names):
            raise ShapeError(f"vectorize: an argument of shape {x.type.shape} lacks core axes {names}")
        _same_extents("an argument", names, x.type.shape[x.type.ndim - len(names) :], sizes)
    return [len(names) for names in terms]


def _same_extents(what: str, names: tuple[str, ...], shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    for name, extent in zip(names, shape, strict=True):
        if sizes.setdefault(name, extent) != extent:
            raise ShapeError(f"vectorize: core axis {name!r} has extents {sizes[name]} and {extent}, that of {what}")


def _check_results(signature: str, terms: list[tuple[str, ...]], result: Any, sizes: dict[str, int]) -> None:
    """Raise if what the function returned for one example contradicts the signature."""
    results = result if isinstance(result, (tuple, list)) else (result,)
    if len(results) != len(terms) or (len(terms) == 1 and results is result):
        found = f"a {type(result).__name__} of {len(results)}" if results is result else "one"
        raise ShapeError(f"vectorize: by the signature {signature} there are {len(terms)} results, got {found}")
    for names, one in zip(terms, results, strict=True):
        shape = as_array(one, "a result of the function of vectorize").type.shape
        if len(shape) != len(names):
            raise ShapeError(
                f"vectorize: by the signature {signature} a result has the core axes {names}, got shape {shape}"
            )
        _same_extents("a result", names, shape, sizes)


def _without_ones(x: Array, core: int, lead: tuple[int, ...]) -> Array:
    """`x` without leading axes of extent 1 that are repeated."""
    own = x.type.ndim - core
    kept = [i for i in range(own) if x.type.shape[i] == lead[len(lead) - own + i]]
    return x.reshape(tuple(x.type.shape[i] for i in kept) + x.type.shape[own:])
