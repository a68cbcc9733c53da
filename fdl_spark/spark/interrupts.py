"""Ctrl-C as a wish to stop soon, for work that can end in good order."""

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

from fdl_spark.spark.classic import Py4JNetworkError
from fdl_spark.spark.quiet import no_interrupt_log


class Interrupts:
    """Notes Ctrl-C inside, and raises KeyboardInterrupt; PySpark's own handler would cancel all jobs, the user's too.

    Whoever uses it looks at `asked`, or calls `settle`, between two pieces of work, and so ends in good order and at
    once. What is raised elsewhere can be swallowed, where a call to the JVM or Python's collector is interrupted;
    `settle`, and the end of the context, raise it again.

    Args:
      patience: seconds after which KeyboardInterrupt is raised wherever the thread is; a second Ctrl-C raises it too.

    >>> with Interrupts() as interrupts:
    ...     interrupts.asked
    False
    """

    _before: Any = None
    _timer: threading.Timer | None = None
    _ended = False

    def __init__(self, patience: float = 0.0):
        self.patience, self.asked = patience, False
        self._logs, self._lock = ExitStack(), threading.Lock()

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._logs.enter_context(no_interrupt_log())
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._ended, before = True, None  # from here on an interrupt is only noted, and the user's handler is put back
        if self._timer is not None:
            self._timer.cancel()
        if self._before is not None and threading.current_thread() is threading.main_thread():
            with self._lock:  # the timer has sent its signal, or never will
                before, self._before = self._before, None
            signal.signal(signal.SIGINT, before)
            self._logs.close()
        outer = getattr(before, "__self__", None)
        if kind is GeneratorExit and isinstance(outer, Interrupts):  # what is raised here would be ignored
            outer.asked = outer.asked or self.asked
        elif kind is None or isinstance(error, Py4JNetworkError):  # a call that it broke off may fail in its place
            self.settle()

    def settle(self) -> None:
        """Raise KeyboardInterrupt if it was asked for."""
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self._ended:
            return
        if again or not self.patience:
            raise KeyboardInterrupt
        if self.patience != float("inf"):
            self._timer = threading.Timer(self.patience, self._insist)
            self._timer.daemon = True
            self._timer.start()

    def _insist(self) -> None:
        """Interrupt again, unless that was heard."""
        with self._lock:
            if self._before is not None and self.asked:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
