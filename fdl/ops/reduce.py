"""Reductions over axes, which disappear."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from fdl.array import Array
from fdl.core.interpret import quiet
from fdl.core.primitive import Primitive
from fdl.core.trace import computes_plainly
from fdl.core.types import TensorType
from fdl.dtypes import ALL, BOOLEAN, INTEGER, REAL, as_dtype, bool_, index_dtype, int32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import add, div, mul
from fdl.ops.compare import eq
from fdl.ops.convert import convert, is_plain
from fdl.ops.precision import reduced, reduced_for
from fdl.ops.samples import draw
from fdl.ops.shape import Reduction, Sum, along_rows, expand, reshape, transpose, zeros_of
from fdl.ops.slicing import concatenate, slice_


class Prod(Reduction):
    """The product; integers wrap around, 16-bit floats are multiplied in float32."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return reduced(np.multiply, x, self.axes)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x,), (dx,) = primals, tangents
        kept = tuple(a for a in range(x.type.ndim) if a not in self.axes)
        count = prod(x.type.shape[a] for a in self.axes)
        shape = (count, *(x.type.shape[a] for a in kept))
        return self(x), _product_tangent(*(reshape(transpose(v, self.axes + kept), shape) for v in (x, dx)))


def _product_tangent(x: Any, dx: Any) -> Any:
    """The tangent of the product along axis 0, by pairs: needs no division, so zeros are allowed."""
    while x.type.shape[0] > 1:
        count = x.type.shape[0]
        half = count // 2
        (x1, x2, x3), (d1, d2, d3) = (
            [_rows(v, low, high) for low, high in ((0, half), (half, 2 * half), (2 * half, count))] for v in (x, dx)
        )
        x, dx = mul(x1, x2), add(mul(d1, x2), mul(x1, d2))
        if count % 2:
            x, dx = concatenate([x, x3], 0), concatenate([dx, d3], 0)
    return reshape(dx, dx.type.shape[1:]) if dx.type.shape[0] else zeros_of(dx.type.with_shape(dx.type.shape[1:]))


def _rows(x: Any, low: int, high: int) -> Any:
    return slice_(x, (low, *(0,) * (x.type.ndim - 1)), (high, *x.type.shape[1:]))


class Extremum(Reduction, abstract=True):
    """Largest or smallest; equal ones share the derivative; NaN if there is any."""

    domain = ALL
    function: ClassVar[np.ufunc]
    largest: ClassVar[bool]

    def prefers_native(self, *types: TensorType) -> bool:
        return along_rows(types[0], self.axes)

    def reference(self, x: np.ndarray) -> np.ndarray:
        if x.size == 0:
            return np.full(self.result(TensorType(x.shape, x.dtype)).shape, identity(x.dtype, self.largest), x.dtype)
        return reduced(type(self).function, x, self.axes)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        return reduced_for(type(self).function, types[0], self.axes) if types[0].size else self.reference

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x,), (dx,) = primals, tangents
        out = self(x)
        if not all(x.type.shape[a] for a in self.axes):
            return out, None
        chosen = convert(eq(x, expand(out, x.type.shape, self.axes)), x.type.dtype)
        return out, div(sum_(mul(chosen, dx), self.axes), sum_(chosen, self.axes))


def identity(dtype: np.dtype, of_max: bool) -> Any:
    """The smallest number of a dtype, which leaves a maximum alone, or the largest, for a minimum."""
    if dtype.kind == "b":
        return not of_max
    if dtype in INTEGER:
        return np.iinfo(dtype).min if of_max else np.iinfo(dtype).max
    end = -np.inf if of_max else np.inf
    return complex(end, end) if dtype.kind == "c" else end  # numbers are ordered by their real part, then the other


class ReduceMax(Extremum):
    """The largest element; of none the smallest number there is."""

    function = np.maximum
    largest = True


class ReduceMin(Extremum):
    """The smallest element; of none the largest number there is."""

    function = np.minimum
    largest = False


class Logical(Reduction, abstract=True):
    """Without derivative."""

    domain: ClassVar[tuple[np.dtype, ...]] = BOOLEAN

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), None


class Any_(Logical):
    """Whether any element is true."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.any(x, self.axes)


class All_(Logical):
    """Whether all elements are true."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.all(x, self.axes)


class Bits(Logical, abstract=True):
    """Combines the bits of integers."""

    domain = INTEGER + BOOLEAN
    function: ClassVar[np.ufunc]

    def reference(self, x: np.ndarray) -> np.ndarray:
        return self.function.reduce(x, self.axes, x.dtype)


class ReduceAnd(Bits):
    """Bits that are one in all elements."""

    function = np.bitwise_and


class ReduceOr(Bits):
    """Bits that are one in some element."""

    function = np.bitwise_or


class ReduceXor(Bits):
    """Bits that are one in an odd number of elements."""

    function = np.bitwise_xor


class ArgExtremum(Primitive, abstract=True):
    """The place of the first extreme element along `axis`; a NaN counts as extreme."""

    lowering_kind = "reduce"
    weak_operands = None
    axis: int
    dtype: np.dtype = int32
    function: ClassVar[Callable[..., Any]]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if not 0 <= self.axis < x.ndim or x.shape[self.axis] == 0:
            raise ShapeError(f"{self.name} over axis {self.axis} of {x}: there must be such an axis, with elements")
        if x.dtype not in BOOLEAN + REAL:
            raise DtypeError(f"{self.name} is not defined for {x}")
        if self.dtype not in INTEGER or x.shape[self.axis] - 1 > np.iinfo(self.dtype).max:
            raise DtypeError(
                f"{self.name} over axis {self.axis} of {x}: {self.dtype} cannot hold the places on that axis"
            )
        return TensorType(x.shape[: self.axis] + x.shape[self.axis + 1 :], self.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(type(self).function(x, self.axis)).astype(self.dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), None

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return type(self)(self.axis + 1, self.dtype)(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        cls = type(self)
        for dtype in BOOLEAN + REAL:
            yield cls(1), draw(rng, (3, 20), dtype)
            yield cls(0, np.dtype(np.int64)), draw(rng, (9, 3), dtype)
        yield cls(0), np.array([1.0, np.nan, 3.0, np.nan])
        yield cls(0), np.array([2.0, 1.0, 2.0, 1.0], np.float32)
        yield cls(1), rng.normal(size=(0, 3))
        yield cls(0), rng.normal(size=(1,))


class ArgMax(ArgExtremum):
    """The place of the first largest element."""

    function = np.argmax


class ArgMin(ArgExtremum):
    """The place of the first smallest element."""

    function = np.argmin


def sum_(x: Any, axes: Sequence[int], dtype: np.dtype | None = None) -> Any:
    """The sum over `axes`, in `dtype`, of booleans whether any is true; `x` itself if there are no axes."""
    if not len(axes):
        return x if dtype is None else convert(x, dtype)
    if (dtype or x.type.dtype) == bool_:
        return any_(convert(x, bool_), axes)
    return _converted(Sum(tuple(axes)), np.add, x, dtype)


def prod_(x: Any, axes: Sequence[int], dtype: np.dtype | None = None) -> Any:
    """The product over `axes`, in `dtype`, of booleans whether all are true."""
    if (dtype or x.type.dtype) == bool_:
        return all_(convert(x, bool_), axes)
    return _converted(Prod(tuple(axes)), np.multiply, x, dtype)


def _converted(operation: Reduction, function: np.ufunc, x: Any, dtype: np.dtype | None) -> Any:
    """The reduction of `x` converted to `dtype`, which outside all transforms makes no converted copy."""
    if dtype is None or x.type.dtype == dtype:
        return operation(x)
    if type(x) is Array and computes_plainly() and is_plain(x.type.dtype, dtype):
        operation.result(TensorType(x.type.shape, dtype))
        return Array(quiet.run(reduced, function, x.concrete(), operation.axes, dtype))
    return operation(convert(x, dtype))


def reduce_max(x: Any, axes: Sequence[int]) -> Any:
    """The largest element over `axes`."""
    return ReduceMax(tuple(axes))(x)


def reduce_min(x: Any, axes: Sequence[int]) -> Any:
    """The smallest element over `axes`."""
    return ReduceMin(tuple(axes))(x)


def any_(x: Any, axes: Sequence[int]) -> Any:
    """Whether any element over `axes` is true."""
    return Any_(tuple(axes))(x)


def all_(x: Any, axes: Sequence[int]) -> Any:
    """Whether all elements over `axes` are true."""
    return All_(tuple(axes))(x)


def reduce_and(x: Any, axes: Sequence[int]) -> Any:
    """Bitwise and over `axes`."""
    return ReduceAnd(tuple(axes))(x)


def reduce_or(x: Any, axes: Sequence[int]) -> Any:
    """Bitwise or over `axes`."""
    return ReduceOr(tuple(axes))(x)


def reduce_xor(x: Any, axes: Sequence[int]) -> Any:
    """Bitwise exclusive or over `axes`."""
    return ReduceXor(tuple(axes))(x)


def argmax(x: Any, axis: int, dtype: Any = None) -> Any:
    """The place of the first largest element along `axis`, as `dtype`, by default one that can hold it."""
    return ArgMax(axis, index_dtype(x.type.shape[axis]) if dtype is None else as_dtype(dtype))(x)


def argmin(x: Any, axis: int, dtype: Any = None) -> Any:
    """The place of the first smallest element along `axis`, as `dtype`, by default one that can hold it."""
    return ArgMin(axis, index_dtype(x.type.shape[axis]) if dtype is None else as_dtype(dtype))(x)
