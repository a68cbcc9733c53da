"""Einstein summation: opt_einsum chooses the order, every step is one contraction."""

import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.dtypes import as_dtype
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, DTypeLike, cast, no_out, promote
from fdl.numpy.diagonals import diagonal
from fdl.numpy.linear import contract
from fdl.ops.reduce import sum_
from fdl.ops.shape import reshape, transpose


@composite
def einsum(
    subscripts: Any,
    /,
    *operands: ArrayLike,
    out: None = None,
    optimize: Any = "auto",
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    _dot_general: Callable[..., Any] | None = None,
) -> Array:
    """Sums of products by the summation convention.

    Args:
        subscripts: like "ij,jk->ik", "..." for axes that broadcast; or operands and lists of axis numbers in turn.
        *operands: arrays, one per term left of the arrow.
        out: not supported.
        optimize: how opt_einsum searches the order of contractions ("greedy", "optimal", ...; True, False and "auto"
            leave it to us), or the order, as :func:`einsum_path` returns it.
        precision: accepted for compatibility.
        preferred_element_type: dtype in which to sum and of the result.
        _dot_general: what multiplies in place of :func:`fdl.lax.dot_general`, for libraries that quantize.

    Returns:
        Array with the axes right of the arrow.

    Raises:
        ShapeError: terms and operands do not fit, or one letter names different extents.

    >>> einsum("ij,j->i", array([[1.0, 2.0]]), array([3.0, 4.0]))
    Array([11.], dtype=float32)
    """
    no_out("einsum", out)
    terms, result, arrays = _parse(subscripts, operands)
    arrays = promote("einsum", *arrays)
    extents = _extents(terms, arrays, subscripts)
    pending = [
        _simplify(x, term, [*terms[:i], *terms[i + 1 :], result])
        for i, (x, term) in enumerate(zip(arrays, terms, strict=True))
    ]
    shapes = [tuple(extents[c] for c in t) for _, t in pending]
    equation = ",".join(t for _, t in pending) + "->" + result
    path, _ = _contract_path(equation, shapes, optimize)
    for chosen in path:
        picked = [pending.pop(i) for i in sorted(chosen, reverse=True)]
        while len(picked) > 1:
            first, second = picked.pop(0), picked.pop(0)
            needed = set(result).union(*(t for _, t in pending + picked))
            picked.insert(0, _pair(first, second, needed, preferred_element_type, _dot_general))
        pending += picked
    x, term = _simplify(*pending[0], [result])
    x = transpose(x, tuple(term.index(c) for c in result))
    return x if preferred_element_type is None else cast(x, as_dtype(preferred_element_type))


def _parse(subscripts: Any, operands: Sequence[Any]) -> tuple[list[str], str, list[Any]]:
    """The terms of the operands and of the result, with letters for every axis, and the operands."""
    if isinstance(subscripts, str):
        arrays = list(operands)
        shapes = [getattr(x, "shape", ()) for x in arrays]
        given: tuple[Any, ...] = (subscripts, *shapes)
    else:
        interleaved = [subscripts, *operands]
        last = [interleaved[-1]] if len(interleaved) % 2 else []
        arrays, axes = list(interleaved[0 : len(interleaved) - len(last) : 2]), interleaved[1::2]
        pairs = zip((getattr(x, "shape", ()) for x in arrays), axes, strict=True)
        given = (*(v for pair in pairs for v in pair), *last)
    try:
        left, right, _ = _library().parser.parse_einsum_input(given, shapes=True)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ShapeError(f"einsum {reprlib.repr(subscripts)}: {error}") from None
    return left.split(","), right, arrays


def _extents(terms: list[str], arrays: list[Array], subscripts: Any) -> dict[str, int]:
    """The extent of every letter; 1 gives way to others."""
    found: dict[str, int] = {}
    for term, x in zip(terms, arrays, strict=True):
        if len(term) != x.type.ndim:
            raise ShapeError(
                f"einsum {subscripts!r}: {term!r} names {len(term)} axes of an operand of shape {x.type.shape}"
            )
        for letter, extent in zip(term, x.type.shape, strict=True):
            if found.setdefault(letter, extent) not in (1, extent) and extent != 1:
                shapes = " and ".join(str(a.type.shape) for a in arrays)
                raise ShapeError(
                    f"einsum {subscripts!r}: {letter!r} names extents {found[letter]} and {extent} in shapes {shapes}"
                )
            found[letter] = max(found[letter], extent)
    return found


def _simplify(x: Array, term: str, others: list[str]) -> tuple[Array, str]:
    """Repeated letters replaced by their diagonal; letters found nowhere else summed over."""
    for letter in sorted(set(term)):
        while term.count(letter) > 1:
            first, second = (i for i, c in enumerate(term) if c == letter and term[: i + 1].count(letter) <= 2)
            x = diagonal(x, 0, first, second)
            term = "".join(c for i, c in enumerate(term) if i not in (first, second)) + letter
    lonely = tuple(i for i, c in enumerate(term) if not any(c in other for other in others))
    return sum_(x, lonely), "".join(c for i, c in enumerate(term) if i not in lonely)


def _pair(
    first: tuple[Array, str], second: tuple[Array, str], needed: set[str], dtype: Any, dot: Callable[..., Any] | None
) -> tuple[Array, str]:
    """One contraction: common letters that are not needed later are summed over, the other common ones are batch."""
    later = "".join(needed)
    x, x_term = _without_ones(*first, *second)
    y, y_term = _without_ones(*second, x, x_term)
    x, x_term = _simplify(x, x_term, [y_term, later])
    y, y_term = _simplify(y, y_term, [x_term, later])
    common = [c for c in x_term if c in y_term]
    summed, batch = [c for c in common if c not in needed], [c for c in common if c in needed]
    summed_axes = [x_term.index(c) for c in summed], [y_term.index(c) for c in summed]
    batch_axes = [x_term.index(c) for c in batch], [y_term.index(c) for c in batch]
    if dot is None:
        out = contract(x, y, summed_axes, batch_axes, dtype)
    else:
        out = dot(x, y, (summed_axes, batch_axes), precision=None, preferred_element_type=dtype)
    free = [c for c in x_term if c not in common] + [c for c in y_term if c not in common]
    return out, "".join(batch + free)


def _without_ones(x: Array, term: str, other: Array, other_term: str) -> tuple[Array, str]:
    """`x` without axes of extent 1 that stand for a larger extent of the other operand."""
    larger = {c for c, extent in zip(other_term, other.type.shape, strict=True) if extent != 1}
    keep = [i for i, c in enumerate(term) if x.type.shape[i] != 1 or c not in larger]
    return reshape(x, tuple(x.type.shape[i] for i in keep)), "".join(term[i] for i in keep)


def _library() -> Any:
    """opt_einsum, imported when first needed to keep ``import fdl`` quick."""
    import opt_einsum

    return opt_einsum


def einsum_path(subscripts: Any, /, *operands: ArrayLike, optimize: Any = "auto") -> tuple[Any, Any]:
    """The order of contractions that :func:`einsum` would use, and a printable report on it.

    >>> einsum_path("ij,jk->ik", ones((2, 3)), ones((3, 4)))[0]
    ['einsum_path', (0, 1)]
    """
    terms, result, arrays = _parse(subscripts, operands)
    shapes = [tuple(getattr(x, "shape", ())) for x in arrays]
    equation = ",".join(terms) + "->" + result
    path, report = _contract_path(equation, shapes, optimize)
    return ["einsum_path", *path], report


def _contract_path(equation: str, shapes: Sequence[tuple[int, ...]], optimize: Any) -> tuple[Any, Any]:
    """The order of contractions, pairs of numbers of pending operands, and a report on it.

    Raises:
        ValueError: `optimize` is no way to search one, and no order for these operands.
    """
    search = "auto" if optimize is None or isinstance(optimize, (bool, np.bool_)) else optimize
    if isinstance(search, (list, tuple)):
        # NumPy's orders have a name in front, and (name, largest intermediate) is a way to search.
        named = bool(search) and isinstance(search[0], str)
        if named and len(search) == 2 and not isinstance(search[1], (list, tuple)):
            search = search[0]
        else:
            search = [tuple(step) for step in (search[1:] if named else search)]
            left = len(shapes)
            for step in search:
                if not step or len(set(step)) < len(step) or not all(0 <= n < left for n in step):
                    raise ValueError(f"einsum: {step} of optimize={optimize!r} does not name some of {left} operands")
                left -= len(step) - 1
            if left > 1:
                raise ValueError(f"einsum: optimize={optimize!r} leaves {left} of {len(shapes)} operands")
    elif not (isinstance(search, str) or callable(search)):
        raise ValueError(f"einsum: optimize is a boolean, a name such as 'greedy' or a list of pairs, got {optimize!r}")
    try:
        return _library().contract_path(equation, *shapes, shapes=True, optimize=search)
    except KeyError:
        raise ValueError(f"einsum: opt_einsum knows no way to search an order called {optimize!r}") from None
