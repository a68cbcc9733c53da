"""Ordinary differential equations: Dormand and Prince's method, with the adjoint method for its derivatives."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import RK45

import fdl.numpy as fnp
from fdl import lax, tree
from fdl.api.closures import closure_convert
from fdl.api.custom import custom_vjp
from fdl.api.differentiate import vjp
from fdl.dtypes import is_inexact
from fdl.errors import ShapeError
from fdl.flatten_util import ravel_pytree

__all__ = ["odeint"]

#: Bounds of how a step changes the next one's length, and how far below the wanted error it aims.
_SHRINK, _GROW, _SAFETY = 0.2, 10.0, 0.9

#: How many steps between two times are differentiated directly, if no bound is given.
_MOST = 4096

_TINY = 1e-30


def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float = 1.4e-8,
    atol: float = 1.4e-8,
    mxstep: float = math.inf,
    hmax: float = math.inf,
    adjoint: bool = True,
) -> Any:
    """The solution of ``dy/dt = func(y, t, *args)`` at some times.

    Args:
        func: returns the derivative, a pytree like `y`.
        y0: the value at ``t[0]``, a pytree of floating-point arrays.
        t: increasing times, an array with one axis.
        *args: further arguments of `func`, pytrees of arrays; derivatives are taken by them, by what `func` closes
            over, by `y0` and by `t`.
        rtol, atol: relative and absolute error that a step may make, in each element.
        mxstep: most steps between two times; where they do not suffice the result is NaN from there.
        hmax: longest step.
        adjoint: whether reverse mode solves the adjoint equation backwards, which takes the memory of the results only
            and has an error of its own; else the steps are differentiated as they were done, in both modes; their
            number between two times is then bounded by `mxstep`, at most 4096.

    Returns:
        A pytree like `y0`, whose arrays have a new leading axis for the times.

    Raises:
        ShapeError: `t` does not have one axis.

    Source: Dormand and Prince, "A family of embedded Runge-Kutta formulae", 1980; dense output by Shampine, 1986; step
    control by Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", II.4; adjoints by Chen et al.,
    "Neural Ordinary Differential Equations", 2018.

    >>> import fdl, fdl.numpy as fnp
    >>> decay = lambda rate: odeint(lambda y, t: -rate * y, 1.0, fnp.array([0.0, 1.0]), rtol=1e-6, atol=1e-6)[1]
    >>> value, slope = fdl.value_and_grad(decay)(1.0)
    >>> print(f"{value:.4f} {slope:.4f}")
    0.3679 -0.3679
    """
    t = fnp.asarray(t)
    if t.ndim != 1 or t.size < 1:
        raise ShapeError(f"odeint needs times with one axis, the first of which is that of y0, got {t.type}")
    if not is_inexact(t.dtype):
        t = t.astype(fnp.float32)
    y0 = tree.map(fnp.asarray, y0)
    converted, consts = closure_convert(func, y0, t[0], *args)
    flat, back = ravel_pytree(y0)
    if not is_inexact(flat.dtype):
        raise ShapeError(f"odeint needs floating-point values, got {tree.map(lambda y: y.type, y0)}; convert y0")
    leaves, structure = tree.flatten((args, tuple(consts)))
    leaves = [fnp.asarray(leaf) for leaf in leaves]
    moving = [is_inexact(leaf.dtype) for leaf in leaves]
    still = [leaf for leaf, m in zip(leaves, moving, strict=True) if not m]

    def derivative(y: Any, t: Any, given: Any, rest: Any) -> Any:
        first, second = iter(given), iter(rest)
        args, consts = tree.unflatten(structure, [next(first) if m else next(second) for m in moving])
        return ravel_pytree(converted(back(y), t, *args, *consts))[0].astype(y.dtype)

    given = [leaf for leaf, m in zip(leaves, moving, strict=True) if m]
    options = (float(rtol), float(atol), mxstep, float(hmax))
    if adjoint:
        ys = _with_adjoint(derivative, options)(flat, t, given, still)
    else:
        ys = _integrate(lambda y, t: derivative(y, t, given, still), flat, t, options, direct=True)
    return lax.map(back, ys)


def _with_adjoint(derivative: Callable[..., Any], options: Any) -> Callable[..., Any]:
    """The solver on flat values, whose reverse mode solves the adjoint equation."""

    @custom_vjp
    def solve(y0: Any, t: Any, given: Any, still: Any) -> Any:
        return _integrate(lambda y, t: derivative(y, t, given, still), y0, t, options)

    def forward(y0: Any, t: Any, given: Any, still: Any) -> Any:
        ys = solve(y0, t, given, still)
        return ys, (ys, t, given, still)

    def backward(kept: Any, g: Any) -> Any:
        ys, t, given, still = kept
        slopes = [fnp.zeros_like(leaf) for leaf in given]
        start, unravel = ravel_pytree((ys[0], ys[0], slopes))

        def augmented(state: Any, minus: Any, given: Any, still: Any) -> Any:
            """Value, its cotangent and those of the arguments, with the time running backwards."""
            y, bar, _ = unravel(state)
            moved, pull = vjp(lambda y, given: derivative(y, -minus, given, still), y, given)
            by_y, by_given = pull(bar)
            return ravel_pytree((-moved, by_y, by_given))[0].astype(state.dtype)

        def step(carry: Any, now: Any) -> Any:
            bar, slopes, first = carry
            y, g, late, early = now
            by_time = (derivative(y, late, given, still) * g).sum().astype(t.dtype)
            state = ravel_pytree((y, bar + g, slopes))[0].astype(start.dtype)
            found = _with_adjoint(augmented, options)(state, fnp.stack([-late, -early]), given, still)[1]
            _, bar, slopes = unravel(found)
            return (bar, slopes, first - by_time), by_time

        rows = (ys[1:], g[1:], t[1:], t[:-1])
        (bar, slopes, first), times = lax.scan(step, (fnp.zeros_like(ys[0]), slopes, t[0] * 0), rows, reverse=True)
        bar = bar + g[0]
        # What moves the first time moves all of the solution after it.
        first = -(derivative(ys[0], t[0], given, still) * (bar - g[0])).sum().astype(t.dtype)
        return bar, fnp.concatenate([first[None], times]), slopes, None

    solve.defvjp(forward, backward)
    return solve


def _integrate(f: Callable[[Any, Any], Any], y0: Any, t: Any, options: Any, direct: bool = False) -> Any:
    """Rows of the solution at the times `t`, for a vector `y0`."""
    rtol, atol, mxstep, hmax = options
    a, b, c = (np.asarray(m, y0.dtype) for m in (RK45.A, RK45.B, RK45.C))
    errors, dense = np.asarray(RK45.E, y0.dtype), np.asarray(RK45.P, y0.dtype)
    if t.size == 1:
        return y0[None]
    real = fnp.abs(y0).dtype
    slope = f(y0, t[0])
    first = fnp.minimum(_first_step(f, y0, slope, t[0], rtol, atol), hmax).astype(t.dtype)
    bound = int(min(mxstep, _MOST)) if direct else None
    limit = np.int32(min(mxstep, 2**31 - 1))

    def advance(state: Any) -> Any:
        count, y, slope, now, h, _, _, _ = state
        stages = [slope]
        for n in range(1, 6):
            inner = sum(float(w) * k for w, k in zip(a[n, :n], stages, strict=True) if w)
            stages.append(f(y + h.astype(real) * inner, now + h * float(c[n])))
        after = y + h.astype(real) * sum(float(w) * k for w, k in zip(b, stages, strict=True) if w)
        stages.append(f(after, now + h))
        error = h.astype(real) * sum(float(w) * k for w, k in zip(errors, stages, strict=True) if w)
        scale = atol + rtol * fnp.maximum(fnp.abs(y), fnp.abs(after))
        ratio = lax.stop_gradient(fnp.sqrt(fnp.mean((fnp.abs(error) / scale) ** 2)))
        done = ratio <= 1
        factor = fnp.clip(_SAFETY * fnp.maximum(ratio, _TINY) ** -0.2, _SHRINK, _GROW)
        factor = fnp.where(done, fnp.maximum(factor, 1.0), fnp.where(fnp.isnan(ratio), _SHRINK, factor))
        longer = fnp.minimum(h * factor.astype(h.dtype), hmax).astype(h.dtype)
        moved = (after, stages[-1], now + h, longer, y, now, fnp.stack(stages))
        stays = (y, slope, now, longer, *state[5:])
        return (count + 1, *(fnp.where(done, m, s) for m, s in zip(moved, stays, strict=True)))

    def until(state: Any, target: Any) -> Any:
        def going(state: Any) -> Any:
            count, now, h = state[0], state[3], state[4]
            return (now < target) & (count < limit) & (now + h > now)

        state = lax.while_loop(going, advance, (np.zeros((), np.int32), *state[1:]), max_steps=bound)
        _, _, _, now, _, y, before, stages = state
        part = ((target - before) / fnp.where(now > before, now - before, 1)).astype(real)
        powers = fnp.stack([part ** (n + 1) for n in range(dense.shape[1])])
        weights = (dense @ powers).astype(y.dtype)
        row = y + (now - before).astype(real) * (weights @ stages)
        return state, fnp.where(now >= target, row, np.nan)

    state = (np.zeros((), np.int32), y0, slope, t[0], first, y0, t[0], fnp.stack([slope] * 7))
    _, rows = lax.scan(until, state, t[1:])
    return fnp.concatenate([y0[None], rows])


def _first_step(f: Callable[[Any, Any], Any], y: Any, derivative: Any, t: Any, rtol: float, atol: float) -> Any:
    """A first step of about the right length (Hairer, Norsett and Wanner, II.4)."""
    scale = atol + rtol * fnp.abs(y)

    def size(v: Any) -> Any:
        return fnp.sqrt(fnp.mean((fnp.abs(v) / scale) ** 2))

    d0, d1 = size(y), size(derivative)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = fnp.where(small, 1e-6, 0.01 * d0 / fnp.where(small, 1.0, d1))
    d2 = size(f(y + h0.astype(scale.dtype) * derivative, t + h0.astype(t.dtype)) - derivative) / h0
    most = fnp.maximum(d1, d2)
    h1 = fnp.where(most <= 1e-15, fnp.maximum(1e-6, h0 * 1e-3), (0.01 / fnp.maximum(most, _TINY)) ** 0.2)
    return lax.stop_gradient(fnp.minimum(100.0 * h0, h1))


def __dir__() -> list[str]:
    return __all__
