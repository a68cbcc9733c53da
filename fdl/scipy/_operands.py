"""Operands of the functions of this package."""

from typing import Any

import fdl.numpy as fnp
from fdl import dtypes

Array = Any


def operands(*args: Any) -> list[Array]:
    """The operands in one floating (or complex) dtype and one shape."""
    dtype = fnp.result_type(*args)
    dtype = dtype if fnp.issubdtype(dtype, fnp.inexact) else dtypes.default_dtype(float)
    # Python numbers keep their 64 bits until the dtype is known.
    converted = [fnp.asarray(a, dtype) for a in args]
    return list(fnp.broadcast_arrays(*converted))
