"""Operands of the functions here: as values, of one dtype, of one shape, with axes counted from the front."""

import operator
import reprlib
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from fdl import array as arrays
from fdl.api.environment import Device, devices
from fdl.array import alias, as_operand
from fdl.composite import composite
from fdl.config import config
from fdl.core.interpret import quiet
from fdl.core.trace import Tracer, Value
from fdl.core.types import Array
from fdl.core.weak import weak_as
from fdl.dtypes import (
    INEXACT,
    INTEGER,
    WEAK,
    bool_,
    complex64,
    complex128,
    default_dtype,
    float32,
    float64,
    is_inexact,
    is_weak,
    key,
    python_number,
    result_type,
)
from fdl.errors import AxisError, DtypeError, RangeError, ShapeError
from fdl.ops.compare import eq
from fdl.ops.convert import convert
from fdl.ops.precision import accumulator
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full_like
from fdl.ops.transcendental import sqrt
from fdl.sharding import Sharding
from fdl.tracebacks import warn

#: For signatures: an Array, a NumPy array or scalar, or a Python number.
ArrayLike: TypeAlias = Any
DTypeLike: TypeAlias = Any
Axis: TypeAlias = int | Sequence[int] | None

SCALARS = (bool, int, float, complex)

#: `convert`, whose eager calls prepare nothing from the second of a kind on.
converted = composite(convert)


def value(name: str, x: Any) -> Array:
    """`x` as a Value, for the function `name`."""
    return as_operand(x, f"an operand of {name}")


def number(name: str, x: Any, allowed: Sequence[np.dtype] | None = None) -> Array:
    """`x` as a Value that is not a random key, and has an `allowed` dtype."""
    x = value(name, x)
    refuse_keys(name, x.type.dtype)
    if allowed is not None and x.type.dtype not in allowed:
        raise DtypeError(f"{name} is not defined for {x.type}; convert it first, for example with astype")
    return x


def refuse_keys(name: str, dtype: np.dtype) -> None:
    """Raise if `dtype` is that of random keys."""
    if dtype == key:
        raise DtypeError(f"{name} is not defined for random keys; draw numbers from them with fdl.random")


def cast(x: Any, dtype: np.dtype) -> Array:
    """A Value or a number as a Value of the given dtype."""
    if isinstance(x, Value):
        return x if x.type.dtype == dtype else convert(x, dtype)
    try:
        return arrays.Array(quiet.run(np.asarray, python_number(x), dtype))
    except (OverflowError, ValueError):
        raise RangeError(f"the number {x} does not fit into {dtype}; convert the array that it meets first") from None
    except TypeError:
        raise DtypeError(f"{reprlib.repr(x)} is no number that {dtype} holds") from None


def beside(name: str, x: Any, dtype: np.dtype) -> Array:
    """`x` as a Value of the dtype of the arrays that it meets, a number with all of its digits."""
    made: Any = cast(arrays.as_weak(x) if type(x) in WEAK else value(name, x), dtype)
    return made.strong()


def as_written(name: str, given: Any, dtype: np.dtype) -> Array:
    """`given` as it is written into arrays of `dtype`, a number of Python with all of its digits.

    An integer that the dtype does not hold wraps around under JAX's name, as in JAX.

    Raises:
        RangeError: it does not hold the integer, elsewhere.
    """
    given = python_number(given)
    exact = (type(given) is int and dtype in INTEGER) or (type(given) in (int, float) and dtype in INEXACT)
    exact = exact and not config.weak_arrays
    return cast(given if exact or isinstance(given, Value) else value(name, given), dtype)


def wide(x: Array) -> Array:
    """`x`, 16-bit floats as float32, which has room for squares, sums of exponentials and epsilons."""
    return cast(x, accumulator(x.type.dtype))


def root(x: Array) -> Array:
    """The square root, with derivatives of 0 at 0: those of norms would be NaN there."""
    zero = eq(x, full_like(x, 0))
    found: Array = select(zero, full_like(x, 0), sqrt(select(zero, full_like(x, 1), x)))
    return found


def element(name: str, given: Any, dtype: np.dtype) -> Array:
    """A scalar as an element of arrays of `dtype`; among integers, infinity is the farthest of them.

    Raises:
        ShapeError: it is no scalar.
        DtypeError: it is a known number that the dtype does not have.
    """
    x = value(name, given)
    if x.type.shape:
        raise ShapeError(f"{name} must be a scalar, got {x.type}")
    if type(x) is not arrays.Array or x.type.dtype == dtype:
        return cast(x, dtype)
    known = python_number(given) if type(given) in WEAK else x.concrete().item()
    if dtype.kind in "iub" and isinstance(known, float):
        if known in (np.inf, -np.inf):
            low, high = (False, True) if dtype == bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            return cast(high if known > 0 else low, dtype)
        if known != known or known != int(known):
            raise DtypeError(f"{name} is {known}, which {dtype} does not have; convert the array first")
        known = int(known)
    return cast(known, dtype)


def inexact(dtype: np.dtype) -> np.dtype:
    """`dtype` if it is floating or complex, else the default float."""
    if is_inexact(dtype):
        return dtype
    return float32 if config.weak_arrays and dtype.itemsize < 8 else default_dtype(float)  # JAX's rule, or ours


def floating(x: Any) -> Array:
    """`x` as a Value, integers and booleans as the default float, whose squares do not wrap around."""
    x = arrays.as_array(x)
    return weak_as(x, cast(x, inexact(x.type.dtype)))


def real_of(dtype: np.dtype) -> np.dtype:
    """The dtype of the real part of numbers of `dtype`."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def complex_of(dtype: np.dtype) -> np.dtype:
    """The dtype of complex numbers whose real part is in `dtype`, or as near as there is one."""
    return complex128 if dtype in (float64, complex128) else complex64


def promote(name: str, *args: Any, to_inexact: bool = False, keys: bool = False) -> list[Array]:
    """The operands as Values of their common dtype; Python numbers take the dtype of the arrays that they meet."""
    kept = [a if isinstance(a, Value) or type(a) in SCALARS else _operand(name, a) for a in args]
    if len(kept) == 1:
        kept = [alias(kept[0])]
    found = [a.type.dtype for a in kept if isinstance(a, Value)]
    if not (keys and len(found) == len(kept) and all(d == key for d in found)):
        for d in found:
            refuse_keys(name, d)
    dtype = result_type(*kept)
    if to_inexact:
        dtype = inexact(dtype)
    if all(type(a) is int or (isinstance(a, Value) and a.weak and a.type.dtype.kind in "iu") for a in kept):
        shown = (a.type.dtype if isinstance(a, Value) else arrays.scalar_dtype(a) for a in kept)
        dtype = inexact(dtype) if to_inexact else np.result_type(*shown)
    if is_weak(*kept) if config.weak_arrays else found and all(type(a) in SCALARS or a.weak for a in kept):
        return _weak_operands(kept, dtype)
    return [cast(a, dtype) for a in kept]


def _weak_operands(kept: Sequence[Any], dtype: np.dtype) -> list[Array]:
    """Weak values and numbers as weak values that show one dtype, and hold all digits unless the values have fewer."""
    narrow = all(a.held.type.dtype == dtype for a in kept if isinstance(a, Value))
    wide = dtype if narrow else arrays.wide_dtype(dtype)
    return [cast(a.held if isinstance(a, Value) else a, wide).weakened(dtype) for a in kept]


def _operand(name: str, a: Any) -> Any:
    return python_number(a) if type(a) in WEAK else value(name, a)


def broadcast_shapes(*shapes: Sequence[int] | int, name: str = "broadcast_shapes") -> tuple[int, ...]:
    """The shape to which all shapes broadcast.

    Args:
        *shapes: tuples of extents, or single extents.
        name: of the function that errors name.

    Returns:
        A tuple of extents.

    Raises:
        ShapeError: they do not fit.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    try:
        return np.broadcast_shapes(*shapes)
    except TypeError:
        raise ShapeError(f"{name}: shapes are tuples of integers, got {reprlib.repr(shapes)}") from None
    except ValueError:
        shown = " and ".join(str(tuple(s) if isinstance(s, Sequence) else (s,)) for s in shapes)
        raise ShapeError(
            f"{name}: shapes {shown} do not broadcast: counted from the last axis, extents must be equal or 1. "
            "Reshape an operand, or give it an axis of extent 1 with x[:, None]"
        ) from None


def expand_to(x: Array, shape: Sequence[int]) -> Array:
    """`x` repeated to a shape that it broadcasts to."""
    shape = tuple(shape)
    if x.type.shape == shape:
        return x
    return broadcast_in_dim(x, shape, range(len(shape) - x.type.ndim, len(shape)))


def broadcast(name: str, *values: Array) -> list[Array]:
    """The values repeated to their common shape."""
    first = values[0].type.shape
    if all(v.type.shape == first for v in values):
        return list(values)
    if config.numpy_rank_promotion != "allow" and len({v.type.ndim for v in values} - {0}) > 1:
        text = (
            f"{name}: operands of shapes {' and '.join(str(v.type.shape) for v in values)} have different ranks, and "
            f"numpy_rank_promotion is {config.numpy_rank_promotion!r}; give each the same number of axes, for example "
            "with x[None]"
        )
        if config.numpy_rank_promotion == "raise":
            raise ShapeError(text)
        warn(text)
    shape = broadcast_shapes(*(v.type.shape for v in values), name=name)
    return [expand_to(v, shape) for v in values]


def matched(name: str, *args: Any, to_inexact: bool = False) -> list[Array]:
    """The operands as Values of one dtype and one shape."""
    return broadcast(name, *promote(name, *args, to_inexact=to_inexact))


def integer(what: str, given: Any) -> int:
    """`given`, which `what` names, as an int.

    Raises:
        TypeError: it is no integer.
    """
    try:
        found = operator.index(given)
        if not -(2**63) <= found < 2**63:
            raise RangeError(f"{what} has 64 bits, so that {found} is none")
        return found
    except TypeError:
        if isinstance(given, Tracer):  # isinstance(given, Array) holds too
            raise
        shown = f"an array {given.type}" if isinstance(given, Value) else reprlib.repr(given)
        raise TypeError(f"{what} must be an integer, got {shown} of type {type(given).__name__}") from None


def integers(what: str, given: Any) -> tuple[int, ...]:
    """`given`, a sequence of integers that `what` names, as a tuple."""
    if isinstance(given, Value):
        given = given.concrete(f"{what}: a sequence of integers").tolist()
    try:
        items = tuple(given)
    except TypeError:
        kind = type(given).__name__
        raise TypeError(f"{what} must be a sequence of integers, got {reprlib.repr(given)} of type {kind}") from None
    return tuple([integer(f"an entry of {what}", n) for n in items])


def axis_index(name: str, axis: Any, ndim: int) -> int:
    """`axis` counted from the front.

    Raises:
        AxisError: it is none of the axes.
    """
    axis = integer(f"{name}: an axis", axis)
    if not -ndim <= axis < ndim:
        raise AxisError(f"{name}: axis {axis} is out of bounds for an array with {ndim} axes")
    return axis % ndim


def is_sequence(numbers: Any) -> TypeGuard[Sequence[Any]]:
    """Whether axes or extents are given as several: a tuple, a list, a range, a shape of another library."""
    if isinstance(numbers, (np.ndarray, arrays.Array)):
        return numbers.ndim > 0
    return hasattr(numbers, "__len__") and not isinstance(numbers, (str, Value))


def axis_tuple(name: str, axis: Axis, ndim: int) -> tuple[int, ...]:
    """One axis, several, or None for all, counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis_index(name, a, ndim) for a in (axis if is_sequence(axis) else (axis,)))
    if len(set(axes)) != len(axes):
        raise AxisError(f"{name}: an axis is given twice in axis={axis}")
    return axes


def shape_tuple(name: str, shape: Any) -> tuple[int, ...]:
    """A shape given as an int or as a sequence of ints."""
    if isinstance(shape, Value):
        shape = shape.concrete(f"{name}: the shape").tolist()
    shape = tuple(shape) if is_sequence(shape) else (shape,)
    try:
        found = tuple(operator.index(n) for n in shape)
    except TypeError:
        if any(isinstance(n, Value) for n in shape):
            raise
        raise ShapeError(f"{name}: a shape consists of integers, got {shape}") from None
    if any(n < 0 for n in found):
        raise ShapeError(f"{name}: the shape {found} has a negative extent")
    if any(n >= 2**63 for n in found):
        raise ShapeError(f"{name}: the shape {found} has an extent that no array has")
    return found


def check_device(name: str, device: Any) -> None:
    """Raise a ValueError unless `device` is None, the one device, its name, or a sharding over it."""
    if device is None or isinstance(device, Sharding) or (isinstance(device, str) and device == "cpu"):
        return
    if not isinstance(device, Device) or device not in devices():
        raise ValueError(f"{name}: there is no device {device!r}; fdl has one, fdl.devices()[0], the processor")


def no_out(name: str, out: Any) -> None:
    """Refuse the argument ``out``: arrays are immutable."""
    if out is not None:
        raise NotImplementedError(f"{name}: arrays are immutable, so there is no out=; use the result")


def matrices(name: str, a: ArrayLike, square: bool = False) -> Array:
    """`a` as matrices of floating-point numbers of at least single precision."""
    x = number(name, a)
    if x.type.ndim < 2 or (square and x.type.shape[-1] != x.type.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise ShapeError(
            f"linalg.{name} needs {kind} of shape (..., {'n, n' if square else 'm, n'}), got shape {x.type.shape}"
        )
    dtype = inexact(x.type.dtype)
    return cast(x, np.dtype(np.float32) if dtype.itemsize < 4 else dtype)
