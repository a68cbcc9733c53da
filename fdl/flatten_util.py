"""A pytree as one vector."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.core.types import TensorType
from fdl.dtypes import default_dtype, key, result_type
from fdl.errors import DtypeError, ShapeError

__all__ = ["ravel_pytree"]


@dataclass(frozen=True)
class _Unravel:
    """From a vector to a tree; those of equal trees are equal, so that they may be static arguments."""

    treedef: tree.PyTreeDef
    types: tuple[TensorType, ...]
    dtype: np.dtype

    def __call__(self, flat: Any) -> Any:
        types, ends = self.types, list(itertools.accumulate(t.size for t in self.types))
        total = ends[-1] if ends else 0
        flat = fnp.asarray(flat)
        if flat.shape != (total,):
            raise ShapeError(f"unravel needs a vector of {total} elements, got {flat.type}")
        mixed = len({t.dtype for t in types}) > 1
        if mixed and flat.dtype.kind != self.dtype.kind:
            raise DtypeError(f"unravel needs a vector of dtype {self.dtype}, that of ravel_pytree, got {flat.type}")
        parts = [flat[b - t.size : b].reshape(t.shape) for b, t in zip(ends, types, strict=True)]
        return self.treedef.unflatten([p.astype(t.dtype) if mixed else p for p, t in zip(parts, types, strict=True)])


def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """All elements of a tree in one vector, and the way back.

    Args:
        pytree: a tree of arrays and numbers.

    Returns:
        A vector in the dtype in which the leaves meet, and a function from such a vector to a tree with the shapes and
        dtypes of the leaves. If the leaves have one dtype, it takes vectors of any dtype, which their parts keep. The
        functions of trees of one structure are equal, and may be static arguments of `jit`.

    Raises:
        ShapeError: the function back gets a vector of another length.
        DtypeError: it gets one of another kind of dtype, and the leaves do not all have one dtype.

    >>> flat, unravel = ravel_pytree({"w": fnp.ones((2, 2)), "b": fnp.zeros(2)})
    >>> flat.tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    >>> unravel(2 * flat)["w"].shape
    (2, 2)
    """
    leaves, treedef = tree.flatten(pytree)
    arrays = [fnp.asarray(leaf) for leaf in leaves]
    types = [a.type for a in arrays]
    if key in (t.dtype for t in types) and any(t.dtype != key for t in types):
        raise DtypeError("ravel_pytree: random keys and numbers have no common dtype; take the keys out of the tree")
    dtype = result_type(*(t.dtype for t in types)) if types else default_dtype(float)
    flats = [a.astype(dtype).ravel() for a in arrays]
    return fnp.concatenate(flats) if flats else fnp.zeros((0,), dtype), _Unravel(treedef, tuple(types), dtype)


def __dir__() -> list[str]:
    return __all__
