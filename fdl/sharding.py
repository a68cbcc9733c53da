"""Meshes and shardings of one device, under the names of ``jax.sharding``: every array lies whole on the processor.

Programs written for several devices run, as long as their meshes have one: a sharding is checked, carried and shown,
and moves nothing.
"""

import enum
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fdl.api.environment import Device, devices
from fdl.errors import ShapeError


class AxisType(enum.Enum):
    """Who decides how arrays lie along an axis of a mesh; with one device all are alike."""

    Auto = enum.auto()
    Explicit = enum.auto()
    Manual = enum.auto()


class _Unconstrained(enum.Enum):
    """What a PartitionSpec says of an axis that may be cut in any way."""

    UNCONSTRAINED = enum.auto()

    def __repr__(self) -> str:
        return "UNCONSTRAINED"


class PartitionSpec(tuple[Any, ...]):
    """For each axis of an array the names of the axes of a mesh that it is cut along, or None.

    >>> PartitionSpec("data", None)
    PartitionSpec('data', None)
    """

    UNCONSTRAINED = _Unconstrained.UNCONSTRAINED

    def __new__(cls, *partitions: Any, unreduced: Any = frozenset(), reduced: Any = frozenset()) -> "PartitionSpec":
        return super().__new__(cls, map(_partition, partitions))

    def __repr__(self) -> str:
        return f"PartitionSpec({', '.join(map(repr, self))})"

    def __reduce__(self) -> Any:
        return PartitionSpec, tuple(self)


def _partition(names: Any) -> Any:
    """No name as None, one as itself, several as a tuple, however they were written."""
    if not isinstance(names, (tuple, list)):
        return names
    return None if not names else names[0] if len(names) == 1 else tuple(names)


_NOWHERE = PartitionSpec()


@dataclass(frozen=True)
class AbstractMesh:
    """The names and extents of a mesh's axes.

    >>> AbstractMesh((1,), ("data",)).shape
    {'data': 1}
    """

    axis_sizes: tuple[int, ...] = ()
    axis_names: tuple[Any, ...] = ()
    axis_types: tuple[AxisType, ...] | None = None

    @property
    def shape(self) -> dict[Any, int]:
        """Extent by name."""
        return dict(zip(self.axis_names, self.axis_sizes, strict=True))

    @property
    def size(self) -> int:
        """The number of devices."""
        return math.prod(self.axis_sizes)

    @property
    def empty(self) -> bool:
        """Whether it has no axes."""
        return not self.axis_names

    @property
    def are_all_axes_explicit(self) -> bool:
        """Whether arrays carry their sharding in their types: never, since there is one device."""
        return False

    @property
    def are_all_axes_auto(self) -> bool:
        """Whether no program says how arrays lie along the axes, if there are any."""
        return not self.empty

    @property
    def explicit_axes(self) -> tuple[Any, ...]:
        """Names of the axes along which arrays carry their sharding in their types: none."""
        return ()


class Mesh:
    """Devices in a grid with named axes.

    Args:
        devices: an array or nested sequence of devices; there is one.
        axis_names: a name for each axis.
        axis_types: see :class:`AxisType`.

    >>> Mesh(devices(), ("data",)).shape
    {'data': 1}
    """

    def __init__(self, devices: Any, axis_names: Any, *, axis_types: Any = None) -> None:
        self.devices = np.array(devices, dtype=object)
        self.axis_names: tuple[Any, ...] = (axis_names,) if isinstance(axis_names, str) else tuple(axis_names)
        self.axis_types = axis_types
        if self.devices.ndim != len(self.axis_names):
            raise ShapeError(f"Mesh: devices of shape {self.devices.shape} for the axes {self.axis_names}")

    @property
    def abstract_mesh(self) -> AbstractMesh:
        """Names and extents."""
        return AbstractMesh(self.devices.shape, self.axis_names)

    @property
    def axis_sizes(self) -> tuple[int, ...]:
        """Extents of the axes."""
        return self.devices.shape

    @property
    def shape(self) -> dict[Any, int]:
        """Extent by name."""
        return self.abstract_mesh.shape

    @property
    def size(self) -> int:
        """The number of devices."""
        return self.devices.size

    @property
    def empty(self) -> bool:
        """Whether it has no devices."""
        return self.size == 0

    @property
    def are_all_axes_explicit(self) -> bool:
        """See :class:`AbstractMesh`."""
        return False

    @property
    def are_all_axes_auto(self) -> bool:
        """See :class:`AbstractMesh`."""
        return not self.empty

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mesh) and (self.axis_names, self.shape) == (other.axis_names, other.shape)

    def __hash__(self) -> int:
        return hash((self.axis_names, self.axis_sizes))

    def __repr__(self) -> str:
        return f"Mesh({', '.join(f'{name!r}: {size}' for name, size in self.shape.items())})"

    def __enter__(self) -> "Mesh":
        _entered.meshes.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _entered.meshes.pop()


class _Entered(threading.local):
    """The meshes that a thread has entered, the current one last."""

    def __init__(self) -> None:
        self.meshes: list[Any] = []


_entered = _Entered()


class Sharding:
    """Where the parts of an array lie: all on the one device.

    >>> NamedSharding(make_mesh((1,), ("data",)), PartitionSpec("data")).is_fully_replicated
    True
    """

    memory_kind: str | None = None
    spec: Any = _NOWHERE

    @property
    def device_set(self) -> set[Device]:
        """The devices."""
        return set(devices())

    @property
    def num_devices(self) -> int:
        """Their number."""
        return 1

    @property
    def is_fully_replicated(self) -> bool:
        """Whether every device has the whole array."""
        return True

    @property
    def is_fully_addressable(self) -> bool:
        """Whether all devices belong to this process."""
        return True

    @property
    def addressable_devices(self) -> set[Device]:
        """The devices of this process."""
        return self.device_set

    def shard_shape(self, global_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a device's part."""
        return tuple(global_shape)

    def is_equivalent_to(self, other: "Sharding", ndim: int) -> bool:
        """Whether arrays lie in the same way."""
        return isinstance(other, Sharding)

    def check_compatible_aval(self, aval_shape: Sequence[int]) -> None:
        """Raise a ValueError where an array of this shape cannot lie so."""
        if len(self.spec) > len(aval_shape):
            raise ValueError(f"{self} is of arrays of at least {len(self.spec)} axes, not of the shape {aval_shape}")


@dataclass(frozen=True)
class SingleDeviceSharding(Sharding):
    """An array on one device.

    >>> SingleDeviceSharding(devices()[0]).device_set == set(devices())
    True
    """

    device: Device
    memory_kind: str | None = None

    @property
    def mesh(self) -> AbstractMesh:
        """A mesh without axes."""
        return AbstractMesh()


@dataclass(frozen=True)
class NamedSharding(Sharding):
    """An array along the named axes of a mesh.

    >>> NamedSharding(make_mesh((1,), ("data",)), PartitionSpec("data")).spec
    PartitionSpec('data')
    """

    mesh: Mesh | AbstractMesh
    spec: PartitionSpec = _NOWHERE
    memory_kind: str | None = None

    def __post_init__(self) -> None:
        named = [name for part in self.spec for name in (part if isinstance(part, tuple) else (part,))]
        for name in named:
            if name not in (None, PartitionSpec.UNCONSTRAINED, *self.mesh.axis_names):
                raise ValueError(f"NamedSharding: {self.spec} names the axis {name!r}, and {self.mesh} has none of it")
            if name in self.mesh.axis_names and named.count(name) > 1:
                raise ValueError(f"NamedSharding: {self.spec} names the axis {name!r} more than once")

    def update(self, **changes: Any) -> "NamedSharding":
        """With other attributes."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        return f"NamedSharding(mesh={self.mesh}, spec={self.spec})"


#: Where every array lies.
WHOLE = SingleDeviceSharding(devices()[0])


def make_mesh(
    axis_shapes: Sequence[int], axis_names: Sequence[Any], axis_types: Any = None, *, devices: Any = None
) -> Mesh:
    """A mesh of the devices there are: one.

    Args:
        axis_shapes: extents of the axes; their product is 1.
        axis_names: names of the axes.
        axis_types: see :class:`AxisType`.
        devices: the devices; by default all.

    Raises:
        ValueError: it would need more devices.

    >>> make_mesh((1, 1), ("data", "model"))
    Mesh('data': 1, 'model': 1)
    """
    needed = math.prod(axis_shapes)
    if needed != 1:
        raise ValueError(
            f"make_mesh: a mesh of {'x'.join(map(str, axis_shapes))} needs {needed} devices, and fdl has one, the "
            "processor; train on many machines with fdl_spark"
        )
    return Mesh(np.array(_devices() if devices is None else devices, object).reshape(tuple(axis_shapes)), axis_names)


def _devices() -> list[Device]:
    return devices()


@contextmanager
def use_mesh(mesh: Any) -> Iterator[Any]:
    """Make a mesh the current one for a while, which changes nothing but :func:`get_mesh`.

    >>> with use_mesh(make_mesh((1,), ("data",))) as mesh:
    ...     get_mesh() is mesh
    True
    """
    _entered.meshes.append(mesh)
    try:
        yield mesh
    finally:
        _entered.meshes.pop()


def get_mesh() -> Mesh:
    """The current mesh; one without devices outside of :func:`use_mesh`.

    >>> get_mesh().empty
    True
    """
    return _entered.meshes[-1] if _entered.meshes else Mesh(np.empty((0,), object), ("none",))


def get_abstract_mesh() -> AbstractMesh:
    """The names and extents of the current mesh.

    >>> get_abstract_mesh().empty
    True
    """
    return get_mesh().abstract_mesh if _entered.meshes else AbstractMesh()


def with_sharding_constraint(x: Any, shardings: Any) -> Any:
    """`x` itself: there is one device.

    >>> with_sharding_constraint(1.0, PartitionSpec())
    1.0
    """
    return x


reshard = with_sharding_constraint

__all__ = [
    "AbstractMesh",
    "AxisType",
    "Mesh",
    "NamedSharding",
    "PartitionSpec",
    "Sharding",
    "SingleDeviceSharding",
    "get_abstract_mesh",
    "get_mesh",
    "make_mesh",
    "reshard",
    "use_mesh",
    "with_sharding_constraint",
]


def __dir__() -> list[str]:
    return __all__
