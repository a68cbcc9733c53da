"""What PySpark says without need: of every pandas that it does not know, and of what is raised anyway."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_pandas_warning() -> Iterator[None]:
    """Do without PySpark's warning of a new pandas inside."""
    with warnings.catch_warnings():
        ignore_pandas_warning()
        yield


@contextmanager
def no_query_log() -> Iterator[None]:
    """Do without the JVM's stack that PySpark logs before it raises what a query failed of."""
    loggers = [logging.getLogger(f"{kind}QueryContextLogger") for kind in ("DataFrame", "SQL")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


@contextmanager
def no_interrupt_log() -> Iterator[None]:
    """Do without the stacks that Py4J logs when Ctrl-C interrupts a call to the JVM, which is raised anyway.

    It logs them by the root logger, which would be set up for that: a handler as there is without any keeps it from it.
    """
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in (None, "py4j.clientserver")]
    alone = logging.lastResort if not root.handlers else None
    for logger in loggers:
        logger.addFilter(_no_interrupt)
    if alone is not None:
        root.addHandler(alone)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_no_interrupt)
        if alone is not None:
            root.removeHandler(alone)


def _no_interrupt(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not text.startswith(("KeyboardInterrupt while", "Exception occurred while shutting down connection"))


def ignore_pandas_warning() -> None:
    """Do without it from here on."""
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
