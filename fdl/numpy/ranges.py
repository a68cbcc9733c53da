"""Numbers at equal distances or ratios."""

import math
import operator
from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.core.trace import Value
from fdl.dtypes import as_dtype, result_type
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, DTypeLike, axis_index, broadcast, cast, inexact, promote, value
from fdl.numpy.arithmetic import divide, floor, power
from fdl.numpy.arithmetic import sign as sign_of
from fdl.numpy.creation import astype
from fdl.numpy.elementwise import log10
from fdl.numpy.shapes import concatenate, moveaxis
from fdl.ops.precision import accumulator
from fdl.ops.shape import iota


def arange(
    start: ArrayLike,
    stop: ArrayLike | None = None,
    step: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    *,
    device: Any = None,
) -> Array:
    """Numbers from start (default 0) to stop, which is left out.

    Args:
        start: the first; the stop if it is the only one.
        stop: where to end.
        step: distance of neighbours.
        dtype: default that of the arguments.
        device: accepted for compatibility.

    Returns:
        Array of shape (ceil((stop - start) / step),).

    Raises:
        ConcretizationError: an argument is traced; the length of the result would depend on it.

    >>> arange(3), arange(1.0, 2.0, 0.5)
    (Array([0, 1, 2], dtype=int32), Array([1. , 1.5], dtype=float32))
    """
    given = [v for v in (start, stop, step) if v is not None]
    kind = result_type(*given) if dtype is None else as_dtype(dtype)
    numbers = [
        v.concrete("arange needs numbers that are known: one").item() if isinstance(v, Value) else v for v in given
    ]
    if stop is None and step is None and kind.kind in "iuf":
        return iota(kind, (max(0, math.ceil(numbers[0])),), 0)
    if step is not None and stop is None:
        numbers = [0, *numbers]
    if numbers[2:] == [0]:
        raise ShapeError("arange: the step must not be zero")
    return arrays.Array(np.arange(*numbers).astype(kind))


def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """Numbers at equal distances from start to stop.

    Args:
        start: the first; arrays give one sequence for each element.
        stop: the last if `endpoint`.
        num: how many.
        endpoint: whether `stop` is one of them.
        retstep: whether the distance is returned too.
        dtype: default the default float, or that of the arguments.
        axis: of the result along which the numbers lie.
        device: accepted for compatibility.

    Returns:
        Array with `num` along `axis`; with `retstep`, also the distance.

    >>> linspace(0, 1, 3)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    num = operator.index(num)
    if num < 0:
        raise ShapeError(f"linspace: num must not be negative, got {num}")
    common = inexact(result_type(*promote("linspace", start, stop, to_inexact=True)))
    target = common if dtype is None else as_dtype(dtype)
    # Python numbers keep all their digits until the dtype of the result is known.
    working = accumulator(result_type(common, inexact(target)) if target.kind != "c" else target)
    parts = num - 1 if endpoint else num
    known = [_known(v) for v in (start, stop)]
    if all(v is not None for v in known):
        wide = np.complex128 if working.kind == "c" else np.float64
        low, high = (np.asarray(v).astype(wide) for v in known)
        with np.errstate(all="ignore"):
            exact, step = np.linspace(low, high, num, endpoint, retstep=True)
        values, step = arrays.Array(exact), arrays.Array(np.asarray(step))
    else:
        first, last = broadcast("linspace", *(cast(value("linspace", v), working) for v in (start, stop)))
        step = (last - first) / (parts or math.nan)
        values = _interpolated(first, last, num, parts, endpoint)
    if target.kind in "iu":
        values = floor(values)
    values = cast(values, target)
    axis = axis_index("linspace", axis, values.type.ndim)
    if axis:
        values = moveaxis(values, 0, axis)
    return (values, cast(step, inexact(target))) if retstep else values


def _known(value: Any) -> Any:
    """The number or array behind an argument that is not traced, else None."""
    if isinstance(value, Value):
        return value.concrete() if type(value) in (arrays.Array, arrays.Number) else None
    return value


def _interpolated(first: Array, last: Array, num: int, parts: int, endpoint: bool) -> Array:
    """`num` points of the straight line, the first and the last one exact."""
    shape = first.type.shape
    ramp = cast(iota(np.dtype(np.int32), (num, *(1 for _ in shape)), 0), first.type.dtype) / max(parts, 1)
    values = first[None] * (1 - ramp) + last[None] * ramp
    if not endpoint or num < 2:
        return values
    return concatenate([values[:-1], last[None]], 0)


def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """Powers of the base with exponents at equal distances.

    >>> logspace(0, 2, 3)
    Array([  1.,  10., 100.], dtype=float32)
    """
    found = power(base, linspace(start, stop, num, endpoint, axis=axis))
    return found if dtype is None else astype(found, dtype)


def geomspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """Numbers at equal ratios from start to stop, which have the same sign.

    >>> geomspace(1.0, 1000.0, 4)
    Array([   1.,   10.,  100., 1000.], dtype=float32)
    """
    first, last = promote("geomspace", start, stop, to_inexact=True)
    known, wide = [_known(v) for v in (start, stop)], np.complex128 if first.type.dtype.kind == "c" else np.float64
    if all(v is not None and np.all(np.asarray(v) != 0) for v in known):
        # In float64, so that whole powers come out whole.
        low, high = (np.asarray(v).astype(wide) for v in known)
        exact = arrays.Array(np.geomspace(low, high, num, endpoint, axis=axis))
        return cast(exact, first.type.dtype if dtype is None else as_dtype(dtype))
    sign = sign_of(first)
    found = sign * power(10, linspace(log10(divide(first, sign)), log10(divide(last, sign)), num, endpoint, axis=axis))
    return found if dtype is None else astype(found, dtype)
