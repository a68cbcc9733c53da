"""What ``jax.dtypes`` has and `fdl.dtypes` does not."""

from typing import Any

from fdl.dtypes import dtype_of


def scalar_type_of(x: Any) -> type:
    """Python's type of the numbers of an array.

    >>> scalar_type_of(2.0)
    <class 'float'>
    """
    return {"b": bool, "i": int, "u": int, "c": complex}.get(dtype_of(x).kind, float)


class ExtendedDType:
    """The base of dtypes that libraries define for JAX; fdl has no arrays of them."""
