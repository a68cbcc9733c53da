"""Names that programs ask of their surroundings: devices, scopes, evaluation at trace time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import Array, alias, as_array, given
from fdl.core import trace
from fdl.core.types import TensorType
from fdl.dtypes import ALL, canonical, key
from fdl.errors import DtypeError


@dataclass(frozen=True)
class Device:
    """The processor; there is one device, and its memory is the host's."""

    id: int = 0
    platform: str = "cpu"
    device_kind: str = "cpu"
    process_index: int = 0

    def __repr__(self) -> str:
        return f"CpuDevice(id={self.id})"


def devices(backend: str | None = None) -> list[Device]:
    """The devices: one.

    Raises:
        RuntimeError: a backend other than the CPU is asked for.

    >>> devices()
    [CpuDevice(id=0)]
    """
    if backend not in (None, "cpu"):
        raise RuntimeError(f"Unknown backend {backend!r}: fdl runs on the CPU")
    return [Device()]


def local_devices(backend: str | None = None) -> list[Device]:
    """The devices of this process: one."""
    return devices(backend)


def device_count(backend: str | None = None) -> int:
    """The number of devices: one."""
    return len(devices(backend))


local_device_count = device_count


def process_count(backend: str | None = None) -> int:
    """The number of processes: one."""
    return len(devices(backend))


def process_index(backend: str | None = None) -> int:
    """The number of this process: 0."""
    return devices(backend)[0].process_index


def default_backend() -> str:
    """The name of the platform: ``"cpu"``."""
    return "cpu"


@cache
def vectors() -> str:
    """What compiled code adds up at once here: the last bits of a sum are the same wherever this is.

    The environment variable FDL_CPU chooses others than the processor's own, as "native:256".

    >>> vectors().split("-bit")[0] in ("128", "256", "512")
    True
    """
    from fdl.compile.llvm.target import host_target

    target = host_target()
    return f"{target.vector_bits}-bit vectors{'' if target.fma else ' without FMA'}"


def block_until_ready(x: Any) -> Any:
    """`x` itself: results are always ready, since calls are synchronous.

    >>> block_until_ready(1.0)
    1.0
    """
    return x


def device_put(x: Any, device: Any = None) -> Any:
    """`x` (a pytree) with NumPy arrays and numbers made into Arrays; Arrays share their memory with the result.

    >>> device_put(1.0)
    Array(1., dtype=float32)
    """
    return tree.map(lambda leaf: alias(as_array(leaf)), x)


def device_get(x: Any) -> Any:
    """`x` (a pytree) with Arrays made into NumPy arrays.

    >>> import fdl.numpy as fnp
    >>> device_get(fnp.ones(2))
    array([1., 1.], dtype=float32)
    """
    return tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, Array) else leaf, x)


def from_numpy(array: np.ndarray) -> Array:
    """An Array that is the memory of a NumPy array, without a copy: a table on disk, for example, as a memory map.

    Arrays do not change, so write to the NumPy array no more. A compiled function to which the Array is donated
    overwrites the memory in place, and its result is that memory; of a memory map that may not be written to, as of all
    memory that may not, it makes a copy instead. Where sizes allow, all other functions read it where it lies.

    Args:
        array: of a dtype that fdl has, in the byte order of the machine; of any shape and strides.

    Returns:
        An Array of the shape and dtype.

    Raises:
        TypeError: it is no NumPy array.
        DtypeError: Arrays have no such dtype, or not in this byte order.

    >>> import fdl, fdl.numpy as fnp, numpy as np
    >>> table = np.zeros((1000, 2), np.float32)  # or np.memmap("table", np.float32, "r+", shape=(1000, 2))
    >>> add = fdl.jit(lambda table, rows: table.at[rows].add(1.0), donate_argnums=0)
    >>> changed = add(fdl.from_numpy(table), fnp.array([3, 7]))
    >>> table[3], np.shares_memory(table, np.asarray(changed))
    (array([1., 1.], dtype=float32), True)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy takes a NumPy array, got {type(array).__name__}; use fdl.numpy.asarray")
    dtype = array.dtype
    if (dtype not in ALL and dtype != key) or canonical(dtype) != dtype or not dtype.isnative:
        order = "" if dtype.isnative else ", in the byte order of other machines"
        raise DtypeError(
            f"from_numpy shares memory of the dtypes that Arrays have, got {dtype.newbyteorder('=')}{order}; "
            "fdl.numpy.asarray makes a converted copy"
        )
    return given(array)


def typeof(x: Any) -> TensorType:
    """The shape and dtype of a value, traced or not.

    >>> print(typeof(1.0))
    f32[]
    """
    return as_array(x).type


@contextmanager
def ensure_compile_time_eval() -> Iterator[None]:
    """Compute with known values at once, even while tracing; operations on traced values are recorded as ever.

    >>> import fdl, fdl.numpy as fnp
    >>> def f(x):
    ...     with fdl.ensure_compile_time_eval():
    ...         known = fnp.arange(3).sum() == 3
    ...     return x if known else -x
    >>> fdl.jit(f)(1.0)
    Array(1., dtype=float32)
    """
    current = trace.current()
    with trace.use(current if trace.is_eager() else trace.KnownValues(current)):
        yield


@contextmanager
def named_scope(name: str) -> Iterator[None]:
    """Accepted for ports; Programs carry the user's source lines instead of scope names."""
    yield


def named_call(fun: Callable[..., Any], *, name: str | None = None) -> Callable[..., Any]:
    """`fun` itself; Programs carry the user's source lines instead of scope names."""
    return fun
