"""Counters, gauges and histograms, and their text in Prometheus' exposition format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """How often observations were at most each of some bounds.

    >>> seconds = Histogram([0.1, 1])
    >>> for value in (0.05, 0.1, 3):
    ...     seconds.observe(value)
    >>> print(*seconds.lines("wait_seconds"), sep="\\n")
    wait_seconds_bucket{le="0.1"} 2
    wait_seconds_bucket{le="1"} 2
    wait_seconds_bucket{le="+Inf"} 3
    wait_seconds_sum 3.15
    wait_seconds_count 3
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        """The samples, one a line."""
        below = 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.total!r}"
        yield f"{name}_count {below}"


class Metrics:
    """What an application counts.

    Attributes:
        accepted: requests to predict that have come, with those that are not answered yet.
        answered: those that were answered, by status.
        seconds: from the arrival of a request to its answer.
        compute_seconds: of each call of the function.
        batch_rows: rows of each call of the function, without padding.
        batch_requests: requests of each call of the function.
        waiting: tells how many requests wait for being computed.
        ready: tells whether requests are answered.
    """

    def __init__(self, waiting: Callable[[], int], ready: Callable[[], bool]) -> None:
        self.accepted = 0
        self.answered = Counter[int]()
        self.seconds, self.compute_seconds = Histogram(SECONDS), Histogram(SECONDS)
        self.batch_rows, self.batch_requests = Histogram(ROWS), Histogram(ROWS)
        self.waiting, self.ready = waiting, ready

    @property
    def in_flight(self) -> int:
        """How many requests are read, wait or are computed."""
        return self.accepted - self.answered.total()

    def text(self) -> str:
        """All metrics as Prometheus reads them."""
        errors = sum(count for status, count in self.answered.items() if status >= 400)
        statuses = [f'fdl_serve_requests_total{{code="{code}"}} {n}' for code, n in sorted(self.answered.items())]
        parts = [
            (
                "requests_total",
                "counter",
                "Answered requests to predict by status; 499: the client left.",
                statuses,
            ),
            ("errors_total", "counter", "Requests that were answered with a status of 400 or more.", errors),
            ("request_seconds", "histogram", "From the arrival of a request to its answer.", self.seconds),
            ("compute_seconds", "histogram", "Of each call of the function.", self.compute_seconds),
            ("batch_rows", "histogram", "Rows of each call of the function, without padding.", self.batch_rows),
            ("batch_requests", "histogram", "Requests of each call of the function.", self.batch_requests),
            ("queue_depth", "gauge", "Requests that wait for being computed.", self.waiting()),
            ("requests_in_flight", "gauge", "Requests that are read, wait or are computed.", self.in_flight),
            ("ready", "gauge", "1 if the function is compiled and requests are answered.", int(self.ready())),
        ]
        lines = []
        for suffix, kind, description, value in parts:
            name = f"fdl_serve_{suffix}"
            lines += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
            match value:
                case Histogram():
                    lines += value.lines(name)
                case list():
                    lines += value
                case _:
                    lines.append(f"{name} {value}")
        return "\n".join(lines) + "\n"
