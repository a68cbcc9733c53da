"""The named arrays that a served function takes and gives, and the check of what a body holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl import tree
from fdl.errors import ServeError
from fdl.serve.refusal import Refusal

#: The kinds of dtypes that bodies can hold: booleans, integers, real and complex numbers.
_KINDS = "biufc"


@dataclass(frozen=True)
class NamedType:
    """An array of a body.

    Attributes:
        name: its path in the tree, steps joined by points.
        shape: its shape; without axis 0 where that is the axis of rows.
        dtype: its dtype.
        has_rows: whether axis 0 is the axis of rows.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    has_rows: bool

    def __str__(self) -> str:
        return type_text(self.dtype, ("rows", *self.shape) if self.has_rows else self.shape)


def type_text(dtype: Any, shape: Sequence[Any]) -> str:
    """A dtype and a shape, as messages say them.

    >>> type_text("float32", ("rows", 3))
    'float32[rows, 3]'
    """
    return f"{dtype}[{', '.join(map(str, shape))}]" if shape else str(dtype)


def named_types(value: Any, alone: str, has_rows: bool) -> tuple[NamedType, ...]:
    """The arrays of a tree by name.

    Args:
        value: pytree of arrays or ShapeDtypeStructs.
        alone: the name of an array that is the whole tree.
        has_rows: whether axis 0 of all is the axis of rows.

    Raises:
        ServeError: two have the same name, or one has a dtype that bodies cannot hold.
    """
    found = []
    for path, leaf in tree.leaves_with_path(value):
        name = tree.keystr(path, simple=True, separator=".") or alone
        if leaf.dtype.kind not in _KINDS and not _is_small_float(leaf.dtype):
            raise ServeError(f"{name} is {leaf.dtype}; bodies hold booleans and numbers")
        found.append(NamedType(name, tuple(leaf.shape[1:] if has_rows else leaf.shape), np.dtype(leaf.dtype), has_rows))
    names = [type.name for type in found]
    if len({*names}) < len(names):
        raise ServeError(f"arrays must have different names, with points between the steps of a path; got {names}")
    return tuple(found)


def plain_dtype(dtype: Any) -> Any:
    """A dtype that NumPy itself has: float32 for bfloat16 and smaller floats."""
    return np.dtype(np.float32) if _is_small_float(dtype) else dtype


def _is_small_float(dtype: Any) -> bool:
    return dtype.kind == "V" and "float" in dtype.name


def checked(types: Sequence[NamedType], given: Mapping[str, np.ndarray], most_rows: int) -> list[np.ndarray]:
    """The arrays in the order of their types, with these dtypes.

    Integers are taken for any dtype of integers that has room for them and for floats, floats for floats.

    Raises:
        Refusal: one is missing, is not known, or has another shape or dtype; or there are too many rows.
    """
    names = [type.name for type in types]
    for name in [*(name for name in names if name not in given), *(name for name in given if name not in names)][:1]:
        error = f"input {name!r} is missing" if name in names else f"there is no input {name[:80]!r}"
        raise Refusal(422, error, input=name[:80], expected=", ".join(names), got=", ".join(given)[:400])
    arrays = [_cast(type, given[type.name]) for type in types]
    counts = {type.name: array.shape[0] for type, array in zip(types, arrays, strict=True) if type.has_rows}
    if len({*counts.values()}) > 1:
        raise Refusal(422, f"inputs have different numbers of rows: {counts}")
    for name, count in counts.items():
        if count > most_rows:
            raise Refusal(413, f"{count} rows are more than {most_rows}", input=name)
    return arrays


def _cast(type: NamedType, array: np.ndarray) -> np.ndarray:
    def refusal(why: str) -> Refusal:
        got = type_text(array.dtype, array.shape)
        error = f"input {type.name!r} {why}: expected {type}, got {got}"
        return Refusal(422, error, input=type.name, expected=str(type), got=got)

    inner = array.shape[1:] if type.has_rows else array.shape
    if (type.has_rows and not array.ndim) or inner != type.shape:
        raise refusal("has a wrong shape")
    if array.dtype == type.dtype:
        return array
    integers = array.dtype.kind in "iu" and type.dtype.kind in "iu"
    if array.dtype.kind not in _KINDS or not (integers or np.can_cast(array.dtype, type.dtype, "same_kind")):
        raise refusal("has a wrong dtype")
    if integers and array.size:
        limits = np.iinfo(type.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise refusal(f"has numbers outside of {type.dtype}")
    with np.errstate(over="raise"):
        try:
            return array.astype(type.dtype)
        except FloatingPointError:
            raise refusal(f"has numbers outside of {type.dtype}") from None
