"""Code for a loop nest restricted to a unit and a block of its rows."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from fdl.compile.ir.loops import Reduce
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.compile.loopnest.nest import Counters, NestEmitter
from fdl.compile.schedule.row_tiles import NestCut
from fdl.core.program import Var


class RowNest(NestEmitter):
    """Emits a nest for the rows [begin, end) of a unit; sums over rows are added to what the results hold.

    Args:
        build: where the code goes.
        cut: the nest.
        pointer: the LLVM pointer to the first element of a stored value.
        unit, begin, end: which rows.
    """

    def __init__(
        self, build: Build, cut: NestCut, pointer: Callable[[Var], Any], unit: Value, begin: Value, end: Value
    ) -> None:
        super().__init__(build, cut.loops, pointer)
        self.cut, self.unit, self.begin, self.end = cut, unit, begin, end
        if cut.ranged is not None:
            self.part = cut.ranged, begin, end
        self.is_added = cut.summed

    def emit(self) -> None:
        """Emit all loops."""
        loops, cut = self.loops, self.cut
        counters = self.unit_counters()
        free = range(cut.fixed, len(loops.extents))
        kept = [j for j in free if not loops.reduced[j]]
        reduced = [j for j in free if loops.reduced[j]]
        with ExitStack() as stack:
            if not free:
                self.columns(counters, [], 1, 1)
            elif self.last == cut.ranged:
                self.along_rows(counters)
            elif not loops.reductions:
                self.plain(self.enter(stack, counters, kept[:-1]), self.spans())
            elif loops.reduced[-1]:
                self.rows(self.enter(stack, counters, kept), reduced)
            elif self.is_streamed(reduced):
                self.streamed(self.enter(stack, counters, kept[:-1]), reduced)
            else:
                self.in_registers(self.enter(stack, counters, kept[:-1]), reduced)

    def unit_counters(self) -> Counters:
        """Indices of the loops that the unit fixes."""
        counters: Counters = (None,) * len(self.loops.extents)
        rest: Any = self.unit
        for axis in range(self.cut.fixed - 1, -1, -1):
            extent = self.loops.extents[axis]
            above = self.build.quotient(rest, extent) if axis else self.build.index(0)
            counters = _with(counters, axis, rest - above * extent if axis else rest)
            rest = above
        return counters

    def along_rows(self, counters: Counters) -> None:
        """The last loop runs over the rows."""
        build, lanes = self.build, self.lanes
        whole = self.begin + build.quotient(self.end - self.begin, lanes) * lanes
        spans = [(self.begin, whole, lanes), (whole, self.end, 1)] if lanes > 1 else [(self.begin, self.end, 1)]
        if not self.cut.summed:
            for first, stop, size in spans:
                with build.loop(first, stop, size) as i:
                    self.columns(_with(counters, self.last, i), [], size, 1)
            return
        hoisted = self.hoisted(counters)
        partial = []
        for first, stop, size in spans:
            partial.append(self.start(size))
            with build.loop(first, stop, size) as i:
                here = _with(counters, self.last, i)
                values = self.evaluate(here, size, hoisted)
                self.store(values, here)
                self.accumulate(partial[-1], values)
        for number, reduction in enumerate(self.loops.reductions):
            total, *others = [build.reduce(reduction.kind, variables[number].get()) for variables in partial]
            for other in others:
                total = self.combine(reduction, total, other)
            self.finish(reduction, total, counters)

    def streamed(self, counters: Counters, reduced: Sequence[int]) -> None:
        """Reductions whose last loop is kept, with their results in memory."""
        if not self.cut.summed:
            super().streamed(counters, reduced)
            return
        self.is_added = False
        with ExitStack() as stack:
            counters = self.enter(stack, counters, reduced[:-1])
            axis = reduced[-1]
            begin, end = map(self.build.index, self.bounds(axis))
            whole = begin + self.build.quotient(end - begin, 4) * 4
            self.sweep(counters, axis, (begin, whole), 4)
            self.sweep(counters, axis, (whole, end), 1)

    def finish(self, reduction: Reduce, total: Value, counters: Counters) -> None:
        """Store a result, or add it to what the earlier rows gave."""
        if self.is_added:
            total = self.combine(reduction, self.partial(reduction, counters, total.lanes), total)
        super().finish(reduction, total, counters)


def _with(counters: Counters, axis: int, value: Any) -> Counters:
    return (*counters[:axis], value, *counters[axis + 1 :])
