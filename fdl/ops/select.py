"""Elementwise choice."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.types import TensorType
from fdl.dtypes import ALL, ANY, BOOLEAN, REAL, bool_, key
from fdl.errors import DtypeError
from fdl.ops.bitwise import and_
from fdl.ops.compare import gt, lt
from fdl.ops.convert import convert
from fdl.ops.elementwise import Elementwise, check_elementwise
from fdl.ops.shape import all_batched, zeros_of


class Select(Primitive):
    """`on_true` where `predicate` holds, else `on_false`; all of one shape."""

    exact = True
    lowering_kind = "elementwise"
    weak_operands = slice(1, None)
    linear = ((1, 2),)
    transports = True

    def result(self, *types: TensorType) -> TensorType:
        predicate, on_true, on_false = types
        if predicate.dtype != bool_:
            raise DtypeError(f"select needs a boolean predicate, got {predicate}")
        check_elementwise(self, (on_true.with_shape(predicate.shape), on_true, on_false), 3, ANY)
        return on_true

    def reference(self, predicate: np.ndarray, on_true: np.ndarray, on_false: np.ndarray) -> np.ndarray:
        return np.where(predicate, on_true, on_false)

    def prefers_native(self, *types: TensorType) -> bool:
        return types[1].dtype in BOOLEAN + REAL  # NumPy branches for each element

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        predicate, *_ = primals
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals[1:], tangents[1:], strict=True)]
        return self(*primals), self(predicate, *given)

    def transpose(self, cotangent: Any, predicate: Any, on_true: Any, on_false: Any) -> Sequence[Any]:
        zero = zeros_of(cotangent.type)
        return (
            None,
            self(predicate, cotangent, zero) if isinstance(on_true, Linear) else None,
            self(predicate, zero, cotangent) if isinstance(on_false, Linear) else None,
        )

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))

    def lower(self, build: Any, predicate: Any, on_true: Any, on_false: Any) -> Any:
        return build.select(predicate, on_true, on_false)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for shape in ((3, 4), (), (0, 2)):
            yield self, rng.random(shape) < 0.5, rng.normal(size=shape), rng.normal(size=shape)
        for dtype in (*ALL, key):
            words = rng.integers(0, 100, (2, 5, 2)).astype(np.uint32)
            xs = words.view(key)[..., 0] if dtype == key else words[..., 0].astype(dtype)
            yield self, rng.random(5) < 0.5, xs[0], xs[1]


class Gate(Primitive):
    """x itself, which is a constant to derivatives where `predicate` does not hold.

    What is computed of it there must not be used. A derivative by it may be infinite there, and infinity times the zero
    that arrives from a choice of something else is NaN: the gate puts zero in its place.
    """

    lowering_kind = "elementwise"
    linear = ((1,),)

    def result(self, *types: TensorType) -> TensorType:
        predicate, x = types
        return select.result(predicate, x, x)

    def reference(self, predicate: np.ndarray, x: np.ndarray) -> np.ndarray:
        return x

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        predicate, _ = primals
        return self(*primals), select(predicate, tangents[1], zeros_of(tangents[1].type))

    def transpose(self, cotangent: Any, predicate: Any, x: Any) -> Sequence[Any]:
        return None, select(predicate, cotangent, zeros_of(cotangent.type))

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))

    def lower(self, build: Any, predicate: Any, x: Any) -> Any:
        return x

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        # Where the predicate does not hold, the derivative is not that of x.
        for shape in ((3, 4), (), (0, 2)):
            yield self, np.ones(shape, bool), rng.normal(size=shape)
        yield self, np.array([True, False]), np.array([3, 4], np.int32)


class Clamp(Elementwise):
    """min(max(x, low), high); operands in the order (low, x, high)."""

    exact = True
    arity = 3
    domain = BOOLEAN + REAL

    def reference(self, low: np.ndarray, x: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(x, low), high)

    def derivative(self, index: int, out: Any, low: Any, x: Any, high: Any) -> Any:
        if index == 0:
            chosen = and_(gt(low, x), lt(low, high))
        elif index == 1:
            chosen = and_(gt(x, low), lt(x, high))
        else:
            chosen = lt(high, x)
        return convert(chosen, x.type.dtype)

    def lower(self, build: Any, low: Any, x: Any, high: Any) -> Any:
        return build.clamp(low, x, high)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in (np.float64, np.float32, np.int32, np.uint8):
            x = (rng.normal(size=(3, 4)) * 10 + 20).astype(dtype)
            yield self, np.full_like(x, 15), x, np.full_like(x, 25)


select, gate, clamp = Select(), Gate(), Clamp()
