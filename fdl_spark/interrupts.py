"""Ctrl-C as a wish to stop soon, for work that can end in good order."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Notes Ctrl-C inside, and raises KeyboardInterrupt; PySpark's own handler would cancel all jobs, the user's too.

    What is raised can be swallowed, where a call to the JVM or Python's collector is interrupted; `settle` raises it
    again.

    Args:
      graceful: whether only the second Ctrl-C raises: whoever uses it looks at `asked`, and ends what it does.

    >>> with Interrupts() as interrupts:
    ...     interrupts.asked
    False
    """

    _before: Any = None

    def __init__(self, graceful: bool = False):
        self.graceful, self.asked = graceful, False

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def settle(self) -> None:
        """Raise KeyboardInterrupt if it was asked for."""
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self.graceful:
            raise KeyboardInterrupt
