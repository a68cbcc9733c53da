"""Checking derivatives against finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.differentiate import jvp, vjp
from fdl.array import as_array


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Compare derivatives of `f` along random directions with central differences.

    Args:
        f: a function of arrays; its arguments should be float64 for tight tolerances.
        args: where to check, a tuple of pytrees.
        order: up to which derivative.
        modes: "fwd" (jvp) and "rev" (vjp).
        atol, rtol: tolerances; by default 1e-6 for float64 and 1e-2 else.
        eps: the step; by default 1e-5 for float64 and 1e-2 else.

    Raises:
        AssertionError: a derivative is wrong; names the mode and the order.

    >>> import fdl.numpy as fnp
    >>> check_grads(fnp.sin, (fnp.float64(1.0),), order=2)
    """
    args = tree.map(as_array, tuple(args))
    double = all(np.asarray(leaf).dtype in (np.float64, np.complex128) for leaf in tree.leaves(args))
    tolerance = {"atol": atol or (1e-6 if double else 1e-2), "rtol": rtol or (1e-6 if double else 1e-2)}
    step = eps or (1e-5 if double else 1e-2)
    _check(f, args, order, modes, tolerance, step, np.random.default_rng(0), "")


def _check(f: Any, args: Any, order: int, modes: Any, tolerance: Any, step: float, rng: Any, chain: str) -> None:
    direction = tree.map(lambda x: _direction(rng, x), args)
    expected = _difference(f, args, direction, step)
    if "fwd" in modes:
        found = jvp(f, args, direction)[1]
        _compare(found, expected, tolerance, f"{chain}jvp")
    if "rev" in modes:
        value, pull = vjp(f, *args)
        weights = tree.map(lambda y: _direction(rng, y), value)
        _compare(_inner(weights, expected), _inner(pull(weights), direction), tolerance, f"{chain}vjp")
    if order > 1:
        if "fwd" in modes:
            inner = tuple(args)
            _check(
                lambda *xs: jvp(f, xs, direction)[1], inner, order - 1, modes, tolerance, step, rng, f"{chain}jvp of "
            )
        if "rev" in modes:
            weights = tree.map(lambda y: _direction(rng, y), f(*args))
            _check(lambda *xs: vjp(f, *xs)[1](weights), args, order - 1, modes, tolerance, step, rng, f"{chain}vjp of ")


def _direction(rng: np.random.Generator, x: Any) -> np.ndarray:
    """A random array like `x`."""
    value = rng.normal(size=np.shape(x))
    return _like(value + 1j * rng.normal(size=np.shape(x)) if np.iscomplexobj(np.asarray(x)) else value, x)


def _like(value: Any, x: Any) -> np.ndarray:
    return np.asarray(value).astype(np.asarray(x).dtype)


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _difference(f: Any, args: Any, direction: Any, step: float) -> Any:
    ahead, behind = (
        f(*tree.map(lambda x, d, sign=sign: _like(np.asarray(x) + sign * step * d, x), args, direction))
        for sign in (1, -1)
    )
    return tree.map(lambda a, b: (_wide(a) - _wide(b)) / (2 * step), ahead, behind)


def _inner(a: Any, b: Any) -> float:
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return float(np.real(sum((_wide(x) * _wide(y)).sum() for x, y in pairs)))


def _compare(found: Any, expected: Any, tolerance: Any, what: str) -> None:
    for x, y in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), err_msg=f"{what} differs", **tolerance)
