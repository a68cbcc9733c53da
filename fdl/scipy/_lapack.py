"""Functions of LAPACK and SciPy on each matrix of a stack."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import dtypes
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.lax import pure_callback
from fdl.ops.matrix import each
from fdl.scipy._operands import inexact

__all__ = ["matrices", "per_matrix", "routine"]


def matrices(name: str, *args: Any, square: bool = True) -> list[Array]:
    """The operands in one dtype that LAPACK takes."""
    arrays = inexact(*args)
    for a in arrays:
        if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
            raise ShapeError(f"{name} needs {'square ' * square}matrices, got {a.type}")
    return [a if a.dtype.itemsize >= 4 else a.astype(dtypes.float32) for a in arrays]


def per_matrix(
    function: Callable[..., Any], arrays: Sequence[Array], results: Sequence[tuple[tuple[int, ...], Any]]
) -> Any:
    """A function of NumPy's arrays, of each matrix; `results` are the shapes and dtypes of its results for one.

    They have no derivatives.
    """
    lead = arrays[0].shape[:-2]

    def one(*given: np.ndarray) -> Any:
        found = function(*given)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(np.asarray(part).astype(dtype) for part, (_, dtype) in zip(found, results, strict=True))

    types = tuple(ShapeDtypeStruct((*lead, *shape), dtype) for shape, dtype in results)
    run = lambda *stacks: each(one, *map(np.asarray, stacks))  # noqa: E731
    return pure_callback(run, types, *arrays, vmap_method="broadcast_all")


def routine(name: str, dtype: np.dtype) -> Any:
    """LAPACK's routine of a name, for a dtype."""
    from scipy.linalg.lapack import get_lapack_funcs

    return get_lapack_funcs((name,), dtype=dtype)[0]
