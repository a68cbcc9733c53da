"""Projections: the nearest tree within a set. Put one after ``apply_updates`` for constrained optimization."""

from typing import Any

import fdl.numpy as fnp
from fdl import tree
from fdl.flatten_util import ravel_pytree
from fdl.optim.base import Tree, global_norm
from fdl.optim.linesearch import dot


def projection_non_negative(values: Tree) -> Tree:
    """Onto arrays without negative elements.

    >>> projection_non_negative(fnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return tree.map(lambda x: fnp.maximum(x, 0), values)


def projection_box(values: Tree, lower: Any, upper: Any) -> Tree:
    """Onto arrays between two bounds.

    Args:
        values: a tree of arrays.
        lower: the smallest values, a number or a tree like `values`.
        upper: the largest values.

    Returns:
        A tree like `values`.

    >>> projection_box(fnp.array([-1.0, 0.5, 2.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    lower, upper = (_like(bound, values) for bound in (lower, upper))
    return tree.map(fnp.clip, values, lower, upper)


def projection_hypercube(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto arrays between 0 and `scale`.

    >>> projection_hypercube(fnp.array([-1.0, 0.5, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return projection_box(values, 0, scale)


def projection_simplex(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto non-negative arrays whose elements, all together, sum to `scale`. Source: Duchi et al. (2008).

    >>> [round(x, 3) for x in projection_simplex(fnp.array([1.0, 0.5, -1.0])).tolist()]
    [0.75, 0.25, 0.0]
    """
    flat, restored = ravel_pytree(tree.map(fnp.asarray, values))
    if flat.size == 0:
        return values
    falling = -fnp.sort(-flat)
    excess = fnp.cumsum(falling) - scale
    number = fnp.arange(1, flat.size + 1, dtype=flat.dtype)
    count = fnp.sum(falling - excess / number > 0)
    return restored(fnp.maximum(flat - excess[count - 1] / count.astype(flat.dtype), 0))


def projection_l1_sphere(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto trees whose moduli sum to `scale`.

    >>> [round(x, 3) for x in projection_l1_sphere(fnp.array([1.0, -0.5])).tolist()]
    [0.75, -0.25]
    """
    moduli = projection_simplex(tree.map(fnp.abs, values), scale)
    return tree.map(lambda x, m: fnp.where(fnp.asarray(x) < 0, -m, m), values, moduli)


def projection_l1_ball(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto trees whose moduli sum to `scale` at most.

    >>> projection_l1_ball(fnp.array([0.5, -0.25])).tolist()
    [0.5, -0.25]
    """
    norm = sum(fnp.sum(fnp.abs(fnp.asarray(x))) for x in tree.leaves(values))
    return tree.map(lambda x, y: fnp.where(norm <= scale, x, y), values, projection_l1_sphere(values, scale))


def projection_l2_sphere(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto trees of Euclidean norm `scale`.

    >>> [round(x, 3) for x in projection_l2_sphere(fnp.array([3.0, 4.0])).tolist()]
    [0.6, 0.8]
    """
    factor = scale / global_norm(values)
    return tree.map(lambda x: (factor * x).astype(fnp.asarray(x).dtype), values)


def projection_l2_ball(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto trees of Euclidean norm `scale` at most.

    >>> [round(x, 3) for x in projection_l2_ball(fnp.array([0.3, 0.4])).tolist()]
    [0.3, 0.4]
    """
    factor = scale / fnp.maximum(global_norm(values), scale)
    return tree.map(lambda x: (factor * x).astype(fnp.asarray(x).dtype), values)


def projection_linf_ball(values: Tree, scale: Any = 1.0) -> Tree:
    """Onto trees whose elements have moduli of `scale` at most.

    >>> projection_linf_ball(fnp.array([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """
    return projection_box(values, -scale, scale)


def projection_vector(x: Tree, a: Tree) -> Tree:
    """Onto the multiples of `a`, a tree like `x`.

    >>> projection_vector(fnp.array([1.0, 2.0]), fnp.array([0.0, 5.0])).tolist()
    [0.0, 2.0]
    """
    factor = dot(x, a) / dot(a, a)
    return tree.map(lambda a: factor.astype(fnp.asarray(a).dtype) * a, a)


def projection_hyperplane(x: Tree, a: Tree, b: Any) -> Tree:
    """Onto the trees whose inner product with `a` is `b`.

    >>> projection_hyperplane(fnp.array([1.0, 2.0]), fnp.array([0.0, 1.0]), 3.0).tolist()
    [1.0, 3.0]
    """
    factor = (b - dot(x, a)) / dot(a, a)
    return tree.map(lambda x, a: x + factor.astype(fnp.asarray(a).dtype) * a, x, a)


def projection_halfspace(x: Tree, a: Tree, b: Any) -> Tree:
    """Onto the trees whose inner product with `a` is `b` at most.

    >>> projection_halfspace(fnp.array([1.0, 2.0]), fnp.array([0.0, 1.0]), 3.0).tolist()
    [1.0, 2.0]
    """
    factor = fnp.minimum((b - dot(x, a)) / dot(a, a), 0.0)
    return tree.map(lambda x, a: x + factor.astype(fnp.asarray(a).dtype) * a, x, a)


def _like(bound: Any, values: Tree) -> Tree:
    leaves, structure = tree.flatten(values)
    same = tree.structure(bound) == structure
    return bound if same else tree.unflatten(structure, [bound] * len(leaves))
