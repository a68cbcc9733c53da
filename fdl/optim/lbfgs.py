"""L-BFGS: steps by the curvature that the last gradients have shown."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import lax, tree
from fdl.dtypes import int32
from fdl.flatten_util import ravel_pytree
from fdl.optim.arguments import RATE, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    identity,
    in_float32,
    increment,
    needs_params,
)
from fdl.optim.linesearch import scale_by_zoom_linesearch
from fdl.optim.transforms import scale, scale_by_learning_rate
from fdl.scalars import Scalar


class ScaleByLBFGSState(NamedTuple):
    """Step count, last parameters and gradients, and the last differences of both, all laid out in vectors."""

    count: Any
    params: Any
    updates: Any
    diff_params_memory: Any
    diff_updates_memory: Any
    weights_memory: Any


@makes_transformation(memory_size=Scalar(1, whole=True))
def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> GradientTransformation:
    """Multiply gradients by an approximate inverse Hessian. Source: Nocedal, Wright (2006), algorithm 7.4.

    Args:
        memory_size: how many differences of gradients it is made of.
        scale_init_precond: whether the first approximation is scaled by the newest difference.

    Raises:
        ValueError: ``update`` was called without the parameters.

    >>> params, t = fnp.array([2.0]), scale_by_lbfgs()
    >>> updates, state = t.update(fnp.array([4.0]), t.init(params), params)
    >>> updates.tolist()
    [1.0]
    """

    def init(params: Tree) -> ScaleByLBFGSState:
        flat = fnp.zeros_like(ravel_pytree(tree.map(fnp.asarray, params))[0])
        memory = fnp.zeros((memory_size, *flat.shape), flat.dtype)
        weights = fnp.zeros((memory_size,), fnp.real(flat).dtype)
        return ScaleByLBFGSState(fnp.zeros((), int32), flat, flat, memory, memory, weights)

    def update(updates: Tree, state: ScaleByLBFGSState, params: Tree | None = None) -> tuple[Tree, ScaleByLBFGSState]:
        g, restored = ravel_pytree(tree.map(fnp.asarray, updates))
        x = ravel_pytree(tree.map(fnp.asarray, needs_params("scale_by_lbfgs", params)))[0]
        begun = state.count > 0
        s, y = (fnp.where(begun, new - old, 0.0) for new, old in ((x, state.params), (g, state.updates)))
        curvature = _dot(s, y)
        weight = fnp.where(curvature != 0, 1 / fnp.where(curvature != 0, curvature, 1.0), 0.0)
        place = (state.count - 1) % memory_size
        ss = state.diff_params_memory.at[place].set(s)
        ys = state.diff_updates_memory.at[place].set(y)
        weights = state.weights_memory.at[place].set(weight)
        factor: Any = 1.0
        if scale_init_precond:
            square, norm = _dot(y, y), fnp.sqrt(_dot(g, g))
            first = fnp.minimum(1.0, 1 / fnp.where(norm > 0, norm, 1.0))
            later = fnp.where(square > 0, curvature / fnp.where(square > 0, square, 1.0), 1.0)
            factor = fnp.where(begun, later, first)
        order = (state.count + fnp.arange(memory_size)) % memory_size  # from the oldest

        def down(q: Any, i: Any) -> tuple[Any, Any]:
            alpha = weights[i] * _dot(ss[i], q)
            return q - alpha * ys[i], alpha

        def up(q: Any, each: Any) -> tuple[Any, Any]:
            i, alpha = each
            return q + (alpha - weights[i] * _dot(ys[i], q)) * ss[i], None

        q, alphas = lax.scan(down, g, order, reverse=True)
        q, _ = lax.scan(up, (factor * q).astype(g.dtype), (order, alphas))
        return restored(q), ScaleByLBFGSState(increment(state.count), x, g, ss, ys, weights)

    return in_float32(init, update)


@makes_transformation(memory_size=Scalar(1, whole=True), learning_rate=RATE)
def lbfgs(
    learning_rate: ScalarOrSchedule = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: GradientTransformation | str | None = "zoom",
) -> GradientTransformation:
    """L-BFGS with a line search. Source: Liu, Nocedal (1989).

    Call ``update(grads, state, params, value=loss, grad=grads, value_fn=function of the parameters)``, in a Python loop
    or in a scan.

    Args:
        learning_rate: factor of the direction, before the line search; None is 1.
        memory_size: how many differences of gradients the inverse Hessian is made of.
        scale_init_precond: whether the first approximation is scaled by the newest difference.
        linesearch: what scales the direction; "zoom" is ``scale_by_zoom_linesearch(20, initial_guess_strategy="one")``,
            None takes it as it is.

    >>> import fdl
    >>> def loss(w):
    ...     return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2  # Rosenbrock (1960)
    >>> w, optimizer = fnp.array([-1.2, 1.0]), lbfgs()
    >>> state = optimizer.init(w)
    >>> @fdl.jit
    ... def step(carry, _):
    ...     w, state = carry
    ...     value, grad = fdl.value_and_grad(loss)(w)
    ...     updates, state = optimizer.update(grad, state, w, value=value, grad=grad, value_fn=loss)
    ...     return (w + updates, state), value
    >>> (w, state), values = fdl.lax.scan(step, (w, state), length=40)
    >>> [round(x, 2) for x in w.tolist()]
    [1.0, 1.0]
    """
    if isinstance(linesearch, str):
        if linesearch != "zoom":
            raise ValueError(f"lbfgs takes a transformation, None or 'zoom' as linesearch, got {linesearch!r}")
        linesearch = scale_by_zoom_linesearch(20, initial_guess_strategy="one")
    return chain(
        scale_by_lbfgs(memory_size, scale_init_precond),
        scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate),
        identity() if linesearch is None else linesearch,
    )


def _dot(x: Any, y: Any) -> Any:
    return fnp.sum(fnp.real(x * fnp.conj(y)))
