"""Changes of dtype, by value and by bits."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from fdl.array import Number, eager
from fdl.core.primitive import Primitive
from fdl.core.trace import use
from fdl.core.types import TensorType
from fdl.core.weak import WeakTracer
from fdl.dtypes import (
    ALL,
    as_dtype,
    bool_,
    float16,
    float32,
    int8,
    int32,
    is_inexact,
    key,
    short_name,
    uint8,
    uint16,
    uint32,
)
from fdl.errors import DtypeError, ShapeError


class Cast(Primitive, abstract=True):
    """Every element read as another dtype, without derivative unless the class has one."""

    exact = True
    weak_operands = None

    dtype: np.dtype

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), None

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0])


class Convert(Cast):
    """The nearest value of another dtype.

    Floats become integers towards zero, saturating, NaN as 0; integers wrap around; everything but zero is True; the
    imaginary part is dropped.
    """

    lowering_kind = "elementwise"
    linear = True

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.dtype not in ALL or self.dtype not in ALL:
            raise DtypeError(f"convert cannot turn {x} into {self.dtype}; random keys have no numeric value")
        return TensorType(x.shape, self.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        if self.dtype == bool_:
            return x != np.zeros((), x.dtype)
        if x.dtype.kind == "c" and self.dtype.kind != "c":
            x = x.real
        if self.dtype.kind in "iu" and is_inexact(x.dtype):
            return _saturated(x, self.dtype)
        return x.astype(self.dtype)

    def prefers_native(self, *types: TensorType) -> bool:
        real = self.dtype.kind != "c" and types[0].dtype.kind != "c"
        narrow = not {self.dtype, types[0].dtype}.isdisjoint(_HALVES)
        return real and self.dtype != bool_ and (narrow or not is_plain(types[0].dtype, self.dtype))

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), self(tangents[0]) if is_inexact(self.dtype) else None

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        rounds = is_inexact(types[0].dtype) and not is_inexact(self.dtype)
        return () if rounds or self.dtype == bool_ else ((0,),)

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (convert(cotangent, x.type.dtype),)

    def lower(self, build: Any, x: Any) -> Any:
        return build.convert(x, self.dtype)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        numbers = np.array([0.0, -0.0, 1.5, -1.5, 2.5, 200.7, -200.7, 3e9, -3e9, 1e20, -1e20])
        for dtype in ALL:
            with np.errstate(over="ignore"):
                source = Convert(dtype).reference(numbers)
            yield from ((Convert(other), source) for other in ALL)
        yield Convert(float32), rng.normal(size=())
        yield Convert(np.dtype(np.complex128)), rng.normal(size=(2, 3))
        yield Convert(np.dtype(np.float64)), rng.normal(size=(2, 3)) + 1j
        yield Convert(int32), np.array([np.nan, np.inf, -np.inf])


WeakTracer.conversion = Convert

_HALVES = (float16, as_dtype("bfloat16"))


def is_plain(source: np.dtype, target: np.dtype) -> bool:
    """Whether NumPy's ``astype`` converts numbers as :class:`Convert` does."""
    exact_to_inexact = is_inexact(target) or not is_inexact(source)
    return target != bool_ and exact_to_inexact and (target.kind == "c" or source.kind != "c")


@cache
def _bound(dtype: np.dtype) -> float:
    """The power of two that signed integers of a dtype stay below."""
    return 2.0 ** (8 * dtype.itemsize - 1)


def _saturated(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "i" and x.size and np.maximum.reduce(np.abs(x), None) < _bound(dtype):
        return x.astype(dtype)
    x = x.astype(np.float64)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    inside = (x >= low) & (x < high)
    if inside.all():
        return x.astype(dtype)
    number = np.where(inside, x, 0.0).astype(dtype)
    return np.where(x >= high, dtype.type(high), np.where(x <= low, dtype.type(low), number))


class Bitcast(Cast):
    """The same bits read as another dtype of the same size."""

    lowering_kind = "elementwise"

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.dtype not in ALL or self.dtype not in ALL or x.dtype.itemsize != self.dtype.itemsize:
            raise DtypeError(f"bitcast cannot read {x} as {self.dtype}: both must be numbers of one size")
        return TensorType(x.shape, self.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x).view(self.dtype)

    def lower(self, build: Any, x: Any) -> Any:
        return build.bitcast(x, self.dtype)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Bitcast(uint32), rng.normal(size=(3, 4)).astype(np.float32)
        yield Bitcast(float32), rng.normal(size=()).astype(np.float32).view(np.int32)
        yield Bitcast(uint16), rng.normal(size=5).astype(float16)
        yield Bitcast(as_dtype("bfloat16")), rng.integers(0, 0x7F00, 5).astype(np.uint16)
        yield Bitcast(np.dtype(np.int64)), rng.normal(size=(0, 2))
        yield Bitcast(int8), rng.integers(0, 255, 7).astype(np.uint8)


class Reinterpret(Cast):
    """The same bits read as a dtype of another size, through an extra last axis on the side of the smaller one."""

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.dtype not in ALL or self.dtype not in ALL or x.dtype.itemsize == self.dtype.itemsize:
            raise DtypeError(f"reinterpret cannot read {x} as {self.dtype}: both must be numbers of different sizes")
        if self.dtype.itemsize < x.dtype.itemsize:
            return TensorType((*x.shape, x.dtype.itemsize // self.dtype.itemsize), self.dtype)
        ratio = self.dtype.itemsize // x.dtype.itemsize
        if x.shape[-1:] != (ratio,):
            raise ShapeError(f"to read {x} as {self.dtype} its last axis must have the extent {ratio}")
        return TensorType(x.shape[:-1], self.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        shape = self.result(TensorType(x.shape, x.dtype)).shape
        return np.ascontiguousarray(x).reshape(-1).view(self.dtype).reshape(shape)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Reinterpret(uint8), rng.normal(size=(2, 3)).astype(np.float32)
        yield Reinterpret(uint32), rng.integers(0, 255, (3, 4)).astype(np.uint8)
        yield Reinterpret(uint16), rng.integers(0, 255, ()).astype(np.uint64)


def convert(x: Any, dtype: Any) -> Any:
    """`x` as `dtype`; itself if it has it already."""
    dtype, known, x = as_dtype(dtype), type(x) is Number, x.held  # all digits of a weak value
    if x.type.dtype == dtype:
        return x
    if key in (dtype, x.type.dtype):
        raise DtypeError(f"random keys are no numbers: {x.type} cannot become {short_name(dtype)}")
    if known:
        with use(eager):  # what is known stays known while a function is traced
            return Convert(dtype)(x)
    return Convert(dtype)(x)


def bitcast(x: Any, dtype: Any) -> Any:
    """The bits of `x` read as `dtype`.

    A smaller dtype adds a last axis of the ratio of the sizes, a larger one takes such an axis away.
    """
    dtype = as_dtype(dtype)
    if x.type.dtype == dtype:
        return x
    same = x.type.dtype.itemsize == dtype.itemsize
    return Bitcast(dtype)(x) if same else Reinterpret(dtype)(x)
