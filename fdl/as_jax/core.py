"""What libraries take from ``jax.core``: types of values, and questions about the trace in force."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl.api.arguments import float0
from fdl.array import Array
from fdl.core import trace
from fdl.core.trace import Tracer, Value, lift
from fdl.core.types import TensorType
from fdl.dtypes import as_dtype, is_inexact
from fdl.sharding import WHOLE, AbstractMesh, NamedSharding, PartitionSpec


@functools.cache
def _uncut(ndim: int) -> NamedSharding:
    """Where an array of so many axes lies: whole; libraries look up each axis."""
    return NamedSharding(AbstractMesh(), PartitionSpec(*[None] * ndim))


@dataclass(frozen=True, slots=True)
class ShapedArray(TensorType):
    """The type of a value.

    Attributes:
        shape: extents of the axes.
        dtype: of the elements.
        weak_type: whether it stands for a Python number.
        sharding: where it lies.

    >>> print(ShapedArray((2, 3), "float32"))
    f32[2,3]
    """

    weak_type: bool = False
    sharding: Any = WHOLE

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.sharding is WHOLE:
            object.__setattr__(self, "sharding", _uncut(len(self.shape)))
        object.__setattr__(self, "dtype", float0 if self.dtype == float0 else as_dtype(self.dtype))

    @property
    def vma(self) -> frozenset[Any]:
        """Names of the axes of a mesh that it varies along: none."""
        return frozenset()

    def str_short(self, short_dtypes: bool = False, **_: Any) -> str:
        """As text."""
        return str(self) if short_dtypes else f"{self.dtype}[{','.join(map(str, self.shape))}]"

    def to_tangent_aval(self) -> "ShapedArray":
        """The type of tangents: `float0` for what has none."""
        return self if is_inexact(self.dtype) else ShapedArray(self.shape, float0, sharding=self.sharding)

    at_least_vspace = to_tangent_aval

    def strip_weak_type(self) -> "ShapedArray":
        """The same, not standing for a Python number."""
        return self.update(weak_type=False)

    def update(self, **changes: Any) -> "ShapedArray":
        """With other attributes."""
        mine = {name: getattr(self, name) for name in ("shape", "dtype", "weak_type", "sharding")}
        return ShapedArray(**(mine | changes))


def typeof(x: Any) -> ShapedArray:
    """The type of a value, traced or not.

    >>> typeof(1.0).weak_type
    True
    """
    weak = isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic)
    if type(x) is ShapedArray:
        return x
    value = x if hasattr(x, "shape") and hasattr(x, "dtype") else lift(x)
    return ShapedArray(value.shape, value.dtype, weak or getattr(value, "weak", False))


get_aval = typeof


class OpaqueTraceState:
    """The transform that was in force, to be compared with another one."""

    def __init__(self) -> None:
        self._interpreter = trace.current()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpaqueTraceState) and self._interpreter is other._interpreter

    def __hash__(self) -> int:
        return id(self._interpreter)


def get_opaque_trace_state(convention: str | None = None) -> OpaqueTraceState:
    """What compares equal as long as no other transform is in force.

    >>> get_opaque_trace_state() == get_opaque_trace_state()
    True
    """
    return OpaqueTraceState()


@contextmanager
def take_current_trace() -> Iterator[Any]:
    """The interpreter in force."""
    yield trace.current()


def find_top_trace(_: Any = None) -> Any:
    """The interpreter in force, whatever the values.

    >>> find_top_trace([1.0]) is find_top_trace([]).main
    True
    """
    return trace.current()


def set_current_trace(interpreter: Any) -> Any:
    """Make an interpreter current inside of a ``with`` block."""
    return trace.use(interpreter)


def trace_state_clean() -> bool:
    """Whether no transform is in force.

    >>> trace_state_clean()
    True
    """
    return trace.is_eager()


def is_concrete(x: Any) -> bool:
    """Whether the number of a value is known.

    >>> is_concrete(1.0)
    True
    """
    return not isinstance(x, Tracer)


def concrete_or_error(force: Any, value: Any, context: str = "") -> Any:
    """``force(value)``, for a value that must be known; `force` may be None.

    Raises:
        ConcretizationError: it is traced.

    >>> concrete_or_error(int, 3.0)
    3
    """
    if isinstance(value, Tracer):
        value = Array(value.concrete(context))
    return value if force is None else force(value)


def valid_jaxtype(x: Any) -> bool:
    """Whether a leaf is an array or a number.

    >>> valid_jaxtype("text")
    False
    """
    return isinstance(x, (Value, np.ndarray, np.generic, bool, int, float, complex))


def mapped_aval(size: int, axis: int | None, aval: TensorType) -> ShapedArray:
    """A type without an axis that vmap takes away.

    >>> print(mapped_aval(4, 0, ShapedArray((4, 3), "float32")))
    f32[3]
    """
    shape = [n for a, n in enumerate(aval.shape) if a != axis]
    return ShapedArray(tuple(shape), aval.dtype)


def unmapped_aval(size: int, axis: int | None, aval: TensorType, *_: Any) -> ShapedArray:
    """A type with an axis that vmap puts back.

    >>> print(unmapped_aval(4, 0, ShapedArray((3,), "float32")))
    f32[4,3]
    """
    shape = list(aval.shape)
    if axis is not None:
        shape.insert(axis, size)
    return ShapedArray(tuple(shape), aval.dtype)
