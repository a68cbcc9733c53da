"""What ``jax.dtypes`` has and `fdl.dtypes` does not."""

from typing import Any

import numpy as np

from fdl.config import config
from fdl.dtypes import as_dtype, dtype_of, is_inexact


def scalar_type_of(x: Any) -> type:
    """Python's type of the numbers of an array.

    >>> scalar_type_of(2.0)
    <class 'float'>
    """
    return {"b": bool, "i": int, "u": int, "c": complex}.get(dtype_of(x).kind, float)


def itemsize_bits(dtype: Any) -> int:
    """How many bits a number of a dtype takes.

    >>> itemsize_bits("bfloat16")
    16
    """
    return 8 * as_dtype(dtype).itemsize


class ExtendedDType:
    """The base of dtypes that libraries define for JAX; fdl has no arrays of them."""


def to_complex_dtype(dtype: Any) -> np.dtype:
    """The complex dtype of as many digits.

    >>> [str(to_complex_dtype(kind)) for kind in ("bfloat16", "float32", "float64", "complex64")]
    ['complex64', 'complex64', 'complex128', 'complex64']
    """
    known = as_dtype(dtype)
    wide = known.itemsize == 8 and known != np.complex64 if is_inexact(known) else config.enable_x64
    return np.dtype(np.complex128 if wide or known == np.complex128 else np.complex64)
