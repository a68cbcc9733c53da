"""Clients of the brokers that a Python worker keeps from one micro-batch to the next.

The first request of a client waits for connections, for authentication and for the topics' metadata, which can take
longer than reading the records of a small micro-batch.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

KEPT = 4  # clients of one kind: each has threads, and a connection to each broker that it asked
UNUSED = 60.0  # seconds after which a client that nobody used is closed


class Clients:
    """Clients of one kind, each used by one task at a time.

    Args:
      make: a client from settings; whoever has the same settings may do the same, so they may share one.
      close: ends a client.
    """

    def __init__(self, make: Callable[[Mapping[str, str]], Any], close: Callable[[Any], None]):
        self._make, self._close = make, close
        self._idle: dict[tuple[Any, ...], tuple[Any, threading.Timer]] = {}

    @contextmanager
    def lent(self, settings: Mapping[str, str]) -> Iterator[Any]:
        """A client for what is done inside. It is kept for the next, but closed after an error."""
        key = (os.getpid(), *sorted(settings.items()))  # a copy of a client in a forked process has no threads
        idle = self._idle.pop(key, None)
        if idle is None:
            client = self._make(settings)
        else:
            client, timer = idle
            timer.cancel()
        try:
            yield client
        except BaseException:
            self._close(client)
            raise
        self._keep(key, client)

    def _keep(self, key: tuple[Any, ...], client: Any) -> None:
        timer = threading.Timer(UNUSED, self._end, [key])
        timer.daemon = True
        second = self._idle.pop(key, None)  # of another thread's task with the same settings
        self._idle[key] = client, timer
        timer.start()
        for least_recent in list(self._idle)[:-KEPT]:
            self._end(least_recent)
        if second is not None:
            second[1].cancel()
            self._close(second[0])

    def _end(self, key: tuple[Any, ...]) -> None:
        # Only who takes a client out of the table may use or close it, so that a timer never closes one in use.
        if (idle := self._idle.pop(key, None)) is not None:
            idle[1].cancel()
            self._close(idle[0])
