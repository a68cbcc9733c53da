"""Operands of the functions of this package."""

import reprlib
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes
from fdl.config import config
from fdl.core.trace import Tracer
from fdl.core.types import Array
from fdl.errors import RangeError
from fdl.numpy._operands import number


def operands(name: str, *args: Any) -> list[Array]:
    """The operands of the function `name` in one floating (or complex) dtype and one shape.

    Raises:
        LeafError: one is no array and no number.
        DtypeError: one is a random key.
    """
    args = tuple([a if type(a) in dtypes.WEAK else number(name, a) for a in args])
    dtype = fnp.result_type(*args)
    dtype = dtype if fnp.issubdtype(dtype, fnp.inexact) else dtypes.default_dtype(float)
    # Python numbers keep their 64 bits until the dtype is known.
    converted = [fnp.asarray(a, dtype) for a in args]
    if config.weak_arrays and dtypes.is_weak(*args):
        converted = [x.weakened(x.dtype) for x in converted]
    return list(fnp.broadcast_arrays(*converted))


def log1p_square(z: Array) -> Array:
    """log(1 + z**2), also where the square overflows."""
    size = fnp.abs(z)
    small = size < min(1e8, float(fnp.finfo(z.dtype).max) ** 0.5 / 4)
    return fnp.where(
        small, fnp.log1p(fnp.square(fnp.where(small, size, 1.0))), 2 * fnp.log(fnp.where(small, 1.0, size))
    )


def check_ascending(name: str, x: Array, or_descending: bool = False) -> None:
    """Raise unless a vector, where it is known, is strictly ascending.

    Raises:
        RangeError: it is not, or has NaN.
    """
    if isinstance(x, Tracer):
        return
    steps = np.diff(np.asarray(x))
    if not ((steps > 0).all() or (or_descending and (steps < 0).all())):
        raise RangeError(f"{name} must be strictly ascending{' or descending' * or_descending}, got {reprlib.repr(x)}")


def inexact(*args: Any) -> list[Array]:
    """The operands, which may be nested lists, in one floating (or complex) dtype, each in its own shape."""
    known = [a if type(a) in dtypes.WEAK else fnp.asarray(a) for a in args]
    dtype = fnp.result_type(*known)
    dtype = dtype if fnp.issubdtype(dtype, fnp.inexact) else dtypes.default_dtype(float)
    return [fnp.asarray(a, dtype) for a in known]
