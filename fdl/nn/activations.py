"""Activation functions, under the names of ``jax.nn``.

All take and return arrays of any shape; integers are promoted as in `fdl.numpy` arithmetic.
"""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.composite import composite
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.numpy._index import signed_places
from fdl.numpy._operands import axis_index, cast, floating, wide
from fdl.ops import algebraic
from fdl.ops.select import clamp
from fdl.ops.sigmoid import logistic
from fdl.ops.special import ndtr

Axis = int | tuple[int, ...] | None

_elementwise = fill_docstring({"x": "array of any shape; integers count as float32."}, "A floating array like x.")


def identity(x: Any) -> Array:
    """The argument itself, as an array.

    Args:
        x: array of any shape and dtype.

    Returns:
        An array like x.

    >>> identity(2.0).item()
    2.0
    """
    return fnp.asarray(x)


@composite
def relu(x: Any) -> Array:
    """max(x, 0); the derivative at zero is zero. Source: Nair, Hinton (2010).

    Args:
        x: array of any shape and real dtype.

    Returns:
        An array like x.

    >>> relu(fnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    x = fnp.asarray(x)
    return fnp.where(x <= 0, fnp.zeros_like(x), x)


@composite
def relu6(x: Any) -> Array:
    """min(max(x, 0), 6); the derivative at both corners is zero.

    Args:
        x: array of any shape and real dtype.

    Returns:
        A floating array like x.

    >>> relu6(fnp.array([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    x = relu(x)
    return fnp.where(x >= 6, 6.0, x)


@composite
def leaky_relu(x: Any, negative_slope: Any = 1e-2) -> Array:
    """x where it is positive or zero, ``negative_slope * x`` elsewhere. Source: Maas, Hannun, Ng (2013).

    Args:
        x: array of any shape; integers count as float32.
        negative_slope: factor of negative elements; broadcasts with x.

    Returns:
        A floating array like x.

    >>> leaky_relu(fnp.array([-4.0, 2.0]), 0.25).tolist()
    [-1.0, 2.0]
    """
    x = fnp.asarray(x)
    return fnp.where(x >= 0, x, negative_slope * x)


@composite
def elu(x: Any, alpha: Any = 1.0) -> Array:
    """x where it is positive, ``alpha * (exp(x) - 1)`` elsewhere. Source: Clevert, Unterthiner, Hochreiter (2016).

    Args:
        x: array of any shape; integers count as float32.
        alpha: minus the limit at minus infinity; broadcasts with x.

    Returns:
        A floating array like x.

    >>> elu(fnp.array([-100.0, 2.0])).tolist()
    [-1.0, 2.0]
    """
    x = fnp.asarray(x)
    return fnp.where(x > 0, x, alpha * fnp.expm1(fnp.where(x > 0, 0.0, x)))


@composite
def celu(x: Any, alpha: Any = 1.0) -> Array:
    """Elu with a continuous derivative for every alpha. Source: Barron (2017).

    Args:
        x: array of any shape; integers count as float32.
        alpha: minus the limit at minus infinity; broadcasts with x.

    Returns:
        A floating array like x.

    >>> celu(fnp.array([-100.0, 2.0])).tolist()
    [-1.0, 2.0]
    """
    x = fnp.asarray(x)
    return fnp.where(x > 0, x, alpha * fnp.expm1(fnp.where(x > 0, 0.0, x) / alpha))


@_elementwise
@composite
def selu(x: Any) -> Array:
    """Scaled elu that keeps mean 0 and variance 1. Source: Klambauer et al. (2017).

    >>> round(selu(1.0).item(), 3)
    1.051
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@composite
def gelu(x: Any, approximate: bool = True) -> Array:
    """x times the normal distribution function of x. Source: Hendrycks, Gimpel (2016).

    Args:
        x: array.
        approximate: whether to use the formula with tanh.

    Returns:
        A floating array like x.

    >>> round(gelu(1.0, approximate=False).item(), 3)
    0.841
    """
    x = as_inexact(x)
    wide = _wide(x)
    if not approximate:
        return (wide * ndtr(wide)).astype(x.dtype)
    # (1 + tanh(u)) / 2 is the logistic function of 2 u, which does not cancel. Beyond 100 it is 0 or 1 in all dtypes.
    limited = clamp(fnp.full_like(wide, -100), wide, fnp.full_like(wide, 100))
    factor = logistic(math.sqrt(8 / math.pi) * (limited + 0.044715 * limited**3))
    return (wide * factor).astype(x.dtype)


@_elementwise
@composite
def sigmoid(x: Any) -> Array:
    """1 / (1 + exp(-x)).

    >>> sigmoid(0.0).item()
    0.5
    """
    return logistic(as_inexact(x))


@_elementwise
@composite
def silu(x: Any) -> Array:
    """x times its sigmoid; also called swish. Source: Elfwing, Uchibe, Doya (2018); Ramachandran, Zoph, Le (2017).

    >>> round(silu(1.0).item(), 3)
    0.731
    """
    x = as_inexact(x)
    wide = _wide(x)
    return cast(wide * logistic(wide), x.dtype)


swish = silu


@_elementwise
@composite
def tanh(x: Any) -> Array:
    """Hyperbolic tangent.

    >>> tanh(fnp.array([0.0, 100.0])).tolist()
    [0.0, 1.0]
    """
    return fnp.tanh(x)


@_elementwise
@composite
def softplus(x: Any) -> Array:
    """log(1 + exp(x)), without overflow.

    >>> softplus(100.0).item()
    100.0
    """
    return fnp.logaddexp(x, 0.0)


@_elementwise
@composite
def log_sigmoid(x: Any) -> Array:
    """log(sigmoid(x)), without underflow.

    >>> log_sigmoid(-100.0).item()
    -100.0
    """
    return -softplus(-as_inexact(x))


@_elementwise
@composite
def mish(x: Any) -> Array:
    """x tanh(softplus(x)). Source: Misra (2019).

    >>> round(mish(1.0).item(), 3)
    0.865
    """
    x = fnp.asarray(x)
    return x * fnp.tanh(softplus(x))


@_elementwise
@composite
def soft_sign(x: Any) -> Array:
    """x / (1 + abs(x)). Source: Turian, Bergstra, Bengio (2009).

    >>> soft_sign(fnp.array([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """
    return algebraic.soft_sign(as_inexact(x))


@composite
def squareplus(x: Any, b: Any = 4) -> Array:
    """(x + sqrt(x**2 + b)) / 2. Source: Barron (2021).

    Args:
        x: array of any shape; integers count as float32.
        b: width of the bend, not negative; 0 is relu.

    Returns:
        A floating array like x.

    >>> squareplus(0.0).item()
    1.0
    """
    return algebraic.squareplus(*promoted(as_inexact(x), b))


@_elementwise
@composite
def sparse_plus(x: Any) -> Array:
    """0 below -1, x above 1, a parabola between them.

    >>> sparse_plus(fnp.array([-2.0, 0.0, 2.0])).tolist()
    [0.0, 0.25, 2.0]
    """
    x = fnp.asarray(x)
    inside = fnp.where(fnp.abs(x) >= 1.0, 0.0, x)  # so that no square overflows
    return fnp.where(x <= -1.0, 0.0, fnp.where(x >= 1.0, x, (inside + 1.0) ** 2 / 4))


@_elementwise
@composite
def sparse_sigmoid(x: Any) -> Array:
    """0 below -1, 1 above 1, a line between them.

    >>> sparse_sigmoid(fnp.array([-2.0, 0.0, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return 0.5 * fnp.clip(fnp.asarray(x) + 1.0, 0.0, 2.0)


@composite
def hard_tanh(x: Any) -> Array:
    """x clipped to [-1, 1].

    Args:
        x: array of any shape and real dtype.

    Returns:
        An array like x.

    >>> hard_tanh(fnp.array([-2.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    x = fnp.asarray(x)
    return fnp.where(x > 1, 1, fnp.where(x < -1, -1, x))


@_elementwise
@composite
def hard_sigmoid(x: Any) -> Array:
    """relu6(x + 3) / 6.

    >>> hard_sigmoid(fnp.array([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return relu6(fnp.asarray(x) + 3.0) / 6.0


@_elementwise
@composite
def hard_silu(x: Any) -> Array:
    """x times its hard sigmoid; also called hard swish. Source: Howard et al. (2019).

    >>> hard_silu(fnp.array([0.0, 1.5, 4.0])).tolist()
    [0.0, 1.125, 4.0]
    """
    x = fnp.asarray(x)
    return x * hard_sigmoid(x)


hard_swish = hard_silu


@composite
def glu(x: Any, axis: int = -1) -> Array:
    """The first half along an axis times the sigmoid of the second. Source: Dauphin et al. (2017).

    Args:
        x: floating array whose extent along the axis is even.
        axis: the axis that is halved.

    Returns:
        An array with half the extent along the axis.

    Raises:
        ShapeError: the extent is odd.

    >>> glu(fnp.array([2.0, 0.0])).tolist()
    [1.0]
    """
    x = fnp.asarray(x)
    if x.shape[axis] % 2:
        raise ShapeError(f"glu halves axis {axis}, which needs an even extent; got {x.type}")
    first, second = fnp.split(x, 2, axis)
    return first * sigmoid(second)


@composite
def log1mexp(x: Any) -> Array:
    """log(1 - exp(-x)) for positive x, accurate near zero and far from it. Source: Mächler (2012).

    Args:
        x: array of positive numbers.

    Returns:
        A floating array like x.

    >>> round(log1mexp(1.0).item(), 3)
    -0.459
    """
    x = as_inexact(x)
    near = x < math.log(2)
    return fnp.where(
        near,
        fnp.log(-fnp.expm1(-fnp.where(near, x, 1.0))),
        fnp.log1p(-fnp.exp(-fnp.where(near, 1.0, x))),
    )


def promoted(a: Array, b: Any) -> tuple[Array, Array]:
    """Both with the dtype and the shape that they have in common."""
    dtype = fnp.result_type(a, b)
    a, b = fnp.broadcast_arrays(a.astype(dtype), fnp.asarray(b, dtype))
    return a, b


@composite
def standardize(
    x: Any,
    axis: Axis = -1,
    mean: Any = None,
    variance: Any = None,
    epsilon: Any = 1e-5,
    where: Any = None,
    *,
    algorithm: str = "fast",
) -> Array:
    """Subtract the mean and divide by the standard deviation.

    Args:
        x: array.
        axis: over which mean and variance are taken.
        mean: None to compute it.
        variance: None to compute it.
        epsilon: added to the variance.
        where: which elements the mean and variance are taken of.
        algorithm: "fast" takes the variance as the mean of squares minus the squared mean, "stable" as the mean squared
            deviation.

    Returns:
        A floating array like x.

    Raises:
        ValueError: the algorithm is unknown.

    >>> [round(v, 2) for v in standardize(fnp.array([1.0, 3.0])).tolist()]
    [-1.0, 1.0]
    """
    x = as_inexact(x)
    if algorithm not in ("fast", "stable"):
        raise ValueError(f"standardize knows the algorithms 'fast' and 'stable', got {algorithm!r}")
    dtype, x = fnp.result_type(x, *(v for v in (mean, variance) if v is not None)), wide(x)
    if mean is None:
        mean = fnp.mean(x, axis=axis, keepdims=True, where=where)
    if variance is None and algorithm == "stable":
        variance = fnp.mean(fnp.square(x - mean), axis=axis, keepdims=True, where=where)
    elif variance is None:
        variance = fnp.mean(fnp.square(x), axis=axis, keepdims=True, where=where) - fnp.square(mean)
        variance = fnp.maximum(variance, 0.0)
    return ((x - mean) / fnp.sqrt(wide(fnp.asarray(variance)) + epsilon)).astype(dtype)


def one_hot(x: Any, num_classes: int, *, dtype: Any = None, axis: int = -1) -> Array:
    """Vectors with a one at the place that an integer names; integers out of range give zeros.

    Args:
        x: integers of any shape.
        num_classes: extent of the new axis.
        dtype: of the result, by default float32.
        axis: where the new axis is put.

    Returns:
        An array of the shape of x with the new axis.

    >>> one_hot(fnp.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    x = fnp.asarray(x)
    place = axis_index("one_hot", axis, x.ndim + 1)
    shape = [1] * (x.ndim + 1)
    shape[place] = num_classes
    if x.dtype.kind in "iu":
        x = signed_places(x, num_classes)  # in a short dtype the numbers of many classes would wrap around
    classes = fnp.arange(num_classes, dtype=x.dtype).reshape(shape)
    return (fnp.expand_dims(x, place) == classes).astype(float if dtype is None else dtype)


def _wide(x: Array) -> Array:
    """16-bit floats in float32: of a product whose factors have derivatives the sum is rounded once."""
    return x.astype(fnp.float32) if x.dtype.itemsize == 2 else x


def as_inexact(x: Any) -> Array:
    """`x` as an array of a floating-point or complex dtype."""
    return floating(fnp.asarray(x))
