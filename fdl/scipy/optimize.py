"""Minimization of smooth functions, under the names of ``scipy.optimize``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import lax
from fdl.api.differentiate import value_and_grad
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.scalars import Scalar, checked

__all__ = ["OptimizeResults", "minimize"]


class OptimizeResults(NamedTuple):
    """What a minimization found: all fields are arrays.

    Attributes:
        x: the minimizer, [n].
        success: whether the gradient became small enough.
        status: 0 if so; 1 if the steps ran out; 3 if no step along the last direction was good enough.
        fun: the value at x.
        jac: the gradient at x.
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
    inverse: Array
    evaluations: Array
    steps: Array
    stuck: Array


_SUFFICIENT, _CURVATURE, _TRIALS = 1e-4, 0.9, 40


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
        fun: takes x [n] and `args`, returns a scalar; differentiable.
        x0: where to start, floating [n].
        args: further arguments of `fun`.
        method: "BFGS".
        tol: norm of the gradient at which to stop; `options` may say ``gtol`` instead. By default 1e-5.
        options: ``gtol``, ``maxiter`` (by default 200 n) and ``norm`` (the order of the norm, by default infinity).

    Returns:
        An OptimizeResults. Source: Nocedal, Wright, "Numerical Optimization" (2006), algorithm 6.1; the line search is
        a bisection for the weak Wolfe conditions.

    Raises:
        ValueError: the method or an option is unknown.
        ShapeError: x0 is not a floating vector.

    >>> found = minimize(lambda x: fnp.sum((x - 3.0) ** 2), fnp.zeros(2), method="BFGS")
    >>> [round(x, 3) for x in found.x.tolist()]
    [3.0, 3.0]
    """
    if not isinstance(method, str) or method.lower() != "bfgs":
        raise ValueError(f"fdl.scipy.optimize.minimize knows the method 'BFGS', got {method!r}")
    settings = {"gtol": 1e-5 if tol is None else tol, "maxiter": None, "norm": fnp.inf} | dict(options or {})
    unknown = set(settings) - {"gtol", "maxiter", "norm", "line_search_maxiter"}
    if unknown:
        raise ValueError(f"minimize does not know the options {sorted(unknown)}")
    x0 = fnp.asarray(x0)
    if x0.ndim != 1 or not fnp.issubdtype(x0.dtype, fnp.floating):
        raise ShapeError(f"minimize starts from a floating vector, got {x0.type}; use ravel_pytree for other trees")
    limit = 200 * x0.shape[0] if settings["maxiter"] is None else settings["maxiter"]
    evaluate = value_and_grad(lambda x: fun(x, *args))

    def size(gradient: Array) -> Array:
        return fnp.linalg.norm(gradient, settings["norm"])

    def unfinished(state: _State) -> Array:
        return (size(state.gradient) > settings["gtol"]) & (state.steps < limit) & ~state.stuck

    value, gradient = evaluate(x0)
    zero = fnp.asarray(0)
    first = _State(x0, value, gradient, fnp.eye(x0.shape[0], dtype=x0.dtype), zero + 1, zero, zero > 0)
    last = lax.while_loop(unfinished, lambda state: _step(evaluate, state), first)
    success = size(last.gradient) <= settings["gtol"]
    status = fnp.where(success, 0, fnp.where(last.stuck, 3, 1))
    count = last.evaluations
    return OptimizeResults(last.x, success, status, last.value, last.gradient, last.inverse, count, count, last.steps)


def _step(evaluate: Callable[[Array], tuple[Array, Array]], state: _State) -> _State:
    direction = -fnp.matmul(state.inverse, state.gradient)
    x, value, gradient, trials, found = _line_search(evaluate, state, direction)
    s, y = x - state.x, gradient - state.gradient
    product = fnp.sum(s * y)
    usable = product > 0
    rho = 1 / fnp.where(usable, product, 1.0)
    eye = fnp.eye(x.shape[0], dtype=x.dtype)
    left = eye - rho * fnp.outer(s, y)
    updated = fnp.matmul(fnp.matmul(left, state.inverse), left.T) + rho * fnp.outer(s, s)
    inverse = fnp.where(usable, updated, state.inverse)
    return _State(x, value, gradient, inverse, state.evaluations + trials, state.steps + 1, ~found)


def _line_search(
    evaluate: Callable[[Array], tuple[Array, Array]], state: _State, direction: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """A step along the direction with enough decrease and a flatter slope; and how many trials it took."""
    slope = fnp.sum(state.gradient * direction)

    def trial(t: Array) -> tuple[Array, Array, Array]:
        value, gradient = evaluate(state.x + t * direction)
        # Not a number counts as too high.
        high = ~(value <= state.value + _SUFFICIENT * t * slope)
        return high, ~high & (fnp.sum(gradient * direction) < _CURVATURE * slope), value

    def unfinished(search: Any) -> Array:
        _, _, _, count, done = search
        return ~done & (count < _TRIALS)

    def narrow(search: Any) -> Any:
        low, high, t, count, _ = search
        too_far, too_short, _ = trial(t)
        high, low = fnp.where(too_far, t, high), fnp.where(too_short, t, low)
        following = fnp.where(fnp.isinf(high), 2 * t, (low + high) / 2)
        done = ~(too_far | too_short)
        return low, high, fnp.where(done, t, following), count + 1, done

    one = fnp.ones((), state.x.dtype)
    _, _, t, count, done = lax.while_loop(
        unfinished, narrow, (0 * one, fnp.inf * one, one, fnp.asarray(0), fnp.asarray(False))
    )
    x = fnp.where(done, state.x + t * direction, state.x)
    value, gradient = evaluate(x)
    return x, value, gradient, count + 1, done


def __dir__() -> list[str]:
    return __all__
