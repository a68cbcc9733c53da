"""Loops with a condition, which have a reverse mode if the number of steps is bounded."""

from collections.abc import Callable
from math import ceil
from typing import Any, TypeVar

import numpy as np

from fdl import tree
from fdl.api.arguments import require_function
from fdl.api.checkpoint import checkpoint
from fdl.api.closures import closure_convert
from fdl.api.custom import SymbolicZero, custom_jvp
from fdl.api.inspect import eval_shape
from fdl.array import as_array
from fdl.config import config
from fdl.core.trace import lift
from fdl.lax.control import cond, run_while, scan
from fdl.lax.operators import convert_element_type
from fdl.ops.shape import zeros_of
from fdl.transforms.forward import jvp_values

C = TypeVar("C")


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], C], init_val: Any, *, max_steps: int | None = None
) -> C:
    """Apply `body_fun` to a value as long as `cond_fun` of it holds.

    Args:
        cond_fun: returns a bool scalar.
        body_fun: returns a value of the structure and types it was given.
        init_val: a pytree.
        max_steps: stop after so many steps in any case. The loop then has a reverse mode, which keeps about
            ``2 * sqrt(max_steps)`` values and computes the others again.

    Returns:
        The last value, in the structure and types of `init_val`.

    Raises:
        DifferentiationError: in reverse mode without `max_steps`, which :func:`scan`, and :func:`fori_loop` with Python
            integers as bounds, have too.

    >>> import fdl
    >>> fdl.lax.while_loop(lambda x: x < 100, lambda x: x * 2, 1)
    Array(128, dtype=int32)
    >>> fdl.grad(lambda x: fdl.lax.while_loop(lambda x: x < 100, lambda x: x * x, x, max_steps=10))(3.0)
    Array(17496., dtype=float32)
    """
    if max_steps is not None:
        return _bounded_while(cond_fun, body_fun, init_val, max_steps)
    return run_while("while_loop", cond_fun, body_fun, init_val)


def _bounded_while(cond_fun: Any, body_fun: Any, init_val: Any, max_steps: Any) -> Any:
    """A loop that runs as one of its own, and is differentiated as scans of branches."""
    if not isinstance(max_steps, (int, np.integer)) or max_steps < 0:
        raise ValueError(f"while_loop: max_steps must be a number of steps, not negative, got {max_steps!r}")
    require_function("while_loop", "cond_fun", cond_fun)
    require_function("while_loop", "body_fun", body_fun)
    limit = np.int64(max_steps).astype(np.int32 if max_steps < 2**31 else np.int64)
    zero = np.zeros_like(limit)

    def bounded(go: Any, step: Any, value: Any) -> Any:
        def going(state: Any) -> Any:
            return (state[0] < limit) & as_array(go(state[1]))

        start = (np.asarray(zero), value)
        return run_while("while_loop", going, lambda state: (state[0] + 1, step(state[1])), start, counted=True)[1]

    if config.disable_jit:
        return bounded(cond_fun, body_fun, init_val)
    types = eval_shape(lambda value: bounded(cond_fun, body_fun, value), init_val)
    value = tree.map(lambda x, t: convert_element_type(x, t.dtype), init_val, types)  # numbers with all their digits
    go, go_consts = closure_convert(cond_fun, value)
    step, step_consts = closure_convert(body_fun, value)

    def converted(consts: Any) -> tuple[Any, Any]:
        return (lambda v: go(v, *consts[0])), (lambda v: step(v, *consts[1]))

    @custom_jvp
    def loop(consts: Any, value: Any) -> Any:
        return bounded(*converted(consts), value)

    def loop_jvp(primals: Any, tangents: Any) -> Any:
        leaves, structure = tree.flatten(primals)
        dots = [None if isinstance(d, SymbolicZero) else d for d in tree.leaves(tangents)]

        def run(*values: Any) -> list[Any]:
            consts, value = tree.unflatten(structure, values)
            return tree.leaves(_as_scans(*converted(consts), value, int(max_steps)))

        outs, moved = jvp_values(run, leaves, dots)
        filled = [zeros_of(lift(o).type) if d is None else d for o, d in zip(outs, moved, strict=True)]
        shape = tree.structure(primals[1])
        return tree.unflatten(shape, outs), tree.unflatten(shape, filled)

    loop.defjvp(loop_jvp, symbolic_zeros=True)
    return loop((go_consts, step_consts), value)


def _as_scans(go: Callable[[Any], Any], step: Callable[[Any], Any], value: Any, max_steps: int) -> Any:
    """A bounded loop as a scan over blocks of steps, each left out when the loop has ended."""
    size = max(ceil(max_steps**0.5), 1)

    def going(state: Any) -> Any:
        return (state[0] < max_steps) & as_array(go(state[1]))

    def one(state: Any, _: Any) -> Any:
        return cond(going(state), lambda s: (s[0] + 1, step(s[1])), lambda s: s, state), None

    @checkpoint
    def block(state: Any) -> Any:
        return scan(one, state, None, size)[0]

    def each(state: Any, _: Any) -> Any:
        return cond(going(state), block, lambda s: s, state), None

    return scan(each, (np.zeros((), np.int64), value), None, -(-max_steps // size))[0][1]
