"""Groups: steps that run row by row, one after the other, so that what they hand on stays in the cache.

Softmax is three loop nests, since its maximum has to be complete before the first exponential is taken; but complete
for one row only. Steps that read each other's values only in the same row become one step: for every tile, which is
some rows, all of them run. Values that nothing else reads exist only for the tile, in memory private to the thread. A
sum over rows ends in a group: each chunk of rows, of a size that depends on the shapes alone, has a sum of its own, and
another step adds these up in order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from fdl.compile.ir.loops import Reduce, combined
from fdl.compile.ir.plan import Step, nbytes
from fdl.compile.ir.steps import EquationStep, KernelStep, LoopNest
from fdl.compile.ir.tiles import NestTile, ProductTile, RowSpace, RowTile, TileGroup
from fdl.compile.kernels.matmul.product import is_batched_product
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.tuning import Tuning
from fdl.compile.schedule.row_tiles import spaces, tile_nest, tile_product
from fdl.core.program import Var
from fdl.core.types import TensorType
from fdl.ops.precision import accumulator


@dataclass(eq=False)
class _Found:
    """Steps that can be a group, and what it would save."""

    space: RowSpace
    members: dict[int, RowTile]
    after: list[int]
    gain: int = 0


def grouped(steps: Iterable[Step], outputs: Iterable[Var]) -> list[Step]:
    """The steps in another order, some of them in groups.

    Args:
        steps: in an order in which they can run.
        outputs: values that are needed in the end.
    """
    return _Grouping(list(steps), set(outputs)).run()


class _Grouping:
    def __init__(self, steps: list[Step], outputs: set[Var]) -> None:
        self.steps, self.outputs, self.tuning = steps, outputs, host_target().tuning
        self.done: set[Step] = set()
        self._tiles: dict[tuple[LoopNest, RowSpace], NestTile | None] = {}
        self.readers: dict[Var, set[Step]] = {}
        for step in steps:
            for var in step.reads:
                self.readers.setdefault(var, set()).add(step)

    def run(self) -> list[Step]:
        """Begin a group at every step in turn."""
        number = 0
        while number < len(self.steps):
            found = self.best(number)
            if found is None:
                number += 1
                continue
            part = self.steps[number : number + self.tuning.group_window]
            made = self.finished(found)
            before = [s for n, s in enumerate(part, number) if n not in found.members and n not in found.after]
            self.steps[number : number + self.tuning.group_window] = (
                before + made + [self.steps[n] for n in found.after]
            )
        return self.steps

    def best(self, seed: int) -> _Found | None:
        """The group that begins with a step and saves most."""
        first = self.candidate(self.steps[seed])
        if first is None or not self.has_neighbour(seed):
            return None
        best = None
        for space in self.proposals(seed, first):
            found = self.collect(seed, space, None)
            # Steps that share nothing with the first one only stand in the way.
            while found is not None and (linked := self.linked(found, seed)) != set(found.members):
                found = self.collect(seed, space, linked)
            if found is None or len(found.members) < 2:
                continue
            found.gain = self.gain(found)
            if found.gain >= self.tuning.group_gain_bytes and (best is None or found.gain > best.gain):
                best = found
        return best

    def has_neighbour(self, seed: int) -> bool:
        """Whether a step shares a value with one that is looked at; others are not worth a search."""
        step = self.steps[seed]
        values = {*step.outputs, *(v for v in step.reads if nbytes(v.type) >= self.tuning.shared_bytes)}
        return any(
            not values.isdisjoint(other.reads) for other in self.steps[seed + 1 : seed + self.tuning.group_window]
        )

    def candidate(self, step: Step) -> LoopNest | KernelStep | None:
        """A step as one that can be in a group; None if it cannot."""
        match step:
            case LoopNest() if step not in self.done:
                return step
            case KernelStep() if step not in self.done and is_batched_product(step):
                return step
        return None

    def proposals(self, seed: int, first: LoopNest | KernelStep) -> list[RowSpace]:
        """Spaces to try: those of the first step itself and of those that read what it makes."""
        near = [first]
        readers = {s for v in first.outputs for s in self.readers.get(v, ())}
        for other in self.steps[seed + 1 : seed + self.tuning.group_window]:
            step = self.candidate(other)
            if step is not None and (step in readers or isinstance(step, KernelStep)):
                near.append(step)
        found = dict.fromkeys(space for step in near for space in spaces(step))
        return [space for space in found if space.size > 1]

    def tile(self, step: LoopNest | KernelStep, space: RowSpace, made: set[Var]) -> RowTile | None:
        """A step restricted to rows."""
        if isinstance(step, KernelStep):
            return tile_product(step, space, made)
        key = step, space
        if key not in self._tiles:
            self._tiles[key] = tile_nest(step, space)
        return self._tiles[key]

    def collect(self, seed: int, space: RowSpace, allowed: set[int] | None) -> _Found | None:
        """All steps that can run with the first one, and those that have to run after them."""
        members: dict[int, RowTile] = {}
        after: list[int] = []
        made, late = set[Var](), set[Var]()
        first = self.candidate(self.steps[seed])
        for number in range(seed, min(seed + self.tuning.group_window, len(self.steps))):
            step = self.steps[number]
            if isinstance(step, EquationStep) and step.equation.operation.effect:
                after.append(number)
                late.update(step.outputs)
                if number == seed:
                    return None
                after += range(number + 1, min(seed + self.tuning.group_window, len(self.steps)))
                break
            part = self.candidate(step)
            if part is not None and (first is None or part.scope != first.scope or late.intersection(step.reads)):
                part = None
            tile = self.tile(part, space, made) if part and (allowed is None or number in allowed) else None
            if tile and self.is_acceptable(tile) and all(tile.reads_own(v) for v in step.reads if v in made):
                members[number] = tile
                made.update(tile.made)
                late.update(tile.sums)
                continue
            if number == seed:
                return None
            if late.intersection(step.reads) or made.intersection(step.reads):
                after.append(number)
                late.update(step.outputs)
        return _Found(space, members, after)

    def is_acceptable(self, tile: RowTile) -> bool:
        """Whether a member's sums can be made in chunks."""
        if not tile.summed:
            return True
        if isinstance(tile, NestTile) and (tile.sums_units or tile.space.units == 1):
            # Sums as long as the rows are many would fill memory themselves.
            return sum(v.type.size for v in tile.sums) * self.tuning.row_chunks * 2 <= prod(tile.loops.extents)
        # The sums of a unit grow in the results, which must be as wide as sums are.
        return tile.space.units >= self.tuning.summed_units and all(
            accumulator(v.type.dtype) == v.type.dtype for v in tile.sums
        )

    def linked(self, found: _Found, seed: int) -> set[int]:
        """The members that are connected with the first one by values that they share."""
        users: dict[Var, list[int]] = {}
        made = {v for tile in found.members.values() for v in tile.made}
        for number in found.members:
            for var in {*self.steps[number].reads, *self.steps[number].outputs}:
                if var in made or (found.space.inner(var) and nbytes(var.type) >= self.tuning.shared_bytes):
                    users.setdefault(var, []).append(number)
        reached, front = {seed}, [seed]
        while front:
            number = front.pop()
            for var in {*self.steps[number].reads, *self.steps[number].outputs}:
                for other in users.get(var, ()):
                    if other not in reached:
                        reached.add(other)
                        front.append(other)
        return reached

    def private(self, found: _Found) -> list[Var]:
        """Values that only members read."""
        steps = {self.steps[n] for n in found.members}
        made = [v for tile in found.members.values() for v in tile.made]
        return [v for v in made if v not in self.outputs and self.readers.get(v, set()) <= steps]

    def gain(self, found: _Found) -> int:
        """Bytes that need not go to memory and back; 0 if a row is too large to stay in the cache."""
        touched: dict[Var, int] = {}
        for number, tile in found.members.items():
            for var in {*self.steps[number].reads, *tile.made}:
                if found.space.inner(var):
                    touched[var] = touched.get(var, 0) + 1
        private = set(self.private(found))
        row = _row_bytes(found.members.values(), found.space, private)
        if row > self.tuning.row_bytes or (
            row > self.tuning.large_row_bytes and found.space.size < self.tuning.large_rows
        ):
            return 0
        gain = sum((count - (var not in private)) * nbytes(var.type) for var, count in touched.items())
        return gain * 3 // 4 if row > self.tuning.product_tile_bytes else gain

    def finished(self, found: _Found) -> list[Step]:
        """The group, and the steps that add up the sums of its chunks."""
        members, space = list(found.members.values()), found.space
        private = self.private(found)
        tile_rows, chunk, together = _partition(members, space, private, self.tuning)
        made = [v for tile in members for v in tile.made]
        reads = dict.fromkeys(v for tile in members for v in tile.step.reads if v not in made)
        group = TileGroup(space, members, tile_rows, chunk, together, {}, private, [], tuple(reads))
        group.outputs = [v for v in made if v not in private]
        steps: list[Step] = [group]
        for tile in members:
            if isinstance(tile, NestTile) and tile.summed and (tile.sums_units or space.units == 1):
                sums = {r.var: _chunk_sums(r, group.work) for r in tile.loops.reductions}
                group.chunk_sums.update(sums)
                steps += [LoopNest(combined(r, sums[r.var]), [r.var], (sums[r.var],)) for r in tile.loops.reductions]
                group.outputs += sums.values()
            else:
                group.outputs += tile.sums
        old: set[Step] = {tile.step for tile in members}
        for step in old:
            for var in step.reads:
                self.readers[var] -= old
        for step in steps:
            for var in step.reads:
                self.readers.setdefault(var, set()).add(step)
        self.done.update(steps)
        return steps


def _row_bytes(members: Iterable[RowTile], space: RowSpace, private: Iterable[Var]) -> int:
    """Bytes of one row that are in use at the same time: all from and for outside, and what is private so far."""
    members, private = list(members), set(private)
    last = {v: n for n, tile in enumerate(members) for v in (*tile.step.reads, *tile.made)}
    outside, live, most = set[Var](), set[Var](), 0
    for number, tile in enumerate(members):
        own = {v for v in (*tile.step.reads, *tile.made) if space.inner(v)}
        outside |= own - private
        live = {v for v in live | own if v in private and last[v] > number}
        most = max(most, sum(nbytes(v.type) for v in live))
    return (most + sum(nbytes(v.type) for v in outside)) // space.size


def _tile_rows(members: Sequence[RowTile], space: RowSpace, row: int, tuning: Tuning) -> int:
    """How many rows are done at a time."""
    if not any(isinstance(tile, ProductTile) for tile in members):
        most = max(
            tuning.summed_tile_rows if any(tile.summed for tile in members) else 1, tuning.tile_bytes // max(row, 1)
        )
        return min(
            space.rows, most if most <= tuning.tile_rows // 2 else -(-most // tuning.tile_rows) * tuning.tile_rows
        )
    most = min(space.rows, max(tuning.product_tile_bytes // max(row, 1), tuning.product_tile_rows))
    # A last tile of another size would need code of its own.
    even = [n for n in range(most // 2 + 1, most * 3 // 2) if space.rows % n == 0]
    # Of two that are as good, the larger one packs the right operands of products less often.
    return min(even, key=lambda n: (abs(n - most), -n), default=most)


def _partition(
    members: Sequence[RowTile], space: RowSpace, private: Iterable[Var], tuning: Tuning
) -> tuple[int, int, int]:
    """(tile_rows, chunk, together) of a group."""
    tile_rows = _tile_rows(members, space, _row_bytes(members, space, private), tuning)
    sums = [tile for tile in members if tile.summed]
    if not sums:
        return tile_rows, tile_rows, 1
    if space.units == 1:
        tiles = -(-space.rows // tile_rows)
        return tile_rows, min(space.rows, tile_rows * -(-tiles // tuning.row_chunks)), 1
    if any(isinstance(tile, NestTile) and tile.sums_units for tile in sums):
        return tile_rows, space.rows, -(-space.units // tuning.row_chunks)
    return tile_rows, space.rows, 1


def _chunk_sums(reduction: Reduce, chunks: int) -> Var:
    """The sums of chunks."""
    type = reduction.var.type
    return Var(TensorType((chunks, type.size), accumulator(type.dtype)))
