"""Structured logs: what fdl_spark tells the logger "fdl_spark", as JSON objects if a collector wants them.

Every record has `event`, a word for what happened, where the text is for people; during a run it also has `run`, the
run's name, `step`, how many steps are done, and `engine`.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("fdl_spark")


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON: "time" (UTC), "level", "logger", "message", and what else it carries.

    >>> record = logging.makeLogRecord({"name": "fdl_spark", "msg": "epoch %d", "args": (3,), "event": "epoch"})
    >>> json.loads(JsonFormatter().format(record))["message"]
    'epoch 3'
    """

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        values |= {name: value for name, value in vars(record).items() if name not in STANDARD and name not in values}
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return as_json(values)


STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def as_json(value: Any) -> str:
    """One line of JSON; what JSON has no number for is a string, as in Protobuf's mapping to JSON.

    >>> as_json({"loss": float("nan"), "rows": 3})
    '{"loss": "NaN", "rows": 3}'
    """
    try:
        return json.dumps(value, allow_nan=False, default=plain)
    except ValueError:
        return json.dumps(_named(value), default=plain)


def _named(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _named(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_named(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _named(value.tolist())
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def plain(value: Any) -> Any:
    """What JSON has no name for: NumPy's numbers and arrays as numbers and lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


@contextmanager
def carrying(values: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Let the records of this thread carry some values, if they have none of these names.

    Args:
      values: called for each record.

    >>> with carrying(lambda: {"run": "a"}):
    ...     _ = LOGGER.filter(record := logging.makeLogRecord({}))
    >>> record.run
    'a'
    """
    thread = threading.get_ident()

    def add(record: logging.LogRecord) -> bool:
        if threading.get_ident() == thread:
            for name, value in values().items():
                vars(record).setdefault(name, value)
        return True

    LOGGER.addFilter(add)
    try:
        yield
    finally:
        LOGGER.removeFilter(add)
