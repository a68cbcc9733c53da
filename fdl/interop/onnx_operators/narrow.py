"""Casts to and from the dtypes of 8 bits and fewer that files keep weights in, of which fdl has no arrays.

Such values stay NumPy arrays of `ml_dtypes`. Constants of a model can be of them, and what is computed from constants;
of what a compiled function computes nothing can.
"""

from typing import Any

import ml_dtypes
import numpy as np

import fdl.numpy as fnp
from fdl.errors import ConcretizationError, InteropError
from fdl.interop.onnx_graph import is_narrow


def known(x: Any, dtype: np.dtype) -> np.ndarray:
    """The numbers to be cast to a narrow dtype.

    Raises:
        InteropError: they are known only at run time.
    """
    try:
        return np.asarray(x)
    except ConcretizationError as error:
        raise InteropError(
            f"apply: the model makes {dtype.name} of an input, of which fdl has no arrays; call apply outside of jit, "
            "grad and vmap, or give a function for the operator: from_onnx(..., operators={name: function})"
        ) from error


def limits(dtype: np.dtype) -> tuple[Any, Any]:
    """The smallest and the largest number of a dtype.

    >>> limits(np.dtype(ml_dtypes.int4))
    (-8, 7)
    """
    if dtype.kind in "iu" or "int" in dtype.name:
        whole = ml_dtypes.iinfo(dtype)
        return int(whole.min), int(whole.max)
    real = ml_dtypes.finfo(dtype)
    return float(real.min), float(real.max)


def powers_of_two(x: np.ndarray, saturate: bool, rounding: str, dtype: np.dtype) -> np.ndarray:
    """Positive numbers as float8_e8m0fnu, which has their exponents alone."""
    mantissa, exponent = np.frexp(np.abs(x.astype(np.float64)))
    exponent = exponent - 1
    part = mantissa * 2  # in [1, 2)
    above = part >= 1.5 if rounding == "nearest" else (part > 1) & (rounding == "up")
    exponent = exponent + np.where(above, 1, 0)
    top = 127
    whole = np.where(x == 0, -127, np.clip(exponent, -127, top if saturate else top + 1))
    bits = np.where(np.isfinite(x) & (whole <= top), whole + 127, 255)
    return bits.astype(np.uint8).view(dtype)


def narrowed(x: Any, dtype: np.dtype, saturate: bool = True, rounding: str = "up") -> np.ndarray:
    """Numbers as a narrow dtype; floating-point numbers out of range become the largest, if they are to saturate."""
    value = known(x, dtype)
    if dtype == ml_dtypes.float8_e8m0fnu:
        return powers_of_two(value, saturate, rounding, dtype)
    if saturate and dtype.name.startswith("float8"):
        wide = value.astype(np.float32) if is_narrow(value) or value.dtype.kind != "f" else value
        value = np.clip(wide, *limits(dtype))
    return value.astype(dtype)


def cast(x: Any, dtype: np.dtype, saturate: bool = True, rounding: str = "up") -> Any:
    """Numbers as another dtype, one of which may be narrow."""
    if is_narrow(dtype):
        return narrowed(x, dtype, saturate, rounding)
    return fnp.asarray(x.astype(dtype) if is_narrow(x) else x).astype(dtype)


def plain(x: Any) -> Any:
    """Narrow numbers as those of 32 bits that are equal to them; others as they are."""
    return fnp.asarray(x.astype(np.float32)) if is_narrow(x) else x
