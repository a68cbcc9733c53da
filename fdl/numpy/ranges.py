"""Numbers at equal distances or ratios."""

import math
from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.composite import composite
from fdl.core.trace import Value
from fdl.dtypes import as_dtype, python_number, result_type
from fdl.errors import ShapeError
from fdl.numpy._operands import (
    SCALARS,
    Array,
    ArrayLike,
    DTypeLike,
    axis_index,
    broadcast,
    broadcast_shapes,
    cast,
    check_device,
    inexact,
    integer,
    promote,
    value,
)
from fdl.numpy.arithmetic import divide, floor, power
from fdl.numpy.arithmetic import sign as sign_of
from fdl.numpy.creation import astype
from fdl.numpy.elementwise import exp, log
from fdl.numpy.shapes import concatenate, moveaxis
from fdl.ops.precision import accumulator
from fdl.ops.shape import iota


@composite
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
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    Returns:
        Array of shape (ceil((stop - start) / step),).

    Raises:
        ConcretizationError: an argument is traced; the length of the result would depend on it.

    >>> arange(3), arange(1.0, 2.0, 0.5)
    (Array([0, 1, 2], dtype=int32), Array([1. , 1.5], dtype=float32))
    """
    check_device("arange", device)
    given = [python_number(v) for v in (start, stop, step) if v is not None]
    for v in given:
        if value("arange", v).type.shape:
            raise ShapeError(f"arange takes numbers, got {value('arange', v).type}")
    if not given:
        raise TypeError("arange needs at least one number")
    kind = result_type(*given) if dtype is None else as_dtype(dtype)
    numbers = [
        v.concrete("arange needs numbers that are known: one").item() if isinstance(v, Value) else v for v in given
    ]
    if dtype is None and kind.kind == "i" and any(abs(n) > np.iinfo(kind).max for n in numbers):
        kind = np.dtype(np.int64)
    if stop is None and step is None and kind.kind in "iuf":
        return iota(kind, (max(0, math.ceil(numbers[0])),), 0)
    if step is not None and stop is None:
        numbers = [0, *numbers]
    if numbers[2:] == [0]:
        raise ShapeError("arange: the step must not be zero")
    # Integers from steps that are not whole count in whole steps, as in NumPy.
    return arrays.Array(np.arange(*numbers, dtype=kind if kind.kind in "iu" else None).astype(kind))


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
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    Returns:
        Array with `num` along `axis`; with `retstep`, also the distance.

    >>> linspace(0, 1, 3)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    check_device("linspace", device)
    spaced = _spaced_numbers if type(start) in SCALARS and type(stop) in SCALARS else _spaced
    return spaced(start, stop, num, endpoint, retstep, dtype, axis)


def _spaced(start: Any, stop: Any, num: Any, endpoint: bool, retstep: bool, dtype: Any, axis: Any) -> Any:
    num = integer("linspace: num", num)
    if num < 0:
        raise ShapeError(f"linspace: num must not be negative, got {num}")
    common = inexact(result_type(*promote("linspace", start, stop, to_inexact=True)))
    target = common if dtype is None else as_dtype(dtype)
    # Python numbers keep all their digits until the dtype of the result is known.
    working = accumulator(result_type(common, inexact(target)) if target.kind != "c" else target)
    parts = num - 1 if endpoint else num
    broadcast_shapes(*(value("linspace", v).type.shape for v in (start, stop)), name="linspace")
    known = [_known(v) for v in (start, stop)]
    if all(v is not None for v in known):
        wide = np.complex128 if working.kind == "c" else np.float64
        low, high = (np.asarray(v).astype(wide) for v in known)
        with np.errstate(all="ignore"):
            exact, distance = np.linspace(low, high, num, endpoint, retstep=True)
        values: Array = arrays.Array(exact)
        step: Array = arrays.Array(np.asarray(distance))
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


_spaced_numbers = composite(_spaced)  # arrays are looked at


def _known(value: Any) -> Any:
    """The number or array behind an argument that is not traced, else None."""
    if isinstance(value, Value):
        return value.concrete() if type(value) in (arrays.Array, arrays.Number) else None
    return python_number(value)


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
    working = _working("logspace", dtype, start, stop)
    found = power(cast(base, working), linspace(start, stop, num, endpoint, dtype=working, axis=axis))
    return found if dtype is None else astype(found, dtype)


def _working(name: str, dtype: DTypeLike | None, *ends: ArrayLike) -> np.dtype:
    """The dtype in which a sequence is computed: no less than that of its ends or of the result."""
    found = result_type(*promote(name, *ends, to_inexact=True))
    return found if dtype is None else result_type(found, inexact(as_dtype(dtype)))


def geomspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """Numbers at equal ratios from start to stop, which have the same sign.

    >>> geomspace(1.0, 4.0, 3)
    Array([1., 2., 4.], dtype=float32)
    """
    working = _working("geomspace", dtype, start, stop)
    first, last = broadcast("geomspace", *(cast(v, working) for v in (start, stop)))
    sign = sign_of(first)
    found = sign * exp(linspace(log(divide(first, sign)), log(divide(last, sign)), num, endpoint, dtype=working))
    # The ends are those given, not the exponentials of their logarithms.
    if num > 1 and endpoint:
        found = concatenate([found[:-1], last[None]], 0)
    if num > 0:
        found = concatenate([first[None], found[1:]], 0)
    axis = axis_index("geomspace", axis, found.type.ndim)
    return moveaxis(found if dtype is None else astype(found, dtype), 0, axis)
