"""Where threads have to wait for each other: steps that touch the same memory."""

from collections.abc import Iterator, Mapping
from typing import Any

from fdl.compile.buffers import SingleStep, Slot, nbytes
from fdl.compile.team import Team
from fdl.core.program import Var


class Hazards:
    """What was read and written since the last barrier.

    Args:
        team: the threads.
        slots: where values are.
    """

    def __init__(self, team: Team, slots: Mapping[Var, Slot]) -> None:
        self.team, self.slots = team, slots
        self.seen = team.barriers
        self.pending: list[tuple[Any, bool, bool]] = []
        self.latest: list[tuple[Any, bool, bool]] = []

    def before(self, step: Any, shared: bool) -> None:
        """Emit a barrier if a step has to wait for the steps before it.

        Args:
            step: the next one.
            shared: whether the threads divide its work; otherwise thread 0 does it, which need not wait for itself.
        """
        if not self.team.together:
            return
        if self.team.barriers != self.seen:
            # The latest step emitted barriers, and may have gone on after them.
            self.pending, self.seen = self.latest, self.team.barriers
        found = [(place, writes, shared) for place, writes in self._accesses(step)]
        loops = shared and isinstance(step, SingleStep) and bool(step.plans)
        if (loops and self.pending) or any(_conflict(a, b) for a in self.pending for b in found):
            self.team.barrier()
            self.pending, self.seen = [], self.team.barriers
        self.pending, self.latest = self.pending + found, found

    def _accesses(self, step: Any) -> Iterator[tuple[tuple[str, int, int], bool]]:
        """(memory, whether it is written) of a step."""
        for var in step.reads:
            yield self._place(var), False
        for var in step.outputs:
            yield self._place(var), True
        if isinstance(step, SingleStep) and step.workspace_bytes:
            yield ("arena", step.workspace, step.workspace + step.workspace_bytes), True

    def _place(self, var: Var) -> tuple[str, int, int]:
        slot = self.slots[var]
        if slot.kind == "arena":
            return slot.kind, slot.number, slot.number + nbytes(var.type)
        return slot.kind, slot.number, slot.number + 1


def _conflict(a: tuple[Any, bool, bool], b: tuple[Any, bool, bool]) -> bool:
    (kind, start, stop), (other, first, last) = a[0], b[0]
    return (a[1] or b[1]) and (a[2] or b[2]) and kind == other and start < last and first < stop
