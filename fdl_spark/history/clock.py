"""Where the time of a step goes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Clock:
    """Splits the time of a step into phases."""

    def __init__(self, phases: Sequence[str]):
        self.phases = dict.fromkeys(phases, 0.0)
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Book the time since the last lap to a phase."""
        now = time.perf_counter()
        self.phases[phase] += now - self._last
        self._last = now

    @contextmanager
    def taking(self, phase: str, rest: str) -> Iterator[None]:
        """Book the time inside to a phase, and that before it to another."""
        self.lap(rest)
        yield
        self.lap(phase)
