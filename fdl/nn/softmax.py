"""Softmax and sums of exponentials, which neither overflow nor lose the derivative of what they exclude."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.composite import composite
from fdl.nn.activations import Array, Axis, as_inexact, promoted
from fdl.numpy._operands import real_of, wide
from fdl.ops.arithmetic import stop_gradient


@composite
def softmax(x: Any, axis: Axis = -1, where: Any = None) -> Array:
    """Positive numbers that sum to one along an axis: exp(x) / sum(exp(x)).

    Args:
        x: array.
        axis: an axis, several, or None for all.
        where: which elements take part; the others become 0.

    Returns:
        A floating array like x.

    >>> softmax(fnp.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    x = as_inexact(x)
    weights = fnp.exp(_shifted(wide(x), axis, where))
    return (weights / _positive(fnp.sum(weights, axis=axis, keepdims=True), where)).astype(x.dtype)


@composite
def log_softmax(x: Any, axis: Axis = -1, where: Any = None) -> Array:
    """Logarithm of :func:`softmax`, without overflow; excluded elements become -inf.

    Args:
        x: array of any shape; integers count as float32.
        axis: an axis, several, or None for all.
        where: which elements take part; None is all.

    Returns:
        A floating array like x.

    >>> [round(v, 3) for v in log_softmax(fnp.array([1000.0, 1000.0])).tolist()]
    [-0.693, -0.693]
    """
    x = as_inexact(x)
    shifted = _shifted(wide(x), axis, where)
    return (shifted - fnp.log(_positive(fnp.sum(fnp.exp(shifted), axis=axis, keepdims=True), where))).astype(x.dtype)


def _positive(total: Array, where: Any) -> Array:
    """`total`, which is zero where all elements are excluded, as a divisor."""
    return total if where is None else fnp.where(total == 0, 1.0, total)


def _shifted(x: Any, axis: Axis, where: Any) -> Array:
    """x minus its largest element along the axis; -inf where excluded."""
    x = x if where is None else fnp.where(where, x, -math.inf)
    largest = stop_gradient(_largest(x, axis))
    return x - (largest if where is None else fnp.where(largest == -math.inf, 0.0, largest))


def _largest(x: Array, axis: Axis) -> Array:
    """The largest elements along the axis, which stays; -inf if it has none."""
    return fnp.max(x, axis=axis, keepdims=True, initial=None if x.size else -math.inf)


@composite
def logsumexp(
    a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False, return_sign: bool = False, where: Any = None
) -> Any:
    """log(sum(b * exp(a))), without overflow.

    Args:
        a: array.
        axis: an axis, several, or None for all.
        b: factors that broadcast with a; None is ones.
        keepdims: whether the axes stay, with extent one.
        return_sign: whether to return (log of the absolute value, sign), so that the sum may be negative.
        where: which elements take part.

    Returns:
        An array, or a pair of arrays.

    >>> round(logsumexp(fnp.array([1000.0, 1000.0])).item(), 2)
    1000.69
    """
    a = as_inexact(a)
    if b is not None:
        a, b = promoted(a, b)
    dtype, a = a.dtype, wide(a)
    a = a if where is None else fnp.where(where, a, -math.inf)
    largest = _largest(fnp.real(a if b is None else fnp.where(b != 0, a, -math.inf)), axis)
    largest = stop_gradient(fnp.where(fnp.isfinite(largest), largest, 0.0))
    terms = fnp.exp(a - largest) if b is None else b * fnp.exp(_without_overflow(a - largest, b == 0))
    total = fnp.sum(terms, axis=axis, keepdims=keepdims)
    largest = largest if keepdims else fnp.squeeze(largest, axis=axis)
    if not return_sign:
        return (fnp.log(total) + largest).astype(dtype)
    return (fnp.log(fnp.abs(total)) + largest).astype(real_of(dtype)), fnp.sign(total).astype(dtype)


def _without_overflow(x: Array, excluded: Array) -> Array:
    """`x`, lowered where excluded: its exponential, which is the derivative by a factor of zero, must stay finite."""
    if fnp.iscomplexobj(x):
        return fnp.where(excluded, -math.inf, x)
    below = stop_gradient(x)
    bound = math.floor(math.log(float(fnp.finfo(x.dtype).max)))
    return fnp.where(excluded, fnp.where(fnp.isnan(below), -math.inf, fnp.minimum(below, bound)), x)


@composite
def logmeanexp(x: Any, axis: Axis = None, where: Any = None, keepdims: bool = False) -> Array:
    """log(mean(exp(x))), without overflow.

    Args:
        x: array of any shape; integers count as float32.
        axis: an axis, several, or None for all.
        where: which elements take part; None is all.
        keepdims: whether the axes stay, with extent one.

    Returns:
        An array without the axes, or with extent one there.

    >>> round(logmeanexp(fnp.array([1000.0, 1000.0])).item(), 2)
    1000.0
    """
    x = as_inexact(x)
    counted = fnp.ones_like(x) if where is None else fnp.where(where, fnp.ones_like(x), 0)
    total = fnp.sum(counted, axis=axis, keepdims=keepdims)
    return logsumexp(x, axis=axis, where=where, keepdims=keepdims) - fnp.log(total)
