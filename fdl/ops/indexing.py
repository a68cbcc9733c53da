"""Gather and Scatter: windows read from, or written to, places given by indices."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.types import TensorType
from fdl.dtypes import FLOATING, SIGNED, UNSIGNED, bool_, index_dtype, is_inexact, key
from fdl.errors import DifferentiationError, DtypeError, ShapeError
from fdl.ops.arithmetic import div, mul
from fdl.ops.compare import eq
from fdl.ops.convert import convert
from fdl.ops.precision import widened
from fdl.ops.select import select
from fdl.ops.shape import full, iota, repeat, reshape, zeros_of
from fdl.ops.windows import GatherDimensionNumbers, ScatterDimensionNumbers, Windows, check


class Gather(Primitive):
    """A window of ``slice_sizes`` for every index vector.

    Windows that reach out of the operand are filled with ``fill_value`` (mode "fill"; by default NaN, the smallest
    signed, the largest unsigned integer, True) or moved inside (modes "clip" and "promise_in_bounds").
    """

    lowering_kind = "kernel"
    weak_operands = slice(1)
    linear = ((0,),)
    numbers: GatherDimensionNumbers
    slice_sizes: tuple[int, ...]
    mode: str = "fill"
    fill_value: Any = None
    unique_indices: bool = False
    indices_are_sorted: bool = False

    def windows(self, x: TensorType) -> Windows:
        """Where the windows lie in an operand of type `x`."""
        n = self.numbers
        return Windows(
            x.shape, self.slice_sizes, n.start_index_map, n.operand_batching_dims, n.start_indices_batching_dims
        )

    def result(self, *types: TensorType) -> TensorType:
        x, indices = types
        check("gather", self.windows(x), indices, self.mode, types)
        n = self.numbers
        dropped = n.collapsed_slice_dims + n.operand_batching_dims
        kept = [size for a, size in enumerate(self.slice_sizes) if a not in dropped]
        if len(kept) != len(n.offset_dims) or any(self.slice_sizes[a] != 1 for a in dropped):
            raise ShapeError(f"gather of {x} and {indices}: {n} and slice_sizes {self.slice_sizes} do not fit together")
        shape, places = [], iter(indices.shape[:-1])
        for axis in range(indices.ndim - 1 + len(kept)):
            shape.append(kept[n.offset_dims.index(axis)] if axis in n.offset_dims else next(places))
        return x.with_shape(tuple(shape))

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        types = TensorType(x.shape, x.dtype), TensorType(indices.shape, indices.dtype)
        windows, shape = self.windows(types[0]), self.result(*types).shape
        rows, inside = windows.locate(indices, self.mode)
        found = windows.rows(x)[rows]
        if not inside.all():
            found[~inside] = default_fill(x.dtype) if self.fill_value is None else self.fill_value
        places = inside.shape
        found = found.reshape(places + tuple(self.slice_sizes[a] for a in windows.order))
        count = len(places)
        found = found.transpose((*range(count), *(count + int(a) for a in np.argsort(windows.order))))
        offset = self.numbers.offset_dims
        order = [a for a in range(len(shape)) if a not in offset] + list(offset)
        return found.reshape([shape[a] for a in order]).transpose(np.argsort(order))

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        x, indices = primals
        return self(x, indices), replace(self, fill_value=0)(tangents[0], indices)

    def transpose(self, cotangent: Any, x: Any, indices: Any) -> Sequence[Any]:
        n = self.numbers
        numbers = ScatterDimensionNumbers(
            n.offset_dims,
            n.collapsed_slice_dims,
            n.start_index_map,
            n.operand_batching_dims,
            n.start_indices_batching_dims,
        )
        back = Scatter("add", numbers, self.mode, self.unique_indices, self.indices_are_sorted)
        return back(zeros_of(x.type), indices, cotangent), None

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        n, (of_x, of_indices) = self.numbers, batched
        up = _shifted(of_x)
        numbers = GatherDimensionNumbers(
            _up(n.offset_dims), up(n.collapsed_slice_dims), up(n.start_index_map), up(n.operand_batching_dims),
            _shifted(of_indices)(n.start_indices_batching_dims),
        )  # fmt: skip
        sizes = (1, *self.slice_sizes) if of_x else self.slice_sizes
        if of_x and of_indices:
            numbers = replace(
                numbers,
                operand_batching_dims=(0, *numbers.operand_batching_dims),
                start_indices_batching_dims=(0, *numbers.start_indices_batching_dims),
            )
        elif of_x:
            numbers, sizes = replace(numbers, offset_dims=(0, *numbers.offset_dims)), (size, *self.slice_sizes)
        kept = self.indices_are_sorted and not of_indices
        return replace(self, numbers=numbers, slice_sizes=sizes, indices_are_sorted=kept)(*args)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for numbers, sizes, shape, places in _CASES:
            indices = rng.integers(-2, 6, places)
            for mode in ("fill", "clip"):
                yield Gather(numbers, sizes, mode), rng.normal(size=shape), indices
        rows = GatherDimensionNumbers((1,), (0,), (0,))
        for dtype in (bool_, *SIGNED, *UNSIGNED, *FLOATING, np.dtype(np.complex64)):
            x = rng.integers(0, 2, (5, 3)).astype(dtype)
            yield Gather(rows, (1, 3)), x, np.array([[0], [4], [7], [-1]], np.int32)
        keys = rng.integers(0, 9, (5, 2, 2)).astype(np.uint32).view(key)[..., 0]
        yield Gather(rows, (1, 2), "clip"), keys, np.array([[0], [9]], np.uint8)
        yield Gather(rows, (1, 2), fill_value=7.5), rng.normal(size=(3, 2)), np.array([[1], [3]])
        yield Gather(rows, (1, 2), "promise_in_bounds", None, True, True), rng.normal(size=(3, 2)), np.array([[0], [2]])


class Scatter(Primitive):
    """The operand, with a window of ``updates`` combined into it for every index vector; of the ``kind`` "set", "add",
    "mul", "min" or "max".

    Windows that reach out of the operand are dropped (mode "fill") or moved inside ("clip", "promise_in_bounds"). Of
    several updates that set one element the last counts.
    """

    lowering_kind = "kernel"
    weak_operands = slice(1)
    linear = True
    kind: str
    numbers: ScatterDimensionNumbers
    mode: str = "fill"
    unique_indices: bool = False
    indices_are_sorted: bool = False

    def sizes(self, x: TensorType, updates: TensorType) -> tuple[int, ...]:
        """The extents of a window along every axis of the operand."""
        n = self.numbers
        extents = iter([updates.shape[a] for a in n.update_window_dims if a < updates.ndim])
        dropped = n.inserted_window_dims + n.operand_batching_dims
        return tuple(1 if a in dropped else next(extents, -1) for a in range(x.ndim))

    def windows(self, x: TensorType, updates: TensorType) -> Windows:
        """Where the windows lie in an operand of type `x`."""
        n, sizes = self.numbers, self.sizes(x, updates)
        batching = n.operand_batching_dims, n.scatter_indices_batching_dims
        return Windows(x.shape, sizes, n.scatter_dims_to_operand_dims, *batching)

    def result(self, *types: TensorType) -> TensorType:
        x, indices, updates = types
        if self.kind not in _COMBINE:
            raise ValueError(f"scatter has the kinds {', '.join(_COMBINE)}, got {self.kind!r}")
        if x.dtype != updates.dtype:
            raise DtypeError(f"scatter needs updates of the operand's dtype, got {x} and {updates}")
        check("scatter", self.windows(x, updates), indices, self.mode, types)
        places = tuple(m for a, m in enumerate(updates.shape) if a not in self.numbers.update_window_dims)
        if places != indices.shape[:-1]:
            raise ShapeError(f"scatter into {x}: updates {updates} do not fit indices {indices} by {self.numbers}")
        return x

    def reference(self, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        windows = self.windows(TensorType(x.shape, x.dtype), TensorType(updates.shape, updates.dtype))
        located, inside = windows.locate(indices, self.mode)
        rows = located.reshape(-1)
        window = self.numbers.update_window_dims
        places = [a for a in range(updates.ndim) if a not in window]
        news: np.ndarray = updates.transpose(places + list(window)).reshape(inside.shape + windows.sizes)
        count = len(places)
        news = news.transpose((*range(count), *(count + a for a in windows.order)))
        out = windows.rows(x).copy()
        news = news.reshape(rows.size, out.shape[1])
        if not inside.all():
            keep = np.broadcast_to(inside.reshape(inside.shape + (1,) * (located.ndim - count)), located.shape)
            rows, news = rows[keep.reshape(-1)], news[keep.reshape(-1)]
        _combine_rows(_COMBINE[self.kind], out, rows, news)
        return windows.unrows(out)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x, indices, updates), (dx, _, du) = primals, tangents
        out = self(*primals)
        dx, du = (zeros_of(p.type) if t is None else t for p, t in ((x, dx), (updates, du)))
        if self.kind in ("set", "add"):
            return out, self(dx, indices, du)
        read, write = self.gathered, replace(self, kind="add")
        if self.kind == "mul":
            dot = self(dx, indices, updates)
            if tangents[2] is None:
                return out, dot
            if not self.unique_indices:
                raise DifferentiationError("scatter-multiply by updates needs unique_indices=True to be differentiable")
            return out, write(dot, indices, mul(du, read(x, indices, updates.type)))
        # Equal candidates share the derivative.
        kept = convert(eq(x, out), x.type.dtype)
        won = convert(eq(updates, read(out, indices, updates.type)), x.type.dtype)
        total = write(mul(kept, dx), indices, mul(won, du))
        return out, div(total, write(kept, indices, won))

    def gathered(self, x: Any, indices: Any, updates: TensorType) -> Any:
        """What `x` holds where the updates go, in their shape."""
        n = self.numbers
        numbers = GatherDimensionNumbers(
            n.update_window_dims, n.inserted_window_dims, n.scatter_dims_to_operand_dims, n.operand_batching_dims,
            n.scatter_indices_batching_dims,
        )  # fmt: skip
        return Gather(numbers, self.sizes(x.type, updates), self.mode, 0)(x, indices)

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return {"add": ((0, 2),), "set": ((0, 2),), "mul": ((0,),)}.get(self.kind, ())

    def transpose(self, cotangent: Any, x: Any, indices: Any, updates: Any) -> Sequence[Any]:
        of_x, of_updates = cotangent, None
        if self.kind == "mul":
            of_x = self(cotangent, indices, updates)
        elif self.kind == "set" and isinstance(x, Linear):
            of_x = self(cotangent, indices, zeros_of(updates.type))
        if isinstance(updates, Linear):
            of_updates = self.gathered(cotangent, indices, updates.type)
            if self.kind == "set" and not self.unique_indices:
                of_updates = select(
                    self._lasting(cotangent.type, indices, updates.type), of_updates, zeros_of(updates.type)
                )
        return of_x if isinstance(x, Linear) else None, None, of_updates

    def _lasting(self, x: TensorType, indices: Any, updates: TensorType) -> Any:
        """Which updates no later one replaces."""
        integer = index_dtype(updates.size)
        numbered = reshape(iota(integer, (updates.size,), 0), updates.shape)
        owner = self(full(-1, x.shape, integer), indices, numbered)
        return eq(self.gathered(owner, indices, updates), numbered)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        n = self.numbers
        x, indices, updates = args
        x = x if batched[0] else repeat(x, size)
        updates = updates if batched[2] else repeat(updates, size)
        numbers = ScatterDimensionNumbers(
            _up(n.update_window_dims), _up(n.inserted_window_dims), _up(n.scatter_dims_to_operand_dims),
            _up(n.operand_batching_dims), _shifted(batched[1])(n.scatter_indices_batching_dims),
        )  # fmt: skip
        if batched[1]:
            numbers = replace(
                numbers,
                operand_batching_dims=(0, *numbers.operand_batching_dims),
                scatter_indices_batching_dims=(0, *numbers.scatter_indices_batching_dims),
            )
        else:
            numbers = replace(numbers, update_window_dims=(0, *numbers.update_window_dims))
        kept = self.indices_are_sorted and not batched[1]
        return replace(self, numbers=numbers, indices_are_sorted=kept)(x, indices, updates)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for kind in _COMBINE:
            for g, sizes, shape, places in _CASES if kind in ("set", "add") else _CASES[:6]:
                n = ScatterDimensionNumbers(
                    g.offset_dims, g.collapsed_slice_dims, g.start_index_map, g.operand_batching_dims,
                    g.start_indices_batching_dims,
                )  # fmt: skip
                x, indices = rng.normal(size=shape), rng.integers(-2, 6, places)
                type = Gather(g, sizes).result(TensorType(shape, x.dtype), TensorType(places, indices.dtype))
                for mode in ("fill", "clip"):
                    yield Scatter(kind, n, mode), x, indices, rng.normal(size=type.shape)
            rows = ScatterDimensionNumbers((1,), (0,), (0,))
            for dtype in (*SIGNED, *UNSIGNED, *FLOATING[:-1]):
                x, updates = (rng.integers(0, 5, (n, 3)).astype(dtype) for n in (5, 4))
                yield Scatter(kind, rows), x, np.array([[1], [4], [1], [8]], np.int32), updates
            yield (
                Scatter(kind, rows, "fill", True),
                rng.normal(size=(5, 2)),
                np.array([[3], [0]]),
                rng.normal(size=(2, 2)),
            )
        flags = rng.random((2, 4)) < 0.5
        yield Scatter("set", ScatterDimensionNumbers((), (0,), (0,))), flags[0], np.array([[1], [2]]), flags[1, :2]


def _combine_rows(function: Any, out: np.ndarray, rows: np.ndarray, news: np.ndarray) -> None:
    """Combine each of the rows `news` into the row of `out` that `rows` numbers; without a function replace it."""
    if function is None:
        out[rows] = news
        return
    if not rows.size:
        return
    order = np.argsort(rows, kind="stable")
    numbers = rows[order]
    first = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    targets = numbers[first]
    wide = widened(news[order])
    total = function.reduceat(wide, first, 0, wide.dtype)
    out[targets] = function(widened(out[targets]), total).astype(out.dtype)


_COMBINE = {"set": None, "add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}

_G = GatherDimensionNumbers
#: Dimension numbers, window, shape of the operand, shape of the indices.
_CASES = [
    (_G((1,), (0,), (0,)), (1, 3), (5, 3), (4, 1)),  # rows
    (_G((), (0, 1), (0, 1)), (1, 1), (4, 3), (2, 5, 2)),  # points
    (_G((0, 2), (1,), (1, 0)), (2, 1, 3), (4, 5, 3), (6, 2)),  # blocks, the index vector in another order
    (_G((1, 2), (), (0, 1)), (2, 3), (4, 5), (3, 2)),  # windows
    (_G((0, 1), (), (1,)), (3, 2), (3, 5), (1,)),  # one window
    (_G((), (1,), (1,), (0,), (0,)), (1, 1), (4, 5), (4, 2, 1)),  # along an axis, row by row
    (_G((2,), (1,), (1,), (0, 3), (1, 0)), (1, 1, 2, 1), (3, 4, 2, 2), (2, 3, 1)),  # two batching axes
    (_G((1,), (0,), (0,)), (1, 0), (4, 0), (3, 1)),  # empty rows
    (_G((1,), (0,), (0,)), (1, 3), (4, 3), (0, 1)),  # no rows
    (_G((1,), (0,), (0,)), (1, 3), (0, 3), (0, 1)),  # no rows of none
    (_G((), (0,), (0,)), (1,), (4,), (1,)),  # one element
]


def _shifted(batched: bool) -> Any:
    return _up if batched else lambda axes: axes


def _up(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def default_fill(dtype: np.dtype) -> Any:
    """What a gather in mode "fill" returns for places out of bounds."""
    if is_inexact(dtype):
        return np.nan
    if dtype in SIGNED:
        return np.iinfo(dtype).min
    if dtype == bool_:
        return True
    return np.iinfo(dtype if dtype in UNSIGNED else np.uint32).max


def _check_numbers(name: str, given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise TypeError(f"{name} takes dimension_numbers of class {kind.__name__}, got {type(given).__name__}")


def gather(
    x: Any,
    indices: Any,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    mode: str = "fill",
    fill_value: Any = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
) -> Any:
    """Windows of `x` at `indices`; see :class:`Gather`."""
    _check_numbers("gather", dimension_numbers, GatherDimensionNumbers)
    operation = Gather(dimension_numbers, tuple(slice_sizes), mode, fill_value, unique_indices, indices_are_sorted)
    return operation(x, indices)


def scatter(
    kind: str,
    x: Any,
    indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    mode: str = "fill",
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
) -> Any:
    """`x` with `updates` combined into it at `indices`; see :class:`Scatter`."""
    _check_numbers("scatter", dimension_numbers, ScatterDimensionNumbers)
    return Scatter(kind, dimension_numbers, mode, unique_indices, indices_are_sorted)(x, indices, updates)


def take_along(x: Any, indices: Any, axis: int) -> Any:
    """Elements of `x` at `indices` along `axis`; the other axes of both have the same extents and run together."""
    if not x.type.shape[axis]:
        return zeros_of(x.type.with_shape(indices.type.shape))
    others = tuple(a for a in range(x.type.ndim) if a != axis)
    numbers = GatherDimensionNumbers((), (axis,), (axis,), others, others)
    vectors = reshape(indices, (*indices.type.shape, 1))
    return Gather(numbers, (1,) * x.type.ndim, "promise_in_bounds")(x, vectors)
