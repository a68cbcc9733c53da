"""Second moments that take the memory of rows and columns instead of that of the parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.dtypes import float32
from fdl.optim.arguments import DECAY, NOT_NEGATIVE, RATE, REAL, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    in_float32,
    increment,
    needs_params,
    squared,
    stateless,
    sum_of_squares,
    zeros,
)
from fdl.optim.constraints import add_decayed_weights, clip_by_block_rms
from fdl.optim.moments import moment, no_steps
from fdl.optim.transforms import ema, scale, scale_by_learning_rate
from fdl.scalars import Scalar

Mask = Tree | Callable[[Tree], Tree] | None


class FactoredState(NamedTuple):
    """Step count; second moments of rows, of columns, and of the leaves that have none."""

    count: Any
    v_row: Any
    v_col: Any
    v: Any


class ScaleBySM3State(NamedTuple):
    """For every leaf a list of one vector an axis that bounds the sums of squares; the momentum."""

    mu: Any
    nu: Any


@makes_transformation(
    "scale_by_factored_rms()", [1.0, -1.0], decay_rate=NOT_NEGATIVE, epsilon=NOT_NEGATIVE, step_offset=REAL
)
def scale_by_factored_rms(
    factored: bool = True, decay_rate: Any = 0.8, step_offset: Any = 0, min_dim_size_to_factor: int = 128,
    epsilon: Any = 1e-30,
) -> GradientTransformation:  # fmt: skip
    """Divide by the root of a mean square that is kept as a product of rows and columns. Source: Shazeer, Stern (2018).

    Args:
        factored: whether leaves with two large axes are kept so; otherwise none is.
        decay_rate: the decay is ``1 - step ** -decay_rate``.
        step_offset: taken from the step count.
        min_dim_size_to_factor: the smallest extent of an axis that counts as large.
        epsilon: added to the squares.
    """

    def axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The second largest and the largest axis, if both are large."""
        if not factored or len(shape) < 2:
            return None
        order = np.argsort(shape, kind="stable")
        return (int(order[-2]), int(order[-1])) if shape[order[-2]] >= min_dim_size_to_factor else None

    def init(params: Tree) -> FactoredState:
        def without(p: Any, place: int) -> Any:
            p, large = fnp.asarray(p), axes(fnp.shape(p))
            if large is None:
                return fnp.zeros((0,), fnp.real(p).dtype)
            dropped = large[1 - place]  # rows drop the largest axis, columns the second largest
            return fnp.zeros(tuple(n for i, n in enumerate(p.shape) if i != dropped), fnp.real(p).dtype)

        def whole(p: Any) -> Any:
            p = fnp.real(fnp.asarray(p))
            return fnp.zeros_like(p) if axes(p.shape) is None else fnp.zeros((0,), p.dtype)

        rows, columns = (tree.map(lambda p, i=i: without(p, i), params) for i in (0, 1))
        return FactoredState(no_steps(), rows, columns, tree.map(whole, params))

    def update(updates: Tree, state: FactoredState, params: Tree | None = None) -> tuple[Tree, FactoredState]:
        updates = tree.map(fnp.asarray, updates)
        step = (state.count + 1 - step_offset).astype(float32)
        decay = 1.0 - fnp.maximum(step, 1.0) ** (-decay_rate)

        def mean(old: Any, new: Any) -> Any:
            return (decay * old + (1.0 - decay) * new).astype(old.dtype)

        def one(g: Any, row: Any, column: Any, v: Any) -> tuple[Any, Any, Any, Any]:
            square, large = squared(g) + epsilon, axes(g.shape)
            if large is None:
                v = mean(v, square)
                return g / fnp.sqrt(v), row, column, v
            second, first = large
            row, column = mean(row, fnp.mean(square, axis=first)), mean(column, fnp.mean(square, axis=second))
            inner = second - 1 if second > first else second
            share = row / fnp.mean(row, axis=inner, keepdims=True)
            made = g / fnp.sqrt(fnp.expand_dims(share, first)) / fnp.sqrt(fnp.expand_dims(column, second))
            return made.astype(g.dtype), row, column, v

        leaves, structure = tree.flatten(updates)
        kept = [tree.leaves(x) for x in (state.v_row, state.v_col, state.v)]
        found = [one(*leaf) for leaf in zip(leaves, *kept, strict=True)]
        made, *moments = (tree.unflatten(structure, [f[i] for f in found]) for i in range(4))
        return made, FactoredState(increment(state.count), *moments)

    return in_float32(init, update)


@makes_transformation(min_scale=NOT_NEGATIVE)
def scale_by_param_block_rms(min_scale: Any = 1e-3) -> GradientTransformation:
    """Multiply every leaf by the root mean square of its parameter. Source: Shazeer, Stern (2018).

    Args:
        min_scale: the smallest factor.

    >>> params, t = fnp.full(2, 3.0), scale_by_param_block_rms()
    >>> [round(u, 3) for u in t.update(fnp.array([1.0, -4.0]), t.init(params), params)[0].tolist()]
    [3.0, -12.0]
    """

    def scaled(u: Any, p: Any) -> Any:
        u = fnp.asarray(u)
        return u * fnp.maximum(fnp.sqrt(sum_of_squares(p) / max(fnp.size(p), 1)), min_scale).astype(u.dtype)

    return stateless(
        lambda updates, params: tree.map(scaled, updates, needs_params("scale_by_param_block_rms", params))
    )


@makes_transformation(min_scale=NOT_NEGATIVE)
def scale_by_param_block_norm(min_scale: Any = 1e-3) -> GradientTransformation:
    """Multiply every leaf by the norm of its parameter. Source: Bernstein et al. (2020).

    Args:
        min_scale: the smallest factor.

    >>> params, t = fnp.array([3.0, 4.0]), scale_by_param_block_norm()
    >>> [round(u, 3) for u in t.update(fnp.array([1.0, -4.0]), t.init(params), params)[0].tolist()]
    [5.0, -20.0]
    """

    def scaled(u: Any, p: Any) -> Any:
        u = fnp.asarray(u)
        return u * fnp.maximum(fnp.sqrt(sum_of_squares(p)), min_scale).astype(u.dtype)

    return stateless(
        lambda updates, params: tree.map(scaled, updates, needs_params("scale_by_param_block_norm", params))
    )


@makes_transformation("adafactor(0.1)", [-0.1, 0.1], params="fnp.ones(2)", learning_rate=RATE, decay_rate=NOT_NEGATIVE,
                      decay_offset=REAL, clipping_threshold=NOT_NEGATIVE, weight_decay_rate=RATE)  # fmt: skip
def adafactor(
    learning_rate: ScalarOrSchedule = None, min_dim_size_to_factor: int = 128, decay_rate: Any = 0.8,
    decay_offset: Any = 0, multiply_by_parameter_scale: bool = True, clipping_threshold: Any = 1.0,
    momentum: Any = None, dtype_momentum: Any = float32, weight_decay_rate: ScalarOrSchedule = None,
    eps: Any = 1e-30, factored: bool = True, weight_decay_mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """Adam without momentum, in the memory of rows and columns. Source: Shazeer, Stern, "Adafactor" (2018).

    Args:
        learning_rate: number, array of no axes, or schedule; None is 1.
        min_dim_size_to_factor: the smallest extent of axes whose moments are kept by rows and columns.
        decay_rate: the decay of the mean square is ``1 - step ** -decay_rate``.
        decay_offset: taken from the step count.
        multiply_by_parameter_scale: whether steps are relative to the parameters' root mean squares.
        clipping_threshold: the largest root mean square of a leaf's update; None does not clip.
        momentum: decay of the mean of updates; None for none.
        dtype_momentum: of that mean.
        weight_decay_rate: factor of the parameters, after the learning rate; None for none.
        eps: added to the squares.
        factored: whether moments are kept by rows and columns.
    """
    parts = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*parts, scale(-1))


@makes_transformation("scale_by_sm3()", [0.1, -0.1], b2=Scalar(0.0, 1.0))
def scale_by_sm3(b1: Any = 0.9, b2: Any = 1.0, eps: Any = 1e-8) -> GradientTransformation:
    """Adagrad in the memory of one vector an axis. Source: Anil et al., "SM3" (2019).

    Args:
        b1: decay of the momentum.
        b2: decay of the sums of squares; 1 adds them up.
    """
    weight = 1.0 if b2 == 1.0 else 1.0 - b2

    def along(x: Any, axis: int, rank: int) -> Any:
        return x.reshape(tuple(x.size if i == axis else 1 for i in range(rank)))

    def update(updates: Tree, state: ScaleBySM3State, params: Tree | None = None) -> tuple[Tree, ScaleBySM3State]:
        leaves, structure = tree.flatten(tree.map(fnp.asarray, updates))
        bounds = structure.flatten_up_to(state.mu)
        made, kept = [], []
        for g, vectors in zip(leaves, bounds, strict=True):
            least = along(vectors[0], 0, g.ndim) if g.ndim else vectors[0]
            for axis in range(1, g.ndim):
                least = fnp.minimum(least, along(vectors[axis], axis, g.ndim))
            total = (weight * squared(g) + b2 * least).astype(vectors[0].dtype)
            made.append(fnp.where(total > 0, g / fnp.sqrt(total + eps), 0.0).astype(g.dtype))
            kept.append(
                [
                    fnp.max(total, axis=tuple(i for i in range(g.ndim) if i != axis), initial=0.0)
                    for axis in range(max(g.ndim, 1))
                ]
            )
        nu = moment(tree.unflatten(structure, made), state.nu, b1)
        return nu, ScaleBySM3State(tree.unflatten(structure, kept), nu)

    def init(params: Tree) -> ScaleBySM3State:
        def vectors(p: Any) -> list[Any]:
            p = fnp.asarray(p)
            return [fnp.zeros((n,), p.dtype) for n in p.shape] or [fnp.zeros((), p.dtype)]

        return ScaleBySM3State(tree.map(vectors, params), zeros(params))

    return in_float32(init, update)


@makes_transformation("sm3(0.1)", [-0.01, 0.01], momentum=DECAY)
def sm3(learning_rate: ScalarOrSchedule, momentum: Any = 0.9) -> GradientTransformation:
    """Adagrad in the memory of one vector an axis. Source: Anil et al. (2019).

    Args:
        momentum: decay of the mean of updates.
    """
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))
