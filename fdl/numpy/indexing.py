"""Index expressions that read and write: ``x[...]`` and ``x.at[...]``; what they mean is in `_index`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.array import Array as ConcreteArray
from fdl.config import config
from fdl.core.interpret import quiet
from fdl.core.trace import Value, is_eager
from fdl.core.weak import weak_as
from fdl.dtypes import WEAK, bool_, index_dtype, python_number
from fdl.errors import ShapeError
from fdl.lax.control import cond, scan
from fdl.numpy._index import (
    At,
    Flag,
    Part,
    Range,
    broadcast_places,
    first_place,
    parse,
    places_shape,
    refuse_empty_axes,
    result_shape,
)
from fdl.numpy._operands import Array, ArrayLike, as_written, cast, expand_to, value
from fdl.numpy.arithmetic import divide, negative, power
from fdl.ops import arithmetic, compare
from fdl.ops.indexing import gather, scatter
from fdl.ops.select import select
from fdl.ops.shape import full_like, reshape, transpose, zeros_of
from fdl.ops.slicing import dynamic_slice, dynamic_update_slice, reverse, slice_
from fdl.ops.windows import GatherDimensionNumbers, ScatterDimensionNumbers

COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda old, new: new,
    "add": arithmetic.add,
    "mul": arithmetic.mul,
    "min": arithmetic.min_,
    "max": arithmetic.max_,
}


def mode_name(mode: Any, default: str) -> str:
    """The mode of a gather or scatter: "fill", "clip" or "promise_in_bounds"."""
    if mode is None:
        return default
    name = str(getattr(mode, "name", mode)).lower()
    name = {"drop": "fill", "fill_or_drop": "fill"}.get(name, name)
    if name not in ("fill", "clip", "promise_in_bounds"):
        raise ValueError(f"mode must be 'fill', 'drop', 'clip' or 'promise_in_bounds', got {mode!r}")
    return name


def read(
    x: Array,
    index: Any,
    mode: Any = None,
    fill_value: Any = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    wrapped: bool = True,
) -> Array:
    """``x[index]``: slices for what is known, one dynamic slice or gather for the rest."""
    if mode is None and wrapped and type(x) is ConcreteArray and is_eager():
        try:
            return ConcreteArray(np.asarray(x.concrete()[_known(index)]))
        except (IndexError, TypeError, OverflowError):
            pass  # not for NumPy, or an error that is told below
    checked = config.check_indices and mode is None and fill_value is None and wrapped
    parts = parse(x.type.shape, index, checked, wrapped)
    name = mode_name(mode, "promise_in_bounds" if fill_value is None and wrapped else "fill")
    result = result_shape(parts)
    if 0 in result:
        return zeros_of(x.type.with_shape(result))
    refuse_empty_axes(x.type.shape, parts)
    y = _sliced(x, parts)
    arrays = [p for p in parts if isinstance(p, At) and not isinstance(p.places, int)]
    if not arrays:
        return reshape(y, result)
    if name != "fill" and all(p.shape == () for p in arrays):
        starts: list[Any] = [np.int32(0)] * x.type.ndim
        sizes = list(y.type.shape)
        for p in arrays:
            starts[p.axis], sizes[p.axis] = p.places, 1
        return reshape(dynamic_slice(y, starts, sizes), result)
    # Axes with a known place have an extent of 1 by now, and go.
    known = {p.axis for p in parts if isinstance(p, At) and isinstance(p.places, int)}
    axes = [i for i in range(x.type.ndim) if i not in known]
    y = reshape(y, tuple(y.type.shape[i] for i in axes))
    taken = tuple(axes.index(p.axis) for p in arrays)
    shape = places_shape([p for p in parts if isinstance(p, (At, Flag))])
    before = sum(isinstance(p, Range) for p in parts[: first_place(parts)])
    kept = len(axes) - len(taken)
    offsets = tuple(i if i < before else i + len(shape) for i in range(kept))
    sizes = [1 if i in taken else n for i, n in enumerate(y.type.shape)]
    numbers = GatherDimensionNumbers(offsets, tuple(sorted(taken)), taken)
    indices = broadcast_places([p.places for p in arrays], shape)
    out = gather(y, indices, numbers, sizes, name, fill_value, unique_indices, indices_are_sorted)
    return reshape(out, result)


def _known(index: Any) -> Any:
    """An index of integers, slices, new axes and arrays or lists of integers, as NumPy takes it.

    Raises:
        TypeError: the index has other parts, or such that NumPy understands otherwise.
    """
    if type(index) is tuple:
        return tuple([_known_part(part) for part in index])
    return _known_part(index)


def _known_part(part: Any) -> Any:
    if type(part) is int or type(part) is slice or part is None or part is Ellipsis:
        return part
    if type(part) is ConcreteArray:
        part = part.concrete()
    elif type(part) is list and part and set(map(type, part)) == {int}:
        part = np.array(part)
    if type(part) is np.ndarray and part.dtype.kind == "i":
        return part
    raise TypeError


def _sliced(x: Array, parts: Sequence[Part]) -> Array:
    """`x` cut down to the known ranges and places."""
    starts, limits, strides = [0] * x.type.ndim, list(x.type.shape), [1] * x.type.ndim
    backward = []
    for p in parts:
        if isinstance(p, At) and isinstance(p.places, int):
            starts[p.axis], limits[p.axis] = p.places, p.places + 1
        elif isinstance(p, Range):
            low, high = sorted((p.start, p.start + (p.count - 1) * p.step)) if p.count else (0, -1)
            starts[p.axis], limits[p.axis] = low, high + 1
            strides[p.axis] = abs(p.step) if p.count > 1 else 1
            if p.step < 0 and p.count > 1:
                backward.append(p.axis)
    return reverse(slice_(x, tuple(starts), tuple(limits), tuple(strides)), backward)


def write(
    x: Array,
    index: Any,
    values: ArrayLike,
    kind: str,
    mode: Any = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    wrapped: bool = True,
) -> Array:
    """`x` with `values` combined into ``x[index]``; `kind` is "set", "add", "mul", "min" or "max"."""
    values = python_number(values)
    if x.type.dtype == bool_:  # sums and products of truth values, as in `numpy.add`
        kind = {"add": "max", "mul": "min"}.get(kind, kind)
    if mode is None and wrapped and type(x) is ConcreteArray and is_eager():
        written = _write_at_once(x.concrete(), index, values, kind)
        if written is not None:
            return ConcreteArray(written)
    values = weak_as(x, as_written(f"at[...].{kind}", values, x.type.dtype))
    masked = _write_where(x, index, values, kind)
    if masked is not None:
        return masked
    parts = parse(x.type.shape, index, config.check_indices and mode is None and wrapped, wrapped)
    shape = result_shape(parts)
    try:
        fits = np.broadcast_shapes(values.type.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"x.at[...].{kind}: values of shape {values.type.shape} do not broadcast to {shape}, the shape indexed"
        )
    if 0 in shape or 0 in x.type.shape:
        return x
    values = expand_to(values, shape)
    if all(not isinstance(p, At) or isinstance(p.places, int) for p in parts) and all(
        abs(p.step) == 1 for p in parts if isinstance(p, Range)
    ):
        return _write_block(x, parts, values, kind)
    return _write_places(x, parts, values, kind, mode_name(mode, "fill"), unique_indices, indices_are_sorted)


def _write_at_once(x: np.ndarray, index: Any, values: Any, kind: str) -> np.ndarray | None:
    """What `write` returns for integers and slices and values that need no conversion; None for all else."""
    parts = index if type(index) is tuple else (index,)
    if type(values) is ConcreteArray:
        values = values.concrete()
        if values.dtype != x.dtype:
            return None
    elif not (type(values) is float and x.dtype.kind == "f") and not (type(values) is int and x.dtype.kind in "if"):
        return None
    for part in parts:
        if type(part) is not int and type(part) is not slice:
            return None
    try:
        values = quiet.run(np.asarray, values, x.dtype)
        old = x[index]
    except (IndexError, TypeError, OverflowError):
        return None
    if values.ndim and values.shape != old.shape:
        return None
    new = x.copy("C")
    new[index] = values if kind == "set" else COMBINE[kind](*map(ConcreteArray, _matched(old, values))).concrete()
    return new


def _matched(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(old), np.broadcast_to(new, old.shape)


def _write_where(x: Array, index: Any, values: Array, kind: str) -> Any:
    """Under a traced boolean mask, values that do not depend on how many elements it selects; else None."""
    traced_mask = isinstance(index, Value) and type(index) is not ConcreteArray and index.type.dtype == bool_
    if not traced_mask or index.type.shape != x.type.shape[: index.type.ndim]:
        return None
    inner = x.type.shape[index.type.ndim :]
    if values.type.ndim > len(inner):
        return None
    mask = reshape(index, index.type.shape + (1,) * len(inner))
    return select(expand_to(mask, x.type.shape), COMBINE[kind](x, expand_to(values, x.type.shape)), x)


def _write_block(x: Array, parts: Sequence[Part], values: Array, kind: str) -> Array:
    """Into one block whose place is known."""
    starts, sizes, backward = [0] * x.type.ndim, [1] * x.type.ndim, []
    for p in parts:
        if isinstance(p, At):
            starts[p.axis] = p.places
        elif isinstance(p, Range):
            sizes[p.axis] = p.count
            starts[p.axis] = p.start if p.step > 0 or not p.count else p.start - p.count + 1
            if p.step < 0:
                backward.append(p.axis)
    new = reverse(reshape(values, tuple(sizes)), backward)
    if tuple(sizes) == x.type.shape:
        return COMBINE[kind](x, new)
    if not new.type.size:
        return x
    if kind != "set":
        old = slice_(x, tuple(starts), tuple(a + n for a, n in zip(starts, sizes, strict=True)))
        new = COMBINE[kind](old, new)
    return dynamic_update_slice(x, new, [np.int64(s) for s in starts])


def _write_places(
    x: Array, parts: Sequence[Part], values: Array, kind: str, mode: str, unique: bool, in_order: bool
) -> Array:
    """By a scatter: places and partial ranges become index vectors, whole axes lie in the window."""
    at = [p for p in parts if isinstance(p, (At, Flag))]
    ranges = [p for p in parts if isinstance(p, Range)]
    whole = [p for p in ranges if p.step == 1 and p.count == x.type.shape[p.axis]]
    partial = [p for p in ranges if p not in whole]
    shape = places_shape(at) if at else ()
    # The values, without new axes, have the axes of the places in front of range number `before`.
    before = sum(isinstance(p, Range) for p in parts[: first_place(parts)]) if at else 0
    extents = [p.count for p in ranges]
    values = reshape(values, (*extents[:before], *shape, *extents[before:]))

    def axis_of(p: Range) -> int:
        number = ranges.index(p)
        return number if number < before else number + len(shape)

    order = [*range(before, before + len(shape)), *(axis_of(p) for p in partial), *(axis_of(p) for p in whole)]
    values = transpose(values, order)
    full = shape + tuple(p.count for p in partial)
    columns = {p.axis: _trailing(p.places, len(partial)) for p in at if isinstance(p, At)}
    for number, p in enumerate(partial):
        steps = p.start + p.step * np.arange(p.count)
        columns[p.axis] = steps.reshape((p.count,) + (1,) * (len(partial) - number - 1))
    axes = tuple(sorted(columns))
    window = tuple(range(len(full), len(full) + len(whole)))
    indices = broadcast_places([columns[a] for a in axes], full)
    numbers = ScatterDimensionNumbers(window, axes, axes)
    return scatter(kind, x, indices, values, numbers, mode, unique, in_order)


def _trailing(places: Any, count: int) -> Any:
    """Places with extra axes of extent 1 behind."""
    if isinstance(places, Value):
        return reshape(places, places.type.shape + (1,) * count)
    places = np.asarray(places)
    return places.reshape(places.shape + (1,) * count)


class IndexUpdate:
    """``x.at``; index it to get the methods set, add, ..., get.

    >>> array([1, 2, 3]).at[1].set(9)
    Array([1, 9, 3], dtype=int32)
    """

    __slots__ = ("_array",)

    def __init__(self, array: Array) -> None:
        self._array = array

    def __getitem__(self, index: Any) -> "IndexedPart":
        return IndexedPart(self._array, index)

    def __repr__(self) -> str:
        return f"{self._array!r}.at"


class IndexedPart:
    """``x.at[index]``: each method returns a changed copy of x.

    All take the keywords ``mode`` ("drop", the default under tracing: places out of bounds are left out; "clip";
    "promise_in_bounds"; without it known places out of bounds are an error), ``unique_indices`` and
    ``indices_are_sorted`` (promises that allow faster code), and ``wrap_negative_indices`` (False: negative indices are
    out of bounds, and do not count from the end).
    """

    __slots__ = ("_array", "_index")

    def __init__(self, array: Array, index: Any) -> None:
        self._array = array
        self._index = index

    def __repr__(self) -> str:
        return f"{self._array!r}.at[{self._index!r}]"

    def get(
        self,
        *,
        mode: Any = None,
        fill_value: Any = None,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The elements.

        Args:
            mode: for places out of bounds: "fill", "clip" or "promise_in_bounds".
            fill_value: what "fill" returns; default NaN, or the integer farthest from zero.
            indices_are_sorted: a promise.
            unique_indices: a promise.
            wrap_negative_indices: whether negative indices count from the end; otherwise they are out of bounds.
        """
        return read(
            self._array, self._index, mode, fill_value, unique_indices, indices_are_sorted, wrap_negative_indices
        )

    def _write(self, kind: str, values: ArrayLike, in_order: bool, unique: bool, mode: Any, wrapped: bool) -> Array:
        return write(self._array, self._index, values, kind, mode, unique, in_order, wrapped)

    def set(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The elements replaced; of several values for one place, the last one stays."""
        return self._write("set", values, indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    def add(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The values added; all of them if a place comes several times."""
        return self._write("add", values, indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    def subtract(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The values subtracted."""
        return self._write("add", negative(values), indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    def multiply(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The elements multiplied by the values."""
        return self._write("mul", values, indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    mul = multiply

    def min(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The smaller of element and value."""
        return self._write("min", values, indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    def max(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The larger of element and value."""
        return self._write("max", values, indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    def _factors(self, values: ArrayLike, dtype: np.dtype, options: tuple[Any, ...]) -> Array:
        """The product of the values of every place, 1 elsewhere."""
        ones = full_like(cast(self._array, dtype), 1)
        return write(ones, self._index, values, "mul", *options)

    def divide(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The elements divided by the values."""
        options = (mode, unique_indices, indices_are_sorted, wrap_negative_indices)
        return divide(self._array, self._factors(values, self._array.type.dtype, options))

    def power(
        self,
        values: ArrayLike,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The elements raised to the values."""
        options = (mode, unique_indices, indices_are_sorted, wrap_negative_indices)
        dtype = self._array.type.dtype if type(values) in WEAK else value("power", values).type.dtype
        return power(self._array, self._factors(values, dtype, options))

    def apply(
        self,
        func: Callable[[Any], Any],
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """The elements replaced by `func` of them, for a place that comes several times by as many applications.

        Args:
            func: a function of each element by itself.
            indices_are_sorted: a promise.
            unique_indices: a promise, without which an array of indices may repeat places.
            mode: for places out of bounds: "drop", "clip" or "promise_in_bounds".
            wrap_negative_indices: whether negative indices count from the end.
        """
        old = read(self._array, self._index, mode, None, unique_indices, indices_are_sorted, wrap_negative_indices)
        new = func(old)
        if not unique_indices and _may_repeat(self._index):
            new = _applied(func, old, new, self._occurrences(mode, wrap_negative_indices))
        return self._write("set", new, indices_are_sorted, unique_indices, mode, wrap_negative_indices)

    def _occurrences(self, mode: Any, wrapped: bool) -> Array:
        """How often the index has the place of each of its elements."""
        zeros = full_like(cast(self._array, index_dtype(self._array.type.size)), 0)
        counts = write(zeros, self._index, 1, "add", mode, wrapped=wrapped)
        return read(counts, self._index, mode, wrapped=wrapped)


def _may_repeat(index: Any) -> bool:
    """Whether an index has arrays of integers, so that a place can come several times."""
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [p for p in parts if isinstance(p, (Value, np.ndarray))]
    return any((p.type if isinstance(p, Value) else p).dtype.kind in "iu" and np.shape(p) != () for p in arrays)


def _applied(func: Callable[[Any], Any], old: Array, first: Array, times: Array) -> Array:
    """`func` applied to each element of `old` as often as `times` says; `first` is that of one application."""

    def again(found: Array, number: Any) -> Array:
        return select(compare.gt(times, expand_to(cast(number, times.type.dtype), times.type.shape)),
                      cast(func(found), old.type.dtype), found)  # fmt: skip

    found = cast(first, old.type.dtype)
    if type(times) is ConcreteArray:
        for number in range(1, int(times.concrete().max(initial=0))):
            found = again(found, np.asarray(number))
        return found
    most = times.max()
    numbers = np.arange(1, max(times.type.size, 1), dtype=times.type.dtype)
    # As many rounds as there are elements would do; those that change nothing are skipped.
    return scan(
        lambda found, number: (cond(number < most, lambda f: again(f, number), lambda f: f, found), None),
        found,
        numbers,
    )[0]
