"""What PySpark says without need: of every pandas that it does not know, and of failures that are raised anyway."""

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


def ignore_pandas_warning() -> None:
    """Do without it from here on."""
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
