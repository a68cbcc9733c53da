"""Primitives that change the shape and leave the elements alone; and the sum, the transpose of a broadcast."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from operator import methodcaller
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.trace import Value, lift
from fdl.core.types import TensorType
from fdl.dtypes import NUMERIC, as_dtype, float32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.precision import accumulator, reduced, reduced_for
from fdl.ops.samples import draw


class Structural(Primitive, abstract=True):
    """Linear in its only operand: the tangent goes through the same operation."""

    lowering_kind = "move"
    linear = True

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(primals[0]), self(tangents[0])


class IndexMap(Structural, abstract=True):
    """Moves elements to other places: each of the result is one of the operand, which an affine function names."""

    exact = True

    def index_map(self, position: Sequence[Any], x: TensorType) -> Sequence[Any]:
        """The position in the operand (of type `x`) of the element at `position` of the result.

        Positions hold affine functions of loop indices (`fdl.compile.ir.affine`), to be added to each other and to
        integers and multiplied by integers.
        """
        raise NotImplementedError


class BroadcastInDim(IndexMap):
    """Operand axis i becomes axis ``axes[i]`` of ``shape``; extents of one, and the other axes, are repeated."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        fits = len(self.axes) == x.ndim and list(self.axes) == sorted(set(self.axes))
        if not fits or any(
            a >= len(self.shape) or n not in (1, self.shape[a]) for a, n in zip(self.axes, x.shape, strict=True)
        ):
            raise ShapeError(f"broadcast_in_dim cannot take {x} to shape {self.shape} by axes {self.axes}")
        return x.with_shape(self.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        if x.flags.c_contiguous:  # another view of its memory; np.broadcast_to takes ten times as long
            return np.ndarray(self.shape, x.dtype, x, 0, self._strides(x.shape, x.strides))
        aligned = [1] * len(self.shape)
        for axis, extent in zip(self.axes, x.shape, strict=True):
            aligned[axis] = extent
        return np.broadcast_to(x.reshape(aligned), self.shape)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        (x,), shape, reference = types, self.shape, self.reference
        dtype, sizes = x.dtype, [prod(x.shape[axis + 1 :]) * x.dtype.itemsize for axis in range(x.ndim)]
        steps = self._strides(x.shape, sizes)
        return lambda x: np.ndarray(shape, dtype, x, 0, steps) if x.flags.c_contiguous else reference(x)

    @property
    def repeats(self) -> bool:
        ndim = len(self.shape)
        return self.axes == tuple(range(ndim - len(self.axes), ndim))

    def _strides(self, shape: Sequence[int], strides: Sequence[int]) -> list[int]:
        """Strides of the result on the memory of an operand."""
        found = [0] * len(self.shape)
        for axis, extent, stride in zip(self.axes, shape, strides, strict=True):
            found[axis] = stride if extent != 1 else 0
        return found

    def index_map(self, position: Sequence[Any], x: TensorType) -> Sequence[Any]:
        return [position[a] * (n != 1 or self.shape[a] == 1) for a, n in zip(self.axes, x.shape, strict=True)]

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        kept = {a for a, n in zip(self.axes, x.type.shape, strict=True) if n == self.shape[a]}
        total = summed(cotangent, tuple(a for a in range(len(self.shape)) if a not in kept))
        return (reshape(total, x.type.shape),)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return broadcast_in_dim(args[0], (size, *self.shape), (0, *(a + 1 for a in self.axes)))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield BroadcastInDim((2, 3, 4), (1, 2)), rng.normal(size=(3, 4))
        yield BroadcastInDim((2, 3, 4), (0, 2)), rng.normal(size=(2, 1))
        yield BroadcastInDim((3,), ()), rng.normal(size=())
        yield BroadcastInDim((0, 3), (1,)), rng.normal(size=(3,))


class Reshape(Structural):
    """The same elements in row-major order under another shape."""

    exact = True

    shape: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if prod(self.shape) != x.size or any(n < 0 for n in self.shape):
            raise ShapeError(f"reshape cannot turn {x} with {x.size} elements into shape {self.shape}")
        return x.with_shape(self.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.shape)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        return methodcaller("reshape", self.shape)

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (reshape(cotangent, x.type.shape),)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return reshape(args[0], (size, *self.shape))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Reshape((4, 3)), rng.normal(size=(3, 2, 2))
        yield Reshape(()), rng.normal(size=(1, 1))
        yield Reshape((0, 5)), rng.normal(size=(2, 0))


class Transpose(IndexMap):
    """Axis i of the result is axis ``axes[i]`` of the operand."""

    axes: tuple[int, ...]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"transpose of {x} needs a permutation of its {x.ndim} axes, got {self.axes}")
        return x.with_shape(tuple(x.shape[a] for a in self.axes))

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(self.axes)

    def index_map(self, position: Sequence[Any], x: TensorType) -> Sequence[Any]:
        found = list(position)
        for index, axis in zip(position, self.axes, strict=True):
            found[axis] = index
        return found

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (transpose(cotangent, tuple(int(a) for a in np.argsort(self.axes))),)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return transpose(args[0], (0, *(a + 1 for a in self.axes)))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Transpose((2, 0, 1)), rng.normal(size=(3, 4, 5))
        yield Transpose((1, 0)), rng.normal(size=(0, 5))
        yield Transpose(()), rng.normal(size=())


class Reduction(Primitive, abstract=True):
    """Combines the elements along `axes`.

    Class attributes:
        domain: dtypes it takes.
    """

    lowering_kind = "reduce"
    axes: tuple[int, ...]
    domain: ClassVar[tuple[np.dtype, ...]] = NUMERIC

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if len(set(self.axes)) != len(self.axes) or not all(0 <= a < x.ndim for a in self.axes):
            raise ShapeError(f"{self.name} over axes {self.axes} does not fit {x}")
        if x.dtype not in self.domain:
            raise DtypeError(f"{self.name} is not defined for {x}")
        return x.with_shape(tuple(n for a, n in enumerate(x.shape) if a not in self.axes))

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return type(self)(tuple(a + 1 for a in self.axes))(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        main = np.dtype(np.float64 if np.dtype(np.float64) in self.domain else np.bool_)
        cls = type(self)
        for shape, axes in (
            ((3, 4, 2), (1,)),
            ((3, 4, 2), (0, 2)),
            ((3, 4), (0, 1)),
            ((5,), (0,)),
            ((), ()),
            ((2, 3), ()),
        ):
            yield cls(axes), draw(rng, shape, main)
        for shape, axes in (((0, 3), (0,)), ((0, 3), (1,)), ((1, 3), (0,)), ((2, 0), (0, 1))):
            yield cls(axes), draw(rng, shape, main)
        for dtype in self.domain:
            yield cls((0,)), draw(rng, (7, 3), dtype)
            yield cls((1,)), draw(rng, (3, 33), dtype)


def along_rows(x: TensorType, axes: tuple[int, ...]) -> bool:
    """Whether a reduction is one of floats of at most 32 bits along the last axes, over which NumPy goes slowly."""
    last = tuple(range(x.ndim - len(axes), x.ndim))
    return len(axes) > 0 and axes == last and x.dtype.kind not in "iubc" and accumulator(x.dtype) == float32


class Sum(Structural, Reduction):
    """The sum; integers wrap around, 16-bit floats are summed in float32."""

    lowering_kind = "reduce"

    def prefers_native(self, *types: TensorType) -> bool:
        return along_rows(types[0], self.axes)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return reduced(np.add, x, self.axes)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        return reduced_for(np.add, types[0], self.axes)

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (expand(cotangent, x.type.shape, self.axes),)


class Iota(Primitive):
    """0, 1, 2, ... along `axis`, repeated over the other axes of `shape`."""

    exact = True
    lowering_kind = "move"
    shape: tuple[int, ...]
    axis: int
    dtype: np.dtype

    def result(self, *types: TensorType) -> TensorType:
        if not 0 <= self.axis < len(self.shape):
            raise ShapeError(f"iota of shape {self.shape} has no axis {self.axis}")
        return TensorType(self.shape, self.dtype)

    def reference(self) -> np.ndarray:
        counts = np.arange(self.shape[self.axis]).astype(self.dtype)
        aligned = [-1 if a == self.axis else 1 for a in range(len(self.shape))]
        return np.broadcast_to(counts.reshape(aligned), self.shape)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(), None

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return repeat(self(), size)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in NUMERIC:
            yield (Iota((3, 4), 1, dtype),)
        yield (Iota((300,), 0, NUMERIC[0]),)
        yield (Iota((0, 2), 0, NUMERIC[2]),)


def broadcast_in_dim(x: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """`x` broadcast to `shape`, its axis i becoming axis ``axes[i]``; itself if nothing changes."""
    x, shape, axes = x if isinstance(x, Value) else lift(x), tuple(shape), tuple(axes)
    return x if x.type.shape == shape and axes == tuple(range(len(shape))) else BroadcastInDim(shape, axes)(x)


def expand(x: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """`x` repeated along `axes` of the new `shape`: what undoes the loss of axes in a reduction."""
    return broadcast_in_dim(x, shape, tuple(a for a in range(len(shape)) if a not in axes))


def summed(x: Any, axes: Sequence[int]) -> Any:
    """The sum over `axes`; `x` itself if there are none."""
    return Sum(tuple(axes))(x) if len(axes) else x


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """`x` under another shape; itself if it has it already."""
    return x if x.type.shape == tuple(shape) else Reshape(tuple(shape))(x)


def transpose(x: Any, axes: Sequence[int]) -> Any:
    """`x` with its axes in the given order; itself if that is their order."""
    return x if tuple(axes) == tuple(range(len(axes))) else Transpose(tuple(axes))(x)


def full(value: Any, shape: Sequence[int], dtype: np.dtype) -> Any:
    """An array of one repeated number."""
    return broadcast_in_dim(np.asarray(value).astype(dtype), shape, ())


def full_like(x: Any, value: Any) -> Any:
    """One number repeated in the shape and dtype of `x`, weak if `x` is."""
    found = full(value, x.type.shape, x.held.type.dtype)
    return found.weakened(x.type.dtype) if x.weak else found


def zeros_of(type: TensorType) -> Any:
    """Zeros of a type."""
    return full(0, type.shape, type.dtype)


def iota(dtype: Any, shape: Sequence[int], axis: int) -> Any:
    """0, 1, 2, ... along `axis` of `shape`."""
    return Iota(tuple(shape), axis, as_dtype(dtype))()


def repeat(x: Any, size: int) -> Any:
    """`x` with a new leading axis of the given size."""
    return broadcast_in_dim(x, (size, *x.type.shape), tuple(range(1, x.type.ndim + 1)))


def all_batched(size: int, args: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
    """The args, those that are not batched repeated, so that all have the leading axis."""
    return [a if b else repeat(a, size) for a, b in zip(args, batched, strict=True)]


def move_axis(x: Any, source: int, target: int) -> Any:
    """`x` with one axis moved to another place, the others in order."""
    order = [a for a in range(x.type.ndim) if a != source]
    order.insert(target, source)
    return transpose(x, order)
