"""Functions with versions for platforms, of which there is one."""

from collections.abc import Callable
from typing import Any

__all__ = ["platform_dependent"]


def platform_dependent(
    *args: Any, default: Callable[..., Any] | None = None, **per_platform: Callable[..., Any]
) -> Any:
    """The result of the version of a function that is meant for this platform.

    Args:
        *args: pytrees of arrays.
        default: the version for platforms without one of their own.
        **per_platform: versions by name of the platform: ``cpu``, ``tpu``, ``cuda``, ``rocm``.

    Returns:
        ``cpu(*args)`` if that is given, else ``default(*args)``.

    Raises:
        NotImplementedError: there is neither.

    >>> platform_dependent(3.0, cpu=lambda x: x + 1, tpu=lambda x: x - 1)
    4.0
    """
    chosen = per_platform.get("cpu", default)
    if chosen is None:
        raise NotImplementedError(
            f"platform_dependent: fdl computes on the CPU, and there are versions for {sorted(per_platform)} only; "
            "give one as cpu or default"
        )
    return chosen(*args)
