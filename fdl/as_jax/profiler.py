"""``jax.profiler``: accepted, and without effect; `fdl.profile` measures a function kernel by kernel."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


trace = TraceAnnotation = StepTraceAnnotation = _nothing


def annotate_function(func: Any, name: str | None = None, **decorator_kwargs: Any) -> Any:
    """`func` itself."""
    return func


def start_trace(log_dir: Any, *_: Any, **__: Any) -> None:
    """Do nothing."""


def stop_trace() -> None:
    """Do nothing."""


def start_server(port: int) -> None:
    """Do nothing."""


def save_device_memory_profile(filename: str, backend: str | None = None) -> None:
    """Do nothing."""


__all__ = [
    "StepTraceAnnotation",
    "TraceAnnotation",
    "annotate_function",
    "save_device_memory_profile",
    "start_server",
    "start_trace",
    "stop_trace",
    "trace",
]
