"""Line searches: how far to go along an update, by values (and slopes) of the loss on the way."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import lax, tree
from fdl.api.differentiate import value_and_grad
from fdl.dtypes import float32, int32
from fdl.optim.accumulation import either
from fdl.optim.arguments import NOT_NEGATIVE, POSITIVE, makes_transformation
from fdl.optim.base import GradientTransformation, Tree, in_float32, needs_params, widest_dtype, zeros
from fdl.scalars import Scalar

STEPS = Scalar(1, whole=True)


class LinesearchInfo(NamedTuple):
    """How many steps the last search took, and by how much what it found misses the conditions of Wolfe."""

    num_linesearch_steps: Any
    decrease_error: Any
    curvature_error: Any


class ScaleByLinesearchState(NamedTuple):
    """The last step size, value and gradient there (zeros if not kept), and how the search went."""

    learning_rate: Any
    value: Any
    grad: Any
    info: LinesearchInfo


class Point(NamedTuple):
    """A place on the line: its step size, the value there, and the derivative along the line."""

    step: Any
    value: Any
    derivative: Any


class Search(NamedTuple):
    """Where a zoom search stands: an interval from a better to a worse end, and another point for interpolation."""

    count: Any
    last: Point
    grad: Any
    low: Point
    high: Point
    other: Point
    safe: Point
    safe_grad: Any
    decrease: Any
    curvature: Any
    bracketed: Any
    done: Any
    failed: Any


def dot(first: Tree, second: Tree) -> Any:
    """Real inner product of two trees."""
    leaves = zip(tree.leaves(first), tree.leaves(second), strict=True)
    return sum((fnp.sum(fnp.real(x * fnp.conj(y))) for x, y in leaves), fnp.zeros((), float32))


def of_parameters(value_fn: Callable[..., Any], extra: dict[str, Any]) -> Callable[[Tree], Any]:
    """The loss as a function of the parameters alone; extra arguments that it takes are filled in."""
    names = inspect.signature(value_fn).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in names)
    known = {name: x for name, x in extra.items() if takes_all or name in {p.name for p in names}}
    return lambda params: value_fn(params, **known)


def along(params: Tree, updates: Tree, step: Any) -> Tree:
    """The parameters after a step along the updates."""
    return tree.map(lambda p, u: p + step.astype(fnp.real(u).dtype) * u, params, updates)


def _init(params: Tree, keep_grad: bool = True) -> ScaleByLinesearchState:
    kind = widest_dtype(params)
    inf = fnp.asarray(fnp.inf, kind)
    info = LinesearchInfo(fnp.zeros((), int32), inf, inf)
    return ScaleByLinesearchState(fnp.ones((), kind), inf, zeros(params) if keep_grad else (), info)


@makes_transformation(
    max_backtracking_steps=STEPS, slope_rtol=NOT_NEGATIVE, decrease_factor=Scalar(0.0, 1.0, True, True),
    increase_factor=POSITIVE, max_learning_rate=POSITIVE, atol=NOT_NEGATIVE, rtol=NOT_NEGATIVE,
)  # fmt: skip
def scale_by_backtracking_linesearch(
    max_backtracking_steps: int, slope_rtol: Any = 1e-4, decrease_factor: Any = 0.8, increase_factor: Any = 1.5,
    max_learning_rate: Any = 1.0, atol: Any = 0.0, rtol: Any = 0.0, store_grad: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Shorten updates until the loss falls by enough. Source: Armijo (1966).

    Put it last in a chain, after an optimizer that gives a direction of descent, and call
    ``update(grads, state, params, value=loss, grad=grads, value_fn=function of the parameters)``.

    Args:
        max_backtracking_steps: how often updates are shortened at most.
        slope_rtol: the fraction of the derivative by which the loss must fall.
        decrease_factor: by how much a step is shortened.
        increase_factor: by how much the next search begins farther out.
        max_learning_rate: the longest step.
        atol: by how much the condition may be missed.
        rtol: the same, relative to the value.
        store_grad: whether the gradient at the place found is kept for the next step, see
            :func:`value_and_grad_from_state`.

    >>> from fdl import optim
    >>> def loss(w):
    ...     return w @ w
    >>> optimizer = optim.chain(optim.sgd(1.0), scale_by_backtracking_linesearch(20))
    >>> w, state = fnp.array([1.0]), optimizer.init(fnp.array([1.0]))
    >>> updates, _ = optimizer.update(2 * w, state, w, value=loss(w), grad=2 * w, value_fn=loss)
    >>> [round(u, 3) for u in updates.tolist()]
    [-1.6]
    """

    def update(
        updates: Tree, state: ScaleByLinesearchState, params: Tree | None = None, *, value: Any, grad: Tree,
        value_fn: Callable[..., Any], **extra: Any,
    ) -> tuple[Tree, ScaleByLinesearchState]:  # fmt: skip
        params = needs_params("scale_by_backtracking_linesearch", params)
        function, kind = of_parameters(value_fn, extra), state.value.dtype
        value, derivative = fnp.asarray(value).astype(kind), dot(updates, grad).astype(kind)
        inf = fnp.asarray(fnp.inf, kind)

        def missed(step: Any, found: Any) -> Any:
            error = found - (1 + rtol) * value - step * slope_rtol * derivative
            return fnp.where(fnp.isnan(error), inf, fnp.maximum(error, 0.0)).astype(kind)

        def going(carry: Any) -> Any:
            return ~(carry[2] <= atol) & (carry[3] <= max_backtracking_steps)

        def shorten(carry: Any) -> Any:
            step, _, _, count = carry
            step = fnp.where(count > 0, decrease_factor * step, step).astype(kind)
            found = fnp.asarray(function(along(params, updates, step))).astype(kind)
            return step, found, missed(step, found), count + 1

        first = fnp.minimum(increase_factor * state.learning_rate, max_learning_rate).astype(kind)
        step, found, error, count = lax.while_loop(going, shorten, (first, value, inf, fnp.zeros((), int32)))
        step = fnp.where(fnp.isinf(error), 0.0, step).astype(kind)
        kept: Any = ()
        if store_grad:
            found, kept = value_and_grad(function)(along(params, updates, step))
            kept = tree.map(lambda g, old: g.astype(old.dtype), kept, state.grad)
        info = LinesearchInfo(count, error, inf)
        made = tree.map(lambda u: step.astype(fnp.real(u).dtype) * u, updates)
        return made, ScaleByLinesearchState(step, fnp.asarray(found).astype(kind), kept, info)

    return in_float32(lambda params: _init(params, store_grad), update, False, True)


@makes_transformation(
    max_linesearch_steps=STEPS, max_learning_rate=POSITIVE, tol=NOT_NEGATIVE, increase_factor=Scalar(1.0, above=True),
    slope_rtol=NOT_NEGATIVE, curv_rtol=NOT_NEGATIVE, stepsize_precision=NOT_NEGATIVE,
)  # fmt: skip
def scale_by_zoom_linesearch(
    max_linesearch_steps: int, max_learning_rate: Any = None, tol: Any = 0.0, increase_factor: Any = 2.0,
    slope_rtol: Any = 1e-4, curv_rtol: Any = 0.9, approx_dec_rtol: Any = 1e-6, stepsize_precision: Any = 1e-5,
    initial_guess_strategy: str = "keep",
) -> GradientTransformation:  # fmt: skip
    """Find a step after which the loss is lower and its derivative flatter: the strong conditions of Wolfe.

    Source: Nocedal, Wright, "Numerical optimization" (2006), algorithms 3.5 and 3.6; approximate decrease: Hager, Zhang
    (2005). Put it last in a chain, after an optimizer that gives a direction of descent, and call
    ``update(grads, state, params, value=loss, grad=grads, value_fn=function of the parameters)``.

    Args:
        max_linesearch_steps: how many steps are tried at most.
        max_learning_rate: the longest step; None for any.
        tol: by how much the conditions may be missed.
        increase_factor: by how much a step grows while the loss falls.
        slope_rtol: the fraction of the derivative by which the loss must fall.
        curv_rtol: the fraction of the derivative that may be left.
        approx_dec_rtol: how much higher the value may be, relative to it, where slopes say that it is lower: rounding
            hides small differences. None does not look at slopes.
        stepsize_precision: the length of the interval at which the search stops.
        initial_guess_strategy: "keep" begins with the last step size, "one" with 1.

    Raises:
        ValueError: the strategy is unknown.

    >>> from fdl import optim
    >>> def loss(w):
    ...     return 100.0 * w @ w
    >>> optimizer = optim.chain(optim.sgd(1.0), scale_by_zoom_linesearch(20))
    >>> w, state = fnp.array([1.0]), optimizer.init(fnp.array([1.0]))
    >>> updates, _ = optimizer.update(200 * w, state, w, value=loss(w), grad=200 * w, value_fn=loss)
    >>> [round(u, 3) for u in updates.tolist()]
    [-1.0]
    """
    if initial_guess_strategy not in ("keep", "one"):
        raise ValueError(
            f"scale_by_zoom_linesearch takes initial_guess_strategy 'keep' or 'one', got {initial_guess_strategy!r}"
        )

    def update(
        updates: Tree, state: ScaleByLinesearchState, params: Tree | None = None, *, value: Any, grad: Tree,
        value_fn: Callable[..., Any], **extra: Any,
    ) -> tuple[Tree, ScaleByLinesearchState]:  # fmt: skip
        params = needs_params("scale_by_zoom_linesearch", params)
        function, kind = value_and_grad(of_parameters(value_fn, extra)), state.value.dtype
        grad = tree.map(lambda g, old: fnp.asarray(g).astype(old.dtype), grad, state.grad)
        zero, inf = fnp.zeros((), kind), fnp.asarray(fnp.inf, kind)
        start = Point(zero, fnp.asarray(value).astype(kind), dot(updates, grad).astype(kind))
        guess = fnp.ones((), kind) if initial_guess_strategy == "one" else state.learning_rate

        def at(step: Any) -> tuple[Point, Tree]:
            found, slopes = function(along(params, updates, step))
            slopes = tree.map(lambda g, old: g.astype(old.dtype), slopes, grad)
            return Point(step, fnp.asarray(found).astype(kind), dot(updates, slopes).astype(kind)), slopes

        def errors(point: Point) -> tuple[Any, ...]:
            fall = point.value - start.value - slope_rtol * point.step * start.derivative
            if approx_dec_rtol is not None:
                flat = point.derivative - (2 * slope_rtol - 1.0) * start.derivative
                rise = point.value - start.value - approx_dec_rtol * fnp.abs(start.value)
                fall = fnp.minimum(fnp.maximum(flat, rise), fall)
            steep = fnp.abs(point.derivative) - curv_rtol * fnp.abs(start.derivative)
            return tuple(fnp.where(fnp.isnan(e), inf, fnp.maximum(e, 0.0)).astype(kind) for e in (fall, steep))

        def trial(s: Search) -> tuple[Any, Any]:
            out = fnp.where(s.count == 0, guess, increase_factor * s.last.step)
            most = inf if max_learning_rate is None else fnp.asarray(max_learning_rate, kind)
            inside = between(s.low, s.high, s.other)
            return fnp.where(s.bracketed, inside, fnp.minimum(out, most)).astype(kind), ~s.bracketed & (out >= most)

        def look(s: Search) -> Search:
            step, farthest = trial(s)
            point, slopes = at(step)
            decrease, curvature = errors(point)
            best = (decrease <= tol) & (~s.bracketed | (point.value < s.safe.value))
            worse = (decrease > 0.0) | fnp.where(
                s.bracketed, point.value >= s.low.value, (point.value >= s.last.value) & (s.count > 0)
            )
            # Outside: an interval from the last point to this one, its better end first.
            turned = ~worse & fnp.where(
                s.bracketed, point.derivative * (s.high.step - s.low.step) >= 0.0, point.derivative >= 0.0
            )
            behind = either(s.bracketed, s.low, s.last)
            low = either(worse, behind, point)
            high = either(worse, point, either(turned, behind, s.high))
            other = either(s.bracketed, either(worse | turned, s.high, s.low), low)
            reached = fnp.maximum(decrease, curvature) <= tol
            bracketed = s.bracketed | worse | turned | reached
            done = reached | (farthest & ~bracketed)
            safe, safe_grad = either(best, (point, slopes), (s.safe, s.safe_grad))
            short = s.bracketed & (fnp.abs(s.high.step - s.low.step) <= stepsize_precision) & (safe.step > 0)
            failed = ((s.count + 1 >= max_linesearch_steps) | short) & ~done
            return Search(
                s.count + 1, point, slopes, low, high, other, safe, safe_grad, decrease, curvature, bracketed, done,
                failed,
            )  # fmt: skip

        no = fnp.asarray(False)
        first = Search(
            fnp.zeros((), int32), start, grad, start, start, start, start, grad, inf, inf, no, no, no
        )  # fmt: skip
        end = lax.while_loop(lambda s: ~(s.done | s.failed), look, first)
        fallback = end.failed & ((end.safe.step > 0) | fnp.isinf(end.decrease))
        point, slopes = either(fallback, (end.safe, end.safe_grad), (end.last, end.grad))
        made = tree.map(lambda u: point.step.astype(fnp.real(u).dtype) * u, updates)
        info = LinesearchInfo(end.count, end.decrease, end.curvature)
        return made, ScaleByLinesearchState(point.step, point.value, slopes, info)

    return in_float32(_init, update, False, True)


def between(low: Point, high: Point, other: Point) -> Any:
    """Where a cubic through three points has its minimum; else a parabola through two; else the middle.

    It keeps a fifth of the interval away from the ends, the parabola's a tenth. Source: Nocedal, Wright, eq. 3.59.
    """
    middle, length = (low.step + high.step) / 2, fnp.abs(high.step - low.step)
    ahead, off = high.step - low.step, other.step - low.step
    rise, more = (p.value - low.value - low.derivative * (p.step - low.step) for p in (high, other))
    # With value = a t^3 + b t^2 + derivative t from the low end.
    scale = (ahead * off) ** 2 * (ahead - off)
    a = (off**2 * rise - ahead**2 * more) / scale
    b = (ahead**3 * more - off**3 * rise) / scale
    cubic = low.step + (-b + fnp.sqrt(b * b - 3 * a * low.derivative)) / (3 * a)
    square = low.step - low.derivative / (2 * rise / ahead**2)

    def inside(step: Any, share: float) -> Any:
        return fnp.abs(step - middle) < (0.5 - share) * length  # false for NaN

    return fnp.where(inside(cubic, 0.2), cubic, fnp.where(inside(square, 0.1), square, middle))


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Any, Tree]]:
    """:func:`fdl.value_and_grad` that takes what the line search of the last step has found at the parameters.

    Args:
        value_fn: the loss, of the parameters first.

    Returns:
        A function like it with the argument ``state=``, which returns the value and the gradient.

    Raises:
        ValueError: the state holds no gradient.

    >>> from fdl import optim
    >>> optimizer = optim.lbfgs()
    >>> w = fnp.array([3.0])
    >>> value, grad = value_and_grad_from_state(lambda w: w @ w)(w, state=optimizer.init(w))
    >>> value.item(), grad.tolist()
    (9.0, [6.0])
    """

    def run(params: Tree, *args: Any, state: Any, **kwargs: Any) -> tuple[Any, Tree]:
        found = kept(state)
        if found is None or found.grad == ():
            raise ValueError(
                "value_and_grad_from_state needs the state of scale_by_zoom_linesearch, lbfgs, or "
                "scale_by_backtracking_linesearch(store_grad=True)"
            )

        def again(params: Tree) -> tuple[Any, Tree]:
            value, grad = value_and_grad(value_fn)(params, *args, **kwargs)
            return fnp.asarray(value).astype(found.value.dtype), tree.map(
                lambda g, old: g.astype(old.dtype), grad, found.grad
            )

        return lax.cond(fnp.isfinite(found.value), lambda params: (found.value, found.grad), again, params)

    return run


def kept(state: Any) -> ScaleByLinesearchState | None:
    """The state of the line search within that of a chain."""
    if isinstance(state, ScaleByLinesearchState):
        return state
    if isinstance(state, dict):
        state = tuple(state.values())
    parts = map(kept, state) if isinstance(state, (tuple, list)) else ()
    return next((part for part in parts if part is not None), None)
