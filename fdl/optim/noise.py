"""Noise in gradients: for generalization, and for differential privacy."""

import math
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import random, tree
from fdl.dtypes import int32
from fdl.errors import ShapeError
from fdl.optim.arguments import NOT_NEGATIVE, REAL, makes_transformation, tells_call
from fdl.optim.base import GradientTransformation, ScalarOrSchedule, Tree, chain, identity, in_float32, increment
from fdl.optim.transforms import scale_by_learning_rate, trace


class AddNoiseState(NamedTuple):
    """Step count, and the random key of the next step."""

    count: Any
    rng_key: Any


class DifferentiallyPrivateAggregateState(NamedTuple):
    """The random key of the next step."""

    rng_key: Any


def key_of(key: Any) -> Any:
    """A random key, from a key or a seed."""
    return random.key(key) if isinstance(key, int) else key


def noise_like(key: Any, values: Tree) -> Tree:
    """Standard normal numbers for every leaf."""
    leaves, structure = tree.flatten(values)
    keys = random.split(key, max(len(leaves), 1))
    return tree.unflatten(
        structure, [random.normal(keys[i], fnp.shape(x), fnp.asarray(x).dtype) for i, x in enumerate(leaves)]
    )


@makes_transformation(eta=NOT_NEGATIVE, gamma=REAL)
def add_noise(eta: Any, gamma: Any, key: Any = 0) -> GradientTransformation:
    """Add normal noise of variance ``eta / step ** gamma``. Source: Neelakantan et al. (2015).

    Args:
        eta: variance in the first step.
        gamma: how fast it falls.
        key: random key, or a seed.

    >>> t = add_noise(0.0, 0.55, key=0)
    >>> t.update(fnp.array([1.0, -4.0]), t.init(fnp.zeros(2)))[0].tolist()
    [1.0, -4.0]
    """

    def update(updates: Tree, state: AddNoiseState, params: Tree | None = None) -> tuple[Tree, AddNoiseState]:
        count = increment(state.count)
        following, now = random.split(state.rng_key)
        size = fnp.sqrt(eta / count.astype("float32") ** gamma)
        made = tree.map(lambda g, n: g + size.astype(g.dtype) * n, updates, noise_like(now, updates))
        return made, AddNoiseState(count, following)

    return in_float32(lambda params: AddNoiseState(fnp.zeros((), int32), key_of(key)), update)


@makes_transformation(eta=NOT_NEGATIVE, gamma=REAL)
def noisy_sgd(
    learning_rate: ScalarOrSchedule, eta: Any = 0.01, gamma: Any = 0.55, key: Any = 0
) -> GradientTransformation:
    """Gradient descent with noise. Source: Neelakantan et al. (2015).

    Args:
        eta: variance in the first step.
        gamma: how fast it falls.
        key: random key, or a seed.

    >>> t = noisy_sgd(0.5, eta=0.0)
    >>> t.update(fnp.array([1.0, -4.0]), t.init(fnp.zeros(2)))[0].tolist()
    [-0.5, 2.0]
    """
    return chain(add_noise(eta, gamma, key), scale_by_learning_rate(learning_rate))


def per_example_global_norm_clip(grads: Tree, l2_norm_clip: Any) -> tuple[Tree, Any]:
    """The sum over examples of gradients whose norms are bounded. Source: Abadi et al. (2016).

    Args:
        grads: a tree of arrays [examples, ...], as ``vmap(grad(loss))`` gives.
        l2_norm_clip: the largest norm of an example's gradient.

    Returns:
        The sum, a tree without the first axis, and how many examples were above the bound.

    Raises:
        ShapeError: the first axes differ.

    >>> total, clipped = per_example_global_norm_clip({"w": fnp.array([[3.0, 4.0], [0.3, 0.4]])}, 1.0)
    >>> [round(x, 3) for x in total["w"].tolist()], clipped.item()
    ([0.9, 1.2], 1)
    """
    leaves = [fnp.asarray(g) for g in tree.leaves(grads)]
    if len({g.shape[:1] for g in leaves}) > 1 or any(g.ndim == 0 for g in leaves):
        raise ShapeError(
            f"per_example_global_norm_clip needs gradients [examples, ...], got {[str(g.type) for g in leaves]}"
        )
    squares = sum(fnp.sum(fnp.real(g * fnp.conj(g)), axis=tuple(range(1, g.ndim))) for g in leaves)
    norms = fnp.sqrt(squares)
    factors = fnp.where(norms > l2_norm_clip, l2_norm_clip / fnp.where(norms > 0, norms, 1.0), 1.0)
    return tree.map(lambda g: fnp.tensordot(factors.astype(g.dtype), g, 1), grads), fnp.sum(norms > l2_norm_clip)


def per_example_layer_norm_clip(grads: Tree, global_l2_norm_clip: Any, uniform: bool = True) -> tuple[Tree, Tree]:
    """:func:`per_example_global_norm_clip` leaf by leaf, with bounds that make up a global one. Source: McMahan (2018).

    Args:
        grads: a tree of arrays [examples, ...].
        global_l2_norm_clip: the largest norm of an example's gradient.
        uniform: whether all leaves have the same bound; otherwise by the root of their sizes.

    Returns:
        The sums, and how many examples were above the bounds, in trees like `grads`.

    >>> total, clipped = per_example_layer_norm_clip({"w": fnp.array([[3.0, 4.0]])}, 1.0)
    >>> [round(x, 3) for x in total["w"].tolist()]
    [0.6, 0.8]
    """
    leaves, structure = tree.flatten(grads)
    sizes = [math.prod(fnp.shape(g)[1:]) for g in leaves]
    shares = [1 / len(leaves) if uniform else size / sum(sizes) for size in sizes]
    clipped = [
        per_example_global_norm_clip(g, global_l2_norm_clip * share**0.5)
        for g, share in zip(leaves, shares, strict=True)
    ]
    return tree.unflatten(structure, [c[0] for c in clipped]), tree.unflatten(structure, [c[1] for c in clipped])


@tells_call("key")
def differentially_private_aggregate(l2_norm_clip: Any, noise_multiplier: Any, key: Any) -> GradientTransformation:
    """From gradients of each example to a mean that is differentially private. Source: Abadi et al. (2016).

    Args:
        l2_norm_clip: the largest norm of an example's gradient.
        noise_multiplier: standard deviation of the noise over `l2_norm_clip`.
        key: random key, or a seed, that nobody else knows: who knows it can take the noise away.

    Returns:
        A pair of pure functions. Its gradients have an axis of examples first; put it first in a chain.

    >>> t = differentially_private_aggregate(1.0, 0.0, random.key(0))
    >>> updates, _ = t.update(fnp.array([[3.0, 4.0], [0.0, 0.0]]), t.init(fnp.zeros(2)))
    >>> [round(x, 3) for x in updates.tolist()]
    [0.3, 0.4]
    """

    def update(
        updates: Tree, state: DifferentiallyPrivateAggregateState, params: Tree | None = None
    ) -> tuple[Tree, DifferentiallyPrivateAggregateState]:
        following, now = random.split(state.rng_key)
        total, _ = per_example_global_norm_clip(updates, l2_norm_clip)
        examples = fnp.shape(tree.leaves(updates)[0])[0] if tree.leaves(updates) else 1
        spread = l2_norm_clip * noise_multiplier
        made = tree.map(lambda g, n: (g + spread * n) / examples, total, noise_like(now, total))
        return made, DifferentiallyPrivateAggregateState(following)

    return in_float32(lambda params: DifferentiallyPrivateAggregateState(key_of(key)), update)


@tells_call("key")
def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: Any,
    noise_multiplier: Any,
    key: Any,
    momentum: Any = None,
    nesterov: bool = False,
) -> GradientTransformation:
    """Differentially private gradient descent. Source: Abadi et al. (2016).

    Args:
        learning_rate: number, array of no axes, or schedule.
        l2_norm_clip: the largest norm of an example's gradient.
        noise_multiplier: standard deviation of the noise over `l2_norm_clip`.
        key: random key, or a seed, that nobody else knows: who knows it can take the noise away.
        momentum: decay of the sum of gradients; None for none.
        nesterov: whether to look one step ahead.

    Returns:
        A pair of pure functions, of gradients with an axis of examples first.

    >>> t = dpsgd(1.0, 1.0, 0.0, random.key(0))
    >>> [round(x, 3) for x in t.update(fnp.array([[3.0, 4.0]]), t.init(fnp.zeros(2)))[0].tolist()]
    [-0.6, -0.8]
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, key),
        identity() if momentum is None else trace(momentum, nesterov),
        scale_by_learning_rate(learning_rate),
    )
