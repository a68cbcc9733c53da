"""Functions whose form may still change, under the names of ``jax.experimental``.

>>> import fdl
>>> fdl.experimental.checkify.__name__
'fdl.experimental.checkify'
"""

import importlib
from typing import Any

from fdl.lax.callbacks import io_callback

_LAZY = ("checkify", "jet", "ode", "sparse")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"fdl.experimental.{name}")
    raise AttributeError(f"module 'fdl.experimental' has no attribute {name!r}")


__all__ = ["checkify", "io_callback", "jet", "ode", "sparse"]


def __dir__() -> list[str]:
    return [*__all__, *_LAZY]
