"""Ctrl-C as a wish to stop soon, for work that can end in good order."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Notes the first Ctrl-C inside; the second one raises KeyboardInterrupt at once.

    Whoever uses it looks at `asked`, ends what it does, and calls `settle`. PySpark's handler would cancel all jobs.

    >>> with Interrupts() as interrupts:
    ...     interrupts.asked
    False
    """

    asked = False
    _before: Any = None

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def settle(self) -> None:
        """Raise KeyboardInterrupt if it was asked for."""
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
