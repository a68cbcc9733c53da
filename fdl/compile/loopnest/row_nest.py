"""Code for a loop nest restricted to a tile: some rows of a unit."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from llvmlite import ir

from fdl.compile.ir.loops import Reduce
from fdl.compile.ir.tiles import NestTile
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.compile.loopnest.body import Counters, with_counter
from fdl.compile.loopnest.nest import NestEmitter
from fdl.core.program import Var


class RowNest(NestEmitter):
    """Emits a nest for the rows [begin, end) of a unit; sums over rows are added to what the results hold.

    Args:
        build: where the code goes.
        tile: the nest.
        pointer: the LLVM pointer to the first element of a stored value.
        unit, begin, end: which rows.
    """

    def __init__(
        self, build: Build, tile: NestTile, pointer: Callable[[Var], ir.Value], unit: Value, begin: Value, end: Value
    ) -> None:
        super().__init__(build, tile.loops, pointer)
        self.tile, self.unit, self.begin, self.end = tile, unit, begin, end
        if tile.row_loop is not None:
            self.part = tile.row_loop, begin, end
        self.is_added = tile.summed

    def emit(self) -> None:
        """Emit all loops."""
        loops, tile = self.loops, self.tile
        counters = self.unit_counters()
        inner = range(tile.unit_loops, len(loops.extents))
        kept = [j for j in inner if not loops.reduced[j]]
        reduced = [j for j in inner if loops.reduced[j]]
        with ExitStack() as stack:
            if not inner:
                self.columns(counters, [], 1, 1)
            elif self.last == tile.row_loop:
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
        counters: Counters = (self.build.index(0),) * len(self.loops.extents)
        rest = self.unit
        for axis in range(self.tile.unit_loops - 1, -1, -1):
            extent = self.loops.extents[axis]
            above = self.build.quotient(rest, extent) if axis else self.build.index(0)
            counters = with_counter(counters, axis, rest - above * extent if axis else rest)
            rest = above
        return counters

    def along_rows(self, counters: Counters) -> None:
        """The last loop runs over the rows."""
        build, lanes = self.build, self.lanes
        spans, first = list[tuple[Value, Value, int]](), self.begin
        for size in sorted({lanes, lanes // self.abreast, 1} - {0, 1}, reverse=True):
            spans.append((first, first + build.quotient(self.end - first, size) * size, size))
            first = spans[-1][1]
        spans.append((first, self.end, 1))
        if not self.tile.summed:
            for first, stop, size in spans:
                with build.loop(first, stop, size) as i:
                    self.columns(with_counter(counters, self.last, i), [], size, 1)
            return
        hoisted = self.hoisted(counters)
        accumulators = []
        for first, stop, size in spans:
            accumulators.append(self.start(size))
            with build.loop(first, stop, size) as i:
                here = with_counter(counters, self.last, i)
                values = self.evaluate(here, size, hoisted)
                self.store(values, here)
                self.accumulate(accumulators[-1], values)
        for number, reduction in enumerate(self.loops.reductions):
            total, *others = [build.reduce(reduction.kind, variables[number].get()) for variables in accumulators]
            for other in others:
                total = self.combine(reduction, total, other)
            self.finish(reduction, total, counters)

    def streamed(self, counters: Counters, reduced: Sequence[int]) -> None:
        """Reductions whose last loop is kept, with their results in memory."""
        if not self.tile.summed:
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
            total = self.combine(reduction, self.so_far(reduction, counters, total.lanes), total)
        super().finish(reduction, total, counters)
