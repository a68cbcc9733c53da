"""Tracebacks that show the user's frames: those of fdl are left out, unless `config.traceback` is "full".

A traceback grows by a frame wherever an error passes, so that each place where errors leave fdl has to do its part:

- transforms take the frames of fdl, and of what lies between them and the user's function, out of errors as they pass
  (`boundary`);
- errors of fdl itself, also those of functions that run at once, tell Python's `traceback` the user's frames
  (`of_users`), and what Python and IPython print goes through hooks, which are set where nobody else's are.
"""

import contextlib
import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Any, TypeVar, cast

from fdl.config import config

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Files of code that fdl calls, and that calls fdl and the user back.
_BETWEEN = {functools.__file__, contextlib.__file__, "<fast call>"}

#: How Python reads and writes the traceback of an error.
PYTHONS = cast(property, BaseException.__dict__["__traceback__"])

Function = TypeVar("Function", bound=Callable[..., Any])


@cache
def shown_name(path: str) -> str:
    """The name of a user's file; empty for files of fdl and those that call it back."""
    own = path.startswith(_PACKAGE) or path in _BETWEEN
    return "" if own else os.path.basename(path)


def cell_name(path: str) -> str:
    """``In [3]`` for the code of a cell that a notebook ran, which lies in no file of the user's; else nothing."""
    if "IPython" not in sys.modules:
        return ""
    shell = getattr(sys.modules["IPython"], "get_ipython", lambda: None)()
    found = getattr(getattr(shell, "compile", None), "format_code_name", lambda path: None)(path)
    return found[1].replace("[", " [") if found else ""


def warn(text: str) -> None:
    """Warn of the user's line that called fdl, however many frames of fdl lie between."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and not shown_name(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def of_users(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of fdl; the innermost frame is the user's line that led to the error."""
    if config.traceback == "full":
        return traceback
    kept = []
    while traceback is not None:
        if shown_name(traceback.tb_frame.f_code.co_filename):
            kept.append(traceback)
        traceback = traceback.tb_next
    below = None
    for part in reversed(kept):
        if part.tb_next is not below:
            part = TracebackType(below, part.tb_frame, part.tb_lasti, part.tb_lineno)
        below = part
    return below


def hide(error: BaseException) -> None:
    """Take the frames of fdl out of an error, and of those that led to it; what is a fault of fdl keeps them."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        waiting += link.__cause__, link.__context__
        if not _is_fault(link):
            PYTHONS.__set__(link, of_users(whole(link)))


def whole(error: BaseException) -> TracebackType | None:
    """The traceback of an error as Python keeps it."""
    return cast(TracebackType | None, PYTHONS.__get__(error))


def _is_fault(error: BaseException) -> bool:
    """Whether an error tells of a fault of fdl: an assertion in a frame of it, or an error whose class says so."""
    if getattr(error, "whole_traceback", False):
        return True
    last = whole(error)
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return isinstance(error, AssertionError) and last is not None and not shown_name(last.tb_frame.f_code.co_filename)


def boundary(function: Function, named: Callable[[Any], Any] | None = None) -> Function:
    """`function`, which calls the user's: errors that leave it show no frames of fdl.

    Args:
        function: what is called.
        named: gives the result a name and documentation; by default those of `function`.
    """

    def passed(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            hide(error)
            raise  # without a value, so that this frame is not added again

    return (named or functools.wraps(function))(passed)  # type: ignore[return-value]


def install() -> None:
    """Have Python, threads and IPython print the user's frames, where their hooks are the ordinary ones."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_of_thread
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((Exception,), _show)


def _print(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    hide(error)
    sys.__excepthook__(kind, error, error.__traceback__)


def _print_of_thread(args: Any) -> None:
    if args.exc_value is not None:
        hide(args.exc_value)
        args = threading.ExceptHookArgs((args.exc_type, args.exc_value, args.exc_value.__traceback__, args.thread))
    threading.__excepthook__(args)


def _show(shell: Any, kind: Any, error: BaseException, traceback: Any, tb_offset: int | None = None) -> None:
    hide(error)
    shell.showtraceback((kind, error, error.__traceback__), tb_offset=tb_offset)
