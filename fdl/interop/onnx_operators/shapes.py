"""ONNX operators that arrange, index and create arrays. Shapes and axes are known when the graph is evaluated."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.core.types import Array
from fdl.errors import ConcretizationError, InteropError
from fdl.interop.aten import shapes as aten
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def numbers(value: Any, what: str) -> list[int]:
    """Integers that must be known: constants, or made of shapes."""
    if isinstance(value, list | tuple):
        return [int(v) for v in value]
    return [int(v) for v in np.atleast_1d(concrete(value, what))]


def concrete(value: Any, what: str) -> Any:
    """A value that has to be known when the model is traced.

    Raises:
        InteropError: it is known only at run time.
    """
    try:
        return np.asarray(value)
    except ConcretizationError as error:
        message = f"apply: {what} depend on the numbers of an input; fdl needs them when it traces"
        raise InteropError(message) from error


def visible(value: Any, operator: str) -> np.ndarray:
    """The numbers of an operand on which the shape of the result depends.

    Raises:
        InteropError: they are not known when the model is traced.
    """
    try:
        return np.asarray(value)
    except ConcretizationError as error:
        raise InteropError(
            f"apply: the shape of the result of {operator} depends on the numbers of an input; call apply outside of "
            "jit, grad and vmap, or give a function of a fixed shape: from_onnx(..., operators={name: function})"
        ) from error


@define("Shape")
def shape(x: Any, start: int = 0, end: int | None = None) -> np.ndarray:
    return np.array(x.shape[start:end], np.int64)


@define("Size")
def size(x: Any) -> np.ndarray:
    return np.array(x.size, np.int64)


@define("Constant")
def constant(
    value: Any = None,
    value_float: Any = None,
    value_floats: Any = None,
    value_int: Any = None,
    value_ints: Any = None,
) -> np.ndarray:
    if value is not None:
        return value
    real = value_float if value_float is not None else value_floats
    if real is not None:
        return np.array(real, np.float32)
    return np.array(value_int if value_int is not None else value_ints, np.int64)


@define("ConstantOfShape")
def constant_of_shape(extents: Any, value: Any = None) -> Array:
    value = np.zeros(1, np.float32) if value is None else value
    return fnp.full(tuple(numbers(extents, "extents of ConstantOfShape")), value.reshape(()), value.dtype)


@define("Reshape")
def reshape(x: Any, extents: Any, allowzero: int = 0) -> Array:
    sizes = numbers(extents, "extents of Reshape")
    return fnp.reshape(x, tuple([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes)]))


@define("Flatten")
def flatten(x: Any, axis: int = 1) -> Array:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis], dtype=int)), int(np.prod(x.shape[axis:], dtype=int)))


@define("Transpose")
def transpose(x: Any, perm: Any = None) -> Array:
    return fnp.transpose(x, perm)


@define("Squeeze")
def squeeze(x: Any, dims: Any = None, axes: Any = None) -> Array:
    dims = axes if dims is None else dims
    return fnp.squeeze(x, None if dims is None else tuple(numbers(dims, "axes of Squeeze")))


@define("Unsqueeze")
def unsqueeze(x: Any, dims: Any = None, axes: Any = None) -> Array:
    return fnp.expand_dims(x, tuple(numbers(axes if dims is None else dims, "axes of Unsqueeze")))


@define("Concat")
def concat(*arrays: Any, axis: int) -> Array:
    return fnp.concatenate(arrays, axis=axis)


@define("Split")
def split(
    x: Any, parts: Any = None, axis: int = 0, num_outputs: int | None = None, split: Any = None
) -> tuple[Any, ...]:
    parts = split if parts is None else parts
    if parts is None:
        each = -(x.shape[axis] // -(num_outputs or 1))
        return tuple(aten.split(x, each, axis))
    return tuple(aten.parts(x, numbers(parts, "parts of Split"), axis))


@define("Slice")
def slices(x: Any, first: Any = None, last: Any = None, dims: Any = None, steps: Any = None, *, starts: Any = None,
           ends: Any = None, axes: Any = None) -> Array:  # fmt: skip
    first, last, dims = (b if a is None else a for a, b in ((first, starts), (last, ends), (dims, axes)))
    begin, end = numbers(first, "starts of Slice"), numbers(last, "ends of Slice")
    along = list(range(len(begin))) if dims is None else numbers(dims, "axes of Slice")
    by = [1] * len(begin) if steps is None else numbers(steps, "steps of Slice")
    index = [slice(None)] * x.ndim
    for axis, a, b, step in zip(along, begin, end, by, strict=True):
        extent = x.shape[axis]
        stop = None if step < 0 and b < -extent else b
        index[axis] = slice(max(min(a, extent), -extent - 1 if step < 0 else -extent), stop, step)
    return x[
        tuple(
            [slice(*i.indices(n)) if i.step is None or i.step > 0 else i for i, n in zip(index, x.shape, strict=True)]
        )
    ]


@define("Gather")
def gather(x: Any, indices: Any, axis: int = 0) -> Array:
    return fnp.take(x, indices, axis=axis)


@define("GatherElements")
def gather_elements(x: Any, indices: Any, axis: int = 0) -> Array:
    return aten.gather(x, axis, fnp.where(indices < 0, indices + x.shape[axis], indices))


@define("GatherND")
def gather_nd(x: Any, indices: Any, batch_dims: int = 0) -> Array:
    grid = [
        fnp.arange(n).reshape(*[1] * i, n, *[1] * (indices.ndim - 2 - i)) for i, n in enumerate(x.shape[:batch_dims])
    ]
    return x[(*grid, *[indices[..., i] for i in range(indices.shape[-1])])]


@define("ScatterElements", "Scatter")
def scatter_elements(x: Any, indices: Any, updates: Any, axis: int = 0, reduction: str = "none") -> Array:
    where = x.at[aten.places(fnp.where(indices < 0, indices + x.shape[axis], indices), axis)]
    return written(where, updates, reduction)


@define("ScatterND")
def scatter_nd(x: Any, indices: Any, updates: Any, reduction: str = "none") -> Array:
    return written(fnp.asarray(x).at[tuple([indices[..., i] for i in range(indices.shape[-1])])], updates, reduction)


def written(where: Any, updates: Any, reduction: str) -> Array:
    """Elements replaced, or combined with others."""
    methods = {"none": "set", "add": "add", "mul": "multiply", "max": "max", "min": "min"}
    return getattr(where, methods[reduction])(updates)


@define("Expand")
def expand(x: Any, extents: Any) -> Array:
    return fnp.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(numbers(extents, "extents of Expand"))))


@define("Tile")
def tile(x: Any, repeats: Any) -> Array:
    return fnp.tile(x, tuple(numbers(repeats, "repeats of Tile")))


@define("Pad")
def pad(x: Any, amounts: Any = None, value: Any = None, dims: Any = None, *, mode: str = "constant", pads: Any = None,
        constant_value: float = 0.0) -> Array:  # fmt: skip
    sizes = numbers(pads if amounts is None else amounts, "pads of Pad")
    axes = list(range(x.ndim)) if dims is None else numbers(dims, "axes of Pad")
    around = [(0, 0)] * x.ndim
    for number, axis in enumerate(axes):
        around[axis] = (sizes[number], sizes[number + len(axes)])
    x = x[tuple([slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(around, x.shape, strict=True)])]
    around = [(max(a, 0), max(b, 0)) for a, b in around]
    if mode == "constant":
        return fnp.pad(x, around, constant_values=constant_value if value is None else fnp.reshape(value, ()))
    return fnp.pad(x, around, mode=mode)


@define("Range")
def ranged(start: Any, limit: Any, delta: Any) -> Array:
    first, last, step = (concrete(v, "bounds of Range").reshape(()) for v in (start, limit, delta))
    return fnp.asarray(np.arange(first, last, step, dtype=first.dtype))


@define("OneHot")
def one_hot(indices: Any, depth: Any, values: Any, axis: int = -1) -> Array:
    count = numbers(depth, "the depth of OneHot")[0]
    places = fnp.asarray(indices).astype(np.int32)
    places = fnp.where(places < 0, places + count, places)
    hot = nn.one_hot(places, count, dtype=np.bool_, axis=axis)
    return fnp.where(hot, values[1], values[0])


@define("Trilu")
def trilu(x: Any, diagonal: Any = None, upper: int = 1) -> Array:
    k = 0 if diagonal is None else numbers(diagonal, "the diagonal of Trilu")[0]
    return fnp.triu(x, k) if upper else fnp.tril(x, k)


@define("CenterCropPad")
def center_crop_pad(x: Any, extents: Any, axes: Any = None) -> Array:
    sizes = numbers(extents, "extents of CenterCropPad")
    around, index = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for axis, size in zip(range(x.ndim) if axes is None else axes, sizes, strict=True):
        extent = x.shape[axis]
        if size <= extent:
            index[axis] = slice((extent - size) // 2, (extent - size) // 2 + size)
        else:
            around[axis] = ((size - extent) // 2, size - extent - (size - extent) // 2)
    return fnp.pad(x[tuple(index)], around)


@define("TensorScatter")
def tensor_scatter(past: Any, update: Any, first: Any = None, axis: int = -2, mode: str = "linear") -> Array:
    """A cache with an update written from a place of each example on; "circular" goes on at the beginning."""
    cache, new = fnp.moveaxis(fnp.asarray(past), axis, 1), fnp.moveaxis(fnp.asarray(update), axis, 1)
    batch, extent = cache.shape[:2]
    start = fnp.zeros(batch, np.int32) if first is None else fnp.asarray(first).astype(np.int32)
    places = start[:, None] + fnp.arange(new.shape[1], dtype=np.int32)
    places = places % extent if mode == "circular" else places
    return fnp.moveaxis(cache.at[fnp.arange(batch)[:, None], places].set(new), 1, axis)


@define("ReverseSequence")
def reverse_sequence(x: Any, lengths: Any, batch_axis: int = 1, time_axis: int = 0) -> Array:
    return reversed_rows(x, lengths, batch_axis, time_axis)


def reversed_rows(x: Any, lengths: Any, batch_axis: int, time_axis: int) -> Array:
    """The first elements along time backwards, as many as each row has; those behind stay."""
    rows = fnp.moveaxis(fnp.asarray(x), (batch_axis, time_axis), (0, 1))
    steps, counts = fnp.arange(rows.shape[1], dtype=np.int32), fnp.asarray(lengths).astype(np.int32)[:, None]
    places = fnp.where(steps < counts, counts - 1 - steps, steps)
    turned = fnp.take_along_axis(rows, places.reshape(*places.shape, *[1] * (rows.ndim - 2)), axis=1)
    return fnp.moveaxis(turned, (0, 1), (batch_axis, time_axis))


@define("DepthToSpace")
def depth_to_space(x: Any, blocksize: int, mode: str = "DCR") -> Array:
    if mode == "CRD":
        return aten.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    parts = x.reshape(n, blocksize, blocksize, c // blocksize**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


@define("SpaceToDepth")
def space_to_depth(x: Any, blocksize: int, mode: str = "DCR") -> Array:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize)
    parts = parts.transpose((0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4))
    return parts.reshape(n, c * blocksize**2, h // blocksize, w // blocksize)
