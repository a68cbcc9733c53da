"""What ``jax.dtypes`` has and `fdl.dtypes` does not."""

from typing import Any

from fdl.dtypes import as_dtype, dtype_of


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
