"""Sorting, and the largest elements."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import ALL, BOOLEAN, REAL, index_dtype, int32, int64
from fdl.errors import DtypeError, ShapeError
from fdl.ops.indexing import take_along
from fdl.ops.precision import widened
from fdl.ops.samples import draw
from fdl.ops.shape import all_batched, iota


class Sort(Primitive):
    """The operands, reordered together along `axis` so that the first ``num_keys`` ascend, the earlier ones first.

    NaN is the largest number, -0.0 equals 0.0, complex numbers compare by real part first. Equal elements keep their
    order, also if ``stable`` does not ask for it.
    """

    exact = True
    lowering_kind = "kernel"
    multiple = True
    axis: int
    num_keys: int = 1
    stable: bool = True

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        if not 1 <= self.num_keys <= len(types) or any(t.shape != types[0].shape for t in types):
            raise ShapeError(
                f"sort by {self.num_keys} keys needs operands of one shape, got {', '.join(map(str, types))}"
            )
        if not 0 <= self.axis < types[0].ndim:
            raise ShapeError(f"sort of {types[0]} along axis {self.axis}, which it does not have")
        if any(t.dtype not in ALL for t in types[: self.num_keys]):
            raise DtypeError(f"sort cannot compare {', '.join(map(str, types[: self.num_keys]))}")
        return types

    def weak_results(self, weak: Sequence[bool]) -> Sequence[bool]:
        return weak

    def reference(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        order: Any = None
        if len(arrays) == 1 and arrays[0].dtype.kind in "biuf" and not _has_both_zeros(arrays[0]):
            return (np.sort(arrays[0], self.axis),)  # equal elements are alike, whatever their order
        for keys in reversed([widened(a) for a in arrays[: self.num_keys]]):
            found = keys if order is None else np.take_along_axis(keys, order, self.axis)
            step = np.argsort(found, self.axis, kind="stable")
            order = step if order is None else np.take_along_axis(order, step, self.axis)
        return tuple(np.take_along_axis(a, order, self.axis) for a in arrays)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        shape = primals[0].type.shape
        *outs, order = self(*primals, iota(index_dtype(shape[self.axis]), shape, self.axis))
        return tuple(outs), tuple(None if t is None else take_along(t, order, self.axis) for t in tangents)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        outs = Sort(self.axis + 1, self.num_keys, self.stable)(*all_batched(size, args, batched))
        return outs, (True,) * len(outs)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in ALL:
            yield Sort(0), draw(rng, (9, 2), dtype)
        yield Sort(1), rng.normal(size=(3, 5))
        yield Sort(1, 1, False), rng.integers(0, 3, (3, 8)), rng.normal(size=(3, 8))
        yield Sort(0, 2), rng.integers(0, 3, 20), rng.normal(size=20), np.arange(20)
        yield Sort(0), np.array([np.nan, 1.0, -0.0, -np.inf, 0.0, np.inf, np.nan]), np.arange(7)
        yield Sort(0), rng.normal(size=(0, 3))
        yield Sort(0), rng.normal(size=(1,))


def _has_both_zeros(x: np.ndarray) -> bool:
    """Whether 0.0 and -0.0 are among floats."""
    if x.dtype.kind != "f" or np.count_nonzero(x) == x.size:
        return False
    negative = np.signbit(x[x == 0])
    return bool(negative.any() and not negative.all())


class TopK(Primitive):
    """The `k` largest along the last axis in falling order, and their places; of equal ones the first is first.

    NaN is the largest number.
    """

    lowering_kind = "kernel"
    multiple = True
    k: int

    def result(self, *types: TensorType) -> tuple[TensorType, TensorType]:
        (x,) = types
        if not x.shape or not 0 <= self.k <= x.shape[-1]:
            raise ShapeError(f"top_k of {x} needs a last axis of at least k = {self.k} elements")
        if x.dtype not in BOOLEAN + REAL:
            raise DtypeError(f"top_k is not defined for {x}")
        shape = (*x.shape[:-1], self.k)
        return TensorType(shape, x.dtype), TensorType(shape, int32 if x.shape[-1] <= 2**31 else int64)

    def weak_results(self, weak: Sequence[bool]) -> Sequence[bool]:
        return weak

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Sorted from behind, so that equal elements come out in their order once the result is turned around.
        order = np.argsort(np.flip(widened(x), -1), -1, kind="stable")
        places = x.shape[-1] - 1 - np.flip(order, -1)[..., : self.k]
        return np.take_along_axis(x, places, -1), places.astype(int32 if x.shape[-1] <= 2**31 else int64)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        values, places = self(*primals)
        return (values, places), (take_along(tangents[0], places, places.type.ndim - 1), None)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0]), (True, True)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in BOOLEAN + REAL:
            yield TopK(3), draw(rng, (2, 20), dtype)
        yield TopK(4), np.array([1.0, np.nan, np.inf, -0.0, 0.0])
        yield TopK(0), rng.normal(size=(2, 3))
        yield TopK(1), rng.normal(size=(0, 1))


def top_k(x: Any, k: int) -> Any:
    """The `k` largest elements along the last axis of `x`, falling, and their places."""
    return TopK(k)(x)
