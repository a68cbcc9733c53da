"""Looking into functions while they run, compiled or not: printing, calling back, checking, showing progress."""

from fdl.debug.checks import check, error_if
from fdl.debug.printing import print
from fdl.debug.progress import progress
from fdl.lax.callbacks import debug_callback as callback

__all__ = ["callback", "check", "error_if", "print", "progress"]


def __dir__() -> list[str]:
    return __all__
