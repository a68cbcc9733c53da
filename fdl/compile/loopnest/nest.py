"""Code for loop nests: explicit vectors along the last loop, sums in an order that depends on the shapes only."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

from llvmlite import ir

from fdl.compile.ir.body import Instruction, Load
from fdl.compile.ir.loops import Loops, Reduce
from fdl.compile.ir.reductions import identity_element
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import Variable
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.shuffles import picked, transposed
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.compile.loopnest.body import BodyEmitter, Counters, with_counter
from fdl.core.program import Var
from fdl.dtypes import bool_
from fdl.ops.precision import accumulator

#: Elements of a result from which on their combinations do not overlap with those of other results.
_CHAINED = 32


class NestEmitter(BodyEmitter):
    """Emits one nest at the end of a function.

    Args:
        build: where the code goes.
        loops: the nest.
        pointer: the LLVM pointer to the first element of a stored value.
    """

    def __init__(self, build: Build, loops: Loops, pointer: Callable[[Var], ir.Value]) -> None:
        super().__init__(build, loops, pointer)
        self.part: tuple[int, IndexLike, IndexLike] | None = None

    def divide(self, share: Callable[[int], tuple[Value, Value]]) -> int:
        """Emit only a part of the work.

        A unit is a piece of one loop that no reduction reduces; vectors never reach from one piece into the next, so
        that every element is computed in the same way wherever the work is cut.

        Args:
            share: given how many units there are, the units [begin, end) to do.

        Returns:
            How many units there are; with 1, the whole work is emitted.
        """
        units, axis, size = max(self._divisions(), default=(1, 0, 0))
        if units > 1:
            begin, end = share(units)
            self.part = axis, begin * size, self.build.min(end * size, self.loops.extents[axis])
        return units

    def _divisions(self) -> Iterator[tuple[int, int, int]]:
        """(units, loop, iterations of a unit) of the ways to cut; loops with enough units only down to the first."""
        loops = self.loops
        across = None if loops.reductions or not loops.extents else self.across()
        for axis, extent in enumerate(loops.extents):
            if loops.reduced[axis] or (axis == self.last and across is not None and not self.narrow(across)):
                continue
            size = self.tuning.crossing_tile if axis == across else 4 * self.lanes if axis == self.last else 1
            units = -(-extent // size)
            yield units, axis, size
            if units >= self.tuning.divided_units:
                return

    def bounds(self, axis: int) -> tuple[IndexLike, IndexLike]:
        """First iteration of a loop, and the one after the last."""
        return self.clip(axis, 0, self.loops.extents[axis])

    def clip(self, axis: int, first: int, stop: int) -> tuple[IndexLike, IndexLike]:
        """What of [first, stop) along a loop is to be done."""
        if self.part is None or self.part[0] != axis:
            return first, stop
        return self.build.max(self.part[1], first), self.build.min(self.part[2], stop)

    def emit(self) -> None:
        """Emit all loops."""
        loops = self.loops
        kept = [j for j, mark in enumerate(loops.reduced) if not mark]
        reduced = [j for j, mark in enumerate(loops.reduced) if mark]
        counters: Counters = (self.build.index(0),) * len(loops.extents)
        if not loops.extents:
            self.columns(counters, [], 1, 1)
        elif not loops.reductions and (across := self.across()) is not None:
            with ExitStack() as stack:
                outer = [j for j in kept[:-1] if j != across]
                (self.picked if self.narrow(across) else self.tiled)(self.enter(stack, counters, outer), across)
        elif not loops.reductions:
            with ExitStack() as stack:
                spans = ((*self.clip(self.last, first, stop), lanes) for first, stop, lanes in self.spans())
                self.plain(self.enter(stack, counters, kept[:-1]), spans)
        elif loops.reduced[-1]:
            with ExitStack() as stack:
                self.rows(self.enter(stack, counters, kept), reduced)
        elif self.is_streamed(reduced):
            with ExitStack() as stack:
                self.streamed(self.enter(stack, counters, kept[:-1]), reduced)
        else:
            with ExitStack() as stack:
                self.in_registers(self.enter(stack, counters, kept[:-1]), reduced)

    def enter(self, stack: ExitStack, counters: Counters, axes: Sequence[int]) -> Counters:
        """Open the loops of some axes."""
        for axis in axes:
            counters = with_counter(counters, axis, stack.enter_context(self.build.loop(*self.bounds(axis))))
        return counters

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """The last loop in pieces (first, stop, lanes)."""
        extent, lanes, first = self.loops.extents[self.last], self.lanes, 0
        while first < extent:
            if extent - first >= lanes:
                stop = first + (extent - first) // lanes * lanes
                yield first, stop, lanes
                first = stop
            small = len(self.loops.instructions) <= self.tuning.small_body or lanes * self.abreast > self.lanes
            lanes = lanes // 2 if small else 1

    def unroll(self, count: int) -> int:
        """How many vectors are worked on at once, so that sums do not wait for each other."""
        most = 4 if len(self.loops.instructions) <= self.tuning.unrolled_body else 2
        return next(u for u in (most, 2, 1) if count % u == 0 and u <= most)

    def neighbours(self, count: int) -> int:
        """How many vectors of results stay in registers: all, if they are few, so that memory is read once."""
        whole = self.part is None or self.part[0] != self.last
        tuning = self.tuning
        few = count * len(self.loops.reductions) <= tuning.resident_vectors
        few = few and len(self.loops.instructions) <= tuning.resident_body
        return count if whole and few else self.unroll(count)

    def plain(self, counters: Counters, spans: Iterable[tuple[IndexLike, IndexLike, int]]) -> None:
        """Pieces of the last loop, without reductions."""
        hoisted = self.hoisted(counters)
        for first, stop, lanes in spans:
            with self.build.loop(first, stop, lanes) as i:
                here = with_counter(counters, self.last, i)
                self.store(self.evaluate(here, lanes, hoisted), here)

    def across(self) -> int | None:
        """The loop along which an operand lies in memory that the last loop crosses in large steps."""
        extents = self.loops.extents
        for load in self.loops.reads():
            steps = [abs(c) for c in load.flat.coefficients]
            if steps[self.last] > 1 and 1 in steps and not load.guards:
                axis = steps.index(1)
                large = 2 * self.tuning.crossing_tile
                if extents[self.last] >= large and (extents[axis] >= large or self.narrow(axis)):
                    return axis
        return None

    def narrow(self, axis: int) -> bool:
        """Whether all iterations of a loop are done together, for what the last loop crosses in steps that are small.

        The vectors that hold what is read are then loaded once, and the elements of each iteration picked from them.
        """
        extent, crossing = self.loops.extents[axis], self.crossing(axis)
        loads = [self.loops.instructions[number] for number in crossing]
        most = max((i.flat.coefficients[self.last] for i in loads if isinstance(i, Load)), default=0)
        least = min((i.flat.coefficients[self.last] for i in loads if isinstance(i, Load)), default=0)
        limit = self.tuning.picked_steps[self.build.target.vector_bits == 512]
        few = extent * len(self.loops.instructions) <= self.tuning.turned_body
        return least >= 2 and max(most, extent) <= limit and few and self.abreast == 1 < self.lanes

    def picked(self, counters: Counters, axis: int) -> None:
        """The last loop by vectors, in each of which all iterations of a narrow loop read from the same vectors."""
        build, extent, lanes, count = self.build, self.loops.extents[self.last], self.lanes, self.loops.extents[axis]
        whole, crossing = extent // lanes * lanes, self.crossing(axis)
        with build.loop(*self.clip(self.last, 0, whole), lanes) as j:
            here = with_counter(counters, self.last, j)
            columns: dict[int, list[Value]] = {}
            for number in crossing:
                load = self.loops.instructions[number]
                assert isinstance(load, Load)
                step, dtype = load.flat.coefficients[self.last], transport_dtype(load.var.type.dtype)
                span = (lanes - 1) * step + count
                starts = [min(start, span - lanes) for start in range(0, span, lanes)]
                index, pointer = build.index(self.address(load.flat, here)), self.pointer(load.var)
                vectors = [build.load(pointer, dtype, index + start, lanes) for start in starts]
                columns[number] = [picked(build, vectors, starts, n, step) for n in range(count)]
            for n in range(count):
                at = with_counter(here, axis, build.index(n))
                read = {number: found[n] for number, found in columns.items()}
                self.store(self.evaluate(at, lanes, self.hoisted(at) | read), at)
        if whole < extent:
            with build.loop(0, count) as i:
                self.plain(with_counter(counters, axis, i), [(*self.clip(self.last, whole, extent), 1)])

    def tiled(self, counters: Counters, axis: int) -> None:
        """Square tiles over two loops, so that what is read across is used up while it is in the cache."""
        build, extents = self.build, self.loops.extents
        tile, lanes = self.tuning.crossing_tile, min(self.lanes // self.abreast, self.tuning.turned_lanes)
        whole = extents[self.last] // lanes * lanes
        crossing = self.crossing(axis) if lanes * len(self.loops.instructions) <= self.tuning.turned_body else []
        with build.loop(*self.bounds(axis), tile) as start:
            stop = build.min(start + tile, extents[axis])
            with build.loop(0, whole, tile) as first:
                last, rest = build.min(first + tile, whole), start
                if crossing:
                    rest = start + build.quotient(stop - start, lanes) * lanes
                    with build.loop(first, last, lanes) as j, build.loop(start, rest, lanes) as i:
                        self.turned(with_counter(with_counter(counters, axis, i), self.last, j), axis, lanes, crossing)
                with build.loop(rest, stop) as i:
                    self.plain(with_counter(counters, axis, i), [(first, last, lanes)])
            if whole < extents[self.last]:
                with build.loop(start, stop) as i:
                    self.plain(with_counter(counters, axis, i), [(whole, extents[self.last], 1)])

    def crossing(self, axis: int) -> list[int]:
        """The loads, by number, that lie in memory along `axis` and are crossed by the last loop."""

        def crosses(i: Instruction) -> bool:
            if not isinstance(i, Load) or i.guards or i.var.type.dtype == bool_:
                return False
            return i.flat.coefficients[axis] == 1 and i.flat.coefficients[self.last] not in (0, 1)

        return [number for number, i in enumerate(self.loops.instructions) if crosses(i)]

    def turned(self, counters: Counters, axis: int, lanes: int, crossing: Sequence[int]) -> None:
        """A square of as many iterations as a vector has lanes: what is crossed is read along `axis`, and transposed.

        Cache lines that are far apart displace each other where their distance is a power of two, so that those of one
        square are used up before the next.
        """
        build, columns = self.build, dict[int, list[Value]]()
        for number in crossing:
            load = self.loops.instructions[number]
            assert isinstance(load, Load)
            places = [self.address(load.flat, self.beside(counters, row)) for row in range(lanes)]
            pointer, dtype = self.pointer(load.var), transport_dtype(load.var.type.dtype)
            columns[number] = transposed(build, [build.load(pointer, dtype, place, lanes) for place in places])
        for column in range(lanes):
            here = with_counter(counters, axis, counters[axis] + column) if column else counters
            read = {number: found[column] for number, found in columns.items()}
            self.store(self.evaluate(here, lanes, self.hoisted(here) | read), here)

    def is_streamed(self, reduced: Sequence[int]) -> bool:
        """Whether rows are too long for their sums to stay in registers: they are then kept in the result.

        Where no loop is left to reduce (each unit of a group adds one row), nothing has to stay anywhere.
        """
        long = bool(reduced) and self.loops.extents[self.last] > self.tuning.resident_row * self.lanes
        return long and all(accumulator(r.var.type.dtype) == r.var.type.dtype for r in self.loops.reductions)

    def streamed(self, counters: Counters, reduced: Sequence[int]) -> None:
        """Reductions whose last loop is kept: rows are read as they lie in memory, a few of them at a time."""
        build, spans, reductions = self.build, list(self.spans()), self.loops.reductions
        for first, stop, lanes in spans:
            with build.loop(*self.clip(self.last, first, stop), lanes) as i:
                for reduction in reductions:
                    dtype = reduction.var.type.dtype
                    self.finish(
                        reduction,
                        build.constant(identity_element(reduction.kind, dtype), dtype, lanes),
                        with_counter(counters, self.last, i),
                    )
        count = self.loops.extents[reduced[-1]]
        with ExitStack() as stack:
            counters = self.enter(stack, counters, reduced[:-1])
            self.sweep(counters, reduced[-1], (0, count), self.unroll(count))

    def sweep(self, counters: Counters, axis: int, bounds: tuple[IndexLike, IndexLike], together: int) -> None:
        """Add `together` rows along an axis at a time to the results in memory."""
        build = self.build
        with build.loop(*bounds, together) as row:
            rows = [with_counter(counters, axis, row + n if n else row) for n in range(together)]
            hoisted = [self.hoisted(r) for r in rows]
            for first, stop, lanes in self.spans():
                with build.loop(*self.clip(self.last, first, stop), lanes) as i:
                    totals = [self.so_far(r, with_counter(rows[0], self.last, i), lanes) for r in self.loops.reductions]
                    for own, fixed in zip(rows, hoisted, strict=True):
                        here = with_counter(own, self.last, i)
                        values = self.evaluate(here, lanes, fixed)
                        self.store(values, here)
                        totals = [
                            self.combine(r, t, self.build.convert(values[r.number], t.dtype))
                            for r, t in zip(self.loops.reductions, totals, strict=True)
                        ]
                    for reduction, total in zip(self.loops.reductions, totals, strict=True):
                        self.finish(reduction, total, with_counter(rows[0], self.last, i))

    def so_far(self, reduction: Reduce, counters: Counters, lanes: int) -> Value:
        """What the result holds so far."""
        step = reduction.flat.coefficients[self.last]
        index, pointer = self.address(reduction.flat, counters), self.pointer(reduction.var)
        return self.build.load(pointer, reduction.var.type.dtype, index, lanes, step if lanes > 1 else 1)

    def rows(self, counters: Counters, reduced: Sequence[int]) -> None:
        """Reductions whose last loop is reduced: accumulators are vectors, combined at the end."""
        plan = [(first, stop, lanes, self.unroll((stop - first) // lanes)) for first, stop, lanes in self.spans()]
        accumulators = [[self.start(lanes) for _ in range(unroll)] for _, _, lanes, unroll in plan]
        with ExitStack() as stack:
            counters = self.enter(stack, counters, reduced[:-1])
            hoisted = self.hoisted(counters)
            for (first, stop, lanes, unroll), variables in zip(plan, accumulators, strict=True):
                with self.build.loop(first, stop, lanes * unroll) as i:
                    for u in range(unroll):
                        here = with_counter(counters, self.last, i + u * lanes)
                        values = self.evaluate(here, lanes, hoisted)
                        self.store(values, here)
                        self.accumulate(variables[u], values)
        for number, reduction in enumerate(self.loops.reductions):
            totals = []
            for variables in accumulators:
                found = [v[number].get() for v in variables]
                while len(found) > 1:
                    found = [self.combine(reduction, a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
                totals.append(self.build.reduce(reduction.kind, found[0]))
            total = totals[0]
            for other in totals[1:]:
                total = self.combine(reduction, total, other)
            self.finish(reduction, total, counters)

    def in_registers(self, counters: Counters, reduced: Sequence[int]) -> None:
        """Reductions whose last loop is kept, one vector of results after the other."""
        for first, stop, lanes in self.spans():
            unroll = self.neighbours((stop - first) // lanes)
            with self.build.loop(*self.clip(self.last, first, stop), lanes * unroll) as i:
                self.columns(with_counter(counters, self.last, i), reduced, lanes, unroll)

    def columns(self, counters: Counters, reduced: Sequence[int], lanes: int, unroll: int) -> None:
        """Reductions whose last loop is kept: `unroll` neighbouring vectors of results stay in registers."""
        outer = counters
        variables = [self.start(lanes) for _ in range(unroll)]
        with ExitStack() as stack:
            counters = self.enter(stack, counters, reduced)
            hoisted = self.hoisted(counters)
            for u in range(unroll):
                here = self.beside(counters, u * lanes)
                values = self.evaluate(here, lanes, hoisted)
                self.store(values, here)
                self.accumulate(variables[u], values)
        for u in range(unroll):
            for number, reduction in enumerate(self.loops.reductions):
                self.finish(reduction, variables[u][number].get(), self.beside(outer, u * lanes))

    def beside(self, counters: Counters, distance: int) -> Counters:
        """The counters of a vector further along the last loop."""
        return with_counter(counters, self.last, counters[self.last] + distance) if distance else counters

    def start(self, lanes: int) -> list[Variable]:
        """Variables that hold the result of reducing nothing."""
        found = []
        for reduction in self.loops.reductions:
            dtype = accumulator(reduction.var.type.dtype)
            found.append(
                self.build.variable(self.build.constant(identity_element(reduction.kind, dtype), dtype, lanes))
            )
        return found

    def accumulate(self, variables: Sequence[Variable], values: Sequence[Value]) -> None:
        """Combine one more vector with what has been reduced."""
        for variable, reduction in zip(variables, self.loops.reductions, strict=True):
            value = self.build.convert(values[reduction.number], accumulator(reduction.var.type.dtype))
            # The element first where many follow each other: whether an extreme is NaN is then asked of it while the
            # one so far is not complete. In short loops those of several results overlap.
            pair = (value, variable.get()) if self.is_chained() else (variable.get(), value)
            variable.set(self.combine(reduction, *pair))

    def is_chained(self) -> bool:
        """Whether so many elements make a result that each waits for the one before."""
        loops = self.loops
        return math.prod(n for n, reduced in zip(loops.extents, loops.reduced, strict=True) if reduced) > _CHAINED

    def combine(self, reduction: Reduce, x: Value, y: Value) -> Value:
        """Two accumulators as one."""
        build = self.build
        combine = {
            "sum": build.add, "prod": build.mul, "max": build.max, "min": build.min,
            "and": build.and_, "or": build.or_, "xor": build.xor,
        }[reduction.kind]  # fmt: skip
        return combine(x, build.broadcast(y, x.lanes))

    def finish(self, reduction: Reduce, total: Value, counters: Counters) -> None:
        """Store a complete result."""
        value = self.build.convert(total, reduction.var.type.dtype)
        stride = reduction.flat.coefficients[self.last] if value.lanes > 1 else 1
        self.build.store(value, self.pointer(reduction.var), self.address(reduction.flat, counters), stride)

    def store(self, values: Sequence[Value], counters: Counters) -> None:
        """Store what the nest makes for each iteration."""
        for item in self.loops.stores:
            value = values[item.number]
            stride = item.flat.coefficients[self.last] if value.lanes > 1 else 1
            self.build.store(value, self.pointer(item.var), self.address(item.flat, counters), stride)
