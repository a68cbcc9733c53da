"""What the other files need of numba, which is imported when it is first used."""

from functools import cache
from typing import Any

import numpy as np

from fdl.errors import DtypeError


@cache
def numba() -> Any:
    """The module numba."""
    import numba

    return numba


def numba_type(function: str, dtype: np.dtype) -> Any:
    """numba's type of numbers of a dtype; raises DtypeError, naming `function`, if it has none."""
    if dtype.kind in "biufc" and dtype.itemsize > (2 if dtype.kind == "f" else 0):
        return numba().from_dtype(dtype)
    raise DtypeError(f"{function}: numba has no numbers of dtype {dtype}; convert them before and after the call")


def dtype_of(function: str, type: Any) -> np.dtype:
    """The dtype of what numba found a function to return; raises DtypeError, naming it, if that is no number."""
    module = numba()
    try:
        return np.dtype(module.np.numpy_support.as_dtype(type))
    except module.core.errors.NumbaNotImplementedError:
        raise DtypeError(f"{function}: the function returns {type}, where numbers are needed") from None


def compiled(function: Any, **options: Any) -> Any:
    """`function`, or the Python function that it was compiled from, compiled with these options."""
    return numba().njit(**options)(getattr(function, "py_func", function))
