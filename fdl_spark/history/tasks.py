"""How long each task of a session computed, and how often it was the slowest."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from fdl_spark.history.outcome import Timing
from fdl_spark.history.thin import Sample


class TaskTimes:
    """Forward-backward seconds by task and host, of all steps that were taken, those that were repeated too.

    >>> times = TaskTimes()
    >>> times.add([Timing(0, "a", 1.0), Timing(1, "b", 3.0)])
    >>> times.summary()[1]
    {'task': 1, 'host': 'b', 'steps': 1, 'seconds': 3.0, 'median': 3.0, 'slowest': 1}
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], tuple[dict[str, Any], Sample]] = {}

    def add(self, timings: Sequence[Timing]) -> None:
        """Count a step's timings, of which the last is the slowest."""
        for timing in timings:
            key = timing.task, timing.host
            if key not in self._found:
                total: dict[str, Any] = {"task": timing.task, "host": timing.host}
                self._found[key] = {**total, "steps": 0, "seconds": 0.0, "slowest": 0}, Sample()
            total, sample = self._found[key]
            total["steps"] += 1
            total["seconds"] += timing.seconds
            sample.add(timing.seconds)
        if len(timings) > 1:
            self._found[timings[-1].task, timings[-1].host][0]["slowest"] += 1

    def summary(self) -> list[dict[str, Any]]:
        """A record of each task on each host."""
        order = ("task", "host", "steps", "seconds", "median", "slowest")
        records = [{**total, "median": median(sample.values)} for total, sample in self._found.values()]
        return [
            {name: record[name] for name in order} for record in sorted(records, key=lambda r: (r["task"], r["host"]))
        ]
