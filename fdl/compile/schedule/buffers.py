"""Memory: where every stored value lives, and when its place is free again."""

from collections import deque
from collections.abc import Iterator

from fdl.compile.fallback import Skip
from fdl.compile.ir.affine import row_major, strides
from fdl.compile.ir.loops import Loops
from fdl.compile.ir.plan import ControlStep, Plan, Slot, Step, nbytes
from fdl.compile.ir.steps import EquationStep, KernelStep, LoopNest, View
from fdl.compile.ir.tiles import NestTile, TileGroup
from fdl.compile.kernels import lowering_of
from fdl.compile.schedule.arena import Arena
from fdl.compile.schedule.fuse import Schedule
from fdl.core.program import Var
from fdl.core.types import TensorType


class Placement:
    """Gives every stored value a slot, walking through the steps."""

    def __init__(
        self, schedule: Schedule, steps: list[Step], donate: tuple[bool, ...], carry: dict[int, int] | None, skip: Skip
    ) -> None:
        #: Whether values may take the place of others; otherwise each has its own.
        self.reuses = "reuse" not in skip
        if not self.reuses:
            donate, carry = (), None
        self.schedule, self.steps, self.carry, self.skip = schedule, steps, carry, skip
        program = schedule.program
        self.slots = {v: Slot("input", n) for n, v in enumerate(program.inputs)}
        self.slots.update((v, Slot("constant", n)) for n, (v, _) in enumerate(program.constants))
        self.outputs = {v: n for n, v in enumerate(schedule.outputs)}
        self.last: dict[Var, int] = {}
        for number, step in enumerate(steps):
            for var in (*step.reads, *step.outputs):
                self.last[var] = number
        self.last.update((v, len(steps)) for v in self.outputs)
        #: What is in the memory of each donated input that no output has, and where nothing is read any more, by type.
        self.donated = {n: program.inputs[n] for n, mark in enumerate(donate) if mark}
        self.given_up: dict[TensorType, deque[int]] = {}
        for n, var in self.donated.items():
            if var not in self.last:
                self.give_up(n, var)
        self.reused: dict[int, int] = {}
        self.overwritten: set[int] = set()
        self.arena = Arena(self.reuses)

    def plan(self) -> Plan:
        """Place everything."""
        for number, step in enumerate(self.steps):
            dead = [v for v in step.reads if self.last[v] == number and self.slots[v].kind == "arena"]
            summed = self.summed_elsewhere(step, number)
            for var in step.outputs:
                if var is not summed:
                    self.place(var, step, number, dead)
            if summed is not None:
                self.place_sum(summed, step)
            if isinstance(step, TileGroup):
                self.place_private(step)
            if isinstance(step, EquationStep) and step.workspace_bytes:
                step.workspace = self.arena.allocate(step.workspace_bytes)
                self.arena.free(step.workspace)
            for var in dead:
                self.arena.free(self.slots[var].number)
            for var in (*step.reads, *step.outputs):
                if self.last[var] == number and (given := self.donated_number(var)) is not None:
                    self.give_up(given, var)
            for slot in {self.slots[var] for var in step.outputs if self.last[var] == number}:
                if slot.kind == "arena" and all(self.last[v] == number for v in step.outputs if self.slots[v] == slot):
                    self.arena.free(slot.number)
        program, outputs = self.schedule.program, self.schedule.outputs
        return Plan(program, self.steps, outputs, self.slots, self.arena.peak, self.reused, self.skip)

    def place(self, var: Var, step: Step, number: int, dead: list[Var]) -> None:
        """Choose the slot of what a step makes."""
        if var in self.outputs:
            self.slots[var] = self.donated_slot(var, step, number) or Slot("output", self.outputs[var])
            return
        for other in dead:
            if self.may_overwrite(var, other, step):
                self.slots[var] = self.slots[other]
                dead.remove(other)
                return
        updated = self.updated(var, step, number)
        if updated is not None:
            self.slots[var] = self.slots[updated]
            self.donated[self.slots[var].number] = var
            self.overwritten.add(self.slots[var].number)
            return
        self.slots[var] = Slot("arena", self.arena.allocate(nbytes(var.type)))

    def place_private(self, group: TileGroup) -> None:
        """Choose places in a thread's memory for what a group keeps to itself."""
        memory = Arena(self.reuses)
        last = {v: n for n, tile in enumerate(group.members) for v in (*tile.step.reads, *tile.made)}
        private = set(group.private)
        for number, tile in enumerate(group.members):
            loops = tile.loops if isinstance(tile, NestTile) else None
            dead = [v for v in tile.step.reads if v in private and last[v] == number]
            # The result of a product shares the place of what its epilogue makes of it.
            for var in reversed(tile.made):
                if var not in private:
                    continue
                shared = [v for v in dead if self.reuses and _in_place(var, v, loops)]
                if last[var] == number and self.reuses:
                    shared += [
                        v for v in tile.made if v is not var and v in self.slots and v.type.dtype == var.type.dtype
                    ]
                if shared:
                    self.slots[var] = self.slots[shared[0]]
                    dead = [v for v in dead if v is not shared[0]]
                else:
                    size = group.tile_rows * group.space.inner(var) * var.type.dtype.itemsize
                    self.slots[var] = Slot("private", memory.allocate(size))
            gone = {self.slots[v] for v in (*dead, *tile.made) if v in private and last[v] == number}
            kept = {self.slots[v] for v in tile.made if v in private and last[v] > number}
            for slot in (s for s in gone - kept if s.kind == "private"):
                memory.free(slot.number)
        group.private_bytes = memory.peak

    def updated(self, var: Var, step: Step, number: int) -> Var | None:
        """What has the memory of a donated input, if an equation makes `var` by changing some of its elements."""
        for other in step.reads if _is_one_operation(step) else ():
            mine = self.donated_number(other) is not None and other.type == var.type and self.last[other] == number
            if mine and self.may_overwrite(var, other, step):
                return other
        return None

    def donated_number(self, var: Var) -> int | None:
        """The number of the donated input in whose memory a value is, unless an output has it."""
        slot = self.slots[var]
        return slot.number if slot.kind == "input" and self.donated.get(slot.number) is var else None

    def give_up(self, number: int, var: Var) -> None:
        """Remember that the memory of a donated input, which `var` is in, is not read any more."""
        self.given_up.setdefault(var.type, deque()).append(number)

    def summed_elsewhere(self, step: Step, number: int) -> Var | None:
        """The result of a kernel that only its epilogue reads."""
        if not self.reuses or not isinstance(step, KernelStep) or step.epilogue is None:
            return None
        (var,) = step.equation.outputs
        return var if self.last[var] == number and var not in self.outputs else None

    def place_sum(self, var: Var, step: Step) -> None:
        """Let a kernel sum up in the memory of what its epilogue makes, unless something is read there."""
        taken = {self.slots[v] for v in step.reads}
        for other in step.outputs:
            if other is not var and other.type.dtype == var.type.dtype and self.slots[other] not in taken:
                self.slots[var] = self.slots[other]
                return
        self.slots[var] = Slot("arena", self.arena.allocate(nbytes(var.type)))

    def donated_slot(self, var: Var, step: Step, number: int) -> Slot | None:
        """The memory of a donated input that nothing reads any more."""
        for given in self.candidates(var, step, number):
            other = self.donated.get(given)
            if other is None or other.type != var.type:
                continue
            last = self.last.get(other, -1)
            if last < number or (last == number and self.may_overwrite(var, other, step)):
                del self.donated[given]
                self.reused[self.outputs[var]] = given
                return self.slots[other]
        return None

    def candidates(self, var: Var, step: Step, number: int) -> Iterator[int]:
        """Numbers of donated inputs whose memory an output may take: what `step` reads, then what nothing reads now."""
        if self.carry is not None:
            yield from (n for n in [self.carry.get(self.outputs[var])] if n is not None)
            return
        own = [self.updated(var, step, number), *(() if isinstance(step, ControlStep) else step.reads)]
        yield from [n for v in own if v is not None and (n := self.donated_number(v)) is not None]
        given_up = self.given_up.get(var.type)
        while given_up:
            yield given_up.popleft()

    def may_overwrite(self, var: Var, other: Var, step: Step) -> bool:
        """Whether `step` reads each element of `other` only just before it writes the same bytes of `var`."""
        if not self.reuses or isinstance(step, TileGroup):
            return False
        if isinstance(step, LoopNest):
            return _in_place(var, other, step.loops)
        operation, views = step.equation.operation, step.views
        made = step.equation.outputs
        place = lowering_of(operation).overwritten(operation, made.index(var), len(views)) if var in made else None
        if place is not None:
            # The kernel writes only places that it has read, or does not read at all; its epilogue comes afterwards.
            whole = View(other, 0, strides(var.type.shape), var.type)
            epilogue = step.epilogue if isinstance(step, KernelStep) else None
            afterwards = epilogue is not None and any(load.var is other for load in epilogue.reads())
            elsewhere = any(v.base is other for n, v in enumerate(views) if n != place)
            return views[place] == whole and not elsewhere and not afterwards
        if not isinstance(step, KernelStep) or any(v.base is other for v in views):
            return False
        return _in_place(var, other, step.epilogue)


def _is_one_operation(step: Step) -> bool:
    """Whether a step is an equation, and holds no plans."""
    return isinstance(step, EquationStep) and not isinstance(step, ControlStep)


def _in_place(var: Var, other: Var, loops: Loops | None) -> bool:
    """Whether loops read each element of `other` only just before they write the same bytes of `var`."""
    if loops is None or all(s.var is not var for s in loops.stores):
        return False
    if nbytes(var.type) != nbytes(other.type) or var.type.dtype.itemsize != other.type.dtype.itemsize:
        return False
    here = row_major(loops.extents)
    return all(load.flat == here and not load.guards for load in loops.reads() if load.var is other)
