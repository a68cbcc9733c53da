"""Where threads have to wait for each other: steps that touch the same memory."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping

from fdl.compile.ir.plan import ControlStep, Slot, Step, nbytes
from fdl.compile.ir.steps import EquationStep
from fdl.compile.loopnest.team import Team
from fdl.core.program import Var

#: How memory is accessed, as bits of a set: by thread 0 alone, or by all threads together.
READ_ALONE, WRITTEN_ALONE, READ_TOGETHER, WRITTEN_TOGETHER = 1, 2, 4, 8

#: Which earlier accesses an access has to wait for: one of the two writes, and they may be those of different threads.
WAITS_FOR = {
    READ_ALONE: WRITTEN_TOGETHER,
    WRITTEN_ALONE: READ_TOGETHER | WRITTEN_TOGETHER,
    READ_TOGETHER: WRITTEN_ALONE | WRITTEN_TOGETHER,
    WRITTEN_TOGETHER: READ_ALONE | WRITTEN_ALONE | READ_TOGETHER | WRITTEN_TOGETHER,
}

#: A kind of memory and an interval of it, and how it is accessed.
Access = tuple[str, int, int, int]


class Hazards:
    """What was read and written since the last barrier.

    Args:
        team: the threads.
        slots: where values are.
    """

    def __init__(self, team: Team, slots: Mapping[Var, Slot]) -> None:
        self.team, self.slots = team, slots
        self.seen = team.barriers
        self.pending = Touched()
        self.latest: list[Access] = []

    def before(self, step: Step, shared: bool) -> bool:
        """Whether a step has to wait for the steps before it: the caller then emits a barrier.

        Args:
            step: the next one.
            shared: whether the threads divide its work; otherwise thread 0 does it, which need not wait for itself.
        """
        if not self.team.together:
            return False
        if self.team.barriers != self.seen:
            # The latest step emitted barriers, and may have gone on after them.
            self.pending, self.seen = Touched(self.latest), self.team.barriers
        found = list(self._accesses(step, shared))
        loops = shared and isinstance(step, ControlStep)
        waits = (loops and self.pending.any()) or any(self.pending.conflicts(*access) for access in found)
        if waits:
            self.pending, self.seen = Touched(), self.team.barriers + 1
        for access in found:
            self.pending.add(*access)
        self.latest = found
        return waits

    def _accesses(self, step: Step, shared: bool) -> Iterator[Access]:
        """What memory a step accesses."""
        read, written = (READ_TOGETHER, WRITTEN_TOGETHER) if shared else (READ_ALONE, WRITTEN_ALONE)
        for var in step.reads:
            yield *self._place(var), read
        for var in step.outputs:
            yield *self._place(var), written
        if isinstance(step, EquationStep) and step.workspace_bytes:
            yield "arena", step.workspace, step.workspace + step.workspace_bytes, written

    def _place(self, var: Var) -> tuple[str, int, int]:
        slot = self.slots[var]
        if slot.kind == "arena":
            return slot.kind, slot.number, slot.number + nbytes(var.type)
        return slot.kind, slot.number, slot.number + 1


class Touched:
    """How memory was accessed, as intervals that do not overlap, in order, so that long programs are not searched."""

    def __init__(self, accesses: Iterable[Access] = ()) -> None:
        #: For each kind of memory where intervals start; and where each ends, and the set of accesses.
        self._intervals: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
        for access in accesses:
            self.add(*access)

    def any(self) -> bool:
        """Whether there was any access."""
        return bool(self._intervals)

    def conflicts(self, kind: str, start: int, stop: int, access: int) -> bool:
        """Whether an access to an interval has to wait for one of those before."""
        if kind not in self._intervals:
            return False
        starts, ends = self._intervals[kind]
        first, last = self._overlapping(starts, ends, start, stop)
        return any(ends[n][1] & WAITS_FOR[access] for n in range(first, last))

    def add(self, kind: str, start: int, stop: int, access: int) -> None:
        """Remember an access to an interval."""
        starts, ends = self._intervals.setdefault(kind, ([], []))
        first, last = self._overlapping(starts, ends, start, stop)
        pieces: list[tuple[int, int, int]] = []
        at = start
        for begin, (end, before) in zip(starts[first:last], ends[first:last], strict=True):
            inside = max(begin, start), min(end, stop)
            pieces += [(begin, start, before), (at, begin, access), (*inside, before | access), (stop, end, before)]
            at = end
        pieces = [piece for piece in [*pieces, (at, stop, access)] if piece[0] < piece[1]]
        starts[first:last] = [begin for begin, _, _ in pieces]
        ends[first:last] = [(end, accesses) for _, end, accesses in pieces]

    @staticmethod
    def _overlapping(starts: list[int], ends: list[tuple[int, int]], start: int, stop: int) -> tuple[int, int]:
        """The numbers of the intervals that have a part in [start, stop)."""
        first = bisect_right(starts, start)
        if first and ends[first - 1][0] > start:
            first -= 1
        return first, max(first, bisect_left(starts, stop))
