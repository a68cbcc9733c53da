"""Polynomials as vectors of coefficients, the highest power first."""

from typing import Any

import numpy as np

from fdl.dtypes import result_type
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, cast, integer, number, promote, value
from fdl.numpy.creation import asarray, eye, ones, zeros, zeros_like
from fdl.numpy.elementwise import sqrt
from fdl.numpy.linalg import eigvals, inv, lstsq
from fdl.numpy.ranges import arange
from fdl.numpy.rearrange import trim_zeros
from fdl.numpy.shapes import atleast_1d, concatenate, stack
from fdl.numpy.signals import convolve


def polyval(p: ArrayLike, x: ArrayLike, *, unroll: int = 16) -> Array:
    """The values of a polynomial, by Horner's rule.

    Args:
        p: coefficients (n,), or (n, ...) for several polynomials.
        x: where.
        unroll: accepted for compatibility.

    >>> polyval(array([1.0, 0.0, 2.0]), 3.0)
    Array(11., dtype=float32)
    """
    coefficients, x = promote("polyval", p, x)
    if not coefficients.type.ndim:
        raise ShapeError("polyval needs a vector of coefficients, got a scalar")
    result = zeros_like(x)
    for i in range(coefficients.type.shape[0]):
        result = result * x + coefficients[i]
    return result


def polyadd(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The sum of two polynomials.

    >>> polyadd(array([1, 2]), array([1, 0, 0]))
    Array([1, 1, 2], dtype=int32)
    """
    x, y = (atleast_1d(v) for v in promote("polyadd", a1, a2))
    length = max(x.type.size, y.type.size)
    x, y = (concatenate([zeros(length - v.type.size, v.type.dtype), v]) for v in (x, y))
    return x + y


def polysub(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The difference of two polynomials.

    >>> polysub(array([1, 2]), array([1, 1]))
    Array([0, 1], dtype=int32)
    """
    return polyadd(a1, -asarray(a2))


def polymul(a1: ArrayLike, a2: ArrayLike, *, trim_leading_zeros: bool = False) -> Array:
    """The product of two polynomials.

    Args:
        a1: coefficients.
        a2: coefficients.
        trim_leading_zeros: whether zeros at the front, which must be known, are dropped.

    >>> polymul(array([1, 1]), array([1, -1]))
    Array([ 1,  0, -1], dtype=int32)
    """
    x, y = (atleast_1d(v) for v in promote("polymul", a1, a2))
    if trim_leading_zeros:
        x, y = trim_zeros(x, "f"), trim_zeros(y, "f")
    return convolve(x if x.type.size else zeros(1, x.type.dtype), y if y.type.size else zeros(1, y.type.dtype))


def polydiv(u: ArrayLike, v: ArrayLike, *, trim_leading_zeros: bool = False) -> tuple[Array, Array]:
    """Quotient and remainder of two polynomials.

    Args:
        u: the dividend.
        v: the divisor.
        trim_leading_zeros: whether zeros at the front of the remainder, which must be known, are dropped.

    >>> polydiv(array([1.0, 0.0, -1.0]), array([1.0, 1.0]))[0]
    Array([ 1., -1.], dtype=float32)
    """
    rest, divisor = (atleast_1d(w) for w in promote("polydiv", u, v, to_inexact=True))
    degree = divisor.type.size
    quotient = []
    for k in range(rest.type.size - degree + 1):
        factor = rest[k] / divisor[0]
        quotient.append(factor)
        rest = rest.at[k : k + degree].add(-factor * divisor)
    if trim_leading_zeros:
        rest = trim_zeros(rest, "f")
    return (stack(quotient) if quotient else zeros(1, rest.type.dtype)), rest


def polyder(p: ArrayLike, m: int = 1) -> Array:
    """The derivative of order m.

    >>> polyder(array([3, 2, 1]))
    Array([6., 2.], dtype=float32)
    """
    (x,) = promote("polyder", p, to_inexact=True)
    x = atleast_1d(x)
    for _ in range(m):
        degree = x.type.size - 1
        x = x[:-1] * arange(degree, 0, -1).astype(x.type.dtype) if degree > 0 else x[:0]
    return x


def polyint(p: ArrayLike, m: int = 1, k: Any = None) -> Array:
    """The antiderivative of order m.

    Args:
        p: coefficients.
        m: how often to integrate.
        k: the constants of integration, the first one first; None for zeros.

    >>> polyint(array([2.0, 1.0]))
    Array([1., 1., 0.], dtype=float32)
    """
    (x,) = promote("polyint", p, to_inexact=True)
    x = atleast_1d(x)
    constants = atleast_1d(asarray(0 if k is None else k))
    if constants.type.size not in (1, m):
        raise ShapeError(f"polyint: k must be a number or have {m} elements, got {constants.type.size}")
    for i in range(m):
        powers = arange(x.type.size, 0, -1).astype(x.type.dtype)
        constant = cast(constants[min(i, constants.type.size - 1)], x.type.dtype)
        x = concatenate([x / powers, constant[None]])
    return x


def poly(seq_of_zeros: ArrayLike) -> Array:
    """The polynomial with given zeros, or the characteristic polynomial of a matrix.

    >>> poly(array([1.0, -1.0]))
    Array([ 1.,  0., -1.], dtype=float32)
    """
    (zero_points,) = promote("poly", seq_of_zeros, to_inexact=True)
    matrix = zero_points.type.ndim == 2
    dtype = zero_points.type.dtype
    zero_points = eigvals(zero_points) if matrix else atleast_1d(zero_points)
    result = ones(1, zero_points.type.dtype)
    for i in range(zero_points.type.size):
        result = concatenate([result, result[:1] * 0]) - concatenate([result[:1] * 0, result * zero_points[i]])
    return result.real if matrix and dtype.kind != "c" else result


def roots(p: ArrayLike, *, strip_zeros: bool = True) -> Array:
    """The zeros of a polynomial, as eigenvalues of its companion matrix.

    Args:
        p: coefficients.
        strip_zeros: whether zeros at both ends, which must be known, are dropped first.

    >>> roots(array([1.0, -3.0, 2.0])).real.sort()
    Array([1., 2.], dtype=float32)
    """
    (x,) = promote("roots", p, to_inexact=True)
    x = atleast_1d(x)
    complex_dtype = result_type(x, np.complex64)
    at_zero = 0
    if strip_zeros:
        kept = np.flatnonzero(x.discrete("roots with strip_zeros=True needs known coefficients: a value"))
        if not kept.size:
            return zeros(0, complex_dtype)
        at_zero = x.type.size - 1 - int(kept[-1])
        x = x[int(kept[0]) : int(kept[-1]) + 1]
    degree = x.type.size - 1
    if degree < 1:
        return zeros(at_zero, complex_dtype)
    companion = eye(degree, k=-1, dtype=x.type.dtype).at[0].set(-x[1:] / x[0])
    return concatenate([eigvals(companion), zeros(at_zero, complex_dtype)])


def polyfit(
    x: ArrayLike,
    y: ArrayLike,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: ArrayLike | None = None,
    cov: bool | str = False,
) -> Any:
    """The polynomial of a degree that fits points best, by least squares.

    Args:
        x: points (n,).
        y: values (n,) or (n, k).
        deg: the degree.
        rcond: singular values up to this share of the largest count as zero.
        full: whether residuals, rank, singular values and rcond are returned too.
        w: weights (n,) of the residuals.
        cov: whether the covariance matrix of the coefficients is returned too; "unscaled" if y has unit variance.

    Raises:
        ShapeError: points, values and weights are not as many, or too few for a covariance matrix.
        ValueError: another `cov`.

    >>> polyfit(array([0.0, 1.0, 2.0]), array([1.0, 3.0, 5.0]), 1).round(3)
    Array([2., 1.], dtype=float32)
    """
    x, y = promote("polyfit", x, y, to_inexact=True)
    if x.type.ndim != 1 or y.type.ndim not in (1, 2) or x.type.shape[0] != y.type.shape[0]:
        raise ShapeError(f"polyfit needs points (n,) and values (n,) or (n, k), got {x.type.shape} and {y.type.shape}")
    count, deg = x.type.shape[0], integer("polyfit: deg", deg)
    if isinstance(cov, str) and cov != "unscaled":
        raise ValueError(f"polyfit: cov must be True, False or 'unscaled', got {cov!r}")
    if cov and not full and cov != "unscaled" and count <= deg + 1:
        raise ShapeError(f"polyfit needs more than {deg + 1} points for cov=True of degree {deg}, got {count}")
    if rcond is None:
        rcond = x.type.size * float(np.finfo(np.float32 if x.type.dtype.itemsize < 8 else np.float64).eps)
    left, right = vander(x, deg + 1), y
    if w is not None:
        weights = cast(value("polyfit", w), x.type.dtype)
        if weights.type.shape != (count,):
            raise ShapeError(f"polyfit needs a weight w for each of {count} points, got shape {weights.type.shape}")
        left, right = left * weights[:, None], right * (weights[:, None] if right.type.ndim == 2 else weights)
    # Columns of unit length make the system as well conditioned as it can be.
    scale = sqrt((left * left).sum(0))
    solution, residuals, rank, values = lstsq(left / scale[None], right, rcond)
    solution = solution / (scale if solution.ndim == 1 else scale[:, None])
    if full:
        return solution, residuals, rank, values, asarray(rcond)
    if not cov:
        return solution
    base = inv(left.T @ left)
    factor = residuals / (x.type.size - (deg + 1)) if cov != "unscaled" else ones((1,), base.type.dtype)
    return solution, base * factor[0] if y.type.ndim == 1 else base[:, :, None] * factor[None, None]


def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Array:
    """The Vandermonde matrix: powers of the elements of a vector.

    Args:
        x: vector of shape (n,).
        N: number of columns; None is n.
        increasing: whether the powers grow from left to right.

    >>> vander(array([2, 3]), 3)
    Array([[4, 2, 1],
           [9, 3, 1]], dtype=int32)
    """
    x = number("vander", x)
    if x.type.ndim != 1:
        raise ShapeError(f"vander needs a vector, got shape {x.type.shape}")
    count = x.type.shape[0] if N is None else integer("vander: N", N)
    powers = range(count) if increasing else range(count - 1, -1, -1)
    return stack([x**p for p in powers], 1) if count else zeros((x.type.shape[0], 0), x.type.dtype)
