"""Index expressions: what the parts of ``x[...]`` mean for the axes of x."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.core.trace import Value
from fdl.dtypes import bool_, int32, int64, uint32, uint64
from fdl.errors import FdlError, IndexingError
from fdl.numpy._operands import Array, cast, expand_to
from fdl.numpy.creation import array
from fdl.ops.arithmetic import add, min_
from fdl.ops.compare import lt
from fdl.ops.select import select
from fdl.ops.shape import full_like, reshape
from fdl.ops.slicing import concatenate


@dataclass(frozen=True)
class New:
    """A new axis of extent 1 (None)."""


@dataclass(frozen=True)
class Range:
    """Every step-th of an axis: `count` elements from `start`, counted from the front."""

    axis: int
    start: int
    count: int
    step: int


@dataclass(frozen=True)
class At:
    """Places on an axis: an int that is known to exist, or an array of indices, none of them negative unless outside.

    Attributes:
        axis: of the operand.
        places: int, np.ndarray or traced Value.
    """

    axis: int
    places: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the places."""
        return () if isinstance(self.places, int) else shape_of(self.places)


@dataclass(frozen=True)
class Flag:
    """A scalar boolean: a mask of no axes, which selects all (one place) or nothing (no place)."""

    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the places, with which those of index arrays broadcast."""
        return (self.count,)


Part = New | Range | At | Flag


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a NumPy array or a Value."""
    return x.type.shape if isinstance(x, Value) else x.shape


def parse(shape: tuple[int, ...], index: Any, checked: bool, wrapped: bool = True) -> list[Part]:
    """The parts of an index expression, one for each axis and each new one.

    Args:
        shape: of the array that is indexed.
        index: what stands in the brackets.
        checked: whether known indices out of bounds are an error; otherwise the mode of the gather or scatter decides.
        wrapped: whether negative indices count from the end; otherwise they are out of bounds.

    Raises:
        IndexingError: an index is of a wrong kind, outside its axis, or one too many.
    """
    parts = [_simplified(part) for part in (index if isinstance(index, tuple) else (index,))]
    used = sum(_axes_of(p) for p in parts)
    if used > len(shape):
        raise IndexingError(
            f"too many indices: an array of shape {shape} has {len(shape)} axes, but {used} are indexed"
        )
    dots = [i for i, p in enumerate(parts) if p is Ellipsis]
    if len(dots) > 1:
        raise IndexingError("an index can only have one ellipsis ('...')")
    place = dots[0] if dots else len(parts)
    rest: list[Any] = [slice(None)] * (len(shape) - used)
    found: list[Part] = []
    axis = 0
    for part in parts[:place] + rest + parts[place + 1 :]:
        new = _resolve(shape, axis, part, checked, wrapped)
        found += new
        axis += sum(isinstance(p, (Range, At)) for p in new)
    return found


def _simplified(part: Any) -> Any:
    """A part as slice, None, Ellipsis, bool, int, np.ndarray or traced Value."""
    if part is None or part is Ellipsis or isinstance(part, (slice, bool, int)):
        return part
    if isinstance(part, (list, tuple)):
        part = _from_sequence(part)
    if isinstance(part, Value) and type(part) is not arrays.Array:
        dtype = part.type.dtype
    else:
        part = part.concrete() if isinstance(part, Value) else part
        if not isinstance(part, (np.ndarray, np.generic)):
            try:
                return operator.index(part)
            except TypeError:
                part = np.asarray(part)
        dtype = part.dtype
        if dtype.kind in "iu" and part.ndim == 0:
            return int(part)
    if dtype.kind not in "iub":
        kind = (
            f"{part.item()!r} of type {type(part.item()).__name__}" if dtype.kind in "OU" and not part.ndim else dtype
        )
        raise IndexingError(
            f"an index must be an integer, a boolean mask, a slice, None, ... or a sequence of integers, got {kind}"
        )
    return part


def _from_sequence(part: Any) -> Any:
    """The array of a list among the parts, as NumPy understands it; an empty one holds integers."""
    try:
        found = array(part)
    except FdlError as error:
        raise IndexingError(
            f"the sequence {part!r} cannot be an index, since it is no array of integers or booleans: {error}"
        ) from None
    return found if found.type.size else np.zeros(found.type.shape, np.int64)


def _axes_of(part: Any) -> int:
    """How many axes of the operand a part takes."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    if isinstance(part, (np.ndarray, np.generic, Value)) and _dtype(part) == bool_:
        return len(shape_of(part))
    return 1


def _dtype(x: Any) -> np.dtype:
    return x.type.dtype if isinstance(x, Value) else x.dtype


def _resolve(shape: tuple[int, ...], axis: int, part: Any, checked: bool, wrapped: bool) -> list[Part]:
    if part is None:
        return [New()]
    if isinstance(part, bool) or (_is_mask(part) and shape_of(part) == ()):
        return [Flag(int(bool(part)))]
    if isinstance(part, slice):
        start, stop, step = slice(*(_bound(b) for b in (part.start, part.stop, part.step))).indices(shape[axis])
        return [Range(axis, start, len(range(start, stop, step)), step)]
    if _is_mask(part):
        return [At(axis + i, places) for i, places in enumerate(_mask_places(shape, axis, part))]
    return [At(axis, _places(shape, axis, part, checked, wrapped))]


def _is_mask(part: Any) -> bool:
    return isinstance(part, (np.ndarray, np.generic, Value)) and _dtype(part) == bool_


def _bound(bound: Any) -> int | None:
    """One end of a slice as an int."""
    if bound is None or isinstance(bound, int):
        return bound
    if isinstance(bound, Value) and type(bound) is not arrays.Array:
        bound.concrete("slices need ends that are known (fdl.lax.dynamic_slice takes a traced start): a number")
    try:
        return operator.index(bound)
    except TypeError:
        raise IndexingError(f"the ends of a slice must be integers, got {bound!r}") from None


def _mask_places(shape: tuple[int, ...], axis: int, mask: Any) -> Sequence[np.ndarray]:
    expected = shape[axis : axis + len(shape_of(mask))]
    # An empty mask selects nothing of any extent, as in JAX.
    if any(given not in (0, extent) for given, extent in zip(shape_of(mask), expected, strict=True)):
        raise IndexingError(
            f"a boolean mask of shape {shape_of(mask)} does not fit the axes it indexes, of shape {expected}"
        )
    if 0 in shape_of(mask):
        return [np.zeros(0, np.int32)] * len(expected)
    if isinstance(mask, Value):
        mask = mask.concrete("a boolean mask selects a number of elements that is not known while tracing: the mask")
    return mask.nonzero()


def _places(shape: tuple[int, ...], axis: int, part: Any, checked: bool, wrapped: bool) -> Any:
    """Integer indices, counted from the front."""
    extent = shape[axis]
    if isinstance(part, Value):
        return from_front(part, extent) if wrapped else signed_places(part, extent)
    known = _signed_64(np.asarray(max(-(2**63), min(part, 2**63 - 1)) if isinstance(part, int) else part))
    places = (
        known + extent * (known < 0) if wrapped else known
    )  # a place that is not negative is left alone: it may be the largest int64
    wrong = (places < 0) | (places >= extent)
    if wrong.any():
        if checked:
            raise IndexingError(
                f"index {known[wrong].flat[0]} is out of bounds for axis {axis} of extent {extent} (shape {shape}); "
                "to have it clipped or filled instead, use x.at[...].get(mode=...) or .set(..., mode='drop')"
            )
        return places.astype(np.int64)
    return int(places) if places.ndim == 0 else places.astype(np.int32 if extent < 2**31 else np.int64)


def _signed_64(places: np.ndarray) -> np.ndarray:
    """Known indices as int64; larger ones become the largest, which is out of bounds as well."""
    if places.dtype == uint64:
        places = np.minimum(places, np.uint64(np.iinfo(np.int64).max))
    return places.astype(np.int64)


def signed_places(places: Array, extent: int) -> Array:
    """Indices in a signed dtype that holds them, and the extent of their axis too: bounds are computed in it."""
    if places.type.dtype == uint64:
        places = min_(places, full_like(places, np.iinfo(np.int64).max))
    wide = places.type.dtype.itemsize == 8 or places.type.dtype == uint32 or extent > np.iinfo(np.int32).max
    return cast(places, int64 if wide else int32)


def from_front(places: Array, extent: int) -> Array:
    """Indices of any integer dtype, negative ones of which count from the end, counted from the front."""
    signed = signed_places(places, extent)
    if places.type.dtype.kind == "u":
        return signed
    return select(lt(signed, full_like(signed, 0)), add(signed, full_like(signed, extent)), signed)


def broadcast_places(places: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Index vectors of the given shape: the places on every axis, repeated to it and stacked along a last axis."""
    if not any(isinstance(p, Value) for p in places):
        stacked = np.stack([np.broadcast_to(np.asarray(p), shape) for p in places], -1)
        small = not stacked.size or np.abs(stacked).max() < 2**31
        return arrays.Array(stacked.astype(np.int32 if small else np.int64))
    wide = any(_wide(p) for p in places)
    columns = [expand_to(_as_value(p, int64 if wide else int32), shape) for p in places]
    return concatenate([reshape(c, (*shape, 1)) for c in columns], len(shape))


def _wide(places: Any) -> bool:
    return isinstance(places, Value) and places.type.dtype == int64


def _as_value(places: Any, dtype: np.dtype) -> Array:
    return cast(places if isinstance(places, Value) else arrays.Array(np.asarray(places)), dtype)


def places_shape(parts: Sequence[At | Flag]) -> tuple[int, ...]:
    """The shape to which the index arrays broadcast."""
    try:
        return np.broadcast_shapes(*(p.shape for p in parts))
    except ValueError:
        shown = " and ".join(str(p.shape) for p in parts)
        raise IndexingError(f"index arrays of shapes {shown} do not broadcast to one shape") from None


def first_place(parts: Sequence[Part]) -> int:
    """How many parts stand before the axes of the index arrays in the result: none if slices part the arrays."""
    where = [i for i, p in enumerate(parts) if isinstance(p, (At, Flag))]
    together = where == list(range(where[0], where[0] + len(where)))
    return where[0] if together else 0


def refuse_empty_axes(shape: tuple[int, ...], parts: Sequence[Part]) -> None:
    """Raise if elements are to come from an axis that has none."""
    for part in parts:
        if isinstance(part, At) and not shape[part.axis] and 0 not in part.shape:
            raise IndexingError(f"axis {part.axis} of an array of shape {shape} has no elements, so no index fits it")


def result_shape(parts: Sequence[Part]) -> tuple[int, ...]:
    """The shape of ``x[...]``."""
    at = [p for p in parts if isinstance(p, (At, Flag))]
    extents = [1 if isinstance(p, New) else p.count for p in parts if isinstance(p, (New, Range))]
    if not at:
        return tuple(extents)
    place = first_place(parts)
    return (*extents[:place], *places_shape(at), *extents[place:])
