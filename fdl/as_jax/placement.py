"""Arrays made of the parts of devices or processes, which with one of each are whole; and what there is of them."""

import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.environment import devices, process_count
from fdl.array import Array, as_array
from fdl.as_jax.version import __version__
from fdl.errors import ShapeError
from fdl.sharding import SingleDeviceSharding


def make_array_from_callback(
    shape: Sequence[int], sharding: Any, data_callback: Callable[[Any], Any], dtype: Any = None
) -> Array:
    """The array whose part for given slices `data_callback` returns; it is asked for the whole.

    >>> make_array_from_callback((2,), None, lambda index: np.arange(4.0)[index][:2])
    Array([0., 1.], dtype=float64)
    """
    return _whole(data_callback(tuple(slice(None) for _ in shape)), shape, dtype)


def make_array_from_single_device_arrays(
    shape: Sequence[int], sharding: Any, arrays: Sequence[Any], *, dtype: Any = None
) -> Array:
    """The array whose parts lie on devices: the only one.

    >>> make_array_from_single_device_arrays((2,), None, [np.ones(2)])
    Array([1., 1.], dtype=float64)
    """
    if len(arrays) != 1:
        raise ValueError(f"make_array_from_single_device_arrays: {len(arrays)} parts, and there is one device")
    return _whole(arrays[0], shape, dtype)


def make_array_from_process_local_data(
    sharding: Any, local_data: Any, global_shape: Sequence[int] | None = None
) -> Any:
    """The array, or the tree of arrays, of which each process has a part: the only one.

    >>> make_array_from_process_local_data(None, np.ones(2))
    Array([1., 1.], dtype=float64)
    """
    if tree.all_leaves([local_data]):
        return _whole(local_data, np.shape(local_data) if global_shape is None else global_shape, None)
    if global_shape is None:
        return tree.map(lambda part: _whole(part, np.shape(part), None), local_data)
    # The shapes are a tree of tuples, of which the data's is the beginning; or one for all.
    if isinstance(global_shape, tuple) and all(isinstance(n, (int, type(None))) for n in global_shape):
        return tree.map(lambda part: _whole(part, global_shape, None), local_data)
    return tree.map(lambda part, shape: _whole(part, shape, None), local_data, global_shape)


def _whole(part: Any, shape: Sequence[int], dtype: Any) -> Array:
    found: Array = as_array(part if dtype is None else np.asarray(part, dtype))
    if found.shape != tuple(shape):
        raise ShapeError(f"a part of shape {found.shape} for an array of shape {tuple(shape)}, and there is one device")
    return found


def copy_to_host_async(x: Any) -> None:
    """Do nothing: arrays lie in the memory of the host."""


def make_single_device_sharding(device: Any, *, memory_kind: str | None = None) -> SingleDeviceSharding:
    """Where an array on a device lies."""
    return SingleDeviceSharding(device, memory_kind)


def inspect_array_sharding(value: Any, *, callback: Callable[[Any], None]) -> None:
    """Call back with where an array lies.

    >>> inspect_array_sharding(as_array(np.ones(2)), callback=lambda where: print(where.num_devices))
    1
    """
    callback(value.sharding)


def process_indices(backend: str | None = None) -> list[int]:
    """The numbers of the processes.

    >>> process_indices()
    [0]
    """
    return list(range(process_count(backend)))


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *_: Any,
    **__: Any,
) -> None:
    """Accept being the only process.

    Raises:
        RuntimeError: more processes are asked for.
    """
    if num_processes not in (None, 1):
        raise RuntimeError(f"fdl has one process, not {num_processes}; train on many machines with fdl_spark")


def shutdown() -> None:
    """Do nothing: there is one process."""


def is_initialized() -> bool:
    """Whether processes are connected: never."""
    return False


def print_environment_info(return_string: bool = False) -> str | None:
    """Print, or return, what is installed and where it runs.

    >>> "device" in print_environment_info(return_string=True)
    True
    """
    text = "\n".join(
        [
            f"jax:    {__version__} (fdl under its name)",
            f"numpy:  {np.__version__}",
            f"python: {sys.version}",
            f"device info: {devices()[0].device_kind}-{len(devices())}, {process_count()} process",
            f"platform: {platform.platform()}",
        ]
    )
    if return_string:
        return text
    print(text)
    return None
