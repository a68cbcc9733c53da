"""``jax.monitoring``: events that libraries record are dropped, and listeners never hear one."""

from typing import Any


def record_event(event: str, **kwargs: Any) -> None:
    """Drop an event."""


def record_event_duration_secs(event: str, duration: float, **kwargs: Any) -> None:
    """Drop a duration."""


def register_event_listener(callback: Any) -> None:
    """Accept a listener, which hears nothing."""


def register_event_duration_secs_listener(callback: Any) -> None:
    """Accept a listener, which hears nothing."""


__all__ = [
    "record_event",
    "record_event_duration_secs",
    "register_event_duration_secs_listener",
    "register_event_listener",
]
