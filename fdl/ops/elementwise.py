"""Bases of the elementwise primitives: operands of one shape, the result of the same shape.

With negation, sum and product, of which the chain rule is made.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.types import TensorType
from fdl.dtypes import INEXACT, NUMERIC, float32, float64, key
from fdl.errors import DtypeError, ShapeError
from fdl.ops.convert import convert
from fdl.ops.precision import HALVES
from fdl.ops.shape import all_batched


class Elementwise(Primitive, abstract=True):
    """Applies a function to each element.

    Class attributes:
        domain: dtypes it takes; all operands have the same.
        result_dtype: dtype of the result; None is that of the operands.
    """

    lowering_kind = "elementwise"
    arity: ClassVar[int]
    domain: ClassVar[tuple[np.dtype, ...]] = NUMERIC
    result_dtype: ClassVar[np.dtype | None] = None

    def result(self, *types: TensorType) -> TensorType:
        check_elementwise(self, types, self.arity, self.domain)
        return types[0] if self.result_dtype is None else TensorType(types[0].shape, self.result_dtype)

    def prefers_native(self, *types: TensorType) -> bool:
        # NumPy computes functions of narrow floats in float64, and has no vector instructions for 16-bit floats.
        return any(t.dtype in HALVES or (t.dtype == float32 and not self.exact) for t in types)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))

    def derivative(self, index: int, out: Any, *args: Any) -> Any:
        """The partial derivative of the result `out` by operand `index`; None is zero."""
        return None

    def derivative_in_float32(self, index: int, out: Any, *args: Any) -> Any:
        """The derivative of 16-bit floats: computed in float32, rounded once."""
        given = (out, *args)
        if any(a.type.dtype not in HALVES for a in given):
            return self.derivative(index, out, *args)
        wide = [convert(a, float32) for a in given]
        derivative = self.derivative(index, *wide)
        for one, original in zip(wide, given, strict=True):
            if derivative is one:
                return original
        return None if derivative is None else convert(derivative, out.type.dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        out = self(*primals)
        derivative_by = self.derivative if out.type.dtype not in HALVES else self.derivative_in_float32
        total = None
        for index, tangent in enumerate(tangents):
            derivative = None if tangent is None else derivative_by(index, out, *primals)
            if derivative is not None:
                term = mul(derivative, tangent)
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
    """One operand; write ``derivative(self, index, out, x)`` for the derivative."""

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


class Neg(Unary):
    """Minus x; unsigned integers wrap around."""

    exact = True
    domain = Binary.domain
    linear = True

    reference = staticmethod(np.negative)  # type: ignore[assignment]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return neg(primals[0]), neg(tangents[0])

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (neg(cotangent),)

    def lower(self, build: Any, x: Any) -> Any:
        return build.neg(x)


class Add(Binary):
    """x + y; integers wrap around."""

    exact = True
    linear = True

    reference = staticmethod(np.add)  # type: ignore[assignment]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        dx, dy = tangents
        return add(*primals), dy if dx is None else dx if dy is None else add(dx, dy)

    def transpose(self, cotangent: Any, x: Any, y: Any) -> Sequence[Any]:
        return tuple(cotangent if isinstance(v, Linear) else None for v in (x, y))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.add(x, y)


class Mul(Binary):
    """x * y; integers wrap around."""

    exact = True
    linear = ((0,), (1,))

    reference = staticmethod(np.multiply)  # type: ignore[assignment]

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        return y if index == 0 else x

    def transpose(self, cotangent: Any, x: Any, y: Any) -> Sequence[Any]:
        if isinstance(x, Linear):
            return mul(cotangent, y), None
        return None, mul(x, cotangent)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.mul(x, y)


neg, add, mul = Neg(), Add(), Mul()
