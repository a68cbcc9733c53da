"""Cleaning up that hides nothing: neither why a run ended nor what it gave."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any

from fdl_spark.history.run import Run

log = logging.getLogger("fdl_spark")


class Cleanup:
    """Actions that are taken, last one first, when the context ends, each of them whatever becomes of the others.

    What an action raises is logged. An interrupt that comes between them, and what an action of the user's raises, is
    raised after the last one, unless the context itself ends by an error: the first error is what the caller sees.

    Attributes:
      run: what was done until now; an error that is raised after the last action carries it.

    >>> with Cleanup() as cleanup:
    ...     cleanup.add("saying goodbye", print, "goodbye")
    ...     print("hello")
    hello
    goodbye
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self._actions: list[tuple[str, bool, Callable[..., Any]]] = []

    def add(self, doing: str, function: Callable[..., Any], *arguments: Any, users: bool = False) -> None:
        """Call a function at the end.

        Args:
          doing: what it does, for the log.
          function: what to call.
          arguments: with what.
          users: whether it is the user's, who wants to see what it raises.
        """
        self._actions.append((doing, users, lambda *_: function(*arguments)))

    def enter(self, doing: str, context: AbstractContextManager[Any]) -> Any:
        """Enter a context, which is left at the end."""
        value = context.__enter__()
        self._actions.append((doing, False, context.__exit__))
        return value

    def __enter__(self) -> "Cleanup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        late: BaseException | None = None
        while self._actions:
            doing, users, action = self._actions.pop()
            try:
                action(kind, error, traceback)
            except BaseException as raised:
                if raised is error:  # a context passes it on
                    continue
                shown = error is None and late is None and (users or not isinstance(raised, Exception))
                late = raised if shown else late
                if not shown:
                    _tell(doing, raised, users)
        if late is not None:
            with suppress(Exception):  # a class of the user's may have no room for it
                late.run = self.run  # type: ignore[attr-defined]
            raise late


@contextmanager
def going_on(doing: str) -> Iterator[None]:
    """Log what goes wrong inside and go on, where an error is on its way already or nothing depends on it."""
    try:
        yield
    except Exception as error:
        _tell(doing, error, users=False)


def _tell(doing: str, error: BaseException, users: bool) -> None:
    lines = str(error).splitlines() or [""]
    log.warning("%s failed: %s: %.300s", doing, type(error).__name__, lines[0], exc_info=error if users else None)
