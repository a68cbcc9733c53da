"""Checking the memory of a plan against the steps that use it; on where `config.debug_compiler` is.

`verify_plan` looks at the places that values were given: nothing is overwritten that is read later, and no donated
input is used after an output took its memory. `Barriers` looks at what threads wait for.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

from fdl.compile.ir.affine import row_major
from fdl.compile.ir.loops import Loops
from fdl.compile.ir.plan import ALIGNMENT, ControlStep, Plan, Slot, Step, aligned, nbytes
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest
from fdl.compile.ir.tiles import NestTile, ProductTile, TileGroup
from fdl.compile.kernels import lowering_of
from fdl.compile.schedule.verify import require, step_name
from fdl.control.cond import Cond
from fdl.core.program import Var

#: A piece of memory: what it is part of, its first byte, and the one after its last.
Place = tuple[str, int, int]


def verify_plan(plan: Plan, donate: Sequence[bool]) -> None:
    """Check the memory of a plan.

    Args:
        plan: whose steps are in order (`verify_steps`).
        donate: which inputs' memory may be overwritten.

    Raises:
        VerificationError: names the step at fault.
    """
    memory = _Memory(plan, donate)
    for number, step in enumerate(plan.steps):
        memory.step(step, step_name(number, step))
    for number, var in enumerate(plan.outputs):
        slot = plan.slots[var]
        own = slot == Slot("output", number) or (slot.kind == "input" and plan.reused.get(number) == slot.number)
        require(own, "the plan", f"output {number} is in {slot}")
        require(var in memory.intact, "the plan", f"output {number}, a {var.type}, is overwritten before the end")
    for number in memory.changed - set(plan.reused.values()):
        require(False, "the plan", f"input {number} is overwritten, and its memory is no output's")


class _Memory:
    """Which values are where they were put, while the steps of a plan run."""

    def __init__(self, plan: Plan, donate: Sequence[bool]) -> None:
        self.plan, self.slots = plan, plan.slots
        self.given = {n for n, mark in enumerate(donate) if mark}
        #: Values that can be read; numbers of inputs whose memory was written to.
        self.intact: set[Var] = {*plan.program.inputs, *(v for v, _ in plan.program.constants)}
        self.changed: set[int] = set()

    def place(self, var: Var, size: int | None = None) -> Place:
        """The memory of a value, and the first and the last byte but one in it."""
        slot, size = self.slots[var], nbytes(var.type) if size is None else size
        if slot.kind in ("arena", "private"):
            return slot.kind, slot.number, slot.number + size
        return f"{slot.kind} {slot.number}", 0, max(size, 1)

    def step(self, step: Step, where: str) -> None:
        """Run a step."""
        match step:
            case TileGroup():
                self.group(step, where)
            case LoopNest():
                self.access(step.reads, step.outputs, where, step.loops)
            case KernelStep() | HostCall() | ControlStep():
                self.equation(step, where)
            case _:
                assert_never(step)

    def equation(self, step: KernelStep | HostCall | ControlStep, where: str) -> None:
        """Run an equation with its own code, and then its epilogue."""
        equation = step.equation
        operands = list(dict.fromkeys(v.base for v in step.views if isinstance(v.base, Var)))
        work = ("arena", step.workspace, step.workspace + step.workspace_bytes)
        if step.workspace_bytes:
            require(work[2] <= self.plan.arena_bytes, where, "its workspace lies outside of the arena")
            inner = [aligned(p.arena_bytes) for p in step.plans] if isinstance(step, ControlStep) else []
            needed = sum(inner) if not isinstance(equation.operation, Cond) else 0
            require(step.workspace_bytes >= needed, where, "its workspace is too small for its inner plans")
            for var in (*operands, *step.outputs):
                require(not _overlap(self.place(var), work), where, f"its workspace is that of a {var.type}")
            self.forget(work, ())
        self.access(operands, equation.outputs, where, None, step)
        if isinstance(step, KernelStep) and step.epilogue is not None:
            after = step.outputs[len(equation.outputs) :]
            loads = list(dict.fromkeys(load.var for load in step.epilogue.reads()))
            for var in operands:
                for made in after:
                    overlap = _overlap(self.place(var), self.place(made))
                    require(not overlap, where, f"its epilogue overwrites its operand {var.type}")
            self.access(loads, after, where, step.epilogue)

    def group(self, group: TileGroup, where: str) -> None:
        """Run the members of a group, each on all of its rows: what another thread does to them is not ordered."""
        private = set(group.private)
        for var in private:
            size = group.tile_rows * group.space.inner(var) * var.type.dtype.itemsize
            slot = self.slots[var]
            require(slot.kind == "private", where, f"a private {var.type} is in {slot}")
            require(slot.number + size <= group.private_bytes, where, f"a {var.type} is outside of private memory")
        self.access(group.reads, group.outputs, where, None)
        for number, tile in enumerate(group.members):
            here = f"{where}, member {number}"
            results = [v for v in (*tile.made, *tile.sums) if v in private]
            match tile:
                case NestTile():
                    self.rows(group, tile.step.reads, results, here, tile.loops)
                case ProductTile(epilogue=None):
                    self.rows(group, tile.step.reads, results, here, None)
                case ProductTile(epilogue=NestTile(loops=loops)):
                    (result,) = tile.step.equation.outputs
                    self.rows(group, tile.step.reads, [v for v in results if v is result], here, None)
                    loads = [load.var for load in loops.reads()]
                    self.rows(group, loads, [v for v in results if v is not result], here, loops)

    def rows(
        self, group: TileGroup, reads: Iterable[Var], results: Sequence[Var], where: str, loops: Loops | None
    ) -> None:
        """Run a member on one tile of what is private."""
        places = {
            v: self.place(v, group.tile_rows * group.space.inner(v) * v.type.dtype.itemsize) for v in group.private
        }
        for var in reads:
            require(var not in places or var in self.intact, where, f"a private {var.type} is overwritten already")
        for made in results:
            for var in [v for v in places if v in self.intact and v is not made]:
                if not _overlap(places[var], places[made]):
                    continue
                if var in reads:
                    require(_in_place(loops, var, made), where, f"it overwrites a {var.type} that it reads")
                self.intact.discard(var)
        self.intact.update(results)

    def access(
        self,
        reads: Sequence[Var],
        writes: Sequence[Var],
        where: str,
        loops: Loops | None,
        step: EquationStep | None = None,
    ) -> None:
        """Read values and write others at the same time; `loops` say in which order, if they are known."""
        for var in reads:
            require(var in self.intact, where, f"it reads a {var.type} that has been overwritten")
        for made in writes:
            slot, place = self.slots[made], self.place(made)
            require(slot.kind in ("input", "output", "arena"), where, f"it writes to {slot}")
            if slot.kind == "arena":
                inside = place[1] >= 0 and place[2] <= self.plan.arena_bytes and slot.number % ALIGNMENT == 0
                require(inside, where, f"a {made.type} at {place[1]} lies outside of the arena")
            elif slot.kind == "output":
                wanted = self.plan.outputs[slot.number].type
                require(nbytes(made.type) <= nbytes(wanted), where, f"a {made.type} is put into an output {wanted}")
            else:
                require(slot.number in self.given, where, f"it writes to input {slot.number}, which was not donated")
                wanted = self.plan.program.inputs[slot.number].type
                require(nbytes(made.type) <= nbytes(wanted), where, f"a {made.type} is put into an input {wanted}")
                self.changed.add(slot.number)
            for var in reads:
                if _overlap(self.place(var), place) and var is not made:
                    own = _in_place(loops, var, made) if loops is not None else _updates(step, var, made)
                    require(own, where, f"it overwrites a {var.type} that it reads elsewhere")
            for other in writes:
                apart = other is made or made.type.size == 0 or other.type.size == 0
                require(apart or not _overlap(self.place(other), place), where, "its results lie upon each other")
            self.forget(place, (made,))
        self.intact.update(writes)

    def forget(self, place: Place, but: Sequence[Var]) -> None:
        """What lay in a place is gone."""
        gone = [v for v in self.intact if v not in but and self.slots[v].kind != "private"]
        self.intact.difference_update([v for v in gone if _overlap(self.place(v), place)])


def _overlap(a: Place, b: Place) -> bool:
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]


def _in_place(loops: Loops | None, var: Var, made: Var) -> bool:
    """Whether loops store an element of `made` where they have just read the same one of `var`, and read no other."""
    if loops is None or var.type.dtype.itemsize != made.type.dtype.itemsize:
        return False
    stores = [s for s in loops.stores if s.var is made]
    loads = [load for load in loops.reads() if load.var is var]
    return bool(stores) and all(load.flat == stores[0].flat == row_major(loops.extents) for load in loads)


def _updates(step: EquationStep | None, var: Var, made: Var) -> bool:
    """Whether an equation changes some elements of an operand, which is read nowhere else."""
    if step is None:
        return False
    operation = step.equation.operation
    place = lowering_of(operation).overwritten(operation, step.outputs.index(made), len(step.views))
    if place is None or step.views[place].base is not var:
        return False
    whole = [v for v in step.views if v.base is var]
    return len(whole) == 1 and whole[0].type.shape == made.type.shape and whole[0].offset == 0


class Barriers:
    """What threads did between the barriers of a plan, to check that they wait where they have to.

    Args:
        plan: whose code is emitted.
    """

    def __init__(self, plan: Plan) -> None:
        self.slots = plan.slots
        self.count = 0
        self.done: list[tuple[int, bool, str, list[tuple[Place, bool]]]] = []

    def __call__(self, step: Step, shared: bool, before: int, after: int) -> None:
        """Check the next step, whose code has been emitted.

        Args:
            step: which one.
            shared: whether the threads divide its work.
            before, after: barriers that had been emitted when it began and when it ended.

        Raises:
            VerificationError: threads do not wait for each other before it.
        """
        where, places = step_name(self.count, step), self.places(step)
        self.count += 1
        self.done = [d for d in self.done if d[0] >= before]
        for _, other_shared, other, accesses in self.done:
            for place, writes in accesses if shared or other_shared else ():
                for mine, i_write in places:
                    apart = not (writes or i_write) or not _overlap(place, mine)
                    require(apart, where, f"it does not wait for {other}, which uses the same memory")
        self.done.append((after, shared, where, places))

    def places(self, step: Step) -> list[tuple[Place, bool]]:
        """(memory, whether it is written) of a step."""
        found = [(self.place(v), False) for v in self.reads(step)] + [(self.place(v), True) for v in step.outputs]
        if isinstance(step, EquationStep) and step.workspace_bytes:
            found.append((("arena", step.workspace, step.workspace + step.workspace_bytes), True))
        return [(place, writes) for place, writes in found if place[2] > place[1]]

    def reads(self, step: Step) -> Iterable[Var]:
        """All that a step loads, as its loops and views say."""
        match step:
            case LoopNest():
                return [load.var for load in step.loops.reads()]
            case TileGroup():
                return step.reads
        bases = [v.base for v in step.views if isinstance(v.base, Var)]
        after = step.epilogue.reads() if isinstance(step, KernelStep) and step.epilogue is not None else []
        return bases + [load.var for load in after]

    def place(self, var: Var) -> Place:
        """The memory of a value."""
        slot = self.slots[var]
        if slot.kind == "arena":
            return slot.kind, slot.number, slot.number + nbytes(var.type)
        return f"{slot.kind} {slot.number}", 0, 1
