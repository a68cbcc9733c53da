"""What arrays and jitted functions have under JAX's name only.

Arrays tell where their parts lie, which with one device is the whole; libraries know jitted functions by the name of
their type, PjitFunction.
"""

import sys
from dataclasses import dataclass
from typing import Any

from fdl.api.environment import Device, devices
from fdl.api.jit import Jitted, TracedCall
from fdl.as_jax.core import typeof
from fdl.as_jax.jaxpr import ClosedJaxpr, mark_weak
from fdl.core.trace import Value
from fdl.numpy.scalar_types import ScalarType


@dataclass(frozen=True)
class Shard:
    """The part of an array on a device.

    Attributes:
        data: the part.
        device: where it lies.
        index: slices of the whole that it is.
        replica_id: which copy of it this is.
    """

    data: Any
    device: Device
    index: tuple[slice, ...]
    replica_id: int = 0


def _shards(array: Any) -> list[Shard]:
    return [Shard(array, devices()[0], tuple(slice(None) for _ in array.shape))]


def _delete(array: Any) -> None:
    """Free the memory; using the array from then on is an error."""
    _ = array.type  # which errors tell
    array._data = None


_ATTRIBUTES: dict[str, Any] = {
    "addressable_data": lambda self, index: self,
    "addressable_shards": property(_shards),
    "aval": property(typeof),
    "committed": property(lambda self: False),
    "delete": _delete,
    "copy_to_host_async": lambda self: None,
    "global_shards": property(_shards),
    "is_fully_addressable": property(lambda self: True),
    "is_fully_replicated": property(lambda self: True),
    "on_device_size_in_bytes": lambda self: self.nbytes,
    "unsafe_buffer_pointer": lambda self: self.concrete().ctypes.data,
}


def _jaxpr(call: TracedCall) -> ClosedJaxpr:
    closed = ClosedJaxpr.of_program(call.program, call.traced.captured)
    mark_weak(closed, call.signature.weak, call.traced.out_weak or [None] * len(closed.jaxpr.outvars))
    return closed


def install() -> None:
    """Give arrays, traced ones too, these attributes, the class of jitted functions JAX's name, dtypes JAX's hashes."""
    Jitted.__name__ = Jitted.__qualname__ = "PjitFunction"
    setattr(sys.modules[Jitted.__module__], "PjitFunction", Jitted)  # noqa: B010 -- pickles find the class by its name
    # That of NumPy's class of the name, so that sets of these hold it; else it is that of NumPy's dtype.
    ScalarType.__hash__ = lambda self: hash(self.dtype.type)  # type: ignore[method-assign]
    for name, attribute in _ATTRIBUTES.items():
        setattr(Value, name, attribute)
    TracedCall.jaxpr = property(_jaxpr)  # type: ignore[attr-defined]
