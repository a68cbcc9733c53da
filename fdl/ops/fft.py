"""Discrete Fourier transforms."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from fdl import dtypes
from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.errors import DtypeError, ShapeError
from fdl.ops.complex import complex_, imag, real
from fdl.ops.elementwise import mul, neg
from fdl.ops.shape import broadcast_in_dim

KINDS = ("fft", "ifft", "rfft", "irfft")


class Fft(Primitive):
    """The transform over the last axes, one per entry of ``lengths``.

    ``fft`` and ``ifft`` take complex to complex; ``rfft`` real to the first half of the Hermitian spectrum along the
    last axis; ``irfft`` back. ``ifft`` and ``irfft`` divide by the number of points. ``lengths`` are those of the
    time domain.
    """

    linear = True
    kind: str
    lengths: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if self.kind not in KINDS:
            raise ValueError(f"fft knows the kinds {', '.join(KINDS)}, got {self.kind!r}")
        domain = (dtypes.float32, dtypes.float64) if self.kind == "rfft" else dtypes.COMPLEX
        if x.dtype not in domain:
            raise DtypeError(f"{self.kind} takes {' or '.join(map(str, domain))}, got {x}")
        rest, last = self.lengths[:-1], self.lengths[-1]
        half, rank = last // 2 + 1, len(self.lengths)
        wanted = (*rest, half if self.kind == "irfft" else last)
        if x.shape[-rank:] != wanted:
            raise ShapeError(f"{self.kind} of lengths {self.lengths} needs last axes {wanted}, got {x}")
        shape = (*x.shape[:-rank], *rest, half if self.kind == "rfft" else last)
        if self.kind == "rfft":
            return TensorType(shape, np.result_type(x.dtype, np.complex64))
        return TensorType(shape, np.empty(0, x.dtype).real.dtype if self.kind == "irfft" else x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        axes = tuple(range(x.ndim - len(self.lengths), x.ndim))
        function = getattr(_library(x.dtype), self.kind + "n")
        return np.asarray(function(x, s=self.lengths, axes=axes), self.result(TensorType(x.shape, x.dtype)).dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), self(tangents[0])

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        count, total = _multiplicity(self.lengths[-1]), prod(self.lengths)
        if self.kind == "rfft":
            # The half that is left out adds its conjugate, which doubles what irfft makes of the inner frequencies.
            return (Fft("irfft", self.lengths)(_conjugate_times(cotangent, total / count)),)
        if self.kind == "irfft":
            return (_conjugate_times(Fft("rfft", self.lengths)(cotangent), count / total),)
        return (self(cotangent),)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for lengths in ((8,), (5,), (4, 6), (3, 5)):
            shape, half = (2, *lengths), (2, *lengths[:-1], lengths[-1] // 2 + 1)
            for kind in ("fft", "ifft"):
                yield Fft(kind, lengths), rng.normal(size=shape) + 1j * rng.normal(size=shape)
            yield Fft("rfft", lengths), rng.normal(size=shape)
            yield Fft("irfft", lengths), rng.normal(size=half) + 1j * rng.normal(size=half)


def _library(dtype: np.dtype) -> Any:
    """The module whose transforms of a dtype are the faster ones.

    SciPy transforms as many rows at once as a register has lanes, which is two to seven times as fast in single
    precision. In double precision NumPy is as fast.
    """
    if dtype not in (dtypes.float32, dtypes.complex64):
        return np.fft
    import scipy.fft  # slow to import, seldom needed

    return scipy.fft


def _conjugate_times(x: Any, weights: np.ndarray) -> Any:
    """The conjugate of x times real numbers along the last axis."""
    re, im = real(x), imag(x)
    factors = broadcast_in_dim(weights.astype(re.type.dtype), re.type.shape, (re.type.ndim - 1,))
    return complex_(mul(re, factors), neg(mul(im, factors)))


def _multiplicity(length: int) -> np.ndarray:
    """How often each kept frequency stands in the full spectrum of a real signal."""
    half = length // 2 + 1
    return np.array([1.0 if k == 0 or 2 * k == length else 2.0 for k in range(half)])


def fft(x: Any, kind: str, lengths: Sequence[int]) -> Any:
    """The transform `kind` over the last axes of x."""
    return Fft(kind, tuple(lengths))(x)
