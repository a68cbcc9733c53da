"""Operations of fdl that move, cut and join arrays, as ONNX nodes."""

from collections.abc import Sequence

import numpy as np

from fdl.interop.onnx_export.extents import Extent, Extents, Growing
from fdl.interop.onnx_export.writer import Unsupported, Writer, WrittenEquation
from fdl.interop.tables import OperatorTable
from fdl.ops.indexing import default_fill

#: Functions (what is written) -> name of the result, or names of the results.
TABLE = OperatorTable()
define = TABLE.define

#: The largest limit of a slice: up to the end.
END = 2**63 - 1


@define("Reshape")
def reshape(e: WrittenEquation) -> str:
    return e.w.reshape(e.name(), e.result())


@define("Transpose")
def transpose(e: WrittenEquation) -> str:
    return e.w.transpose(e.name(), e.p["axes"])


def repeated(e: WrittenEquation) -> tuple[str, Extents]:
    """A broadcast without its repetition: with axes of extent one, so that ONNX broadcasts it where it is read."""
    name, extents = e.w.small(e.equation.inputs[0])
    axes, ndim = e.p["axes"], len(e.result())
    if extents == ():
        return name, ()
    if len(extents) < len(axes):  # itself repeated along leading axes
        axes = axes[len(axes) - len(extents) :]
    first = axes[0]
    missing = [a - first for a in range(first, ndim) if a not in axes]
    if missing:
        name = e.w.node("Unsqueeze", [name, e.w.integers(missing)])
    shape: list[Extent] = [1] * (ndim - first)
    for axis, extent in zip(axes, extents, strict=True):
        shape[axis - first] = extent
    return name, tuple(shape)


@define("Iota")
def iota(e: WrittenEquation) -> str:
    extents, axis = e.result(), e.p["axis"]
    extent, dtype = extents[axis], e.outputs[0].dtype
    if isinstance(extent, Growing):
        zero, one = e.w.constant(0, np.int64), e.w.constant(1, np.int64)
        stop = e.w.node("Squeeze", [e.w.vector((extent,)), e.w.integers([0])])
        line = e.w.cast(e.w.node("Range", [zero, stop, one]), dtype)
    else:
        line = e.w.constant(np.arange(extent).astype(dtype))
    if len(extents) == 1:
        return line
    column = tuple([extent if a == axis else 1 for a in range(len(extents))])
    return e.w.node("Expand", [e.w.reshape(line, column), e.w.vector(extents)])


@define("Slice")
def slice_(e: WrittenEquation) -> str:
    p, extents = e.p, e.extents()
    axes = [
        axis for axis, (a, b, s, n) in enumerate(zip(p["starts"], p["limits"], p["strides"], extents, strict=True))
        if (a, b, s) != (0, n, 1)
    ]  # fmt: skip
    return sliced(e.w, e.name(), axes, p["starts"], p["limits"], p["strides"]) if axes else e.name()


def sliced(w: Writer, name: str, axes: Sequence[int], starts: Extents, limits: Extents, strides: Sequence[int]) -> str:
    """Some axes of an array cut, by numbers for each axis that it has."""
    first, last = (w.vector(tuple([bounds[a] for a in axes])) for bounds in (starts, limits))
    return w.node("Slice", [name, first, last, w.integers(axes), w.integers([strides[a] for a in axes])])


@define("Reverse")
def reverse(e: WrittenEquation) -> str:
    return reversed_along(e.w, e.name(), e.p["axes"])


def reversed_along(w: Writer, name: str, axes: Sequence[int]) -> str:
    """An array in the opposite order along axes."""
    count = len(axes)
    first, last = w.integers([END] * count), w.integers([-END] * count)
    return w.node("Slice", [name, first, last, w.integers(axes), w.integers([-1] * count)]) if count else name


@define("Concatenate")
def concatenate(e: WrittenEquation) -> str:
    return e.w.node("Concat", e.names(), axis=e.p["axis"])


@define("Pad")
def pad(e: WrittenEquation) -> str:
    x, value = e.names()
    x, _ = spread(e.w, x, e.extents(), [n + 1 for n in e.p["interior"]])
    return padded(e.w, x, list(zip(e.p["low"], e.p["high"], strict=True)), value, e.dtype)


def padded(w: Writer, name: str, padding: Sequence[tuple[int, int]], value: str, dtype: np.dtype) -> str:
    """An array with a scalar before and after each axis; negative numbers cut off."""
    low, high = zip(*padding, strict=True) if padding else ((), ())
    if not any((*low, *high)):
        return name
    if dtype == np.bool_:  # which not all runtimes pad
        name, value = w.cast(name, np.int32), w.cast(value, np.int32)
    found = w.node("Pad", [name, w.integers([*low, *high]), value])
    return w.cast(found, dtype) if dtype == np.bool_ else found


def spread(w: Writer, name: str, extents: Extents, distances: Sequence[int]) -> tuple[str, Extents]:
    """An array with zeros between its elements, so that they have the given distances; and its shape."""
    shape = list(extents)
    for axis, distance in enumerate(distances):
        if distance == 1 or shape[axis] == 0:
            continue
        extent = shape[axis]
        if isinstance(extent, Growing):
            raise Unsupported("elements between rows")
        column = w.node("Unsqueeze", [name, w.integers([axis + 1])])
        amounts = [0] * (2 * len(shape) + 2)
        amounts[len(shape) + 1 + axis + 1] = distance - 1
        wide = w.node("Pad", [column, w.integers(amounts)])
        shape[axis] = extent * distance
        flat = w.reshape(wide, tuple(shape))
        shape[axis] = last = (extent - 1) * distance + 1
        name = w.node("Slice", [flat, w.integers([0]), w.integers([last]), w.integers([axis])])
    return name, tuple(shape)


def start_of(e: WrittenEquation, number: int, last: Extent) -> str:
    """A start of a block as a vector of one, moved so that the block lies inside."""
    w = e.w
    start = w.node("Reshape", [w.cast(e.name(number), np.int64), w.integers([1])])
    return w.node("Min", [w.node("Max", [start, w.integers([0])]), w.vector((last,))])


def room(extent: Extent, size: Extent) -> Extent:
    """The last start at which a block fits."""
    if isinstance(extent, int) and isinstance(size, int):
        return extent - size
    if isinstance(extent, Growing) and isinstance(size, int):
        return Growing(extent.factor, extent.offset - size)
    raise Unsupported("blocks that grow")


@define("DynamicSlice")
def dynamic_slice(e: WrittenEquation) -> str:
    w, sizes = e.w, e.p["sizes"]
    axes = [a for a, (size, n) in enumerate(zip(sizes, e.extents(), strict=True)) if size != n]
    if not axes:
        return e.name()
    starts = [start_of(e, 1 + a, room(e.extents()[a], sizes[a])) for a in axes]
    first = starts[0] if len(starts) == 1 else w.node("Concat", starts, axis=0)
    last = w.node("Add", [first, w.vector(tuple([sizes[a] for a in axes]))])
    return w.node("Slice", [e.name(), first, last, w.integers(axes)])


@define("DynamicUpdateSlice")
def dynamic_update_slice(e: WrittenEquation) -> str:
    w, extents, sizes = e.w, e.extents(), e.extents(1)
    axes = [a for a, (size, n) in enumerate(zip(sizes, extents, strict=True)) if size != n]
    if not axes:
        return e.name(1)
    if len(axes) > 1:
        raise Unsupported("blocks along several axes")
    (axis,) = axes
    start = start_of(e, 2 + axis, room(extents[axis], sizes[axis]))
    stop = w.node("Add", [start, w.vector((sizes[axis],))])
    along = w.integers([axis])
    before = w.node("Slice", [e.name(), w.integers([0]), start, along])
    after = w.node("Slice", [e.name(), stop, w.integers([END]), along])
    return w.node("Concat", [before, e.name(1), after], axis=axis)


@define("Gather")
def gather(e: WrittenEquation) -> str:
    """GatherND of an operand whose batching axes come first, then those that index vectors count along."""
    w, p, n, extents = e.w, e.p, e.p["numbers"], e.extents()
    sizes, moving, batching = p["slice_sizes"], n.start_index_map, n.operand_batching_dims
    if any(sizes[a] != 1 for a in moving):
        raise Unsupported("windows of several elements")
    rest = [a for a in range(len(extents)) if a not in moving and a not in batching]
    if any(sizes[a] != extents[a] for a in rest):
        raise Unsupported("windows of a part of an axis")
    places = len(e.extents(1)) - 1
    others = [a for a in range(places) if a not in n.start_indices_batching_dims]
    vectors = w.transpose(w.cast(e.name(1), np.int64), [*n.start_indices_batching_dims, *others, places])
    limits = w.vector(tuple([room(extents[a], 1) for a in moving]))
    inside = w.node("Min", [w.node("Max", [vectors, w.integers([0])]), limits])
    dropped = n.collapsed_slice_dims + n.operand_batching_dims
    window = [a for a in moving if a not in dropped] + rest
    if len(moving) == 1 and not batching:
        # One node Gather, along the only axis that index vectors count along, which comes first.
        flat = w.node("Squeeze", [inside, w.integers([-1])])
        axis = moving[0]
        order = [*[("axis", a) for a in rest if a < axis], *[("place", a) for a in others]]
        order += [("axis", a) for a in rest if a > axis]
        found = w.node("Gather", [e.name(), flat], axis=axis)
    else:
        data = w.transpose(e.name(), [*batching, *moving, *rest])
        found = w.node("GatherND", [data, inside], batch_dims=len(batching))
        order = [("place", a) for a in [*n.start_indices_batching_dims, *others]] + [("axis", a) for a in rest]
    wanted, free, windows = [], iter(range(places)), iter(sorted(window))
    for axis in range(len(e.result())):
        wanted.append(("axis", next(windows)) if axis in n.offset_dims else ("place", next(free)))
    found = w.transpose(found, [order.index(key) for key in wanted if key in order])
    kept = [number for number, key in enumerate(wanted) if key not in order]
    if kept:
        found = w.node("Unsqueeze", [found, w.integers(kept)])
    if p["mode"] != "fill":
        return found
    same = w.cast(
        w.node("ReduceMin", [w.cast(w.node("Equal", [vectors, inside]), np.int32), w.integers([-1])], keepdims=0),
        np.bool_,
    )
    order = [("place", a) for a in [*n.start_indices_batching_dims, *others]]
    same = w.transpose(same, [order.index(key) for key in wanted if key in order])
    gaps = [number for number, key in enumerate(wanted) if key not in order]
    if gaps:
        same = w.node("Unsqueeze", [same, w.integers(gaps)])
    fill = w.constant(default_fill(e.dtype) if p["fill_value"] is None else p["fill_value"], e.dtype)
    return w.node("Where", [same, found, fill])


@define("Sort")
def sort(e: WrittenEquation) -> list[str]:
    w, axis = e.w, e.p["axis"]
    if e.p["num_keys"] != 1:
        raise Unsupported("several keys")
    count = w.vector((e.extents()[axis],))
    values, places = w.several("TopK", [e.name(), count], 2, axis=axis, largest=0)
    others = [w.node("GatherElements", [name, places], axis=axis) for name in e.names()[1:]]
    return [values, *others]


@define("TopK")
def top_k(e: WrittenEquation) -> list[str]:
    values, places = e.w.several("TopK", [e.name(), e.w.integers([e.p["k"]])], 2)
    return [values, e.w.cast(places, e.outputs[1].dtype)]
