"""Parts of arrays, and arrays put together."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.trace import lift
from fdl.core.types import TensorType
from fdl.dtypes import INTEGER
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import sub
from fdl.ops.convert import convert
from fdl.ops.indexing import Gather, Scatter
from fdl.ops.select import select
from fdl.ops.shape import IndexMap, all_batched, broadcast_in_dim, full, repeat, reshape, summed, zeros_of
from fdl.ops.windows import GatherDimensionNumbers, ScatterDimensionNumbers


class Slice(IndexMap):
    """Every ``strides[i]``-th element of axis i from ``starts[i]`` up to ``limits[i]``."""

    exact = True

    starts: tuple[int, ...]
    limits: tuple[int, ...]
    strides: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        parameters = (self.starts, self.limits, self.strides)
        if any(len(p) != x.ndim for p in parameters) or not all(
            0 <= a <= b <= n and s > 0 for a, b, s, n in zip(*parameters, x.shape, strict=True)
        ):
            raise ShapeError(
                f"slice of {x} from {self.starts} to {self.limits} by {self.strides} does not lie within it"
            )
        return x.with_shape(tuple(-((a - b) // s) for a, b, s in zip(*parameters, strict=True)))

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x[tuple(map(slice, self.starts, self.limits, self.strides))]

    def index_map(self, position: Sequence[Any], x: TensorType) -> Sequence[Any]:
        return [index * step + start for index, step, start in zip(position, self.strides, self.starts, strict=True)]

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        spans = [_dilated(n, s - 1) for n, s in zip(cotangent.type.shape, self.strides, strict=True)]
        high = [n - a - span for n, a, span in zip(x.type.shape, self.starts, spans, strict=True)]
        interior = tuple(s - 1 for s in self.strides)
        return (Pad(self.starts, tuple(high), interior)(cotangent, _zero(cotangent)),)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return Slice((0, *self.starts), (size, *self.limits), (1, *self.strides))(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Slice((1, 0), (4, 3), (1, 1)), rng.normal(size=(5, 3))
        yield Slice((1, 0), (5, 7), (2, 3)), rng.normal(size=(6, 7))
        yield Slice((2, 0), (2, 3), (1, 2)), rng.normal(size=(5, 3))
        yield Slice((), (), ()), rng.normal(size=())
        yield Slice((0,), (5,), (9,)), rng.integers(0, 9, 5)


class Pad(Primitive):
    """Operand and a scalar: ``interior[i]`` copies of it between elements, ``low[i]`` and ``high[i]`` at the ends.

    Negative ``low`` and ``high`` cut elements off.
    """

    lowering_kind = "move"
    linear = True
    low: tuple[int, ...]
    high: tuple[int, ...]
    interior: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        x, value = types
        if any(len(p) != x.ndim for p in (self.low, self.high, self.interior)) or min(self.interior, default=0) < 0:
            raise ShapeError(f"pad of {x} needs (low, high, interior >= 0) for each of its {x.ndim} axes, got {self}")
        shape = tuple(
            _dilated(n, i) + a + b for n, a, b, i in zip(x.shape, self.low, self.high, self.interior, strict=True)
        )
        if value.shape != () or value.dtype != x.dtype:
            raise ShapeError(f"the padding of {x} must be a scalar of its dtype, got {value}")
        if min(shape, default=0) < 0:
            raise ShapeError(f"pad of {x} cuts off more than there is: {self} would give shape {shape}")
        return x.with_shape(shape)

    def reference(self, x: np.ndarray, value: np.ndarray) -> np.ndarray:
        out = np.full(self.result(TensorType(x.shape, x.dtype), TensorType((), x.dtype)).shape, value, x.dtype)
        source, target = [], []
        for extent, n, low, interior in zip(out.shape, x.shape, self.low, self.interior, strict=True):
            step = interior + 1
            first = max(0, -(low // step))  # the first element that does not fall off on the left
            count = max(0, min(n, -((low - extent) // step)) - first)
            source.append(slice(first, first + count))
            target.append(slice(low + first * step, low + (first + count) * step, step) if count else slice(0, 0))
        out[tuple(target)] = x[tuple(source)]
        return out

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        return self(*primals), self(*given)

    def transpose(self, cotangent: Any, x: Any, value: Any) -> Sequence[Any]:
        none = (0,) * len(self.low)
        opposite = Pad(tuple(-n for n in self.low), tuple(-n for n in self.high), none)
        spread = opposite(cotangent, _zero(cotangent))
        inner = slice_(spread, none, spread.type.shape, tuple(i + 1 for i in self.interior))
        axes = tuple(range(len(none)))
        return (
            inner if isinstance(x, Linear) else None,
            sub(summed(cotangent, axes), summed(inner, axes)) if isinstance(value, Linear) else None,
        )

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        x, value = args
        each = Pad((0, *self.low), (0, *self.high), (0, *self.interior))
        if not batched[1]:
            return each(x, value)
        x = x if batched[0] else repeat(x, size)
        inside = each(full(True, x.type.shape, np.dtype(bool)), lift(np.asarray(False)))
        padded = each(x, full(0, (), x.type.dtype))
        return select(inside, padded, broadcast_in_dim(value, padded.type.shape, (0,)))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        value = rng.normal(size=())
        yield Pad((1, 0), (2, 3), (0, 0)), rng.normal(size=(2, 3)), value
        yield Pad((-1, 2), (1, -2), (1, 2)), rng.normal(size=(4, 3)), value
        yield Pad((-3, -1), (-2, 5), (2, 0)), rng.normal(size=(4, 3)), value
        yield Pad((-4,), (3,), (2,)), rng.normal(size=3), value
        yield Pad((1, 0), (1, 0), (3, 1)), rng.normal(size=(0, 2)), value
        yield Pad((), (), ()), rng.normal(size=()), value
        yield Pad((-7,), (2,), (1,)), rng.normal(size=3), value
        yield Pad((1,), (1,), (0,)), rng.integers(0, 9, 3), np.asarray(7)


class Concatenate(Primitive):
    """Operands one after the other along `axis`."""

    exact = True
    lowering_kind = "move"
    linear = True
    axis: int

    def result(self, *types: TensorType) -> TensorType:
        first, axis = types[0], self.axis
        if not 0 <= axis < first.ndim:
            raise ShapeError(f"concatenate of {first} along axis {axis}, which it does not have")
        if any(t.dtype != first.dtype for t in types):
            raise DtypeError(f"concatenate needs operands of one dtype, got {', '.join(map(str, types))}")
        rests = {t.shape[:axis] + t.shape[axis + 1 :] for t in types}
        if len(rests) > 1 or any(t.ndim != first.ndim for t in types):
            raise ShapeError(
                f"concatenate along axis {axis} of shapes that differ elsewhere: {', '.join(map(str, types))}"
            )
        total = sum(t.shape[axis] for t in types)
        return first.with_shape((*first.shape[:axis], total, *first.shape[axis + 1 :]))

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        return np.concatenate(arrays, self.axis)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        return self(*primals), self(*given)

    def transpose(self, cotangent: Any, *args: Any) -> Sequence[Any]:
        found, start = [], 0
        for arg in args:
            low, high = [0] * cotangent.type.ndim, list(cotangent.type.shape)
            low[self.axis], high[self.axis] = start, start + arg.type.shape[self.axis]
            start = high[self.axis]
            found.append(slice_(cotangent, low, high) if isinstance(arg, Linear) else None)
        return found

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return Concatenate(self.axis + 1)(*all_batched(size, args, batched))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Concatenate(1), rng.normal(size=(2, 3)), rng.normal(size=(2, 1)), rng.normal(size=(2, 0))
        yield Concatenate(0), rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
        yield Concatenate(0), rng.normal(size=1)
        yield Concatenate(0), rng.integers(0, 9, 3), rng.integers(0, 9, 2)


class Reverse(IndexMap):
    """The elements in the opposite order along `axes`."""

    axes: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if len(set(self.axes)) != len(self.axes) or not all(0 <= a < x.ndim for a in self.axes):
            raise ShapeError(f"reverse of {x} along axes {self.axes}, which must be different axes of it")
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.flip(x, self.axes)

    def index_map(self, position: Sequence[Any], x: TensorType) -> Sequence[Any]:
        turned = zip(position, x.shape, strict=True)
        return [p * -1 + (n - 1) if a in self.axes else p for a, (p, n) in enumerate(turned)]

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (self(cotangent),)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return Reverse(tuple(a + 1 for a in self.axes))(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Reverse((0, 2)), rng.normal(size=(3, 4, 2))
        yield Reverse((1,)), rng.normal(size=(2, 0))
        yield Reverse(()), rng.normal(size=())


class DynamicSlice(Primitive):
    """A block of ``sizes`` that begins at the starts, integer scalars, moved so that it lies inside the operand."""

    lowering_kind = "kernel"
    weak_operands = slice(1)
    linear = ((0,),)
    sizes: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        x, *starts = types
        check_starts(self, starts, x.ndim)
        if len(self.sizes) != x.ndim or any(not 0 <= size <= n for size, n in zip(self.sizes, x.shape, strict=True)):
            raise ShapeError(f"dynamic_slice: a block of sizes {self.sizes} does not fit into {x}")
        return x.with_shape(self.sizes)

    def reference(self, x: np.ndarray, *starts: np.ndarray) -> np.ndarray:
        return x[_block(x.shape, starts, self.sizes)]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), self(tangents[0], *primals[1:])

    def transpose(self, cotangent: Any, x: Any, *starts: Any) -> Sequence[Any]:
        return dynamic_update_slice(zeros_of(x.type), cotangent, starts), *(None for _ in starts)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        x, *starts = args
        if not any(batched[1:]):
            return DynamicSlice((size, *self.sizes))(x, lift(np.int32(0)), *starts)
        axes = tuple(range(1, len(starts) + 1))
        indices = _index_vectors(size, starts, batched[1:])
        if batched[0]:
            return Gather(GatherDimensionNumbers(axes, (), axes, (0,), (0,)), (1, *self.sizes), "clip")(x, indices)
        return Gather(GatherDimensionNumbers(axes, (), tuple(range(len(starts)))), self.sizes, "clip")(x, indices)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for starts in ((1, 2), (-3, 9), (2, 0)):
            yield DynamicSlice((2, 3)), rng.normal(size=(4, 5)), *map(np.int32, starts)
        yield DynamicSlice((0, 1)), rng.normal(size=(4, 5)), np.uint8(1), np.int64(4)
        yield DynamicSlice(()), rng.normal(size=())
        yield DynamicSlice((2,)), rng.integers(0, 9, 5), np.uint64(2**64 - 1)


class DynamicUpdateSlice(Primitive):
    """The operand with a block replaced by the update, which begins at the starts, moved so that it lies inside."""

    lowering_kind = "kernel"
    weak_operands = slice(2)
    linear = ((0, 1),)

    def result(self, *types: TensorType) -> TensorType:
        x, update, *starts = types
        check_starts(self, starts, x.ndim)
        if update.dtype != x.dtype:
            raise DtypeError(f"dynamic_update_slice needs an update of the operand's dtype, got {x} and {update}")
        if update.ndim != x.ndim or any(size > n for size, n in zip(update.shape, x.shape, strict=True)):
            raise ShapeError(f"dynamic_update_slice: the update {update} does not fit into {x}")
        return x

    def reference(self, x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> np.ndarray:
        out = np.array(x)
        out[_block(x.shape, starts, update.shape)] = update
        return out

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals[:2], tangents[:2], strict=True)]
        return self(*primals), self(*given, *primals[2:])

    def transpose(self, cotangent: Any, x: Any, update: Any, *starts: Any) -> Sequence[Any]:
        of_x = self(cotangent, zeros_of(update.type), *starts) if isinstance(x, Linear) else None
        of_update = dynamic_slice(cotangent, starts, update.type.shape) if isinstance(update, Linear) else None
        return of_x, of_update, *(None for _ in starts)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        x, update = all_batched(size, args[:2], batched[:2])
        starts = args[2:]
        if not any(batched[2:]):
            return self(x, update, lift(np.int32(0)), *starts)
        axes = tuple(range(1, len(starts) + 1))
        numbers = ScatterDimensionNumbers(axes, (), axes, (0,), (0,))
        return Scatter("set", numbers, "clip", unique_indices=True)(
            x, _index_vectors(size, starts, batched[2:]), update
        )

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for starts in ((1, 2), (-3, 9)):
            yield self, rng.normal(size=(4, 5)), rng.normal(size=(2, 3)), *map(np.int32, starts)
        yield self, rng.normal(size=(4, 5)), rng.normal(size=(0, 5)), np.int8(1), np.int64(0)
        yield self, rng.normal(size=()), rng.normal(size=())
        yield self, rng.integers(0, 9, 5), rng.integers(0, 9, 2), np.uint32(7)


def _block(shape: Sequence[int], starts: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[slice, ...]:
    inside = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, shape, sizes, strict=True)]
    return tuple(slice(s, s + size) for s, size in zip(inside, sizes, strict=True))


def _index_vectors(size: int, starts: Sequence[Any], batched: Sequence[bool]) -> Any:
    """Scalars as index vectors: an array of shape (size, number of starts)."""
    wide = np.dtype(np.uint64 if any(s.type.dtype == np.uint64 for s in starts) else np.int64)
    columns = [reshape(convert(s, wide), (size, 1)) for s in all_batched(size, starts, batched)]
    return concatenate(columns, 1)


def _dilated(extent: int, interior: int) -> int:
    """The extent after `interior` elements were put between all neighbours."""
    return (extent - 1) * (interior + 1) + 1 if extent else 0


def _zero(x: Any) -> Any:
    return lift(np.zeros((), x.type.dtype))


def slice_(x: Any, starts: Sequence[int], limits: Sequence[int], strides: Sequence[int] | None = None) -> Any:
    """``x[starts[0]:limits[0]:strides[0], ...]``; `x` itself if that is all of it."""
    strides = (1,) * len(starts) if strides is None else tuple(strides)
    whole = not any(starts) and tuple(limits) == x.type.shape and all(s == 1 for s in strides)
    return x if whole else Slice(tuple(starts), tuple(limits), strides)(x)


def pad(x: Any, value: Any, config: Sequence[tuple[int, int, int]]) -> Any:
    """`x` padded with the scalar `value` by (low, high, interior) for each axis; `x` itself if all are zero."""
    low, high, interior = zip(*config, strict=True) if config else ((), (), ())
    return x if not any(low + high + interior) else Pad(low, high, interior)(x, value)


def concatenate(xs: Sequence[Any], axis: int) -> Any:
    """Arrays one after the other along `axis`; the array itself if there is one."""
    return xs[0] if len(xs) == 1 else Concatenate(axis)(*xs)


def reverse(x: Any, axes: Sequence[int]) -> Any:
    """`x` in the opposite order along `axes`."""
    return Reverse(tuple(axes))(x) if len(axes) else x


def dynamic_slice(x: Any, starts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The block of `x` of the given sizes at `starts`, integer scalars, moved inside if it reaches out."""
    return DynamicSlice(tuple(sizes))(x, *starts)


def dynamic_update_slice(x: Any, update: Any, starts: Sequence[Any]) -> Any:
    """`x` with a block replaced by `update` at `starts`, integer scalars, moved inside if it reaches out."""
    return DynamicUpdateSlice()(x, update, *starts)


def check_starts(operation: Primitive, starts: Sequence[TensorType], ndim: int) -> None:
    """Raise unless there is an integer scalar for each axis."""
    if len(starts) != ndim or any(s.shape != () for s in starts):
        raise ShapeError(f"{operation.name} needs {ndim} scalar starts, got {', '.join(map(str, starts)) or 'none'}")
    if any(s.dtype not in INTEGER for s in starts):
        raise DtypeError(f"{operation.name} needs integer starts, got {', '.join(map(str, starts))}")
