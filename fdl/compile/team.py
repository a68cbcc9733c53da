"""The threads that run one function together, as the code that they run sees them."""

from collections.abc import Iterator
from contextlib import contextmanager

from fdl.compile.build import Build
from fdl.compile.memory import Index
from fdl.compile.values import Value


class Team:
    """The threads that execute a plan: all of them run the same code, each with its own `number`.

    Args:
        build: the function that they run.
    """

    def __init__(self, build: Build) -> None:
        self.build = build
        self.number, self.count = build.index(0), build.index(1)

    def share(self, units: Index) -> tuple[Value, Value]:
        """This thread's part [begin, end) of so many units of work, which write disjoint memory."""
        return self.build.index(0), self.build.index(units)

    def barrier(self) -> None:
        """Wait until all threads are here; what each wrote before is then seen by all."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A body that thread 0 runs alone; the others go past it."""
        yield

    @contextmanager
    def solo(self) -> Iterator[None]:
        """A body that is private to the thread: `share` gives all units and `barrier` does nothing."""
        yield
