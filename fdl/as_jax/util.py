"""Small functions of ``jax.util`` that libraries import."""

from collections.abc import Callable, Iterable
from typing import Any

import fdl.numpy as fnp


def safe_map(f: Callable[..., Any], *args: Iterable[Any]) -> list[Any]:
    """``list(map(f, *args))`` of sequences that must have one length.

    >>> safe_map(max, [1, 5], [3, 4])
    [3, 5]
    """
    return [f(*row) for row in zip(*args, strict=True)]


def safe_zip(*args: Iterable[Any]) -> list[tuple[Any, ...]]:
    """``list(zip(*args))`` of sequences that must have one length.

    >>> safe_zip([1, 2], "ab")
    [(1, 'a'), (2, 'b')]
    """
    return list(zip(*args, strict=True))


def unzip2(pairs: Iterable[tuple[Any, Any]]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Two tuples of an iterable of pairs.

    >>> unzip2([(1, "a"), (2, "b")])
    ((1, 2), ('a', 'b'))
    """
    given = list(pairs)
    return tuple(first for first, _ in given), tuple(second for _, second in given)


def shape(a: Any) -> tuple[int, ...]:
    """The extents of the axes; none of None, which libraries count on.

    >>> shape(None)
    ()
    """
    return () if a is None else fnp.shape(a)
