"""Sequences of samples: convolution, correlation, interpolation, gradients, phases, windows of spectral analysis."""

import math
from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.array import as_weak
from fdl.dtypes import WEAK, default_dtype
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    Axis,
    DTypeLike,
    axis_index,
    axis_tuple,
    cast,
    inexact,
    integer,
    number,
    promote,
)
from fdl.numpy.arithmetic import absolute, clip, conj, mod
from fdl.numpy.creation import asarray, zeros_like
from fdl.numpy.linear import dot
from fdl.numpy.padding import pad
from fdl.numpy.ranges import arange
from fdl.numpy.reductions import cumsum, diff
from fdl.numpy.reductions import sum as total
from fdl.numpy.selection import take, where
from fdl.numpy.shapes import between, concatenate, ravel
from fdl.numpy.sorting import argsort, searchsorted


def _vectors(name: str, a: ArrayLike, v: ArrayLike) -> tuple[Array, Array]:
    x, y = promote(name, a, v)
    if x.type.ndim != 1 or y.type.ndim != 1 or not x.type.size or not y.type.size:
        raise ShapeError(f"{name} needs two vectors with elements, got shapes {x.type.shape} and {y.type.shape}")
    return x, y


def _slide(x: Array, kernel: Array, mode: str, name: str, dtype: DTypeLike | None) -> Array:
    """Scalar products of the (shorter) kernel with the windows of x under it."""
    n, k = x.type.size, kernel.type.size
    if mode == "full":
        padding = (k - 1, k - 1)
    elif mode == "same":
        padding = (k // 2, k - k // 2 - 1)
    elif mode == "valid":
        padding = (0, 0)
    else:
        raise ValueError(f"{name}: mode must be 'full', 'same' or 'valid', got {mode!r}")
    padded = pad(x, padding)
    count = n + sum(padding) - k + 1
    places = np.arange(count, dtype=np.int32)[:, None] + np.arange(k, dtype=np.int32)
    return dot(padded[places], kernel, preferred_element_type=dtype)


def convolve(
    a: ArrayLike,
    v: ArrayLike,
    mode: str = "full",
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The convolution of two vectors.

    Args:
        a: vector (n,).
        v: vector (m,).
        mode: "full" (n + m - 1 elements), "same" (as many as the longer one) or "valid" (where they overlap fully).
        precision: accepted for compatibility.
        preferred_element_type: dtype in which to sum and of the result.

    >>> convolve(array([1, 2]), array([1, 1]))
    Array([1, 3, 2], dtype=int32)
    """
    x, y = _vectors("convolve", a, v)
    if x.type.size < y.type.size:
        x, y = y, x
    return _slide(x, y[::-1], mode, "convolve", preferred_element_type)


def correlate(
    a: ArrayLike,
    v: ArrayLike,
    mode: str = "valid",
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The cross-correlation of two vectors, the second one conjugated; arguments as for :func:`convolve`.

    >>> correlate(array([1, 2, 3]), array([0, 1]))
    Array([2, 3], dtype=int32)
    """
    x, y = _vectors("correlate", a, v)
    y = conj(y)
    if x.type.size >= y.type.size:
        return _slide(x, y, mode, "correlate", preferred_element_type)
    return _slide(y[::-1], x[::-1], mode, "correlate", preferred_element_type)


def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | str | None = None,
    right: ArrayLike | str | None = None,
    period: ArrayLike | None = None,
) -> Array:
    """Linear interpolation between points.

    Args:
        x: where.
        xp: rising abscissas (n,).
        fp: values there (n,).
        left: the value before the first point; default fp[0]; "extrapolate" continues the first line.
        right: the value behind the last point; default fp[-1]; "extrapolate" continues the last line.
        period: of the abscissas.

    >>> interp(1.5, array([1.0, 2.0]), array([10.0, 20.0]))
    Array(15., dtype=float32)
    """
    x, xp = promote("interp", x, xp, to_inexact=True)
    (fp,) = promote("interp", fp, to_inexact=True)
    if xp.type.ndim != 1 or fp.type.shape != xp.type.shape or not xp.type.size:
        raise ShapeError(f"interp needs points of one shape (n,), got {xp.type.shape} and {fp.type.shape}")
    if period is not None:
        x, xp = mod(x, period), mod(xp, period)
        order = argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = concatenate([fp[-1:], fp, fp[:1]])
    last = xp.type.size - 1
    if not last:
        inner = fp[0] + 0 * x
    else:
        after = clip(searchsorted(xp, x, "right"), 1, last)
        x0, x1, f0, f1 = (v.at[i].get(mode="clip") for v in (xp, fp) for i in (after - 1, after))
        width = x1 - x0
        flat = width == 0
        share = where(flat, 0, (x - x0) / where(flat, 1, width))
        inner = f0 + share * (f1 - f0)
    if not _continued("left", left):
        inner = where(x < xp[0], fp[0] if left is None else left, inner)
    return inner if _continued("right", right) else where(x > xp[-1], fp[-1] if right is None else right, inner)


def _continued(name: str, given: Any) -> bool:
    """Whether lines go on beyond the points."""
    if isinstance(given, str) and given != "extrapolate":
        raise ValueError(f"interp: {name} is a number or 'extrapolate', got {given!r}")
    return isinstance(given, str)


def gradient(f: ArrayLike, *varargs: ArrayLike, axis: Axis = None, edge_order: int | None = None) -> Any:
    """Derivatives of sampled values: central differences inside, one-sided ones at the ends.

    Args:
        f: values.
        *varargs: the distance of samples, or their coordinates; one for all axes or one for each.
        axis: along which; None for all.
        edge_order: must be 1.

    Returns:
        An array, or a list of them for several axes.

    >>> gradient(array([1.0, 4.0, 9.0]))
    Array([3., 4., 5.], dtype=float32)
    """
    if edge_order not in (None, 1):
        raise NotImplementedError("gradient: only edge_order=1 is supported")
    (x,) = promote("gradient", f, to_inexact=True)
    axes = axis_tuple("gradient", axis, x.type.ndim)
    steps = list(varargs) or [1.0]
    if len(steps) == 1:
        steps = steps * len(axes)
    if len(steps) != len(axes):
        raise ShapeError(f"gradient: {len(steps)} spacings for {len(axes)} axes")
    found = [_derivative(x, i, step) for i, step in zip(axes, steps, strict=True)]
    return found[0] if len(found) == 1 else found


def _derivative(x: Array, axis: int, step: ArrayLike) -> Array:
    n = x.type.shape[axis]
    if n < 2:
        raise ShapeError(f"gradient needs at least 2 samples, got shape {x.type.shape} along axis {axis}")
    spacing = as_weak(step) if type(step) in WEAK else asarray(step)
    slopes = diff(x, axis=axis)
    ends = between(slopes, axis, 0, 1), between(slopes, axis, n - 2, n - 1)
    if spacing.type.ndim == 0:
        inner = (between(x, axis, 2, n) - between(x, axis, 0, n - 2)) / (2 * spacing)
        return cast(concatenate([ends[0] / spacing, inner, ends[1] / spacing], axis), x.type.dtype)
    if spacing.type.shape != (n,):
        raise ShapeError(f"gradient: coordinates of shape {spacing.type.shape} for {n} samples along axis {axis}")
    widths = diff(spacing).reshape((n - 1,) + (1,) * (x.type.ndim - axis - 1))
    slopes = slopes / widths
    left, right = widths[:-1], widths[1:]
    before, behind = between(slopes, axis, 0, n - 2), between(slopes, axis, 1, n - 1)
    inner = (right * before + left * behind) / (left + right)
    return cast(
        concatenate([between(slopes, axis, 0, 1), inner, between(slopes, axis, n - 2, n - 1)], axis),
        x.type.dtype,
    )


def _window(values: np.ndarray) -> Array:
    return arrays.Array(values.astype(default_dtype(float)))


def bartlett(M: int) -> Array:
    """The triangular window of M points.

    >>> bartlett(3)
    Array([0., 1., 0.], dtype=float32)
    """
    return _window(np.bartlett(integer("bartlett: M", M)))


def blackman(M: int) -> Array:
    """The Blackman window of M points.

    >>> blackman(1)
    Array([1.], dtype=float32)
    """
    return _window(np.blackman(integer("blackman: M", M)))


def hamming(M: int) -> Array:
    """The Hamming window of M points.

    >>> hamming(1)
    Array([1.], dtype=float32)
    """
    return _window(np.hamming(integer("hamming: M", M)))


def hanning(M: int) -> Array:
    """The Hann window of M points.

    >>> hanning(3)
    Array([0., 1., 0.], dtype=float32)
    """
    return _window(np.hanning(integer("hanning: M", M)))


def kaiser(M: int, beta: float) -> Array:
    """The Kaiser window of M points.

    >>> kaiser(1, 5.0)
    Array([1.], dtype=float32)
    """
    return _window(np.kaiser(integer("kaiser: M", M), float(number("kaiser: beta", beta))))


def packbits(a: ArrayLike, axis: int | None = None, bitorder: str = "big") -> Array:
    """Booleans packed into the bits of uint8.

    Args:
        a: booleans or integers, which count as true if not zero.
        axis: along which; None flattens `a`.
        bitorder: "big" if the first one goes to the highest bit, "little" if to the lowest.

    >>> packbits(array([1, 0, 1]))
    Array([160], dtype=uint8)
    """
    x = asarray(a)
    if x.type.dtype.kind not in "biu":
        raise DtypeError(f"packbits needs booleans or integers, got {x.type}")
    x = x != 0
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("packbits", axis, x.type.ndim)
    missing = -x.type.shape[axis] % 8
    x = pad(x, [(0, missing if i == axis else 0) for i in range(x.type.ndim)])
    shape = x.type.shape
    bits = x.reshape((*shape[:axis], math.ceil(shape[axis] / 8), 8, *shape[axis + 1 :]))
    powers = np.array([1 << i for i in range(8)][:: -1 if bitorder == "big" else 1], np.uint8)
    weights = powers.reshape((8,) + (1,) * (len(shape) - axis - 1))
    return total(bits.astype(np.uint8) * weights, axis + 1, np.uint8)


def unpackbits(a: ArrayLike, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> Array:
    """The bits of uint8 as zeros and ones.

    Args:
        a: uint8.
        axis: along which; None flattens `a`.
        count: how many bits to return, zeros if there are fewer; negative: how many to leave out at the end.
        bitorder: as for :func:`packbits`.

    >>> unpackbits(array([160], dtype=uint8), count=3)
    Array([1, 0, 1], dtype=uint8)
    """
    x = asarray(a)
    if x.type.dtype != np.uint8:
        raise DtypeError(f"unpackbits needs uint8, got {x.type}")
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("unpackbits", axis, x.type.ndim)
    places = np.arange(8, dtype=np.uint8)[:: -1 if bitorder == "big" else 1]
    shape = x.type.shape
    spread = x.reshape((*shape[: axis + 1], 1, *shape[axis + 1 :]))
    bits = (spread >> places.reshape((8,) + (1,) * (len(shape) - axis - 1))) & np.uint8(1)
    bits = bits.reshape((*shape[:axis], shape[axis] * 8, *shape[axis + 1 :]))
    missing = 0 if count is None else max(0, count - bits.type.shape[axis])
    if missing:
        bits = pad(bits, [(0, missing if i == axis else 0) for i in range(len(shape))])
    return bits[(slice(None),) * axis + (slice(count),)]


def unwrap(p: ArrayLike, discont: ArrayLike | None = None, axis: int = -1, period: ArrayLike = 2 * np.pi) -> Array:
    """Angles without jumps: multiples of the period are added so that neighbours differ by at most half of it.

    Args:
        p: angles.
        discont: jumps up to this are left alone; at least half a period.
        axis: along which neighbours are compared.
        period: of the angles.

    >>> unwrap(array([0.0, 4.0, 2.0]), period=6.0)
    Array([ 0., -2., -4.], dtype=float32)
    """
    (p,) = promote("unwrap", p)
    p = cast(p, inexact(p.type.dtype))
    if not p.type.size:
        return p
    steps = diff(p, axis=axis)
    half = period / 2
    if discont is None:
        discont = half
    folded = mod(steps + half, period) - half
    folded = where((folded == -half) & (steps > 0), half, folded)
    shift = where(absolute(steps) < discont, 0, folded - steps)
    padded = concatenate([zeros_like(take(p, arange(1), axis=axis)), shift], axis=axis)
    return p + cumsum(padded, axis=axis)
