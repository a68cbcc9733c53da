"""Sums, products, extrema, truth, and their cumulative forms along axes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.dtypes import BOOLEAN, REAL, as_dtype, bool_, index_dtype, promote_integer
from fdl.errors import DtypeError, ShapeError
from fdl.numpy import arithmetic
from fdl.numpy._operands import (
    SCALARS,
    Array,
    ArrayLike,
    Axis,
    DTypeLike,
    axis_index,
    axis_tuple,
    beside,
    broadcast_shapes,
    cast,
    expand_to,
    integer,
    no_out,
    number,
    promote,
)
from fdl.numpy.arithmetic import maximum, minimum
from fdl.numpy.logic import not_equal
from fdl.numpy.shapes import any_array, between, concatenate, ravel
from fdl.ops import compare, cumulative, reduce
from fdl.ops.select import select
from fdl.ops.shape import full_like, reshape


def kept(x: Array, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> Array:
    """`x`, reduced from `shape` over `axes`, with these axes as extents of 1 if `keepdims`."""
    return reshape(x, tuple(1 if i in axes else n for i, n in enumerate(shape))) if keepdims else x


def mask_of(name: str, where: ArrayLike) -> Array:
    """The argument ``where`` of a reduction, which must be boolean: numbers might be meant as weights."""
    mask = number(name, where)
    if mask.type.dtype != bool_:
        raise DtypeError(
            f"{name}: where= must be boolean, got {mask.type}; write where=mask != 0, or weights= of average"
        )
    return mask


def masked(name: str, x: Array, where: ArrayLike | None, identity: Any) -> Array:
    """`x` with the identity element where `where` is false."""
    if where is None:
        return x
    mask = mask_of(name, where)
    shape = broadcast_shapes(x.type.shape, mask.type.shape, name=f"{name}: where")
    x = expand_to(x, shape)
    return select(expand_to(mask, shape), x, full_like(x, identity))


def _initial(name: str, initial: ArrayLike, dtype: np.dtype) -> Array:
    """The argument ``initial`` of a reduction: one number, whatever is reduced."""
    found = cast(initial, dtype)
    if found.type.shape:
        raise ShapeError(f"{name}: initial= must be a scalar, got {found.type}; combine arrays with the result")
    return found


def _accumulated(
    name: str,
    reduction: Callable[[Any, Any, Any], Any],
    combine: str,
    identity: int,
    a: ArrayLike,
    axis: Axis,
    dtype: DTypeLike | None,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
    promote_integers: bool,
) -> Array:
    """A sum or product; integers are widened to the default one."""
    x = number(name, a)
    if dtype is not None:
        target = as_dtype(dtype)
    else:
        target = promote_integer(x.type.dtype) if promote_integers or x.type.dtype == bool_ else x.type.dtype
    x = masked(name, x, where, identity)
    axes = axis_tuple(name, axis, x.type.ndim)
    result = kept(reduction(x, axes, target), x.type.shape, axes, keepdims)
    if initial is not None:
        result = getattr(arithmetic, combine)(result, _initial(name, initial, target))
    return result.strong()


@composite
def sum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
    promote_integers: bool = True,
) -> Array:
    """The sum of the elements.

    Args:
        a: array.
        axis: over which; None for all.
        dtype: in which to add; by default that of `a`, for booleans and short integers the default integer.
        out: not supported.
        keepdims: whether reduced axes stay, with extent 1.
        initial: is added.
        where: mask of the elements to count; broadcasts with `a`.
        promote_integers: whether short integers are widened.

    Raises:
        ShapeError: an axis does not exist.

    >>> sum(array([[1, 2], [3, 4]]), axis=0)
    Array([4, 6], dtype=int32)
    """
    no_out("sum", out)
    return _accumulated("sum", reduce.sum_, "add", 0, a, axis, dtype, keepdims, initial, where, promote_integers)


@composite
def prod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
    promote_integers: bool = True,
) -> Array:
    """The product of the elements; arguments as for :func:`sum`.

    >>> prod(array([2, 3]))
    Array(6, dtype=int32)
    """
    no_out("prod", out)
    return _accumulated("prod", reduce.prod_, "multiply", 1, a, axis, dtype, keepdims, initial, where, promote_integers)


def _extremum(
    name: str,
    a: ArrayLike,
    axis: Axis,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
) -> Array:
    largest = name == "max"
    x = number(name, a)
    dtype = x.type.dtype
    if where is not None and initial is None:
        raise ValueError(f"{name}: where= needs initial=, the result where nothing is selected")
    if dtype == bool_:
        x = cast(x, np.dtype(np.int8))
    x = masked(name, x, where, reduce.identity(x.type.dtype, largest))
    axes = axis_tuple(name, axis, x.type.ndim)
    if initial is None and 0 in [x.type.shape[i] for i in axes]:
        raise ShapeError(f"{name} of no elements: shape {x.type.shape} over axis={axis}; give initial=")
    result = kept((reduce.reduce_max if largest else reduce.reduce_min)(x, axes), x.type.shape, axes, keepdims)
    if initial is not None:
        result = (maximum if largest else minimum)(result, _initial(name, initial, x.type.dtype))
    return cast(result, dtype)


@composite
def max(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The largest element; NaN if there is one.

    Args:
        a: array.
        axis: over which; None for all.
        out: not supported.
        keepdims: whether reduced axes stay, with extent 1.
        initial: a lower limit of the result.
        where: mask of the elements to look at; needs `initial`.

    Raises:
        ShapeError: there are no elements and no `initial`.

    >>> max(array([[1, 4], [3, 2]]), axis=1)
    Array([4, 3], dtype=int32)
    """
    no_out("max", out)
    return _extremum("max", a, axis, keepdims, initial, where)


@composite
def min(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The smallest element; NaN if there is one; arguments as for :func:`max`.

    >>> min(array([3, 1, 2]))
    Array(1, dtype=int32)
    """
    no_out("min", out)
    return _extremum("min", a, axis, keepdims, initial, where)


amax, amin = max, min


@composite
def ptp(a: ArrayLike, axis: Axis = None, out: None = None, keepdims: bool = False) -> Array:
    """The largest element minus the smallest.

    >>> ptp(array([3, 1, 2]))
    Array(2, dtype=int32)
    """
    no_out("ptp", out)
    return max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)


def _truth(name: str, reduction: Any, identity: bool, a: ArrayLike, axis: Axis, keepdims: bool, where: Any) -> Array:
    x = number(name, a)
    x = x if x.type.dtype == bool_ else compare.ne(x, full_like(x, 0))
    x = masked(name, x, where, identity)
    axes = axis_tuple(name, axis, x.type.ndim)
    return kept(reduction(x, axes), x.type.shape, axes, keepdims).strong()


@composite
def all(
    a: ArrayLike, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: ArrayLike | None = None
) -> Array:
    """Whether all elements are true, or not zero.

    Args:
        a: array.
        axis: over which; None for all.
        out: not supported.
        keepdims: whether reduced axes stay, with extent 1.
        where: mask of the elements to look at.

    >>> all(array([True, False]))
    Array(False, dtype=bool)
    """
    no_out("all", out)
    return _truth("all", reduce.all_, True, a, axis, keepdims, where)


@composite
def any(
    a: ArrayLike, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: ArrayLike | None = None
) -> Array:
    """Whether any element is true, or not zero; arguments as for :func:`all`.

    >>> any(array([True, False]))
    Array(True, dtype=bool)
    """
    no_out("any", out)
    return _truth("any", reduce.any_, False, a, axis, keepdims, where)


@composite
def count_nonzero(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Array:
    """How many elements are not zero.

    >>> count_nonzero(array([0, 2, 3]))
    Array(2, dtype=int32)
    """
    x = number("count_nonzero", a)
    nonzero = x if x.type.dtype == bool_ else compare.ne(x, full_like(x, 0))
    return sum(nonzero, axis, index_dtype(x.type.size), keepdims=keepdims)


def _position(name: str, find: Any, a: ArrayLike, axis: int | None, keepdims: bool | None) -> Array:
    x = number(name, a, (bool_, *REAL))
    if x.type.dtype == bool_:
        x = cast(x, np.dtype(np.int8))
    shape = x.type.shape
    if axis is None:
        x, chosen = reshape(x, (x.type.size,)), 0
    else:
        chosen = axis_index(name, axis, x.type.ndim)
    if not x.type.shape[chosen]:
        raise ShapeError(f"{name} of no elements: shape {shape} along axis={axis}")
    result = find(x, chosen)
    return kept(result, shape, axis_tuple(name, axis, len(shape)), bool(keepdims))


@composite
def argmax(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the first largest element; of the first NaN if there is one.

    Args:
        a: array.
        axis: along which; None is the flattened array.
        out: not supported.
        keepdims: whether the reduced axis stays, with extent 1.

    >>> argmax(array([3, 5, 5]))
    Array(1, dtype=int32)
    """
    no_out("argmax", out)
    return _position("argmax", reduce.argmax, a, axis, keepdims)


@composite
def argmin(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the first smallest element; arguments as for :func:`argmax`.

    >>> argmin(array([3, 5, 2]))
    Array(2, dtype=int32)
    """
    no_out("argmin", out)
    return _position("argmin", reduce.argmin, a, axis, keepdims)


def _running(name: str, operation: Any, a: ArrayLike, axis: int | None, dtype: DTypeLike | None) -> Array:
    x = number(name, a).strong()
    # Short integers keep their dtype here, unlike in sums; booleans are counted.
    kind = promote_integer(x.type.dtype) if x.type.dtype == bool_ else x.type.dtype
    target = kind if dtype is None else as_dtype(dtype)
    if axis is None:
        return operation(reshape(x, (x.type.size,)), 0, dtype=target)
    return operation(x, axis_index(name, axis, x.type.ndim), dtype=target)


@composite
def cumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running sums along an axis.

    Args:
        a: array.
        axis: along which; None flattens `a` first.
        dtype: in which to add.
        out: not supported.

    >>> cumsum(array([1, 2, 3]))
    Array([1, 3, 6], dtype=int32)
    """
    no_out("cumsum", out)
    return _running("cumsum", cumulative.cumsum, a, axis, dtype)


@composite
def cumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running products along an axis; arguments as for :func:`cumsum`.

    >>> cumprod(array([1, 2, 3]))
    Array([1, 2, 6], dtype=int32)
    """
    no_out("cumprod", out)
    return _running("cumprod", cumulative.cumprod, a, axis, dtype)


def _with_start(name: str, run: Any, start: int, x: ArrayLike, axis: int | None, dtype: Any, include: bool) -> Array:
    x = number(name, x)
    if axis is None:
        if x.type.ndim != 1:
            raise ShapeError(f"{name} of shape {x.type.shape} needs axis=")
        axis = 0
    result = run(x, axis, promote_integer(x.type.dtype) if dtype is None else dtype)
    if not include:
        return result
    axis = axis_index(name, axis, x.type.ndim)
    first = tuple(1 if i == axis else n for i, n in enumerate(result.type.shape))
    return concatenate([expand_to(cast(start, result.type.dtype), first), result], axis)


@composite
def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """Running sums, with a leading 0 if `include_initial`.

    >>> cumulative_sum(array([1, 2]), include_initial=True)
    Array([0, 1, 3], dtype=int32)
    """
    return _with_start("cumulative_sum", cumsum, 0, x, axis, dtype, include_initial)


@composite
def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """Running products, with a leading 1 if `include_initial`.

    >>> cumulative_prod(array([2, 3]), include_initial=True)
    Array([1, 2, 6], dtype=int32)
    """
    return _with_start("cumulative_prod", cumprod, 1, x, axis, dtype, include_initial)


@composite
def diff(
    a: ArrayLike, n: int = 1, axis: int = -1, prepend: ArrayLike | None = None, append: ArrayLike | None = None
) -> Array:
    """Differences of neighbours along an axis.

    Args:
        a: array.
        n: how many times to take differences; of none, `a` is returned without what is put beside it.
        axis: along which.
        prepend: values put before `a`; a scalar counts as one slice.
        append: values put behind `a`.

    >>> diff(array([1, 4, 9]))
    Array([3, 5], dtype=int32)
    """
    x = number("diff", a)
    if x.type.ndim == 0:
        raise ShapeError("diff needs at least one axis, got a scalar")
    axis, n = axis_index("diff", axis, x.type.ndim), integer("diff: n", n)
    if n < 0:
        raise ValueError(f"diff: n={n} must not be negative; it says how often differences are taken")
    if n == 0:
        return x

    def beside(part: ArrayLike) -> Array:
        _, part = promote("diff", x, part)
        return (
            part
            if part.type.ndim
            else expand_to(part, tuple(1 if i == axis else m for i, m in enumerate(x.type.shape)))
        )

    parts = [beside(p) for p in (prepend,) if p is not None] + [x] + [beside(p) for p in (append,) if p is not None]
    x = concatenate(parts, axis)
    for _ in range(n):
        extent = x.type.shape[axis]
        later, earlier = (
            between(x, axis, 1 if extent else 0, extent),
            between(x, axis, 0, (extent or 1) - 1),
        )
        x = not_equal(later, earlier) if x.type.dtype in BOOLEAN else later - earlier
    return x


def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> Array:
    """Differences of neighbours in the flattened array.

    >>> ediff1d(array([1, 4, 9]))
    Array([3, 5], dtype=int32)
    """
    x = ravel(number("ediff1d", ary))
    found = [diff(x)]

    def end(given: ArrayLike) -> Array:
        given = any_array("ediff1d", given) if isinstance(given, (list, tuple)) else given
        return ravel(beside("ediff1d", given, x.type.dtype))

    if to_begin is not None:
        found.insert(0, end(to_begin))
    if to_end is not None:
        found.append(end(to_end))
    return concatenate(found)


@composite
def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1) -> Array:
    """The integral by the trapezoidal rule.

    Args:
        y: values.
        x: the points; None for points at distance `dx`.
        dx: distance of the points, or distances that broadcast with those of `y`.
        axis: along which to integrate.

    Raises:
        ShapeError: x has another number of points, or dx of distances.

    >>> trapezoid(array([1.0, 2.0, 3.0]))
    Array(4., dtype=float32)
    """
    if x is None:
        (y,) = promote("trapezoid", y, to_inexact=True)
        steps: Any = dx if type(dx) in SCALARS else number("trapezoid", dx)
    else:
        y, x = promote("trapezoid", y, x, to_inexact=True)
    given, axis = axis, axis_index("trapezoid", axis, y.type.ndim)
    extent = y.type.shape[axis]
    if x is not None:
        own = axis_index("trapezoid", 0 if x.type.ndim == 1 else given, x.type.ndim)
        if x.type.shape[own] != extent:
            raise ShapeError(f"trapezoid needs x with as many points as y along axis {axis}, got {x.type} and {y.type}")
        steps = diff(x, axis=own)
        if steps.type.ndim == 1:
            steps = steps.reshape([-1 if i == axis else 1 for i in range(y.type.ndim)])
    if not extent:
        return sum(y, axis)
    if x is None and type(steps) not in SCALARS:
        intervals = tuple(n - (i == axis) for i, n in enumerate(y.type.shape))
        broadcast_shapes(steps.type.shape, intervals, name="trapezoid: dx and intervals")
    return 0.5 * sum(steps * (between(y, axis, 1, extent) + between(y, axis, 0, extent - 1)), given)
