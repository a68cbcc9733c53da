"""Types for signatures: what functions of arrays take, under the names of ``jax.typing``."""

from typing import Any, Protocol, TypeAlias

import numpy as np

from fdl.array import Array


class SupportsDType(Protocol):
    """What has a dtype."""

    @property
    def dtype(self) -> Any:
        """The dtype."""


#: An array or a number, of fdl, NumPy or Python.
ArrayLike: TypeAlias = Array | np.ndarray | np.bool_ | np.number | bool | int | float | complex
#: A dtype, a scalar type, or a name of one.
DTypeLike: TypeAlias = str | type[Any] | np.dtype | SupportsDType

__all__ = ["ArrayLike", "DTypeLike"]


def __dir__() -> list[str]:
    return __all__
