"""Changing the shape, elements in their order along axes: reshape, transpose, broadcast, join, split."""

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.composite import composite
from fdl.core.trace import Value
from fdl.dtypes import as_dtype
from fdl.errors import AxisError, ShapeError
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    Axis,
    DTypeLike,
    axis_index,
    axis_tuple,
    broadcast_shapes,
    cast,
    expand_to,
    integer,
    integers,
    is_sequence,
    no_out,
    promote,
    shape_tuple,
    value,
)
from fdl.numpy.creation import asarray, dtype_together
from fdl.ops import shape as ops
from fdl.ops import slicing


def shape(a: ArrayLike) -> tuple[int, ...]:
    """The extents of the axes.

    >>> shape(zeros((2, 3)))
    (2, 3)
    """
    return a.shape if hasattr(a, "shape") else any_array("shape", a).type.shape


def ndim(a: ArrayLike) -> int:
    """The number of axes.

    >>> ndim(zeros((2, 3)))
    2
    """
    return len(shape(a))


def size(a: ArrayLike, axis: Axis = None) -> int:
    """The number of elements, or the extent of an axis.

    >>> size(zeros((2, 3))), size(zeros((2, 3)), 1)
    (6, 3)
    """
    found = shape(a)
    return prod(found[i] for i in axis_tuple("size", axis, len(found)))


def any_array(name: str, a: Any) -> Array:
    """`a` as a Value; for the functions that also take nested sequences."""
    return value(name, a) if not isinstance(a, (list, tuple)) else asarray(a)


@composite
def reshape(a: ArrayLike, shape: Any, order: str = "C", *, copy: bool | None = None) -> Array:
    """The same elements under another shape.

    Args:
        a: array.
        shape: int or sequence of ints; one -1 stands for what is left.
        order: "C" if the last axis varies fastest, "F" if the first does.
        copy: accepted for compatibility.

    Raises:
        ShapeError: the number of elements differs.

    >>> reshape(arange(4), (2, -1))
    Array([[0, 1],
           [2, 3]], dtype=int32)
    """
    x = value("reshape", a)
    target = _fill_in(x.type, shape)
    if order == "F":
        reversed_axes = range(x.type.ndim)[::-1]
        flat = ops.reshape(ops.transpose(x, tuple(reversed_axes)), target[::-1])
        return ops.transpose(flat, tuple(range(len(target)))[::-1])
    if order not in ("C", "A"):
        raise ValueError(f"reshape: order must be 'C' or 'F', got {order!r}")
    return ops.reshape(x, target)


def _fill_in(type: Any, shape: Any) -> tuple[int, ...]:
    """`shape` with -1 replaced."""
    if isinstance(shape, Value):
        shape = shape.concrete("reshape: the shape").tolist()
    given = tuple(shape) if isinstance(shape, (tuple, list, np.ndarray)) else (shape,)
    extents = [integer("reshape: an extent", n) for n in given]
    known = prod(n for n in extents if n != -1)
    if extents.count(-1) == 1 and known > 0 and type.size % known == 0:
        extents[extents.index(-1)] = type.size // known
    if any(n < 0 for n in extents) or prod(extents) != type.size:
        raise ShapeError(
            f"reshape: an array of shape {type.shape} has {type.size} elements, which do not fill shape {tuple(given)}"
        )
    return tuple(extents)


@composite
def ravel(a: ArrayLike, order: str = "C") -> Array:
    """All elements as a vector.

    >>> ravel(ones((2, 1)))
    Array([1., 1.], dtype=float32)
    """
    return reshape(a, (-1,) if value("ravel", a).type.size else (0,), order)


@composite
def expand_dims(a: ArrayLike, axis: int | Sequence[int]) -> Array:
    """New axes of extent 1.

    Args:
        a: array.
        axis: where they stand in the result.

    >>> expand_dims(zeros(3), 0).shape
    (1, 3)
    """
    x = value("expand_dims", a)
    count = len(axis) if is_sequence(axis) else 1
    axes = axis_tuple("expand_dims", axis, x.type.ndim + count)
    rest = iter(x.type.shape)
    return ops.reshape(x, tuple(1 if i in axes else next(rest) for i in range(x.type.ndim + count)))


@composite
def squeeze(a: ArrayLike, axis: Axis = None) -> Array:
    """Axes of extent 1 removed.

    Args:
        a: array.
        axis: which ones; None for all of them.

    Raises:
        ShapeError: a named axis has another extent.

    >>> squeeze(zeros((1, 3))).shape
    (3,)
    """
    x = value("squeeze", a)
    axes = axis_tuple("squeeze", axis, x.type.ndim)
    if axis is None:
        axes = tuple(i for i in axes if x.type.shape[i] == 1)
    if any(x.type.shape[i] != 1 for i in axes):
        raise ShapeError(f"squeeze: axis={axis} of shape {x.type.shape} does not have extent 1")
    return ops.reshape(x, tuple(n for i, n in enumerate(x.type.shape) if i not in axes))


@composite
def transpose(a: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """The axes in another order.

    Args:
        a: array.
        axes: axis i of the result is axis axes[i] of `a`; None reverses them.

    >>> transpose(zeros((2, 3))).shape
    (3, 2)
    """
    x = value("transpose", a)
    if axes is None:
        return ops.transpose(x, tuple(range(x.type.ndim))[::-1])
    axes = integers("transpose: axes", axes)
    order = axis_tuple("transpose", axes, x.type.ndim)
    if len(order) != x.type.ndim:
        raise ShapeError(f"transpose: axes={axes} must name all {x.type.ndim} axes of shape {x.type.shape}")
    return ops.transpose(x, order)


@composite
def permute_dims(a: ArrayLike, /, axes: tuple[int, ...]) -> Array:
    """The axes in another order; the Array API's name of :func:`transpose`.

    >>> permute_dims(zeros((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return transpose(a, axes)


@composite
def matrix_transpose(x: ArrayLike, /) -> Array:
    """The last two axes exchanged.

    >>> matrix_transpose(zeros((5, 2, 3))).shape
    (5, 3, 2)
    """
    x = value("matrix_transpose", x)
    if x.type.ndim < 2:
        raise ShapeError(f"matrix_transpose needs at least 2 axes, got shape {x.type.shape}")
    return swapaxes(x, -1, -2)


@composite
def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> Array:
    """Two axes exchanged.

    >>> swapaxes(zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = value("swapaxes", a)
    first, second = (axis_index("swapaxes", i, x.type.ndim) for i in (axis1, axis2))
    order = list(range(x.type.ndim))
    order[first], order[second] = second, first
    return ops.transpose(x, order)


@composite
def moveaxis(a: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """Axes moved to other places, the rest in order.

    Args:
        a: array.
        source: where they are.
        destination: where they go.

    >>> moveaxis(zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = value("moveaxis", a)
    sources, targets = (axis_tuple("moveaxis", i, x.type.ndim) for i in (source, destination))
    if len(sources) != len(targets):
        raise ShapeError(f"moveaxis: source={source} and destination={destination} differ in length")
    order = [i for i in range(x.type.ndim) if i not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return ops.transpose(x, order)


@composite
def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Array:
    """An axis moved before another; :func:`moveaxis` is easier to read.

    >>> rollaxis(zeros((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    x = value("rollaxis", a)
    axis, count = axis_index("rollaxis", axis, x.type.ndim), x.type.ndim
    if not -count <= start <= count:
        raise AxisError(f"rollaxis: start={start} is out of bounds for {count} axes")
    start = start + count if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


@composite
def broadcast_to(array: ArrayLike, shape: Any) -> Array:
    """Repeated to a shape, along new axes in front and those of extent 1.

    Raises:
        ShapeError: the shapes do not fit.

    >>> broadcast_to(array([1, 2]), (2, 2))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    x, target = value("broadcast_to", array), shape_tuple("broadcast_to", shape)
    fits = x.type.ndim <= len(target) and all(
        n in (1, m) for n, m in zip(x.type.shape[::-1], target[::-1], strict=False)
    )
    if not fits:
        raise ShapeError(f"broadcast_to: shape {x.type.shape} does not broadcast to {target}")
    return expand_to(x, target)


def broadcast_arrays(*args: ArrayLike) -> list[Array]:
    """All arrays repeated to their common shape.

    >>> [x.shape for x in broadcast_arrays(zeros(3), zeros((2, 1)))]
    [(2, 3), (2, 3)]
    """
    values = [value("broadcast_arrays", a) for a in args]
    target = broadcast_shapes(*(v.type.shape for v in values), name="broadcast_arrays")
    return [expand_to(v, target) for v in values]


def _at_least(count: int, place: Any, arys: tuple[Any, ...]) -> Any:
    found = [x if x.type.ndim >= count else place(x) for x in (any_array("atleast", a) for a in arys)]
    return found[0] if len(found) == 1 else found


def atleast_1d(*arys: ArrayLike) -> Any:
    """Scalars as vectors of one element.

    >>> atleast_1d(1.0)
    Array([1.], dtype=float32)
    """
    return _at_least(1, lambda x: ops.reshape(x, (1,)), arys)


def atleast_2d(*arys: ArrayLike) -> Any:
    """Scalars and vectors as matrices of one row.

    >>> atleast_2d(zeros(3)).shape
    (1, 3)
    """
    return _at_least(2, lambda x: ops.reshape(x, (1, x.type.size)), arys)


def atleast_3d(*arys: ArrayLike) -> Any:
    """At least three axes: vectors lie along the second one, matrices along the first two.

    >>> atleast_3d(zeros(3)).shape
    (1, 3, 1)
    """
    return _at_least(3, lambda x: ops.reshape(x, (*x.type.shape, 1) if x.type.ndim == 2 else (1, x.type.size, 1)), arys)


def _items(name: str, arrays: Any) -> list[Array]:
    """The arrays to join, of one dtype."""
    if isinstance(arrays, (Value, np.ndarray)):
        x = as_array(arrays)
        if x.type.ndim == 0:
            raise ShapeError(f"{name} needs a sequence of arrays, got a scalar")
        arrays = list(unstack(x))
    if not isinstance(arrays, (list, tuple)):
        raise TypeError(f"{name} needs a sequence of arrays, got {type(arrays).__name__}")
    if not arrays:
        raise ShapeError(f"{name} needs at least one array")
    return promote(name, *_of_sequences(arrays), keys=True)


def _of_sequences(given: Sequence[Any]) -> list[Any]:
    """Operands, nested sequences as arrays: their Python numbers take the dtype of the arrays that they meet."""
    nested = [isinstance(a, (list, tuple)) for a in given]
    common = dtype_together(given) if any(nested) and not all(nested) else None
    return [asarray(a, common) if is_nested else a for a, is_nested in zip(given, nested, strict=True)]


@composite
def concatenate(arrays: Any, axis: int | None = 0, dtype: DTypeLike | None = None) -> Array:
    """Arrays joined along an axis they have.

    Args:
        arrays: sequence of arrays whose other extents are equal.
        axis: along which; None flattens them first.
        dtype: of the result; default the promoted one.

    Raises:
        ShapeError: extents differ.

    >>> concatenate([zeros(1), ones(2)])
    Array([0., 1., 1.], dtype=float32)
    """
    items = _items("concatenate", arrays)
    if dtype is not None:
        items = [cast(x, as_dtype(dtype)) for x in items]
    if axis is None:
        items, axis = [ravel(x) for x in items], 0
    axis = axis_index("concatenate", axis, items[0].type.ndim)
    shapes = [x.type.shape for x in items]
    if any(
        s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] or len(s) != len(shapes[0]) for s in shapes
    ):
        shown = " and ".join(map(str, dict.fromkeys(shapes)))
        raise ShapeError(f"concatenate: shapes {shown} must be equal except along axis {axis}")
    return items[0] if len(items) == 1 else slicing.concatenate(items, axis)


def concat(arrays: Sequence[ArrayLike], /, *, axis: int | None = 0) -> Array:
    """Arrays joined along an axis they have; the Array API's name of :func:`concatenate`.

    >>> concat([zeros(1), ones(1)])
    Array([0., 1.], dtype=float32)
    """
    return concatenate(arrays, axis)


@composite
def stack(arrays: Any, axis: int = 0, out: None = None, dtype: DTypeLike | None = None) -> Array:
    """Arrays of one shape joined along a new axis.

    Args:
        arrays: sequence of arrays of one shape.
        axis: where the new axis stands in the result.
        out: not supported.
        dtype: of the result; default the promoted one.

    >>> stack([zeros(2), ones(2)])
    Array([[0., 0.],
           [1., 1.]], dtype=float32)
    """
    no_out("stack", out)
    items = _items("stack", arrays)
    shapes = dict.fromkeys(x.type.shape for x in items)
    if len(shapes) > 1:
        raise ShapeError(f"stack: the arrays have different shapes, {' and '.join(map(str, shapes))}")
    axis = axis_index("stack", axis, items[0].type.ndim + 1)
    return concatenate([expand_dims(x, axis) for x in items], axis, dtype)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis.

    >>> unstack(array([1, 2]))
    (Array(1, dtype=int32), Array(2, dtype=int32))
    """
    x = value("unstack", x)
    if x.type.ndim == 0:
        raise ShapeError("unstack needs at least one axis, got a scalar")
    axis = axis_index("unstack", axis, x.type.ndim)
    rest = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    return tuple(ops.reshape(between(x, axis, i, i + 1), rest) for i in range(x.type.shape[axis]))


def between(x: Array, axis: int, start: int, stop: int) -> Array:
    """The elements from start to stop along an axis."""
    starts, limits = [0] * x.type.ndim, list(x.type.shape)
    starts[axis], limits[axis] = start, stop
    return slicing.slice_(x, tuple(starts), tuple(limits))


@composite
def vstack(tup: Any, dtype: DTypeLike | None = None) -> Array:
    """Rows (or higher arrays) joined along the first axis.

    >>> vstack([zeros(2), ones(2)]).shape
    (2, 2)
    """
    return concatenate([atleast_2d(x) for x in _items("vstack", tup)], 0, dtype)


row_stack = vstack


@composite
def hstack(tup: Any, dtype: DTypeLike | None = None) -> Array:
    """Arrays joined along the second axis, vectors along the first.

    >>> hstack([zeros(1), ones(2)])
    Array([0., 1., 1.], dtype=float32)
    """
    items = [atleast_1d(x) for x in _items("hstack", tup)]
    return concatenate(items, 0 if items[0].type.ndim == 1 else 1, dtype)


@composite
def dstack(tup: Any, dtype: DTypeLike | None = None) -> Array:
    """Arrays joined along the third axis.

    >>> dstack([zeros(2), ones(2)]).shape
    (1, 2, 2)
    """
    return concatenate([atleast_3d(x) for x in _items("dstack", tup)], 2, dtype)


@composite
def column_stack(tup: Any) -> Array:
    """Vectors as columns of a matrix.

    >>> column_stack([zeros(2), ones(2)])
    Array([[0., 1.],
           [0., 1.]], dtype=float32)
    """
    items = _items("column_stack", tup)
    return concatenate([x if x.type.ndim > 1 else ops.reshape(x, (x.type.size, 1)) for x in items], 1)


def block(arrays: Any) -> Array:
    """An array put together from nested lists of blocks: the innermost lists along the last axis.

    >>> block([[1, 2], [3, 4]])
    Array([[1, 2],
           [3, 4]], dtype=int32)
    """
    depth, node = 0, arrays
    while isinstance(node, list):
        if not node:
            raise ShapeError("block needs at least one array in every list")
        depth, node = depth + 1, node[0]

    def leaves(node: Any) -> list[Any]:
        return [leaf for item in node for leaf in leaves(item)] if isinstance(node, list) else [node]

    count = max(depth, *(ndim(leaf) for leaf in leaves(arrays)))

    def join(node: Any, level: int) -> Array:
        if not isinstance(node, list):
            x = value("block", node)
            return ops.reshape(x, (1,) * (count - x.type.ndim) + x.type.shape)
        return concatenate([join(item, level + 1) for item in node], level - depth)

    return join(arrays, 0)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Array:
    """`values` joined behind `arr`; both flattened if `axis` is None.

    >>> append(array([1, 2]), 3)
    Array([1, 2, 3], dtype=int32)
    """
    items = _of_sequences((arr, values))
    return concatenate(promote("append", *items, keys=True), axis)


def _split(name: str, ary: ArrayLike, sections: Any, axis: int, even: bool) -> list[Array]:
    x = value(name, ary)
    axis = axis_index(name, axis, x.type.ndim)
    extent = x.type.shape[axis]
    if isinstance(sections, Value):
        sections = sections.concrete(f"{name}: where to split")
    if not isinstance(sections, (list, tuple)) and np.ndim(sections) == 0:
        count = integer(f"{name}: the number of parts", sections)
        if count < 1 or (even and extent % count):
            raise ShapeError(f"{name}: axis {axis} with extent {extent} cannot be split into {count} equal parts")
        small, longer = np.divmod(extent, count)
        bounds = np.cumsum([0] + [small + 1] * longer + [small] * (count - longer)).tolist()
    else:
        places = integers(f"{name}: where to split", sections)
        bounds = [0, *(slice(i).indices(extent)[1] for i in places), extent]
    return [between(x, axis, a, max(a, b)) for a, b in itertools.pairwise(bounds)]


def split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Parts along an axis.

    Args:
        ary: array.
        indices_or_sections: how many equal parts, or the places to cut at.
        axis: along which.

    Raises:
        ShapeError: the extent is not divisible.

    >>> split(arange(4), 2)
    [Array([0, 1], dtype=int32), Array([2, 3], dtype=int32)]
    """
    return _split("split", ary, indices_or_sections, axis, even=True)


def array_split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Parts along an axis, the first ones longer by one if need be.

    >>> array_split(arange(3), 2)
    [Array([0, 1], dtype=int32), Array([2], dtype=int32)]
    """
    return _split("array_split", ary, indices_or_sections, axis, even=False)


def hsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Array]:
    """Parts along the second axis, of a vector along the first.

    >>> [x.shape for x in hsplit(zeros((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    return _split("hsplit", ary, indices_or_sections, 0 if ndim(ary) == 1 else 1, even=True)


def vsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Array]:
    """Parts along the first axis.

    >>> [x.shape for x in vsplit(zeros((2, 4)), 2)]
    [(1, 4), (1, 4)]
    """
    if ndim(ary) < 2:
        raise ShapeError(f"vsplit needs at least two axes, got shape {shape(ary)}; use split")
    return _split("vsplit", ary, indices_or_sections, 0, even=True)


def dsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Array]:
    """Parts along the third axis.

    >>> [x.shape for x in dsplit(zeros((2, 4, 2)), 2)]
    [(2, 4, 1), (2, 4, 1)]
    """
    return _split("dsplit", ary, indices_or_sections, 2, even=True)
