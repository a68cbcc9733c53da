"""Numbering the distinct entries of a vector of integers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import INTEGER, int32
from fdl.errors import DtypeError, ShapeError


class Distinct(Primitive):
    """For every integer along the last axis the number (int32) of its value, counted in the order of first appearance.

    ``[7, 3, 7, 5]`` becomes ``[0, 1, 0, 2]``.
    """

    lowering_kind = "kernel"
    compile_eagerly = True

    def result(self, *types: TensorType) -> TensorType:
        (ids,) = types
        if ids.dtype not in INTEGER:
            raise DtypeError(f"distinct is not defined for {ids}, only for integers")
        if not ids.shape:
            raise ShapeError("distinct needs at least one axis, got a scalar")
        return TensorType(ids.shape, int32)

    def reference(self, ids: np.ndarray) -> np.ndarray:
        out = np.empty(ids.shape, np.int32)
        for place in np.ndindex(ids.shape[:-1]):
            _, first, inverse = np.unique(ids[place], return_index=True, return_inverse=True)
            out[place] = np.argsort(np.argsort(first))[inverse]
        return out

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), None

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*args)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in INTEGER:
            yield Distinct(), rng.integers(0, 9, 20).astype(dtype)
        yield Distinct(), rng.integers(-3, 1000, (2, 300)).astype(np.int32)
        yield Distinct(), np.array([2**62, -(2**62), 2**62, -1, 0])
        yield Distinct(), np.zeros((2, 0), np.int32)
        yield Distinct(), np.zeros((0, 3), np.int32)


distinct = Distinct()
