"""Options of jit that say how a function is compiled, and those of JAX that say nothing here."""

from collections.abc import Iterable, Mapping
from typing import Any

from fdl.config import SETTINGS

_IGNORED = set("device backend inline keep_unused abstracted_axes in_shardings out_shardings".split())


def check_ignored(names: Iterable[str]) -> None:
    """Refuse keyword arguments that jit has not, unless they are JAX's.

    Raises:
        TypeError: one of them is neither.
    """
    unknown = set(names) - _IGNORED
    if unknown:
        raise TypeError(f"jit got an unexpected keyword argument {sorted(unknown)[0]!r}")


def effort_of(options: Mapping[str, Any] | None) -> str | None:
    """The effort that compiler options ask for, if they do.

    Raises:
        TypeError, ValueError: they are no mapping, or there is no such effort.
    """
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise TypeError(f"jit: compiler_options is a dict of options by name, got {options!r}")
    effort: str | None = options.get("effort")
    choices = SETTINGS["effort"].choices
    if effort is not None and effort not in choices:
        raise ValueError(f"jit: compiler_options['effort'] is one of {', '.join(choices)}, got {effort!r}")
    return effort
