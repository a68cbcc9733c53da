"""Convolution and correlation of signals of any number of axes, under the names of ``scipy.signal``."""

from collections.abc import Sequence
from typing import Any

import fdl.fft
import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import axis_tuple, number, promote

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve"]

_MODES = ("full", "same", "valid")
_BOUNDARIES = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}
_ARGUMENTS = {
    "in1": "array, not empty.",
    "in2": "array of as many axes; together they are converted to a floating or complex dtype.",
    "mode": '"full" for all n + m - 1 places of an axis, "same" for the n in the middle, those of `in1`, or "valid" '
    "where one input covers the other wholly.",
    "method": '"direct" for sums, "fft" for Fourier transforms; "auto" is "direct".',
    "precision": "of the products, as in :func:`fdl.lax.conv_general_dilated`.",
    "boundary": 'what surrounds `in1`: "fill" for `fillvalue`, "wrap" for it again, "symm" for its mirror image.',
    "fillvalue": 'a number, for boundary "fill".',
}
_MATRICES = {
    "in1": "matrix, not empty.",
    "in2": "matrix; together they are converted to a floating or complex dtype.",
}
_RAISES = {
    "ShapeError": "the inputs differ in their number of axes, are empty, or in mode valid neither covers the other."
}


def _inputs(name: str, in1: Any, in2: Any, mode: str) -> list[Array]:
    x, y = promote(name, in1, in2, to_inexact=True)
    if mode not in _MODES:
        raise ValueError(f"{name}: mode must be one of {_MODES}, got {mode!r}")
    if x.ndim != y.ndim:
        raise ShapeError(f"{name} needs inputs with as many axes, got {x.type} and {y.type}")
    if not x.size or not y.size:
        raise ShapeError(f"{name} needs inputs with elements, got {x.type} and {y.type}")
    return [x, y]


def _larger_first(name: str, x: Array, y: Array, axes: Sequence[int]) -> list[Array]:
    """The input that covers the other one, and that."""
    sizes = [(x.shape[axis], y.shape[axis]) for axis in axes]
    if all(n >= m for n, m in sizes):
        return [x, y]
    if all(n <= m for n, m in sizes):
        return [y, x]
    raise ShapeError(
        f"{name}: in mode 'valid' one input must be as large as the other on each axis, got {x.type} and {y.type}"
    )


def _sums(x: Array, y: Array, padding: Sequence[tuple[int, int]], precision: Any) -> Array:
    """The products of the reversed y with the padded x under it, summed."""
    kernel = fnp.flip(y)[None, None]
    strides = (1,) * x.ndim
    return lax.conv_general_dilated(x[None, None], kernel, strides, padding, precision=precision)[0, 0]


def _padding(y: Array, mode: str) -> list[tuple[int, int]]:
    """How far the kernel goes beyond the borders."""
    if mode == "same":
        return [(m // 2, (m - 1) // 2) for m in y.shape]
    return [(m - 1, m - 1) if mode == "full" else (0, 0) for m in y.shape]


def _direct(name: str, x: Array, y: Array, mode: str, precision: Any) -> Array:
    if mode == "valid":
        x, y = _larger_first(name, x, y, range(x.ndim))
    if not x.ndim:
        return x * y
    return _sums(x, y, _padding(y, mode), precision)


def _fast_length(n: int) -> int:
    """The least length that is not below n and has no prime factor above 5."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


@fill_docstring(_ARGUMENTS, raises=_RAISES)
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Array:
    """Convolution of signals by Fourier transforms.

    Args:
        axes: along which to convolve, None for all; the other axes broadcast.

    Returns:
        The convolution, exact but for the rounding of transforms, which is relative to the largest element.

    >>> fftconvolve(fnp.array([1.0, 2.0, 3.0]), fnp.array([1.0, 1.0])).round(3).tolist()
    [1.0, 3.0, 5.0, 3.0]
    """
    x, y = _inputs("fftconvolve", in1, in2, mode)
    chosen = axis_tuple("fftconvolve", axes, x.ndim)
    others = [axis for axis in range(x.ndim) if axis not in chosen]
    if any(x.shape[axis] != y.shape[axis] and 1 not in (x.shape[axis], y.shape[axis]) for axis in others):
        raise ShapeError(f"fftconvolve: the axes beside axes={axes} must broadcast, got {x.type} and {y.type}")
    if mode == "valid":
        x, y = _larger_first("fftconvolve", x, y, chosen)
    if not chosen:
        return x * y
    full = [x.shape[axis] + y.shape[axis] - 1 for axis in chosen]
    lengths = [_fast_length(n) for n in full]
    if x.dtype.kind == "c":
        product = fdl.fft.fftn(x, lengths, chosen) * fdl.fft.fftn(y, lengths, chosen)
        found = fdl.fft.ifftn(product, lengths, chosen)
    else:
        product = fdl.fft.rfftn(x, lengths, chosen) * fdl.fft.rfftn(y, lengths, chosen)
        found = fdl.fft.irfftn(product, lengths, chosen)
    cut = [slice(None)] * x.ndim
    for axis, length in zip(chosen, full, strict=True):
        n, m = x.shape[axis], y.shape[axis]
        start, count = {"full": (0, length), "same": ((m - 1) // 2, n), "valid": (m - 1, n - m + 1)}[mode]
        cut[axis] = slice(start, start + count)
    return found[tuple(cut)].astype(x.dtype)


@fill_docstring(_ARGUMENTS, raises=_RAISES)
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto", precision: Any = None) -> Array:
    """Convolution: out[k] is the sum over i of in1[i] in2[k - i].

    Returns:
        An array of as many axes.

    >>> convolve(fnp.array([1.0, 2.0, 3.0]), fnp.array([1.0, 1.0]), mode="same").tolist()
    [1.0, 3.0, 5.0]
    """
    return _convolve("convolve", in1, in2, mode, method, precision)


def _convolve(name: str, in1: Any, in2: Any, mode: str, method: str, precision: Any) -> Array:
    if method not in ("auto", "direct", "fft"):
        raise ValueError(f"{name}: method must be 'auto', 'direct' or 'fft', got {method!r}")
    if method == "fft":
        return fftconvolve(in1, in2, mode)
    x, y = _inputs(name, in1, in2, mode)
    return _direct(name, x, y, mode, precision)


@fill_docstring(_ARGUMENTS, raises=_RAISES)
def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto", precision: Any = None) -> Array:
    """Correlation: out[k] is the sum over i of in1[i + k - m + 1] times the conjugate of in2[i], which has m elements.

    Returns:
        An array of as many axes.

    >>> correlate(fnp.array([1.0, 2.0, 3.0]), fnp.array([0.0, 1.0]), mode="valid").tolist()
    [2.0, 3.0]
    """
    x, y = _inputs("correlate", in1, in2, mode)
    return _convolve("correlate", x, fnp.flip(fnp.conj(y)), mode, method, precision)


def _images(name: str, x: Array, y: Array, padding: Sequence[tuple[int, int]], how: tuple[str, Any, Any]) -> Array:
    """The convolution of two images of which the first goes on beyond its borders, as `how` says."""
    boundary, fill, precision = how
    if x.ndim != 2:
        raise ShapeError(f"{name} needs matrices, got {x.type} and {y.type}")
    if boundary not in _BOUNDARIES:
        raise ValueError(f"{name}: boundary must be one of {sorted(_BOUNDARIES)}, got {boundary!r}")
    if not any(map(any, padding)):
        return _direct(name, x, y, "valid", precision)
    if boundary == "fill" and type(fill) in (int, float) and not fill:
        return _sums(x, y, padding, precision)
    if boundary == "fill":
        fill = number(f"{name}: fillvalue", fill)
        if fill.ndim or fill.dtype.kind == "c" != x.dtype.kind:
            raise DtypeError(f"{name}: fillvalue must be a number that {x.dtype} holds, got {fill.type}")
    options: dict[str, Any] = {"constant_values": fill} if boundary == "fill" else {}
    return _sums(fnp.pad(x, padding, _BOUNDARIES[boundary], **options), y, [(0, 0), (0, 0)], precision)


@fill_docstring(_ARGUMENTS | _MATRICES, raises=_RAISES)
def convolve2d(
    in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0, precision: Any = None
) -> Array:
    """Convolution of two images.

    Returns:
        A matrix.

    >>> convolve2d(fnp.array([[1.0, 2.0], [3.0, 4.0]]), fnp.array([[1.0, 1.0]])).tolist()
    [[1.0, 3.0, 2.0], [3.0, 7.0, 4.0]]
    """
    x, y = _inputs("convolve2d", in1, in2, mode)
    return _images("convolve2d", x, y, _padding(y, mode), (boundary, fillvalue, precision))


@fill_docstring(_ARGUMENTS | _MATRICES, raises=_RAISES)
def correlate2d(
    in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0, precision: Any = None
) -> Array:
    """Correlation of two images, the second one conjugated.

    Returns:
        A matrix.

    >>> correlate2d(fnp.array([[1.0, 2.0], [3.0, 4.0]]), fnp.array([[1.0, 0.0]]), mode="valid").tolist()
    [[1.0], [3.0]]
    """
    x, y = _inputs("correlate2d", in1, in2, mode)
    if mode == "valid" and _larger_first("correlate2d", x, y, range(x.ndim))[0] is not x:
        # SciPy and JAX conjugate the smaller image, also where that is the first one.
        x, y = fnp.conj(x), fnp.conj(y)
    # Of an even number of places SciPy takes the other one as the middle than in a convolution.
    padding = [(high, low) for low, high in _padding(y, mode)]
    return _images("correlate2d", x, fnp.flip(fnp.conj(y)), padding, (boundary, fillvalue, precision))
