"""A group of steps that may be under way, as the loop hears of it."""

from collections import deque
from collections.abc import Generator, Iterator

from fdl_spark.history.outcome import Outcome
from fdl_spark.spark.failures import explained


class Group:
    """The outcomes of a group of steps that may be under way; those that come before anyone asks for them are kept."""

    def __init__(self, outcomes: Iterator[Outcome], doing: str = ""):
        self._outcomes, self._kept = _explained(outcomes, doing), deque[Outcome]()

    def __iter__(self) -> Iterator[Outcome]:
        while True:
            if self._kept:
                yield self._kept.popleft()
                continue
            try:
                outcome = next(self._outcomes)
            except StopIteration:
                return
            yield outcome

    def drain(self) -> None:
        """Wait for the end of the group."""
        self._kept.extend(self._outcomes)

    def close(self) -> None:
        """Leave the group, wherever it is."""
        self._outcomes.close()


def _explained(outcomes: Iterator[Outcome], doing: str) -> Generator[Outcome, None, None]:
    """The outcomes, and errors that say what failed, whoever asks for them."""
    with explained(doing):
        yield from outcomes
