"""Which executors a session lost and got, for the history of a run."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fdl_spark.spark.classic import SparkContext

LONGEST = 200  # characters of a reason


class Membership:
    """The executors of a session, as they were when last asked for.

    Args:
      context: the session's.
    """

    def __init__(self, context: SparkContext):
        self._context = context
        self._known = self._now()

    def changes(self) -> list[str]:
        """What has changed since the last call: which executors were lost, and why, and which came. Never raises."""
        with suppress(Exception):  # a session that was stopped has no executors, and whoever needs them says so
            now = self._now()
            lost, came = self._known - now, now - self._known
            self._known = now
            reasons = dict(self._reasons()) if lost else {}
            return [f"lost the executor at {place}{reasons.get(place, '')}" for place in sorted(lost)] + [
                f"new executor at {place}" for place in sorted(came)
            ]
        return []

    def _now(self) -> frozenset[str]:
        """Hosts and ports of all block managers, the driver's too; one string, however many there are."""
        return frozenset(self._context._jsc.sc().getExecutorMemoryStatus().keySet().mkString(" ").split())

    def _reasons(self) -> Iterator[tuple[str, str]]:
        """Place and reason of the executors that were removed, as far as Spark knows them already."""
        found: Any = self._context._jsc.sc().statusStore().executorList(False)
        for place in range(found.size()):
            summary = found.apply(place)
            if not summary.isActive() and summary.removeReason().isDefined():
                yield summary.hostPort(), f" ({' '.join(summary.removeReason().get().split())[:LONGEST]})"
