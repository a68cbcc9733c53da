"""Drawing from finite sets: permutations, choices and categories."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes
from fdl.array import as_array
from fdl.composite import composite
from fdl.errors import DtypeError, ShapeError
from fdl.lax.control import scan
from fdl.numpy._operands import axis_index, integer
from fdl.ops.random_bits import random_bits
from fdl.ops.sort import Sort, top_k
from fdl.random.basic import Shape, broadcast_shape, expanded, floating, gumbel, randint, to_shape, uniform
from fdl.random.continuous import binomial
from fdl.random.keys import Array, split, typed


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Array:
    """The elements of an array in random order along an axis.

    Args:
        key: one key.
        x: an array, or an integer n for the numbers 0 .. n - 1.
        axis: along which to permute.
        independent: whether every line along the axis gets an order of its own.

    Returns:
        An array like x.

    Raises:
        DtypeError: x is a scalar, but not an integer.

    >>> from fdl.random import key
    >>> sorted(permutation(key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    key, _ = typed(key, "permutation")
    x = as_array(x, "x")
    if x.type.ndim == 0:
        if x.type.dtype not in dtypes.INTEGER:
            raise DtypeError(f"random.permutation takes an integer or an array with an axis, got {x.type}")
        return _shuffle(key, fnp.arange(int(x.concrete("the n of random.permutation"))), 0)
    axis = _axis("permutation", axis, x)
    if independent or x.type.ndim == 1:
        return _shuffle(key, x, axis)
    return fnp.take(x, _shuffle(key, fnp.arange(x.type.shape[axis]), 0), axis)


@composite
def _shuffle(key: Array, x: Array, axis: int) -> Array:
    """Sort by random numbers; in so many rounds that ties between them leave no bias worth mentioning."""
    rounds = math.ceil(3 * math.log(max(1, x.type.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        key, now = split(key)
        x = Sort(axis, 1, True)(random_bits(now, 32, x.type.shape), x)[1]
    return x


def choice(
    key: Any, a: Any, shape: Shape = (), replace: bool = True, p: Any = None, axis: int = 0, mode: str | None = None
) -> Array:
    """Random elements of an array.

    Args:
        key: one key.
        a: an array, or an integer n for the numbers 0 .. n - 1.
        shape: of the draw.
        replace: whether an element can be drawn twice.
        p: float[n], the probabilities of the elements; None if they are equal.
        axis: along which elements of `a` are drawn.
        mode: of the :func:`gumbel` numbers that draw without replacement.

    Returns:
        An array with `shape` in place of the axis.

    Raises:
        ShapeError: there is nothing, or not enough, to draw from.

    >>> from fdl.random import key
    >>> sorted(choice(key(0), 3, (3,), replace=False).tolist())
    [0, 1, 2]
    """
    key, _ = typed(key, "choice")
    a, shape = as_array(a, "a"), to_shape(shape)
    alone = a.type.ndim == 0
    axis = 0 if alone else _axis("choice", axis, a)
    total = integer("random.choice: n", a) if alone else a.type.shape[axis]
    draws = math.prod(shape)
    if draws and total <= 0:
        raise ShapeError("random.choice: there is nothing to choose from")
    if not replace and draws > total:
        raise ShapeError(f"random.choice cannot draw {draws} of {total} elements without replacement")
    if p is None and not replace:
        index = permutation(key, total)[:draws]
    elif p is None:
        index = randint(key, (draws,), 0, total)
    else:
        index = _weighted(key, p, total, draws, replace, mode)
    if alone:
        return index.reshape(shape)
    return fnp.take(a, index, axis).reshape((*a.type.shape[:axis], *shape, *a.type.shape[axis + 1 :]))


def _weighted(key: Array, p: Any, total: int, draws: int, replace: bool, mode: str | None) -> Array:
    p = as_array(p, "p")
    p = p if p.type.dtype in dtypes.FLOATING else p.astype(float)
    if p.type.shape != (total,):
        raise ShapeError(f"random.choice needs p with one probability for each of {total} elements, got {p.type}")
    if not replace:
        return top_k(gumbel(key, (total,), p.type.dtype, mode) + fnp.log(p), draws)[1]
    cumulative = fnp.cumsum(p)
    where = cumulative[-1] * (1 - uniform(key, (draws,), p.type.dtype))
    return fnp.searchsorted(cumulative, where).astype(int)


@composite
def categorical(
    key: Any, logits: Any, axis: int = -1, shape: Shape | None = None, replace: bool = True, mode: str | None = None
) -> Array:
    """Random categories.

    Args:
        key: one key.
        logits: floating array with unnormalized logarithms of the probabilities along `axis`.
        axis: of the categories.
        shape: of the result; must end in the shape of `logits` without `axis`. None is that shape.
        replace: whether draws along the leading axes of `shape` may repeat a category.
        mode: of the :func:`gumbel` numbers behind it.

    Returns:
        An int32 array.

    Raises:
        ShapeError: the shapes do not fit, or there are not enough categories to draw without replacement.

    >>> from fdl.random import key
    >>> categorical(key(0), fnp.log(fnp.array([0.0, 1.0, 0.0]))).item()
    1
    """
    key, _ = typed(key, "categorical")
    logits = as_array(logits, "logits")
    axis = _axis("categorical", axis, logits)
    batch = tuple(np.delete(logits.type.shape, axis).tolist())
    shape = broadcast_shape("categorical", shape, np.zeros(batch, bool))
    lead = shape[: len(shape) - len(batch)]
    if replace:
        inner = list(shape[len(lead) :])
        inner.insert(axis, logits.type.shape[axis])
        noise = gumbel(key, (*lead, *inner), logits.type.dtype, mode)
        return fnp.argmax(noise + logits, axis=axis - logits.type.ndim)
    count = math.prod(lead)
    if count > logits.type.shape[axis]:
        raise ShapeError(f"random.categorical cannot draw {count} of {logits.type.shape[axis]} without replacement")
    noisy = logits + gumbel(key, logits.type.shape, logits.type.dtype, mode)
    found = top_k(fnp.moveaxis(noisy, axis, -1), count)[1]
    return fnp.moveaxis(found, -1, 0).reshape(shape)


def _axis(name: str, axis: int, x: Array) -> int:
    return axis_index(f"random.{name}", axis, x.type.ndim)


def multinomial(key: Any, n: Any, p: Any, *, shape: Sequence[int] | None = None, dtype: Any = None) -> Array:
    """Counts of categories in n draws.

    Args:
        key: one key.
        n: numbers of draws, of shape ``p.shape[:-1]`` or broadcasting with it.
        p: probabilities along the last axis.
        shape: of the result, ending in the number of categories; None is the common shape.
        dtype: a floating dtype, by default float32.

    Returns:
        Counts that sum to n along the last axis.

    >>> from fdl.random import key
    >>> multinomial(key(0), 5, fnp.array([1.0, 0.0])).tolist()
    [5.0, 0.0]
    """
    dtype = floating("multinomial", dtype)
    n, p = as_array(n, "n"), as_array(p, "p")
    common = dtypes.result_type(n, p)
    common = common if common in dtypes.FLOATING else dtypes.as_dtype(float)
    batch = broadcast_shape("multinomial", None if shape is None else tuple(shape)[:-1], n, p[..., 0])
    left = expanded("multinomial", n.astype(common), batch)
    p = fnp.moveaxis(expanded("multinomial", p.astype(common), (*batch, p.type.shape[-1])), -1, 0)
    remaining = fnp.cumsum(p[::-1], axis=0)[::-1]
    ratios = fnp.clip(p / fnp.where(remaining == 0, 1, remaining), 0, 1)

    def draw(left: Array, case: tuple[Array, Array]) -> tuple[Array, Array]:
        count = binomial(case[1], left, case[0], dtype=common)
        return left - count, count

    counts = scan(draw, left, (ratios, split(typed(key, "multinomial")[0], p.type.shape[0])))[1]
    return fnp.moveaxis(counts, 0, -1).astype(dtype)
