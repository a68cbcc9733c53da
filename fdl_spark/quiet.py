"""PySpark warns of every pandas it does not know, even where no pandas is used, as nowhere here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_pandas_warning() -> Iterator[None]:
    """Do without PySpark's warning of a new pandas inside."""
    with warnings.catch_warnings():
        ignore_pandas_warning()
        yield


def ignore_pandas_warning() -> None:
    """Do without it from here on."""
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
