"""Cosine transforms, under the names of ``scipy.fft``."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import fft as fourier
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index, axis_tuple, complex_of, integer, integers, is_sequence
from fdl.scipy._operands import inexact

__all__ = ["dct", "dctn", "idct", "idctn"]

_NORMS = (None, "backward", "ortho", "forward")

_documented = fill_docstring(
    {
        "x": "array, real or complex.",
        "type": "2; other types are not offered.",
        "n": "length; the axis is cut or padded with zeros to it. None is its extent.",
        "axis": "to transform.",
        "s": "lengths, one per axis; None is their extents.",
        "axes": "to transform; None is the last ``len(s)``, or all.",
        "norm": 'None or "backward" scales the inverse by 1 / (2 n), "forward" the transform; "ortho" makes it '
        "orthogonal.",
    },
    "An inexact array, of float32 at least.",
    {"NotImplementedError": "another type.", "ValueError": "another norm.", "ShapeError": "the axis has no length."},
)


def _prepare(name: str, x: Any, type: int, n: int | None, axis: int, norm: str | None) -> Array:
    """The array with the axis, of the length asked for, as the last."""
    if type != 2:
        raise NotImplementedError(f"{name} takes type 2, got {type}")
    if norm not in _NORMS:
        raise ValueError(f"{name} takes norm {', '.join(map(repr, _NORMS))}, got {norm!r}")
    (x,) = inexact(x)
    if x.dtype.itemsize < 4:
        x = x.astype(fnp.float32)
    x = fnp.moveaxis(x, axis_index(name, axis, x.ndim), -1)
    n = x.shape[-1] if n is None else integer(f"{name}: n", n)
    if n < 1:
        raise ShapeError(f"{name} needs at least one element along the axis, got {x.type}, n={n}")
    x = x[..., :n]
    return fnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, n - x.shape[-1])])


def _scale(n: int, norm: str | None) -> Any:
    """What the cosines' sums are multiplied by."""
    if norm == "ortho":
        return np.where(np.arange(n) == 0, math.sqrt(1 / (4 * n)), math.sqrt(1 / (2 * n)))
    return np.full(n, 1 / (2 * n) if norm == "forward" else 1.0)


def _in_order(n: int) -> np.ndarray:
    """Even places ascending, odd ones descending: in this order one Fourier transform gives the cosines."""
    return np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])


def _turns(n: int, dtype: Any) -> np.ndarray:
    return np.exp(-0.5j * np.pi * np.arange(n) / n).astype(complex_of(dtype))


@_documented
def dct(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The cosine transform: element k is twice the sum of x_j cos(pi k (2 j + 1) / (2 n)).

    Source: Makhoul, "A fast cosine transform in one and two dimensions" (1980).

    >>> dct(fnp.array([1.0, 1.0])).round(3).tolist()
    [4.0, 0.0]
    """
    x = _prepare("dct", x, type, n, axis, norm)
    if x.dtype.kind == "c":
        found = dct(x.real, norm=norm) + 1j * dct(x.imag, norm=norm)
        return fnp.moveaxis(found, -1, axis)
    count = x.shape[-1]
    found = fourier.fft(fnp.take(x, _in_order(count), axis=-1))
    found = 2 * (found * _turns(count, x.dtype)).real * _scale(count, norm).astype(x.dtype)
    return fnp.moveaxis(found, -1, axis)


@_documented
def idct(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of :func:`dct`.

    >>> idct(fnp.array([4.0, 0.0])).round(3).tolist()
    [1.0, 1.0]
    """
    x = _prepare("idct", x, type, n, axis, norm)
    if x.dtype.kind == "c":
        found = idct(x.real, norm=norm) + 1j * idct(x.imag, norm=norm)
        return fnp.moveaxis(found, -1, axis)
    count = x.shape[-1]
    x = x / _scale(count, norm).astype(x.dtype)
    backwards = fnp.concatenate([fnp.zeros_like(x[..., :1]), x[..., :0:-1]], axis=-1)
    spectrum = 0.5 * (x - 1j * backwards) * _turns(count, x.dtype).conj()
    found = fourier.ifft(spectrum).real
    return fnp.moveaxis(fnp.take(found, np.argsort(_in_order(count)), axis=-1), -1, axis)


def _each_axis(transform: Any, x: Any, type: int, s: Any, axes: Any, norm: str | None) -> Array:
    (x,) = inexact(x)
    if s is not None:
        s = integers(f"{transform.__name__}n: s", s if is_sequence(s) else (s,))
    if s is not None and len(s) > x.ndim:
        raise ShapeError(f"{transform.__name__}n: s must have at most x.ndim ({x.ndim}) elements, got {len(s)}")
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    places = axis_tuple(f"{transform.__name__}n", axes, x.ndim)
    lengths = [x.shape[axis] for axis in places] if s is None else s
    if len(lengths) != len(places):
        raise ShapeError(f"s and axes differ in number: {s} and {axes}")
    for n, axis in zip(lengths, places, strict=True):
        x = transform(x, type, n, axis, norm)
    return x


@_documented
def dctn(
    x: Any, type: int = 2, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The cosine transform along several axes; see :func:`dct`.

    >>> dctn(fnp.ones((2, 2))).round(3).tolist()
    [[16.0, 0.0], [0.0, 0.0]]
    """
    return _each_axis(dct, x, type, s, axes, norm)


@_documented
def idctn(
    x: Any, type: int = 2, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The inverse of :func:`dctn`.

    >>> idctn(fnp.array([[16.0, 0.0], [0.0, 0.0]])).round(3).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return _each_axis(idct, x, type, s, axes, norm)


def __dir__() -> list[str]:
    return __all__
