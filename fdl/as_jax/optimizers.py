"""The small optimizers of ``jax.example_libraries``: triples of functions of trees, which libraries build on."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import lax, tree
from fdl.errors import TreeError

__all__ = [
    "JoinPoint", "Optimizer", "OptimizerState", "adagrad", "adam", "adamax", "clip_grads", "constant",
    "exponential_decay", "inverse_time_decay", "l2_norm", "make_schedule", "momentum", "nesterov", "optimizer",
    "pack_optimizer_state", "piecewise_constant", "polynomial_decay", "rmsprop", "rmsprop_momentum", "sgd", "sm3",
    "unpack_optimizer_state",
]  # fmt: skip


class Optimizer(NamedTuple):
    """Three functions: ``init(params)``, ``update(step, grads, state)``, ``get_params(state)``."""

    init_fn: Callable[[Any], Any]
    update_fn: Callable[[Any, Any, Any], Any]
    params_fn: Callable[[Any], Any]


class OptimizerState(NamedTuple):
    """For each leaf of the parameters its leaves of the state; the structures of both."""

    packed_state: tuple[tuple[Any, ...], ...]
    tree_def: Any
    subtree_defs: tuple[Any, ...]


tree.register_pytree_node(
    OptimizerState,
    lambda state: ((state.packed_state,), (state.tree_def, state.subtree_defs)),
    lambda structures, children: OptimizerState(next(iter(children)), *structures),
)


def optimizer(make: Callable[..., Any]) -> Callable[..., Optimizer]:
    """Make an optimizer of arrays one of trees of arrays.

    Args:
        make: from hyperparameters to `init`, `update` and `get_params` for one array.

    Raises:
        TreeError: the gradients have another structure than the parameters.

    >>> init, update, params = sgd(0.1)
    >>> params(update(0, {"w": fnp.ones(2)}, init({"w": fnp.zeros(2)})))
    {'w': Array([-0.1, -0.1], dtype=float32)}
    """

    @functools.wraps(make)
    def of_trees(*args: Any, **kwargs: Any) -> Optimizer:
        init_one, update_one, params_one = make(*args, **kwargs)

        def states_of(state: OptimizerState) -> list[Any]:
            return [tree.unflatten(d, s) for d, s in zip(state.subtree_defs, state.packed_state, strict=True)]

        def init(params: Any) -> OptimizerState:
            leaves, structure = tree.flatten(params)
            return _packed([init_one(leaf) for leaf in leaves], structure)

        def update(i: Any, grads: Any, state: OptimizerState) -> OptimizerState:
            leaves, structure = tree.flatten(grads)
            if structure != state.tree_def:
                raise TreeError(f"gradients of the structure {structure} for parameters of {state.tree_def}")
            states = [update_one(i, g, s) for g, s in zip(leaves, states_of(state), strict=True)]
            return _packed(states, structure)

        def get_params(state: OptimizerState) -> Any:
            return tree.unflatten(state.tree_def, [params_one(s) for s in states_of(state)])

        return Optimizer(init, update, get_params)

    return of_trees


class JoinPoint:
    """Where a tree of states begins inside of the tree of parameters; a leaf of the latter."""

    def __init__(self, subtree: Any) -> None:
        self.subtree = subtree

    def __iter__(self) -> Any:
        yield self.subtree


def unpack_optimizer_state(opt_state: OptimizerState) -> Any:
    """The state as a tree of the structure of the parameters, whose leaves are :class:`JoinPoint` of states.

    >>> state = momentum(0.1, 0.9)[0]({"w": fnp.ones(2)})
    >>> unpack_optimizer_state(state)["w"].subtree[1].tolist()
    [0.0, 0.0]
    """
    packed = zip(opt_state.subtree_defs, opt_state.packed_state, strict=True)
    return tree.unflatten(opt_state.tree_def, [JoinPoint(tree.unflatten(d, s)) for d, s in packed])


def pack_optimizer_state(marked_pytree: Any) -> OptimizerState:
    """The state that :func:`unpack_optimizer_state` made a tree of.

    Raises:
        TypeError: a leaf is no JoinPoint.
    """
    points, structure = tree.flatten(marked_pytree)
    if not all(isinstance(point, JoinPoint) for point in points):
        raise TypeError("pack_optimizer_state needs a tree of JoinPoints, as unpack_optimizer_state makes it")
    return _packed([point.subtree for point in points], structure)


def _packed(states: list[Any], structure: Any) -> OptimizerState:
    flat = [tree.flatten(state) for state in states]
    return OptimizerState(tuple(tuple(s) for s, _ in flat), structure, tuple(d for _, d in flat))


def _first(state: Any) -> Any:
    return state[0]


def _inverse_root(x: Any) -> Any:
    """``1 / sqrt(x)``, and 0 where x is 0."""
    return fnp.where(x > 0, lax.rsqrt(fnp.where(x > 0, x, 1)), 0)


@optimizer
def sgd(step_size: Any) -> Any:
    """Gradient descent.

    Args:
        step_size: a number, or a function of the step, as for all of these.
    """
    rate = make_schedule(step_size)
    return lambda x: x, lambda i, g, x: x - rate(i) * g, lambda x: x


@optimizer
def momentum(step_size: Any, mass: float) -> Any:
    """Gradient descent with momentum."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, velocity = state
        velocity = mass * velocity + g
        return x - rate(i) * velocity, velocity

    return lambda x: (x, fnp.zeros_like(x)), update, _first


@optimizer
def nesterov(step_size: Any, mass: float) -> Any:
    """Gradient descent with Nesterov's momentum."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, velocity = state
        velocity = mass * velocity + g
        return x - rate(i) * (mass * velocity + g), velocity

    return lambda x: (x, fnp.zeros_like(x)), update, _first


@optimizer
def adagrad(step_size: Any, momentum: float = 0.9) -> Any:
    """Adagrad (Duchi et al., 2011), with momentum."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, squares, mean = state
        squares = squares + g * g
        mean = (1 - momentum) * g * _inverse_root(squares) + momentum * mean
        return x - rate(i) * mean, squares, mean

    return lambda x: (x, fnp.zeros_like(x), fnp.zeros_like(x)), update, _first


@optimizer
def rmsprop(step_size: Any, gamma: float = 0.9, eps: float = 1e-8) -> Any:
    """RMSProp (Hinton, 2012)."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, squares = state
        squares = gamma * squares + (1 - gamma) * g * g
        return x - rate(i) * g / fnp.sqrt(squares + eps), squares

    return lambda x: (x, fnp.zeros_like(x)), update, _first


@optimizer
def rmsprop_momentum(step_size: Any, gamma: float = 0.9, eps: float = 1e-8, momentum: float = 0.9) -> Any:
    """RMSProp with momentum."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, squares, velocity = state
        squares = gamma * squares + (1 - gamma) * g * g
        velocity = momentum * velocity + rate(i) * g / fnp.sqrt(squares + eps)
        return x - velocity, squares, velocity

    return lambda x: (x, fnp.zeros_like(x), fnp.zeros_like(x)), update, _first


@optimizer
def adam(step_size: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Any:
    """Adam (Kingma and Ba, 2015)."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, mean, square = state
        mean, square = (1 - b1) * g + b1 * mean, (1 - b2) * g * g + b2 * square
        unbiased = mean / (1 - fnp.asarray(b1, mean.dtype) ** (i + 1))
        root = fnp.sqrt(square / (1 - fnp.asarray(b2, mean.dtype) ** (i + 1)))
        return x - rate(i) * unbiased / (root + eps), mean, square

    return lambda x: (x, fnp.zeros_like(x), fnp.zeros_like(x)), update, _first


@optimizer
def adamax(step_size: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Any:
    """Adamax (Kingma and Ba, 2015)."""
    rate = make_schedule(step_size)

    def update(i: Any, g: Any, state: Any) -> Any:
        x, mean, largest = state
        mean, largest = (1 - b1) * g + b1 * mean, fnp.maximum(b2 * largest, fnp.abs(g))
        return x - rate(i) / (1 - fnp.asarray(b1, mean.dtype) ** (i + 1)) * mean / (largest + eps), mean, largest

    return lambda x: (x, fnp.zeros_like(x), fnp.zeros_like(x)), update, _first


@optimizer
def sm3(step_size: Any, momentum: float = 0.9) -> Any:
    """SM3 (Anil et al., 2019), which keeps one number for each row and column."""
    rate = make_schedule(step_size)

    def init(x: Any) -> Any:
        x = fnp.asarray(x)
        return x, fnp.zeros_like(x), [fnp.zeros(n, x.dtype) for n in x.shape or (1,)]

    def update(i: Any, g: Any, state: Any) -> Any:
        x, mean, slices = state
        axes = range(len(slices))
        others = [tuple(a for a in axes if a != axis) for axis in axes]
        parts = [fnp.expand_dims(v, rest) for v, rest in zip(slices, others, strict=True)]
        sums = functools.reduce(fnp.minimum, parts) + fnp.atleast_1d(g * g)
        mean = (1 - momentum) * g * _inverse_root(sums).reshape(x.shape) + momentum * mean
        return x - rate(i) * mean, mean, [sums.max(rest) for rest in others]

    return init, update, _first


def constant(step_size: Any) -> Callable[[Any], Any]:
    """The same at each step."""
    return lambda i: step_size


def exponential_decay(step_size: Any, decay_steps: Any, decay_rate: Any) -> Callable[[Any], Any]:
    """``step_size * decay_rate ** (i / decay_steps)``."""
    return lambda i: step_size * decay_rate ** (i / decay_steps)


def inverse_time_decay(
    step_size: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False
) -> Callable[[Any], Any]:
    """``step_size / (1 + decay_rate * i / decay_steps)``; in steps with `staircase`."""
    return lambda i: step_size / (1 + decay_rate * (fnp.floor(i / decay_steps) if staircase else i / decay_steps))


def polynomial_decay(
    step_size: Any, decay_steps: Any, final_step_size: Any, power: float = 1.0
) -> Callable[[Any], Any]:
    """From `step_size` to `final_step_size` within `decay_steps`."""
    return lambda i: (
        final_step_size + (step_size - final_step_size) * (1 - fnp.minimum(i, decay_steps) / decay_steps) ** power
    )


def piecewise_constant(boundaries: Sequence[Any], values: Sequence[Any]) -> Callable[[Any], Any]:
    """``values[k]`` for steps beyond k of the boundaries.

    Raises:
        ValueError: there is not one value more than boundaries.
    """
    ends, levels = fnp.asarray(boundaries), fnp.asarray(values)
    if ends.ndim != 1 or levels.shape != (ends.size + 1,):
        raise ValueError(f"piecewise_constant: boundaries {ends.shape} need one value more, not {levels.shape}")
    return lambda i: levels[fnp.sum(i > ends)]


def make_schedule(scalar_or_schedule: Any) -> Callable[[Any], Any]:
    """A function of the step; of a number the constant one.

    Raises:
        TypeError: it is neither.

    >>> make_schedule(0.5)(3)
    0.5
    """
    if callable(scalar_or_schedule):
        found: Callable[[Any], Any] = scalar_or_schedule
        return found
    if fnp.ndim(scalar_or_schedule) == 0:
        return constant(scalar_or_schedule)
    raise TypeError(f"a step size is a number or a function of the step, not {type(scalar_or_schedule).__name__}")


def l2_norm(tree_: Any) -> Any:
    """The root of the sum of squares of all leaves.

    >>> l2_norm({"a": fnp.array([3.0]), "b": fnp.array(4.0)}).item()
    5.0
    """
    return fnp.sqrt(sum(fnp.vdot(x, x) for x in map(fnp.asarray, tree.leaves(tree_))))


def clip_grads(grad_tree: Any, max_norm: Any) -> Any:
    """Gradients of at most this norm.

    >>> clip_grads([fnp.array([3.0, 4.0])], 1.0)
    [Array([0.6, 0.8], dtype=float32)]
    """
    norm = l2_norm(grad_tree)
    return tree.map(lambda g: fnp.where(norm < max_norm, g, g * (max_norm / norm)), grad_tree)
