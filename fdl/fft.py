"""Discrete Fourier transforms, under the names of ``numpy.fft``.

Real input is converted to complex where a transform needs it; half precision is computed in float32.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.dtypes import as_dtype
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import axis_index, complex_of, integer, real_of
from fdl.ops.fft import fft as transform

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

Axes = Sequence[int] | None

_NORMS = (None, "backward", "ortho", "forward")


_ARGUMENTS = {
    "a": "array, real or complex.",
    "n": "length; the axis is cut or padded with zeros to it. None is its extent.",
    "axis": "to transform.",
    "s": "lengths, one per axis; None is their extents.",
    "axes": "to transform; None is the last ``len(s)``, or all.",
    "norm": "as in :func:`fft`.",
}
_OF_REAL = _ARGUMENTS | {"a": "real array; float64 gives complex128, all others complex64."}
_OF_HALF = _ARGUMENTS | {
    "a": "the first half of the frequencies along the axis, or the last of the axes: n // 2 + 1 for n results.",
    "n": "number of results; None is twice (frequencies minus one).",
    "s": "lengths of the result, one per axis; None takes the last as twice (frequencies minus one).",
}
_RAISES = {"ShapeError": "an axis does not exist or has no length, or s and axes differ in number."}
_to_complex = fill_docstring(_ARGUMENTS, "A complex array.", _RAISES)
_from_real = fill_docstring(_OF_REAL, "A complex array.", _RAISES | {"DtypeError": "a is complex."})
_to_real = fill_docstring(_OF_HALF, "A real array.", _RAISES)


@_to_complex
def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """Transform along one axis.

    Args:
        a: array; float64 and complex128 give complex128, all others complex64.
        norm: "backward" (the default: the inverse divides by n), "ortho" or "forward".

    Raises:
        ValueError: the norm is unknown.

    >>> fft(fnp.array([1.0, 1.0])).real.tolist()
    [2.0, 0.0]
    """
    return _transform("fft", a, None if n is None else (n,), (axis,), norm)


@_to_complex
def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """Inverse of :func:`fft`.

    >>> ifft(fnp.array([2.0, 0.0])).real.tolist()
    [1.0, 1.0]
    """
    return _transform("ifft", a, None if n is None else (n,), (axis,), norm)


@_from_real
def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """Transform of real numbers along one axis: the first n // 2 + 1 frequencies.

    >>> rfft(fnp.array([1.0, 0.0, 0.0, 0.0])).real.tolist()
    [1.0, 1.0, 1.0]
    """
    return _transform("rfft", a, None if n is None else (n,), (axis,), norm)


@_to_real
def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """Inverse of :func:`rfft`.

    >>> irfft(fnp.array([4.0, 0.0, 0.0])).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    return _transform("irfft", a, None if n is None else (n,), (axis,), norm)


@_to_real
def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """Transform of a signal that is Hermitian in time, of which the first half is given: real frequencies.

    Args:
        a: the first n // 2 + 1 elements of the signal.
        n: number of results; None is twice (elements minus one).

    >>> hfft(fnp.array([1.0, 0.0])).tolist()
    [1.0, 1.0]
    """
    return irfft(fnp.conj(a), n, axis, _swapped(norm))


@_from_real
def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """Inverse of :func:`hfft`.

    >>> ihfft(fnp.array([1.0, 1.0])).real.tolist()
    [1.0, 0.0]
    """
    return fnp.conj(rfft(a, n, axis, _swapped(norm)))


@_to_complex
def fftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Array:
    """Transform along several axes.

    >>> fftn(fnp.ones((2, 2))).real.tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    return _transform("fft", a, s, axes, norm)


@_to_complex
def ifftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Array:
    """Inverse of :func:`fftn`.

    >>> ifftn(fnp.ones((2, 2))).real.tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return _transform("ifft", a, s, axes, norm)


@_from_real
def rfftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Array:
    """Transform of real numbers along several axes; the last of them keeps the first half of the frequencies.

    >>> rfftn(fnp.ones((2, 4))).shape
    (2, 3)
    """
    return _transform("rfft", a, s, axes, norm)


@_to_real
def irfftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Array:
    """Inverse of :func:`rfftn`.

    >>> irfftn(rfftn(fnp.ones((2, 4)))).shape
    (2, 4)
    """
    return _transform("irfft", a, s, axes, norm)


@_to_complex
def fft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Array:
    """Transform along two axes: :func:`fftn` with other axes by default.

    >>> fft2(fnp.ones((2, 2))).real.tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    return fftn(a, s, axes, norm)


@_to_complex
def ifft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Array:
    """Inverse of :func:`fft2`.

    >>> ifft2(fnp.ones((2, 2))).real.tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return ifftn(a, s, axes, norm)


@_from_real
def rfft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Array:
    """Transform of real numbers along two axes.

    >>> rfft2(fnp.ones((2, 4))).shape
    (2, 3)
    """
    return rfftn(a, s, axes, norm)


@_to_real
def irfft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Array:
    """Inverse of :func:`rfft2`.

    >>> irfft2(rfft2(fnp.ones((2, 4)))).shape
    (2, 4)
    """
    return irfftn(a, s, axes, norm)


_SAMPLES = {
    "n": "number of samples.",
    "d": "their distance, in units of time or space.",
    "dtype": "of the result; None is float32.",
    "device": 'None, the one device, or "cpu".',
}


@fill_docstring(_SAMPLES, "[n], in cycles per unit.")
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Array:
    """The frequencies of :func:`fft`: cycles per unit, for n samples at distance d.

    >>> fftfreq(4).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    n = integer("fftfreq: n", n)
    k = fnp.arange(n, device=device)
    k = fnp.where(k < (n + 1) // 2, k, k - n)
    return _per_unit("fftfreq", k, n, d, dtype)


@fill_docstring(_SAMPLES, "[n // 2 + 1], in cycles per unit.")
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Array:
    """The frequencies of :func:`rfft`.

    >>> rfftfreq(4).tolist()
    [0.0, 0.25, 0.5]
    """
    n = integer("rfftfreq: n", n)
    return _per_unit("rfftfreq", fnp.arange(n // 2 + 1, device=device), n, d, dtype)


def _per_unit(name: str, k: Array, n: int, d: Any, dtype: Any) -> Array:
    """Cycles `k` of n samples at distance d, as cycles per unit."""
    if np.ndim(d):
        raise ShapeError(f"{name}: d, the distance of the samples, must be a scalar, got one of shape {np.shape(d)}")
    return k.astype(as_dtype(float if dtype is None else dtype)) / (n * d)


_shift = fill_docstring(
    {"x": "array of any dtype.", "axes": "an axis, several, or None for all."},
    "An array like x.",
    {"ShapeError": "an axis does not exist."},
)


@_shift
def fftshift(x: Any, axes: Any = None) -> Array:
    """Move frequency zero to the middle of the axes (None is all).

    >>> fftshift(fftfreq(4)).tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """
    x = fnp.asarray(x)
    axes = _axes(x, axes)
    return fnp.roll(x, [x.shape[a] // 2 for a in axes], axes)


@_shift
def ifftshift(x: Any, axes: Any = None) -> Array:
    """Inverse of :func:`fftshift`.

    >>> ifftshift(fftshift(fftfreq(4))).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    x = fnp.asarray(x)
    axes = _axes(x, axes)
    return fnp.roll(x, [-(x.shape[a] // 2) for a in axes], axes)


def _axes(x: Array, axes: Any) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(x.ndim))
    return tuple(axis_index("fft", a, x.ndim) for a in (axes if isinstance(axes, Sequence) else (axes,)))


def _swapped(norm: str | None) -> str | None:
    return {None: "forward", "backward": "forward", "forward": "backward"}.get(norm, norm)


def _transform(kind: str, a: Any, s: Sequence[int] | None, axes: Axes, norm: str | None) -> Array:
    if norm not in _NORMS:
        raise ValueError(f"norm is 'backward', 'ortho' or 'forward', got {norm!r}")
    x = _prepared(kind, fnp.asarray(a))
    axes = _axes(x, range(x.ndim - len(s), x.ndim) if axes is None and s is not None else axes)
    if s is not None and len(s) != len(axes):
        raise ShapeError(f"lengths s={tuple(s)} and axes {axes} differ in number")
    if len(set(axes)) != len(axes):
        # Repeated axes are transformed one after the other.
        for i, axis in enumerate(axes):
            x = _transform(kind, x, None if s is None else (s[i],), (axis,), norm)
        return x
    lengths = [x.shape[axis] for axis in axes] if s is None else [operator.index(n) for n in s]
    if kind == "irfft" and s is None and axes:
        lengths[-1] = 2 * (x.shape[axes[-1]] - 1)
    if kind in ("fft", "ifft") and s is None and 0 in lengths:
        return x
    if not axes or min(lengths) < 1:
        raise ShapeError(f"a Fourier transform needs axes of positive length, got {lengths} for {x.type}")
    held = [n // 2 + 1 if kind == "irfft" and i == len(axes) - 1 else n for i, n in enumerate(lengths)]
    for axis, extent in zip(axes, held, strict=True):
        x = _fitted(x, axis, extent)
    last = tuple(range(x.ndim - len(axes), x.ndim))
    y = transform(fnp.moveaxis(x, axes, last), kind, lengths)
    return fnp.moveaxis(_scaled(y, kind, math.prod(lengths), norm), last, axes)


def _prepared(kind: str, x: Array) -> Array:
    """x in a dtype that the transform takes."""
    if kind == "rfft" and x.dtype.kind == "c":
        raise DtypeError(f"rfft needs real numbers, got {x.type}; use fft, or take x.real")
    wide = complex_of(x.dtype)
    return x.astype(real_of(wide) if kind == "rfft" else wide)


def _scaled(y: Array, kind: str, points: int, norm: str | None) -> Array:
    inverse = kind in ("ifft", "irfft")
    if norm == "ortho":
        return y * (math.sqrt(points) if inverse else 1 / math.sqrt(points))
    if norm == "forward":
        return y * (points if inverse else 1 / points)
    return y


def _fitted(x: Array, axis: int, extent: int) -> Array:
    have = x.shape[axis]
    if have > extent:
        return x[tuple(slice(extent) if a == axis else slice(None) for a in range(x.ndim))]
    if have < extent:
        return fnp.pad(x, [(0, extent - have) if a == axis else (0, 0) for a in range(x.ndim)])
    return x


def __dir__() -> list[str]:
    return __all__
