"""Means, variances, correlations."""

from math import prod
from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.dtypes import as_dtype, index_dtype, is_inexact, result_type
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    Axis,
    DTypeLike,
    axis_tuple,
    cast,
    inexact,
    no_out,
    number,
    promote,
    real_of,
    value,
)
from fdl.numpy.arithmetic import clip, conj, maximum, real
from fdl.numpy.diagonals import diag
from fdl.numpy.elementwise import sqrt
from fdl.numpy.linear import dot
from fdl.numpy.reductions import mask_of, masked
from fdl.numpy.reductions import sum as total
from fdl.numpy.selection import where as choose
from fdl.numpy.shapes import broadcast_to, concatenate, reshape, transpose
from fdl.ops.precision import accumulator


def _count(x: Array, axes: tuple[int, ...], where: ArrayLike | None, keepdims: bool) -> Any:
    """How many elements are reduced."""
    if where is None:
        return prod(x.type.shape[i] for i in axes)
    mask = broadcast_to(mask_of("mean", where), x.type.shape)
    return total(mask, axes, keepdims=keepdims, dtype=index_dtype(x.type.size))


@composite
def mean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
) -> Array:
    """The arithmetic mean.

    Args:
        a: array.
        axis: over which; None for all.
        dtype: of the result; default that of `a`, for integers the default float.
        out: not supported.
        keepdims: whether reduced axes stay, with extent 1.
        where: mask of the elements to count.

    >>> mean(array([1, 2, 6]))
    Array(3., dtype=float32)
    """
    no_out("mean", out)
    x = number("mean", a)
    target = inexact(x.type.dtype) if dtype is None else as_dtype(dtype)
    working = accumulator(target)
    axes = axis_tuple("mean", axis, x.type.ndim)
    count = _count(x, axes, where, keepdims)
    added = total(x, axes, working, keepdims=keepdims, where=where)
    return cast(added / (cast(count, working) if isinstance(count, int) else count), target)


@composite
def average(
    a: ArrayLike,
    axis: Axis = None,
    weights: ArrayLike | None = None,
    returned: bool = False,
    keepdims: bool = False,
) -> Any:
    """The weighted mean.

    Args:
        a: array.
        axis: over which; None for all.
        weights: in the shape of `a`, or a vector along `axis`.
        returned: whether the sum of the weights is returned too.
        keepdims: whether reduced axes stay, with extent 1.

    >>> average(array([1.0, 3.0]), weights=array([3.0, 1.0]))
    Array(1.5, dtype=float32)
    """
    if weights is None:
        (x,) = promote("average", a, to_inexact=True)
        result = mean(x, axis, keepdims=keepdims)
        axes = axis_tuple("average", axis, x.type.ndim)
        scale: Any = broadcast_to(cast(float(_count(x, axes, None, False)), x.type.dtype), result.type.shape)
    else:
        x, w = promote("average", a, weights, to_inexact=True)
        axes = axis_tuple("average", axis, x.type.ndim)
        if w.type.shape != x.type.shape:
            if w.type.ndim != len(axes) or axis is None or w.type.shape != tuple(x.type.shape[i] for i in axes):
                shapes = f"{w.type.shape} do not fit {x.type.shape}"
                raise ShapeError(f"average: weights of shape {shapes} along axis={axis}")
            order = np.argsort(axes)
            w = transpose(w, tuple(int(i) for i in order))
            w = reshape(w, tuple(n if i in axes else 1 for i, n in enumerate(x.type.shape)))
            w = broadcast_to(w, x.type.shape)
        scale = total(w, axes, keepdims=keepdims)
        result = total(x * w, axes, keepdims=keepdims) / scale
    return (result, scale) if returned else result


@composite
def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    correction: int | float | None = None,
) -> Array:
    """The variance: the mean squared distance from the mean.

    Args:
        a: array; of complex numbers the squared modulus counts.
        axis: over which; None for all.
        dtype: of the result; default that of `a`, for integers the default float.
        out: not supported.
        ddof: is subtracted from the number of elements in the divisor.
        keepdims: whether reduced axes stay, with extent 1.
        where: mask of the elements to count.
        mean: the mean if it is known, with reduced axes as extents of 1.
        correction: another name of `ddof`.

    >>> var(array([1.0, 3.0])), var(array([1.0, 3.0]), ddof=1)
    (Array(1., dtype=float32), Array(2., dtype=float32))
    """
    no_out("var", out)
    if correction is not None:
        if ddof:
            raise ValueError("var: ddof and correction are the same; give one of them")
        ddof = correction  # type: ignore[assignment]
    x = number("var", a)
    target = real_of(inexact(x.type.dtype)) if dtype is None else as_dtype(dtype)
    working = accumulator(result_type(inexact(x.type.dtype), target))
    x = cast(x, working)
    center = _mean(x, axis, keepdims=True, where=where) if mean is None else mean
    distance = masked("var", x - center, where, 0)
    squares = real(distance * conj(distance)) if working.kind == "c" else distance * distance
    axes = axis_tuple("var", axis, x.type.ndim)
    count = _count(x, axes, where, keepdims)
    added = total(squares, axes, keepdims=keepdims)
    # Of fewer elements than degrees of freedom nothing can be said.
    if isinstance(count, int):
        divisor: Any = count - ddof if count > ddof else np.nan
    else:
        divisor = choose(count > ddof, cast(count, added.type.dtype) - ddof, np.nan)
    return cast(added / divisor, target)


_mean = mean


@composite
def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    correction: int | float | None = None,
) -> Array:
    """The standard deviation, the root of the variance; arguments as for :func:`var`.

    >>> std(array([1.0, 3.0]))
    Array(1., dtype=float32)
    """
    no_out("std", out)
    return sqrt(var(a, axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction))


@composite
def cov(
    m: ArrayLike,
    y: ArrayLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: ArrayLike | None = None,
    aweights: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """The covariance matrix.

    Args:
        m: variables along rows, observations along columns; a vector is one variable.
        y: more variables.
        rowvar: False if variables lie along columns.
        bias: whether to divide by the number of observations n instead of n - 1.
        ddof: divide by n - ddof instead.
        fweights: how often each observation was made.
        aweights: how much each observation counts.
        dtype: in which to compute.

    >>> cov(array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    given = [m] if y is None else [m, y]
    given = promote("cov", *given, to_inexact=True)
    if any(g.type.ndim > 2 for g in given):
        raise ShapeError("cov needs vectors or matrices")
    rows = [g[None] if g.type.ndim == 1 else g[None, None] if g.type.ndim == 0 else g if rowvar else g.T for g in given]
    x = concatenate(rows, 0)
    if dtype is not None:
        x = cast(x, as_dtype(dtype))
        if not is_inexact(x.type.dtype):
            raise DtypeError(f"cov: means are no integers, so that dtype= must be a float, got {x.type.dtype}")
    if ddof is None:
        ddof = 0 if bias else 1
    weights: Any = None
    if fweights is not None:
        weights = cast(value("cov", fweights), x.type.dtype)
    if aweights is not None:
        aweights = cast(value("cov", aweights), x.type.dtype)
        weights = aweights if weights is None else weights * aweights
    scale: Any = x.type.shape[1] if weights is None else total(weights)
    center = mean(x, 1) if weights is None else total(x * weights, 1) / scale
    if weights is None:
        norm: Any = max(scale - ddof, 0)
    elif aweights is None or not ddof:
        norm = maximum(scale - ddof, 0)
    else:
        norm = maximum(scale - ddof * total(weights * aweights) / scale, 0)
    x = x - center[:, None]
    weighted = x if weights is None else x * weights
    result = dot(x, conj(weighted).T) / norm
    return reshape(result, ()) if result.type.shape == (1, 1) else result


@composite
def corrcoef(x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, dtype: DTypeLike | None = None) -> Array:
    """Pearson's correlation coefficients; arguments as for :func:`cov`.

    >>> corrcoef(array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if c.type.ndim == 0:
        return c / c
    deviation = sqrt(real(diag(c)))
    c = c / deviation[:, None] / deviation[None, :]
    return c if c.type.dtype.kind == "c" else clip(c, -1, 1)
