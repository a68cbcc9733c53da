"""DotGeneral: sums of products over pairs of axes, of which matrix multiplication is one."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.types import TensorType
from fdl.dtypes import ALL, as_dtype, bfloat16, float32, int32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import add
from fdl.ops.convert import convert
from fdl.ops.precision import accumulator
from fdl.ops.samples import draw
from fdl.ops.shape import move_axis, transpose

Axes = tuple[tuple[int, ...], tuple[int, ...]]


class DotGeneral(Primitive):
    """Multiplies x and y elementwise along `batch` axes, as outer product along free ones, and sums over `contracting`.

    Both parameters are pairs of equally many axes of x and of y. The result has the batch axes, then the free axes of
    x, then those of y. Products are summed in `dtype` (by default that of the operands, for 16-bit floats in float32).
    """

    lowering_kind = "kernel"
    linear = ((0,), (1,))
    contracting: Axes
    batch_axes: Axes
    dtype: np.dtype | None = None

    def result(self, *types: TensorType) -> TensorType:
        x, y = types
        for axes, what in ((self.contracting, "contracting"), (self.batch_axes, "batch")):
            extents = [[t.shape[a] for a in own if 0 <= a < t.ndim] for t, own in zip(types, axes, strict=True)]
            if extents[0] != extents[1] or len(extents[0]) != len(axes[0]) or len(extents[1]) != len(axes[1]):
                raise ShapeError(f"dot_general of {x} and {y}: {what} axes {axes[0]} and {axes[1]} differ in extent")
        if any(len(set(c + b)) != len(c + b) for c, b in zip(self.contracting, self.batch_axes, strict=True)):
            raise ShapeError(f"dot_general of {x} and {y} names an axis twice: {self}")
        if x.dtype != y.dtype or x.dtype not in ALL:
            raise DtypeError(f"dot_general needs two operands of one numeric dtype, got {x} and {y}")
        shape = [x.shape[a] for a in self.batch_axes[0]]
        shape += [x.shape[a] for a in self.free(x, 0)] + [y.shape[a] for a in self.free(y, 1)]
        return TensorType(tuple(shape), self.dtype or x.dtype)

    def free(self, type: TensorType, side: int) -> tuple[int, ...]:
        """The axes of operand `side` that are neither contracted nor batch axes, in order."""
        used = self.contracting[side] + self.batch_axes[side]
        return tuple(a for a in range(type.ndim) if a not in used)

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dtype = self.dtype or x.dtype
        wide = accumulator(dtype)
        plan = _matrices(self, x.shape, y.shape)
        if not plan.as_is:
            x = x.transpose(plan.left).reshape(plan.left_shape)
            y = y.transpose(plan.right).reshape(plan.right_shape)
        if x.dtype is not wide or y.dtype is not wide:
            x, y = x.astype(wide, copy=False), y.astype(wide, copy=False)
        product = np.matmul(x, y)
        if plan.as_is and wide is dtype:
            return product
        return product.reshape(plan.shape).astype(dtype, copy=False)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        dtype = types[0].dtype
        if not dtype == types[1].dtype == (self.dtype or dtype) == accumulator(dtype):
            return self.reference
        left, left_shape, right, right_shape, shape, as_is = _matrices(self, types[0].shape, types[1].shape)
        if as_is:
            return np.matmul

        def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.matmul(x.transpose(left).reshape(left_shape), y.transpose(right).reshape(right_shape)).reshape(
                shape
            )

        return product

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x, y), (dx, dy) = primals, tangents
        terms = ([] if dx is None else [self(dx, y)]) + ([] if dy is None else [self(x, dy)])
        return self(x, y), terms[0] if len(terms) == 1 else add(*terms)

    def transpose(self, cotangent: Any, x: Any, y: Any) -> Sequence[Any]:
        side = 0 if isinstance(x, Linear) else 1
        wanted, other = (x, y) if side == 0 else (y, x)
        found = self._transposed(cotangent, wanted.type, other, side)
        return (found, None) if side == 0 else (None, found)

    def _transposed(self, cotangent: Any, wanted: TensorType, other: Any, side: int) -> Any:
        count = len(self.batch_axes[0])
        mine, others = self.free(wanted, side), self.free(other.type, 1 - side)
        first = count + (len(mine) if side == 0 else 0)  # where the other operand's free axes are in the cotangent
        contracting = tuple(range(first, first + len(others))), others
        batch = tuple(range(count)), self.batch_axes[1 - side]
        product = DotGeneral(contracting, batch)(cotangent, convert(other, cotangent.type.dtype))
        # The product has the batch axes, my free axes, and the contracted axes in the order of the other operand.
        pairs = sorted(zip(self.contracting[1 - side], self.contracting[side], strict=True))
        axes = self.batch_axes[side] + mine + tuple(a for _, a in pairs)
        return convert(transpose(product, tuple(sorted(range(len(axes)), key=axes.__getitem__))), wanted.dtype)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        (x, y), count = args, len(self.batch_axes[0])
        contracting, batch = (
            (tuple(a + batched[0] for a in of_x), tuple(a + batched[1] for a in of_y))
            for of_x, of_y in (self.contracting, self.batch_axes)
        )
        if all(batched):
            return DotGeneral(contracting, ((0, *batch[0]), (0, *batch[1])), self.dtype)(x, y)
        out = DotGeneral(contracting, batch, self.dtype)(x, y)
        # The new axis is the first free one of its operand.
        return move_axis(out, count if batched[0] else count + len(self.free(x.type, 0)), 0)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        none: Axes = ((), ())
        cases: list[tuple[Axes, Axes, tuple[int, ...], tuple[int, ...]]] = [
            (((1,), (0,)), none, (3, 4), (4, 5)),
            (((0,), (1,)), none, (4, 3), (5, 4)),
            (((2,), (1,)), ((0,), (0,)), (2, 3, 4), (2, 4, 5)),
            (((3, 1), (0, 2)), ((0,), (3,)), (2, 3, 4, 5), (5, 6, 3, 2)),
            (((0,), (0,)), none, (4,), (4,)),
            (none, none, (3,), (2, 2)),
            (none, ((0,), (0,)), (3,), (3,)),
            (none, none, (), ()),
            (((1,), (0,)), none, (3, 0), (0, 2)),
            (((1,), (0,)), none, (0, 3), (3, 2)),
            (((1,), (0,)), none, (1, 1), (1, 1)),
        ]
        for contracting, batch, left, right in cases:
            yield DotGeneral(contracting, batch), rng.normal(size=left), rng.normal(size=right)
        matrices: Axes = ((1,), (0,))
        for dtype in ALL:
            yield DotGeneral(matrices, none), draw(rng, (3, 7), dtype), draw(rng, (7, 2), dtype)
        yield DotGeneral(matrices, none, float32), draw(rng, (3, 7), bfloat16), draw(rng, (7, 2), bfloat16)
        yield (
            DotGeneral(matrices, none, int32),
            draw(rng, (3, 7), as_dtype("int8")),
            draw(rng, (7, 2), as_dtype("int8")),
        )


class _Plan(NamedTuple):
    """How operands become (stacks of) matrices: the order of axes and then the shape of each; the result's shape; and
    whether they are such matrices already, and the product is the result."""

    left: tuple[int, ...]
    left_shape: tuple[int, ...]
    right: tuple[int, ...]
    right_shape: tuple[int, ...]
    shape: tuple[int, ...]
    as_is: bool


@lru_cache(maxsize=1024)
def _matrices(operation: DotGeneral, x: tuple[int, ...], y: tuple[int, ...]) -> _Plan:
    (summed_x, summed_y), (batch_x, batch_y) = operation.contracting, operation.batch_axes
    free_x = tuple(a for a in range(len(x)) if a not in summed_x and a not in batch_x)
    free_y = tuple(a for a in range(len(y)) if a not in summed_y and a not in batch_y)
    batch, rows, columns = (tuple(of[a] for a in axes) for of, axes in ((x, batch_x), (x, free_x), (y, free_y)))
    summed = prod(x[a] for a in summed_x)
    left, left_shape = (*batch_x, *free_x, *summed_x), (*batch, prod(rows), summed)
    right, right_shape = (*batch_y, *summed_y, *free_y), (*batch, summed, prod(columns))
    as_is = (left, right) == (tuple(range(len(x))), tuple(range(len(y)))) and (left_shape, right_shape) == (x, y)
    return _Plan(left, left_shape, right, right_shape, batch + rows + columns, as_is)


def dot_general(
    x: Any, y: Any, dimension_numbers: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]], dtype: Any = None
) -> Any:
    """The product of x and y by ((contracting of x, of y), (batch of x, of y)), summed in `dtype`."""
    try:
        contracting, batch = ((tuple(map(int, of_x)), tuple(map(int, of_y))) for of_x, of_y in dimension_numbers)
    except (TypeError, ValueError):
        raise ShapeError(
            "dot_general takes dimension_numbers ((contracting of x, of y), (batch of x, of y)), sequences of axes, "
            f"got {dimension_numbers!r}"
        ) from None
    dtype = None if dtype is None or as_dtype(dtype) == x.type.dtype else as_dtype(dtype)
    return DotGeneral(contracting, batch, dtype)(x, y)
