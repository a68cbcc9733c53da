"""What libraries ask of JAX's compiler and its backends, of which there is one that is always there."""

from typing import Any

from fdl.api.environment import Device, devices

#: Backends that cannot be changed any more: none, so that a library may ask for more devices, and gets one.
_backends: dict[str, Any] = {}


def get_backend(platform: str | None = None) -> Device:
    """The processor.

    Raises:
        RuntimeError: a backend other than the CPU is asked for.

    >>> get_backend("cpu").platform
    'cpu'
    """
    return devices(platform)[0]


def backend_compile(backend: Any, *args: Any, **kwargs: Any) -> None:
    """Do nothing: fdl compiles by itself, for the processor only."""
