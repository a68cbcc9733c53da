"""Complex numbers and their parts.

Cotangents pair with tangents through the real part of their product, without conjugation.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Linear
from fdl.core.types import TensorType
from fdl.dtypes import COMPLEX, complex64, complex128, float32, float64, uint32, uint64
from fdl.errors import DtypeError
from fdl.ops.elementwise import Binary, Unary, neg
from fdl.ops.shape import zeros_of

_PART: dict[np.dtype, np.dtype] = {complex64: float32, complex128: float64}
_WHOLE = {part: whole for whole, part in _PART.items()}


class Complex(Binary):
    """x + iy of two real numbers."""

    lowering_kind = "elementwise"
    transports = True
    exact = True
    linear = True
    domain = (float32, float64)

    def result(self, *types: TensorType) -> TensorType:
        type = super().result(*types)
        return TensorType(type.shape, _WHOLE[type.dtype])

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.empty(x.shape, _WHOLE[x.dtype])
        out.real, out.imag = x, y  # keeps infinities, which x + 1j * y would turn into NaN
        return out

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        return self(*primals), self(*given)

    def transpose(self, cotangent: Any, x: Any, y: Any) -> Sequence[Any]:
        return (
            real(cotangent) if isinstance(x, Linear) else None,
            neg(imag(cotangent)) if isinstance(y, Linear) else None,
        )

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        _check_word(x.dtype, float32)
        low, high = (build.convert(build.bitcast(part, uint32), uint64) for part in (x, y))
        return build.or_(low, build.shift_left(high, 32))


class Part(Unary, abstract=True):
    """The real or the imaginary part."""

    lowering_kind = "elementwise"
    transports = True
    exact = True
    linear = True
    domain = COMPLEX
    #: Which half of the bits the part is.
    shift: ClassVar[int]

    def result(self, *types: TensorType) -> TensorType:
        type = super().result(*types)
        return TensorType(type.shape, _PART[type.dtype])

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), self(tangents[0])

    def lower(self, build: Any, x: Any) -> Any:
        _check_word(x.dtype, uint64)
        return build.bitcast(build.convert(build.shift_right_logical(x, self.shift), uint32), float32)


class Real(Part):
    """The real part."""

    shift = 0

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.real

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (complex_(cotangent, zeros_of(cotangent.type)),)


class Imag(Part):
    """The imaginary part."""

    shift = 32

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.imag

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (complex_(zeros_of(cotangent.type), neg(cotangent)),)


class Conj(Unary):
    """The complex conjugate."""

    lowering_kind = "host"
    linear = True
    domain = COMPLEX

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.conj(x)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return conj(primals[0]), conj(tangents[0])

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (conj(cotangent),)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        yield self, np.array([complex(np.inf, -0.0), complex(np.nan, 1.0)])


def _check_word(dtype: np.dtype, wanted: np.dtype) -> None:
    """Raise if a complex number is wider than the register that moves it."""
    if dtype != wanted:
        raise DtypeError(f"generated code has no register for complex numbers of two {dtype}")


complex_, real, imag, conj = Complex(), Real(), Imag(), Conj()
