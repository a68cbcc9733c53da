"""Minimization of smooth functions, under the names of ``scipy.optimize``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import lax
from fdl.api.differentiate import value_and_grad
from fdl.core.types import Array
from fdl.errors import RangeError, ShapeError
from fdl.numpy._operands import integer
from fdl.scalars import Scalar, checked

__all__ = ["OptimizeResults", "minimize"]


class OptimizeResults(NamedTuple):
    """What a minimization found: all fields are arrays.

    Attributes:
        x: the minimizer, [n].
        success: whether the gradient became small enough.
        status: 0 if so; 1 if the steps ran out; 3 if no step along the last direction was good enough, or
            the value or the gradient is not finite.
        fun: the value at x.
        jac: the gradient at x, that of :func:`fdl.grad`.
        hess_inv: the approximate inverse of the Hessian at x.
        nfev: number of evaluations of the function.
        njev: number of evaluations of the gradient.
        nit: number of steps.
    """

    x: Array
    success: Array
    status: Array
    fun: Array
    jac: Array
    hess_inv: Array | None
    nfev: Array
    njev: Array
    nit: Array


class _State(NamedTuple):
    x: Array
    value: Array
    gradient: Array
    inverse: Any  # what a class of approximations below keeps
    evaluations: Array
    steps: Array
    stuck: Array


_SUFFICIENT, _CURVATURE, _TRIALS = 1e-4, 0.9, 40
_LIMITED = ("l-bfgs", "l-bfgs-experimental-do-not-rely-on-this")  # the second one is JAX's name


class _Dense:
    """The approximate inverse of the Hessian as a matrix. Source: Nocedal and Wright, formula 6.17."""

    def start(self, x: Array) -> Array:
        return fnp.eye(x.shape[0], dtype=x.dtype)

    def apply(self, inverse: Array, gradient: Array) -> Array:
        return fnp.matmul(inverse, gradient)

    def updated(self, inverse: Array, s: Array, y: Array, first: Array) -> Array:
        product, share = _curvature(s, y)
        rho = 1 / fnp.where(product > 0, product, 1.0)
        # The first step tells the size of the Hessian: formula 6.20.
        size = fnp.where(first, share, 1)
        left = fnp.eye(s.shape[0], dtype=s.dtype) - rho * fnp.outer(s, y)
        found = fnp.matmul(fnp.matmul(left, size * inverse), left.T) + rho * fnp.outer(s, s)
        return fnp.where(product > 0, found, inverse)


class _Limited:
    """The last steps and changes of the gradient, of which the product with a vector is made: algorithm 7.4 there."""

    def __init__(self, memory: int) -> None:
        self.memory = memory

    def start(self, x: Array) -> Any:
        past = fnp.zeros((self.memory, x.shape[0]), x.dtype)
        return past, past, fnp.zeros(self.memory, x.dtype), fnp.ones((), x.dtype)

    def apply(self, inverse: Any, gradient: Array) -> Array:
        steps, changes, rhos, size = inverse  # the newest one first; rho is 0 where there is none yet

        def forth(q: Array, row: Any) -> Any:
            s, y, rho = row
            share = rho * fnp.sum(s * q)
            return q - share * y, share

        def back(q: Array, row: Any) -> Any:
            s, y, rho, share = row
            return q + (share - rho * fnp.sum(y * q)) * s, None

        q, shares = lax.scan(forth, gradient, (steps, changes, rhos))
        return lax.scan(back, size * q, (steps, changes, rhos, shares), reverse=True)[0]

    def updated(self, inverse: Any, s: Array, y: Array, first: Array) -> Any:
        steps, changes, rhos, size = inverse
        product, share = _curvature(s, y)
        usable = product > 0
        push = lambda past, new: fnp.where(usable, fnp.concatenate([new[None], past[:-1]]), past)  # noqa: E731
        rho = 1 / fnp.where(usable, product, 1)
        return push(steps, s), push(changes, y), push(rhos, rho), fnp.where(usable, share, size)


@checked(tol=Scalar(0.0))
def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    method: str,
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResults:
    """Minimize a function of a vector by the method of Broyden, Fletcher, Goldfarb and Shanno.

    Args:
        fun: takes x [n] and `args`, returns a real scalar; differentiable.
        x0: where to start, floating or complex [n].
        args: further arguments of `fun`.
        method: "BFGS", or "L-BFGS", which keeps a few steps instead of a matrix (JAX's name for it, too).
        tol: norm of the gradient at which to stop; `options` may say ``gtol`` instead. By default 1e-5.
        options: ``gtol``, ``maxiter`` (by default 200 n), ``norm`` (the order of the norm, by default infinity),
            ``maxls`` or ``line_search_maxiter`` (trials of the length of a step, by default 40); ``maxcor`` (steps that
            L-BFGS keeps, by default 10).

    Returns:
        An OptimizeResults. Source: Nocedal, Wright, "Numerical Optimization" (2006), algorithms 6.1 and 7.5; the line
        search is a bisection for the weak Wolfe conditions.

    Raises:
        ValueError: the method or an option is unknown.
        TypeError: `fun` is no function, `args` no tuple, or an option no number.
        RangeError: an option is negative, or 0 where that leaves nothing to do.
        ShapeError: x0 is not a floating or complex vector.

    >>> found = minimize(lambda x: fnp.sum((x - 3.0) ** 2), fnp.zeros(2), method="BFGS")
    >>> [round(x, 3) for x in found.x.tolist()]
    [3.0, 3.0]
    """
    if not isinstance(method, str) or method.lower() not in ("bfgs", *_LIMITED):
        raise ValueError(f"fdl.scipy.optimize.minimize knows the methods 'BFGS' and 'L-BFGS', got {method!r}")
    if not isinstance(args, tuple):
        raise TypeError(f"minimize: args holds further arguments of fun and must be a tuple, got {args!r}")
    if not callable(fun):
        raise TypeError(f"minimize: fun must be a function of a vector, got {fun!r}")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"minimize: options must be a dictionary, got {options!r}")
    limited = method.lower() != "bfgs"
    settings: dict[str, Any] = {"gtol": 1e-5 if tol is None else tol, "maxiter": None, "norm": fnp.inf, "maxls": None}
    settings |= {"maxcor": 10} if limited else {"line_search_maxiter": None}
    unknown = set(options or {}) - set(settings)
    if unknown:
        raise ValueError(f"minimize by {method!r} does not know the options {sorted(unknown)}")
    settings |= dict(options or {})
    if isinstance(settings["gtol"], str | bytes | None):
        raise TypeError(f"minimize: the option gtol must be a number, got {settings['gtol']!r}")
    Scalar(0.0).check("minimize", "the option gtol", settings["gtol"])
    if not isinstance(settings["norm"], (int, float)):
        raise TypeError(f"minimize: the option norm must be a number, got {settings['norm']!r}")
    for name, least in (("maxiter", 0), ("maxls", 1), ("line_search_maxiter", 1), ("maxcor", 1)):
        if settings.get(name) is not None and integer(name, settings[name]) < least:
            raise RangeError(f"minimize: the option {name} must be at least {least}, got {settings[name]}")
    start = fnp.asarray(x0)
    if start.ndim != 1 or not fnp.issubdtype(start.dtype, fnp.inexact):
        raise ShapeError(f"minimize starts from a floating vector, got {start.type}; use ravel_pytree for other trees")
    count = lambda name, default: default if settings.get(name) is None else integer(name, settings[name])  # noqa: E731
    limit = count("maxiter", 200 * start.shape[0])
    trials = count("maxls", count("line_search_maxiter", _TRIALS))
    approximation: _Dense | _Limited = _Limited(count("maxcor", 10)) if limited else _Dense()

    # The parts of complex numbers are as many real ones.
    n, parts = start.shape[0], start.dtype.kind == "c"
    whole = (lambda v: lax.complex(v[:n], v[n:])) if parts else (lambda v: v)
    first_x = fnp.concatenate([start.real, start.imag]) if parts else start
    evaluate = value_and_grad(lambda x: fun(whole(x), *args))

    def size(gradient: Array) -> Array:
        return fnp.linalg.norm(gradient, settings["norm"])

    def unfinished(state: _State) -> Array:
        return (size(state.gradient) > settings["gtol"]) & (state.steps < limit) & ~state.stuck

    value, gradient = evaluate(first_x)
    zero = fnp.asarray(0)
    first = _State(first_x, value, gradient, approximation.start(first_x), zero + 1, zero, zero > 0)
    last = lax.while_loop(unfinished, lambda state: _step(evaluate, approximation, trials, state), first)
    success = (size(last.gradient) <= settings["gtol"]) & ~fnp.isnan(last.value)
    finite = fnp.isfinite(last.value) & fnp.all(fnp.isfinite(last.gradient))
    status = fnp.where(success, 0, fnp.where(last.stuck | ~finite, 3, 1))
    inverse = None if limited or parts else last.inverse
    calls = last.evaluations
    jac = fnp.conj(whole(last.gradient)) if parts else last.gradient  # as fdl.grad has it
    return OptimizeResults(whole(last.x), success, status, last.value, jac, inverse, calls, calls, last.steps)


def _step(
    evaluate: Callable[[Array], tuple[Array, Array]], approximation: _Dense | _Limited, trials: int, state: _State
) -> _State:
    direction = -approximation.apply(state.inverse, state.gradient)
    # Nothing is known of the size of the Hessian before the first step, whose length is at most 1.
    first = state.steps == 0
    norm = fnp.sqrt(fnp.sum(fnp.square(state.gradient / _largest(state.gradient)))) * _largest(state.gradient)
    length = fnp.where(first, 1 / fnp.maximum(norm, 1), 1)
    x, value, gradient, count, found = _line_search(evaluate, state, direction, length, trials)
    inverse = approximation.updated(state.inverse, x - state.x, gradient - state.gradient, first)
    return _State(x, value, gradient, inverse, state.evaluations + count, state.steps + 1, ~found)


def _curvature(s: Array, y: Array) -> tuple[Array, Array]:
    """The product s y, and its ratio to the square of y, which itself may overflow."""
    largest = _largest(y)
    unit = y / largest
    product = fnp.sum(s * unit)
    return product * largest, product / fnp.maximum(fnp.sum(unit * unit), 1) / largest


def _largest(v: Array) -> Array:
    return fnp.maximum(fnp.max(fnp.abs(v), initial=0.0), fnp.finfo(v.dtype).tiny)


def _line_search(
    evaluate: Callable[[Array], tuple[Array, Array]], state: _State, direction: Array, length: Array, trials: int
) -> tuple[Array, Array, Array, Array, Array]:
    """A step along the direction with enough decrease and a flatter slope; and how many trials it took."""
    # The product of the gradient and a direction as long as it may overflow.
    largest = _largest(direction)
    direction, length = direction / largest, length * largest
    slope = fnp.sum(state.gradient * direction)

    def trial(t: Array) -> tuple[Array, Array, Array]:
        value, gradient = evaluate(state.x + t * direction)
        # Not a number counts as too high.
        high = ~(value <= state.value + _SUFFICIENT * t * slope)
        return high, ~high & (fnp.sum(gradient * direction) < _CURVATURE * slope), value

    def unfinished(search: Any) -> Array:
        _, _, _, count, done = search
        return ~done & (count < trials)

    def narrow(search: Any) -> Any:
        low, high, t, count, _ = search
        too_far, too_short, _ = trial(t)
        high, low = fnp.where(too_far, t, high), fnp.where(too_short, t, low)
        following = fnp.where(fnp.isinf(high), 2 * t, (low + high) / 2)
        done = ~(too_far | too_short)
        return low, high, fnp.where(done, t, following), count + 1, done

    one = fnp.ones((), state.x.dtype)
    _, _, t, count, done = lax.while_loop(
        unfinished, narrow, (0 * one, fnp.inf * one, length * one, fnp.asarray(0), fnp.asarray(False))
    )
    x = fnp.where(done, state.x + t * direction, state.x)
    value, gradient = evaluate(x)
    return x, value, gradient, count + 1, done


def __dir__() -> list[str]:
    return __all__
