"""Checking derivatives against finite differences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.differentiate import jvp, vjp
from fdl.array import as_array

Tolerance = float | Mapping[Any, float] | None


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: Tolerance = None,
    rtol: Tolerance = None,
    eps: float | None = None,
) -> None:
    """Compare derivatives of `f` along random directions with central differences.

    Args:
        f: a function of arrays; its arguments should be float64 for tight tolerances.
        args: where to check, a tuple of pytrees.
        order: up to which derivative.
        modes: "fwd" (jvp) and "rev" (vjp).
        atol, rtol: tolerances, numbers or a mapping from dtypes to numbers, of which the largest for a dtype of `args`
            counts; by default 1e-6 for float64 and 1e-2 else.
        eps: the step; by default 1e-5 for float64 and 1 / 2048 else.

    Raises:
        AssertionError: a derivative is wrong; names the mode and the order.

    >>> import fdl.numpy as fnp
    >>> check_grads(fnp.sin, (fnp.float64(1.0),), order=2)
    """
    args, tolerance, step = _settings(args, atol, rtol, eps)
    _check(f, args, order, modes, tolerance, step, np.random.default_rng(0), "")


def check_jvp(
    f: Callable[..., Any],
    f_jvp: Callable[..., Any],
    args: Sequence[Any],
    atol: Tolerance = None,
    rtol: Tolerance = None,
    eps: float | None = None,
    err_msg: str = "",
) -> None:
    """Compare a derivative along a random direction with a central difference.

    Args:
        f: a function of arrays.
        f_jvp: takes arguments and tangents, two tuples; returns the value of `f` and its derivative.
        args: where to check, a tuple of pytrees.
        atol, rtol, eps: as for :func:`check_grads`.
        err_msg: the first words of the error.

    Raises:
        AssertionError: the value or the derivative is wrong.

    >>> import fdl
    >>> from functools import partial
    >>> check_jvp(fdl.numpy.sin, partial(fdl.jvp, fdl.numpy.sin), (fdl.numpy.float64(1.0),))
    """
    args, tolerance, step = _settings(args, atol, rtol, eps)
    direction = _directions(np.random.default_rng(0), args)
    value, found = f_jvp(args, direction)
    _compare(value, f(*args), tolerance, f"{err_msg} the value of the jvp".strip())
    _compare(found, _difference(f, args, direction, step), tolerance, f"{err_msg} jvp".strip())


def check_vjp(
    f: Callable[..., Any],
    f_vjp: Callable[..., Any],
    args: Sequence[Any],
    atol: Tolerance = None,
    rtol: Tolerance = None,
    eps: float | None = None,
    err_msg: str = "",
) -> None:
    """Compare a pullback of random weights with a central difference along a random direction.

    Args:
        f: a function of arrays.
        f_vjp: takes the arguments; returns the value of `f` and its pullback.
        args: where to check, a tuple of pytrees.
        atol, rtol, eps: as for :func:`check_grads`.
        err_msg: the first words of the error.

    Raises:
        AssertionError: the value or the derivative is wrong.

    >>> import fdl
    >>> from functools import partial
    >>> check_vjp(fdl.numpy.sin, partial(fdl.vjp, fdl.numpy.sin), (fdl.numpy.float64(1.0),))
    """
    args, tolerance, step = _settings(args, atol, rtol, eps)
    rng = np.random.default_rng(0)
    direction = _directions(rng, args)
    value, pull = f_vjp(*args)
    _compare(value, f(*args), tolerance, f"{err_msg} the value of the vjp".strip())
    expected = _difference(f, args, direction, step)
    weights = _directions(rng, value)
    _compare(_inner(weights, expected), _inner(pull(weights), direction), tolerance, f"{err_msg} vjp".strip())


def _settings(args: Any, atol: Tolerance, rtol: Tolerance, eps: float | None) -> tuple[Any, dict[str, float], float]:
    """Arrays of the arguments, the tolerances, the step."""
    args = tree.map(as_array, tuple(args))
    double = all(np.asarray(leaf).dtype in (np.float64, np.complex128) for leaf in tree.leaves(args))
    default = 1e-6 if double else 1e-2
    names = {np.asarray(leaf).dtype for leaf in tree.leaves(args)}
    tolerance = {}
    for name, given in (("atol", atol), ("rtol", rtol)):
        if isinstance(given, Mapping):
            by_dtype = {np.dtype(key): value for key, value in given.items()}
            given = max((by_dtype.get(dtype, default) for dtype in names), default=default)
        tolerance[name] = given or default
    return args, tolerance, eps or (1e-5 if double else 2**-11)


def _check(f: Any, args: Any, order: int, modes: Any, tolerance: Any, step: float, rng: Any, chain: str) -> None:
    direction = _directions(rng, args)
    expected = _difference(f, args, direction, step)
    if "fwd" in modes:
        found = jvp(f, args, direction)[1]
        _compare(found, expected, tolerance, f"{chain}jvp")
    if "rev" in modes:
        value, pull = vjp(f, *args)
        weights = _directions(rng, value)
        _compare(_inner(weights, expected), _inner(pull(weights), direction), tolerance, f"{chain}vjp")
    if order > 1:
        if "fwd" in modes:
            inner = tuple(args)
            _check(
                lambda *xs: jvp(f, xs, direction)[1], inner, order - 1, modes, tolerance, step, rng, f"{chain}jvp of "
            )
        if "rev" in modes:
            weights = _directions(rng, f(*args))
            _check(lambda *xs: vjp(f, *xs)[1](weights), args, order - 1, modes, tolerance, step, rng, f"{chain}vjp of ")


def _directions(rng: np.random.Generator, values: Any) -> Any:
    """A random array for each array of a pytree."""
    return tree.map(lambda x: _direction(rng, x), values)


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
