"""Bases of the elementwise primitives: operands of one shape, the result of the same shape."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import INEXACT, NUMERIC, float32, float64, key
from fdl.errors import DtypeError, ShapeError
from fdl.ops.precision import HALVES
from fdl.ops.shape import all_batched


class Elementwise(Primitive, abstract=True):
    """Applies a function to each element.

    Class attributes:
        domain: dtypes it takes; all operands have the same.
        result_dtype: dtype of the result; None is that of the operands.
    """

    family = "elementwise"
    arity: ClassVar[int]
    domain: ClassVar[tuple[np.dtype, ...]] = NUMERIC
    result_dtype: ClassVar[np.dtype | None] = None

    def result(self, *types: TensorType) -> TensorType:
        check_elementwise(self, types, self.arity, self.domain)
        return types[0] if self.result_dtype is None else TensorType(types[0].shape, self.result_dtype)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))

    def slope(self, index: int, out: Any, *args: Any) -> Any:
        """The partial derivative of the result `out` by operand `index`; None is zero."""
        return None

    def slope_in_float32(self, index: int, out: Any, *args: Any) -> Any:
        """The slope of 16-bit floats: computed in float32, rounded once."""
        from fdl.ops.convert import convert

        given = (out, *args)
        if any(a.type.dtype not in HALVES for a in given):
            return self.slope(index, out, *args)
        wide = [convert(a, float32) for a in given]
        slope = self.slope(index, *wide)
        for one, original in zip(wide, given, strict=True):
            if slope is one:
                return original
        return None if slope is None else convert(slope, out.type.dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        from fdl.ops.arithmetic import add, mul

        out = self(*primals)
        slope_of = self.slope if out.type.dtype not in HALVES else self.slope_in_float32
        total = None
        for index, tangent in enumerate(tangents):
            slope = None if tangent is None else slope_of(index, out, *primals)
            if slope is not None:
                term = mul(slope, tangent)
                total = term if total is None else add(total, term)
        return out, total

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        main = float64 if float64 in self.domain else self.domain[-1]
        for shape in ((3, 4), (), (0, 2), (1, 1)):
            yield self, *(self.draw(rng, shape, main) for _ in range(self.arity))
        for dtype in self.domain:
            yield self, *(self.draw(rng, (37,), dtype) for _ in range(self.arity))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Random operands inside the domain of the function."""
        if np.dtype(dtype).kind == "b":
            return rng.random(shape) < 0.5
        if dtype == key:
            return rng.integers(0, 100, (*shape, 2)).astype(np.uint32).view(key)[..., 0]
        if np.dtype(dtype).kind in "iu":
            return rng.integers(0 if np.dtype(dtype).kind == "u" else -100, 100, shape).astype(dtype)
        x = np.asarray(rng.normal(size=shape))
        return (x + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


class Unary(Elementwise, abstract=True):
    """One operand; write ``slope(self, index, out, x)`` for the derivative."""

    arity = 1
    domain: ClassVar[tuple[np.dtype, ...]] = INEXACT


class Binary(Elementwise, abstract=True):
    """Two operands of one type."""

    arity = 2


def check_elementwise(
    operation: Primitive, types: Sequence[TensorType], arity: int, domain: Sequence[np.dtype]
) -> None:
    """Raise unless there are `arity` operands of one shape and one dtype, in `domain`."""
    if len(types) != arity:
        raise TypeError(f"{operation.name} takes {arity} operands, got {len(types)}")
    if any(t.shape != types[0].shape for t in types):
        raise ShapeError(f"{operation.name} needs operands of one shape, got {', '.join(map(str, types))}")
    if any(t.dtype != types[0].dtype for t in types):
        raise DtypeError(f"{operation.name} needs operands of one dtype, got {', '.join(map(str, types))}")
    if types[0].dtype not in domain:
        raise DtypeError(f"{operation.name} is not defined for {types[0]}")
