"""What a run records: the numbers of its steps and epochs, a figure of them, and the run itself."""

from fdl_spark.history.history import History

__all__ = ["History"]


def __dir__() -> list[str]:
    return __all__
