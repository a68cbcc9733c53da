"""Comparing pytrees, and derivatives with finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import tree

#: Fourth-order central differences: the error is of order STEP**4.
STEP = 1e-3
STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))


def assert_close(found: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Same structure, shapes and dtypes' kinds, and values within `tolerance`."""
    assert tree.structure(found) == tree.structure(expected)
    for (path, a), b in zip(tree.leaves_with_path(found), tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, f"{tree.keystr(path)}: {a.shape} is not {b.shape}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=tree.keystr(path))


def assert_same(found: Any, expected: Any) -> None:
    """Like :func:`assert_close`, with the same dtypes, bit for bit."""
    assert tree.structure(found) == tree.structure(expected)
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


def arrays(x: Any) -> Any:
    """A leaf as an array of fdl; NumPy's scalars keep their dtype."""
    return fnp.asarray(np.asarray(x) if isinstance(x, np.generic) else x)


def direction(like: Any, seed: int = 7) -> Any:
    """A random pytree of float64 arrays shaped like another."""
    rng = np.random.default_rng(seed)
    return tree.map(lambda x: rng.normal(size=np.shape(x)), like)


def moved(args: Any, along: Any, step: float) -> Any:
    """``args + step * along``, as fdl's arrays."""
    return tree.map(lambda a, d: arrays(np.asarray(a) + step * d), args, along)


def slope(function: Callable[..., Any], args: tuple[Any, ...], along: tuple[Any, ...]) -> Any:
    """The derivative of ``function(*args)`` along a direction, by finite differences; a pytree like the output."""
    outs = [tree.map(np.asarray, function(*moved(args, along, n * STEP))) for n, _ in STENCIL]
    return tree.map(lambda *ys: sum(w * y for (_, w), y in zip(STENCIL, ys, strict=True)) / STEP, *outs)


def dot(a: Any, b: Any) -> float:
    """Inner product of two pytrees."""
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return float(sum(np.sum(np.asarray(x) * np.asarray(y)) for x, y in pairs))


def check_forward(function: Callable[..., Any], *args: Any, tolerance: float = 1e-6) -> None:
    """The jvp is the finite difference along a random direction."""
    args, along = tree.map(arrays, args), direction(args)
    value, tangent = fdl.jvp(function, args, along)
    assert_close(value, function(*args), 1e-10)
    assert_close(tangent, slope(function, args, along), tolerance)


def check_reverse(function: Callable[..., Any], *args: Any, tolerance: float = 1e-6) -> None:
    """``<cotangent, J v> = <J^T cotangent, v>``, with J v by finite differences."""
    args, along = tree.map(arrays, args), direction(args)
    value, pull = fdl.vjp(function, *args)
    assert_close(value, function(*args), 1e-10)
    weights = direction(value, seed=8)
    found = pull(weights)
    assert tree.structure(found) == tree.structure(tuple(args))
    assert [np.shape(x) for x in tree.leaves(found)] == [np.shape(x) for x in tree.leaves(args)]
    np.testing.assert_allclose(
        dot(found, along), dot(weights, slope(function, args, along)), rtol=tolerance, atol=tolerance
    )


def check_derivatives(function: Callable[..., Any], *args: Any, order: int = 2, tolerance: float = 1e-6) -> None:
    """First derivatives forward and reverse, and second ones: all four ways of composing the modes.

    Args:
        function: smooth, of float64 pytrees.
        *args: where.
        order: 1 or 2.
        tolerance: absolute and relative.
    """
    check_forward(function, *args, tolerance=tolerance)
    check_reverse(function, *args, tolerance=tolerance)
    if order == 1:
        return
    first = direction(args, seed=9)

    def push(*args: Any) -> Any:
        return fdl.jvp(function, args, first)[1]

    def pull(*args: Any) -> Any:
        value, back = fdl.vjp(function, *args)
        return back(tree.map(lambda v: direction(np.zeros(v.shape)), value))

    for derivative in (push, pull):
        check_forward(derivative, *args, tolerance=tolerance)
        check_reverse(derivative, *args, tolerance=tolerance)
