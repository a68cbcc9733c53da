"""Checking a schedule against its own rules, apart from the passes that made it; on where `config.debug_compiler` is.

`verify_steps` looks at the steps of a Program after each pass over them: values are made once and before they are
used, every access is inside of its array, every result is written completely, every reduction runs through all that it
reduces. `verify_plan` looks at the memory that values were given: nothing is overwritten that is read later.
`Barriers` looks at what threads wait for.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import assert_never

from fdl.compile.ir.affine import Affine, row_major
from fdl.compile.ir.body import Load
from fdl.compile.ir.loops import Loops, Reduce, Store, operands_of
from fdl.compile.ir.plan import ALIGNMENT, ControlStep, Plan, Slot, Step, aligned, nbytes
from fdl.compile.ir.reductions import REDUCTIONS
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest, View
from fdl.compile.ir.tiles import NestTile, ProductTile, TileGroup
from fdl.compile.kernels import lowering_of
from fdl.compile.schedule.fuse import is_nothing
from fdl.control.cond import Cond
from fdl.core.program import Literal, Program, Var
from fdl.errors import VerificationError

#: Guarded loads of nests with more iterations are tried at the ends of each loop only.
_ALL = 2048


#: A piece of memory: what it is part of, its first byte, and the one after its last.
Place = tuple[str, int, int]


def _require(condition: bool, where: str, what: str) -> None:
    if not condition:
        raise VerificationError(f"{where}: {what}")


def verify_steps(steps: Sequence[Step], program: Program, outputs: Iterable[Var]) -> None:
    """Check steps before they have memory.

    Args:
        steps: in the order in which they run.
        program: whose values they make.
        outputs: values that the steps have to make.

    Raises:
        VerificationError: names the step at fault.
    """
    made = {*program.inputs, *(v for v, _ in program.constants)}
    for number, step in enumerate(steps):
        where = _name(number, step)
        for var in step.reads:
            _require(var in made, where, f"it reads a {var.type} that no step before it makes")
        for var in step.outputs:
            _require(var not in made, where, f"it makes a {var.type} that was made before")
        made.update(step.outputs)
        match step:
            case LoopNest():
                _verify_nest(step.loops, step, where)
            case TileGroup():
                _verify_group(step, where)
            case KernelStep() | HostCall() | ControlStep():
                _verify_equation(step, where)
            case _:
                assert_never(step)
    for var in outputs:
        _require(var in made, "the schedule", f"no step makes an output {var.type}")
    _verify_reductions(steps, program)
    _verify_effects(steps, program)


def _name(number: int, step: Step) -> str:
    made = ", ".join(str(v.type) for v in step.outputs)
    if isinstance(step, EquationStep):
        return f"step {number} ({step.equation.operation.name}, {step.equation.source}, makes {made})"
    return f"step {number} (makes {made})"


def _verify_nest(loops: Loops, step: LoopNest | EquationStep, where: str, results: Iterable[Var] | None = None) -> None:
    """Check the loops of a step, or its epilogue, which makes `results` (all of the step if none are given)."""
    wanted = set(step.outputs if results is None else results)
    stored = [s.var for s in loops.results()]
    _require(set(stored) == wanted and len(stored) == len(wanted), where, "its loops do not store each result once")
    for load in loops.reads():
        _require(load.var in step.reads or load.var in step.outputs, where, f"it loads a {load.var.type} unsaid")
        _require(_is_inside(load), where, f"it loads from outside of a {load.var.type}, at {load.flat}")
    for number, instruction in enumerate(loops.instructions):
        for operand in operands_of(instruction):
            _require(operand < number, where, f"instruction {number} uses instruction {operand}, which comes later")
    for item in loops.results():
        _require(0 <= item.number < len(loops.instructions), where, "it stores an instruction that it has not")
        marks = loops.reduced if isinstance(item, Reduce) else (False,) * len(loops.extents)
        _require(_covers(item.flat, loops.extents, marks, item.var.type.size), where, _uncovered(item))


def _uncovered(item: Store | Reduce) -> str:
    return f"it does not write each element of a {item.var.type} once, at {item.flat}"


def _is_inside(load: Load) -> bool:
    """Whether all that is loaded lies inside of its array."""
    size, extents = load.var.type.size, load.flat.extents
    if 0 in extents:
        return True
    if not load.guards:
        low, high = load.flat.bounds()
        return low >= 0 and high < size
    whole = prod(extents) <= _ALL
    ranges = [range(n) if whole or n <= 4 else (0, 1, n // 2, n - 2, n - 1) for n in extents]
    for index in product(*ranges):
        if all(0 <= _at(a, index) < extent for a, extent in load.guards) and not 0 <= _at(load.flat, index) < size:
            return False
    return True


def _at(affine: Affine, index: Sequence[int]) -> int:
    return affine.constant + sum(c * i for c, i in zip(affine.coefficients, index, strict=True))


def _covers(flat: Affine, extents: Sequence[int], reduced: Sequence[bool], size: int) -> bool:
    """Whether the loops that are not reduced run through each element of an array once, and the others stay there."""
    if 0 in extents:
        return True
    moving = []
    for step, extent, mark in zip(flat.coefficients, extents, reduced, strict=True):
        if mark and step:
            return False
        if not mark and extent > 1:
            moving.append((step, extent))
    reached = 1
    for step, extent in sorted(moving):
        if step != reached:
            return False
        reached *= extent
    return flat.constant == 0 and reached == size


def _verify_equation(step: EquationStep, where: str) -> None:
    equation = step.equation
    if is_nothing(equation):
        return
    _require(list(equation.outputs) == step.outputs[: len(equation.outputs)], where, "it does not make its results")
    _require(len(step.views) == len(equation.inputs), where, "it has not as many operands as its equation")
    for view, atom in zip(step.views, equation.inputs, strict=True):
        _require(view.type == atom.type, where, f"it reads a {view.type} as an operand {atom.type}")
        _require(isinstance(view.base, Literal) or view.base in step.reads, where, "it reads an operand unsaid")
        _require(_view_is_inside(view), where, f"an operand lies outside of the {view.base.type} that it is part of")
    if isinstance(step, KernelStep) and step.epilogue is not None:
        _verify_nest(step.epilogue, step, where, step.outputs[len(equation.outputs) :])
    else:
        _require(len(step.outputs) == len(equation.outputs), where, "it makes too much")


def _view_is_inside(view: View) -> bool:
    if view.type.size == 0:
        return True
    low, high = Affine(view.offset, view.strides, view.type.shape).bounds()
    return low >= 0 and high < view.base.type.size


def _verify_group(group: TileGroup, where: str) -> None:
    """Check that members read of each other only what is there, in their own rows."""
    own: set[Var] = set()
    late: set[Var] = set()
    for number, tile in enumerate(group.members):
        here = f"{where}, member {number}"
        for var in tile.step.reads:
            _require(var in own or var in group.reads, here, f"it reads a {var.type} that is not made yet")
            _require(var not in late, here, f"it reads a {var.type} before all of its rows are summed up")
            _require(var not in own or tile.reads_own(var), here, f"it reads other rows of a {var.type}")
        own.update(tile.made)
        late.update(tile.sums)
        match tile:
            case NestTile():
                _require(tile.is_valid, here, "it does not fall into rows")
                _verify_nest(tile.loops, tile.step, here)
            case ProductTile():
                _verify_equation(tile.step, here)
    known = own | late
    _require(known.isdisjoint(group.private) or set(group.private) <= own, where, "a sum over rows is private")
    for var in group.outputs:
        _require(var in known or var in group.chunk_sums.values(), where, f"no member makes an output {var.type}")
    for var in known - set(group.private) - set(group.outputs):
        _require(var in group.chunk_sums, where, f"a {var.type} is neither an output nor private")
    for var, part in group.chunk_sums.items():
        _require(var in late, where, f"no member sums up a {var.type}")
        _require(part.type.shape == (group.work, var.type.size), where, f"the sums of its chunks are a {part.type}")


def _nests(steps: Iterable[Step]) -> Iterator[tuple[Loops, dict[Var, Var]]]:
    """All loops with reductions, and what they make instead of their results."""
    for step in steps:
        if isinstance(step, LoopNest):
            yield step.loops, {}
        elif isinstance(step, TileGroup):
            yield from ((tile.loops, step.chunk_sums) for tile in step.members if isinstance(tile, NestTile))


def _verify_reductions(steps: Sequence[Step], program: Program) -> None:
    """Check that reductions run through all elements, also those that are made in parts which are added up later."""
    wanted: dict[Var, tuple[int, str]] = {}
    for equation in program.equations:
        kind = REDUCTIONS.get(type(equation.operation))
        if kind is not None:
            wanted[equation.outputs[0]] = equation.inputs[0].type.size, kind
    given = {*program.inputs, *(v for v, _ in program.constants), *(v for e in program.equations for v in e.outputs)}
    for loops, chunk_sums in reversed(list(_nests(steps))):
        for reduction in loops.reductions:
            where = f"a reduction to {reduction.var.type}"
            var = chunk_sums.get(reduction.var, reduction.var)
            _require(var in wanted, where, "nothing needs it")
            count, kind = wanted[var]
            _require(reduction.kind == kind, where, f"it is a {reduction.kind} instead of a {kind}")
            source = loops.instructions[reduction.number]
            if isinstance(source, Load) and source.var not in given:
                # The last part of a reduction, of what its first part has left.
                wanted[source.var] = count, kind
                count = source.var.type.size
                _require(
                    _covers(source.flat, loops.extents, (False,) * len(loops.extents), count), where, "parts missing"
                )
            iterations = prod(loops.extents)
            _require(iterations == count, where, f"it runs through {iterations} of {count} elements")


def _verify_effects(steps: Iterable[Step], program: Program) -> None:
    """Check that what has effects runs once each, in the order of the program."""
    found = [s.equation for s in steps if isinstance(s, EquationStep) and s.equation.operation.effect]
    wanted = [e for e in program.equations if e.operation.effect]
    _require(found == wanted, "the schedule", "operations with effects do not run once each in the program's order")


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
        memory.step(step, _name(number, step))
    for number, var in enumerate(plan.outputs):
        slot = plan.slots[var]
        own = slot == Slot("output", number) or (slot.kind == "input" and plan.reused.get(number) == slot.number)
        _require(own, "the plan", f"output {number} is in {slot}")
        _require(var in memory.intact, "the plan", f"output {number}, a {var.type}, is overwritten before the end")
    for number in memory.changed - set(plan.reused.values()):
        _require(False, "the plan", f"input {number} is overwritten, and its memory is no output's")


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
            _require(work[2] <= self.plan.arena_bytes, where, "its workspace lies outside of the arena")
            inner = [aligned(p.arena_bytes) for p in step.plans] if isinstance(step, ControlStep) else []
            needed = sum(inner) if not isinstance(equation.operation, Cond) else 0
            _require(step.workspace_bytes >= needed, where, "its workspace is too small for its inner plans")
            for var in (*operands, *step.outputs):
                _require(not _overlap(self.place(var), work), where, f"its workspace is that of a {var.type}")
            self.forget(work, ())
        self.access(operands, equation.outputs, where, None, step)
        if isinstance(step, KernelStep) and step.epilogue is not None:
            after = step.outputs[len(equation.outputs) :]
            loads = list(dict.fromkeys(load.var for load in step.epilogue.reads()))
            for var in operands:
                for made in after:
                    overlap = _overlap(self.place(var), self.place(made))
                    _require(not overlap, where, f"its epilogue overwrites its operand {var.type}")
            self.access(loads, after, where, step.epilogue)

    def group(self, group: TileGroup, where: str) -> None:
        """Run the members of a group, each on all of its rows: what another thread does to them is not ordered."""
        private = set(group.private)
        for var in private:
            size = group.block * group.space.inner(var) * var.type.dtype.itemsize
            slot = self.slots[var]
            _require(slot.kind == "private", where, f"a private {var.type} is in {slot}")
            _require(slot.number + size <= group.private_bytes, where, f"a {var.type} is outside of private memory")
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
        """Run a member on one block of rows of what is private."""
        places = {v: self.place(v, group.block * group.space.inner(v) * v.type.dtype.itemsize) for v in group.private}
        for var in reads:
            _require(var not in places or var in self.intact, where, f"a private {var.type} is overwritten already")
        for made in results:
            for var in [v for v in places if v in self.intact and v is not made]:
                if not _overlap(places[var], places[made]):
                    continue
                if var in reads:
                    _require(_in_place(loops, var, made), where, f"it overwrites a {var.type} that it reads")
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
            _require(var in self.intact, where, f"it reads a {var.type} that has been overwritten")
        for made in writes:
            slot, place = self.slots[made], self.place(made)
            _require(slot.kind in ("input", "output", "arena"), where, f"it writes to {slot}")
            if slot.kind == "arena":
                inside = place[1] >= 0 and place[2] <= self.plan.arena_bytes and slot.number % ALIGNMENT == 0
                _require(inside, where, f"a {made.type} at {place[1]} lies outside of the arena")
            elif slot.kind == "output":
                wanted = self.plan.outputs[slot.number].type
                _require(nbytes(made.type) <= nbytes(wanted), where, f"a {made.type} is put into an output {wanted}")
            else:
                _require(slot.number in self.given, where, f"it writes to input {slot.number}, which was not donated")
                wanted = self.plan.program.inputs[slot.number].type
                _require(nbytes(made.type) <= nbytes(wanted), where, f"a {made.type} is put into an input {wanted}")
                self.changed.add(slot.number)
            for var in reads:
                if _overlap(self.place(var), place) and var is not made:
                    own = _in_place(loops, var, made) if loops is not None else _updates(step, var, made)
                    _require(own, where, f"it overwrites a {var.type} that it reads elsewhere")
            for other in writes:
                apart = other is made or made.type.size == 0 or other.type.size == 0
                _require(apart or not _overlap(self.place(other), place), where, "its results lie upon each other")
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
        where, places = _name(self.count, step), self.places(step)
        self.count += 1
        self.done = [d for d in self.done if d[0] >= before]
        for _, other_shared, other, accesses in self.done:
            for place, writes in accesses if shared or other_shared else ():
                for mine, i_write in places:
                    apart = not (writes or i_write) or not _overlap(place, mine)
                    _require(apart, where, f"it does not wait for {other}, which uses the same memory")
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
