"""``jax.monitoring``: events that libraries record are dropped, and listeners never hear one."""

from typing import Any


def _drop(*_: Any, **__: Any) -> None:
    """Accept, and do nothing."""


record_event = record_event_duration_secs = record_event_time_span = record_scalar = _drop
register_event_listener = register_event_duration_secs_listener = register_event_time_span_listener = _drop
register_scalar_listener = clear_event_listeners = unregister_event_listener = _drop
unregister_event_duration_listener = unregister_event_time_span_listener = unregister_scalar_listener = _drop

__all__ = [
    "clear_event_listeners",
    "record_event",
    "record_event_duration_secs",
    "record_event_time_span",
    "record_scalar",
    "register_event_duration_secs_listener",
    "register_event_listener",
    "register_event_time_span_listener",
    "register_scalar_listener",
    "unregister_event_duration_listener",
    "unregister_event_listener",
    "unregister_event_time_span_listener",
    "unregister_scalar_listener",
]
