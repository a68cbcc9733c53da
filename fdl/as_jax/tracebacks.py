"""Names by which libraries keep their frames out of JAX's tracebacks: accepted, and without effect."""

from collections.abc import Callable
from typing import Any

_exclude_paths: list[str] = []


def api_boundary(fun: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    """`fun` itself.

    >>> api_boundary(max) is max
    True
    """
    return fun


def register_exclusion(path: str) -> None:
    """Accept a file."""
    _exclude_paths.append(path)


def include_frame(frame: Any) -> bool:
    """Whether a frame is of none of the accepted files.

    >>> import sys
    >>> include_frame(sys._getframe())
    True
    """
    return frame.f_code.co_filename not in _exclude_paths
