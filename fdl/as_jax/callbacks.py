"""Functions that a program calls back, under JAX's name: one class of errors, and results of any structure."""

import traceback

from fdl.control import callback


class JaxRuntimeError(RuntimeError):
    """A function that `pure_callback` or `io_callback` called raised an error, which is its cause."""


def _translated(error: Exception) -> Exception:
    if isinstance(error, JaxRuntimeError):
        return error
    return JaxRuntimeError(f"INTERNAL: a callback failed: {''.join(traceback.format_exception(error))}")


def install() -> None:
    """Raise errors of callbacks so, and compare leaves only."""
    callback.same_structure = False
    callback.translate_error = _translated
