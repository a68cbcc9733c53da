"""From a plan to one LLVM function, ``i32 run(ptr table)``, or with threads (see `native_pool`)
``i32 run(ptr table, ptr team, i64 number, i64 count)``.

The table holds pointers: the arena, the scratch memory of kernels, the callback for host calls, a table of constants,
then the NumPy arrays of inputs and outputs, as objects: the code looks up itself where their elements are (the layout
of NumPy's array object is part of its C API), since asking Python would take longer than many programs. It returns 0,
the status of a host call that failed, or `UNUSABLE` if an input is not laid out as it has to be.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.buffers import LoopsStep, Plan, SingleStep, Slot, aligned
from fdl.compile.build import Build, new_function
from fdl.compile.cost import shares
from fdl.compile.fallback import during
from fdl.compile.fuse import View
from fdl.compile.group import GroupStep
from fdl.compile.hazards import Hazards
from fdl.compile.layout import CONTIGUOUS_ALIGNED, DATA_OFFSET, ENTRY, FLAGS_OFFSET, OBJECTS, UNUSABLE, WRITEABLE
from fdl.compile.lowering import carrier
from fdl.compile.nest import NestEmitter
from fdl.compile.target import Target
from fdl.compile.team import Team
from fdl.compile.values import I8, I32, I64, POINTER, Value
from fdl.core.program import Literal, Var
from fdl.dtypes import int8, int64


class Emission:
    """What all parts of one program's code share.

    Attributes:
        module: the module.
        target: the processor.
        inputs, outputs: how many there are.
        constants: arrays that the code reads.
        hosts: for each host call the place of its equation, and the strides of its operands.
        foreign: for each call of another compiler's code the number of the constant that is replaced by its address,
            and the place of its equation.
        scratch_bytes: memory that kernels need at once.
        team: the threads that run the code.
        lap: surrounds the code of each step of a plan; with nothing unless time is taken (see `stopwatch`).
    """

    def __init__(
        self, target: Target, inputs: int, outputs: int, overwritten: Collection[int] = (), parallel: bool = False
    ) -> None:
        self.target = target
        self.module = ir.Module("program")
        self.inputs, self.outputs = inputs, outputs
        self.constants: list[np.ndarray] = []
        self.hosts: list[Any] = []
        self.foreign: list[Any] = []
        self.scratch_bytes = self.scratch_taken = 0
        self.lap: Callable[[Plan, Any], AbstractContextManager[None]] = lambda plan, step: nullcontext()
        self._constant_numbers: dict[Any, int] = {}
        self._functions: dict[str, Any] = {}
        arguments = [POINTER, POINTER, I64, I64] if parallel else [POINTER]
        self.build = Build(self.module, target, new_function(self.module, ENTRY, arguments, I32, exported=True))
        self.team = Team(self.build, *self.build.function.args[1:])
        self.table = self.build.argument(0)
        self.arena, self.scratch, self.callback, self.constant_table = map(partial(self.fetch, self.table), range(4))
        self._scratch_size = ir.GlobalVariable(self.module, I64, "scratch")
        if parallel:
            self.scratch = self._own_scratch()
        self._check(overwritten)

    def _own_scratch(self) -> Any:
        """The scratch memory of this thread."""
        build = self.build.ir
        offset = build.mul(self.team.number.ir, build.load(self._scratch_size, typ=I64))
        return build.gep(self.scratch, [offset], source_etype=I8)

    def fetch(self, table: Any, number: int) -> Any:
        """Pointer `number` of a table."""
        with self.build.ir.goto_entry_block():
            address = self.build.ir.gep(table, [I64(number)], source_etype=POINTER)
            return self.build.ir.load(address, typ=POINTER)

    def _check(self, overwritten: Collection[int]) -> None:
        """Return `UNUSABLE` unless all inputs can be used as they are."""
        build, missing = self.build.ir, I32(0)
        for number in range(self.inputs):
            wanted = I32(CONTIGUOUS_ALIGNED | (WRITEABLE if number in overwritten else 0))
            address = build.gep(self.fetch(self.table, OBJECTS + number), [I64(FLAGS_OFFSET)], source_etype=I8)
            flags = build.load(address, typ=I32)
            missing = build.or_(missing, build.xor(build.and_(flags, wanted), wanted))
        with build.if_then(build.icmp_unsigned("!=", missing, I32(0)), likely=False):
            build.ret(I32(UNUSABLE))

    def elements(self, number: int) -> Any:
        """The address of the elements of an array of the table."""
        array = self.fetch(self.table, OBJECTS + number)
        with self.build.ir.goto_entry_block():
            address = self.build.ir.gep(array, [I64(DATA_OFFSET)], source_etype=I8)
            return self.build.ir.load(address, typ=POINTER)

    def input(self, number: int) -> Any:
        """The pointer to an input."""
        return self.shared(f"input {number}", lambda: self.elements(number))

    def output(self, number: int) -> Any:
        """The pointer to an output."""
        return self.shared(f"output {number}", lambda: self.elements(self.inputs + number))

    def constant(self, value: np.ndarray) -> Any:
        """The pointer to an array that is known now."""
        key = (value.shape, value.dtype, value.tobytes())
        if key not in self._constant_numbers:
            self._constant_numbers[key] = len(self.constants)
            self.constants.append(np.ascontiguousarray(value))
        number = self._constant_numbers[key]
        return self.shared(f"constant {number}", lambda: self.fetch(self.constant_table, number))

    def foreign_address(self, path: tuple[Any, ...]) -> Any:
        """The address of the code of the equation at a path, which the process that loads this code looks up."""
        self.foreign.append((len(self.constants), path))
        self.constants.append(np.zeros(0, np.uint8))
        return self.fetch(self.constant_table, len(self.constants) - 1)

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a key."""
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]

    def scratch_for(self, size: int) -> Any:
        """Scratch memory of at least `size` bytes, shared by all kernels, behind what is taken at the moment."""
        self.scratch_bytes = max(self.scratch_bytes, self.scratch_taken + size)
        return self.build.at(self.scratch, self.scratch_taken, int8)

    def plan(
        self, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any], arena: Any, path: tuple[Any, ...] = ()
    ) -> None:
        """Emit the steps of a plan on pointers to its inputs, outputs and arena; `path` leads to its Program.

        All threads have done their part of an inner plan when it is left.
        """
        PlanEmitter(self, plan, inputs, outputs, arena, path).emit()
        if path:
            self.team.barrier()

    def finish(self) -> ir.Module:
        """Return from the function; the module."""
        size, self.scratch_bytes = self._scratch_size, aligned(self.scratch_bytes)
        size.initializer, size.global_constant, size.linkage = I64(self.scratch_bytes), True, "internal"
        self.build.ir.ret(I32(0))
        return self.module


class PlanEmitter:
    """Emits the steps of one plan."""

    def __init__(
        self,
        emission: Emission,
        plan: Plan,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        arena: Any,
        path: tuple[Any, ...],
    ) -> None:
        self.emission, self.given, self.path = emission, plan, path
        self.inputs, self.outputs, self.arena = inputs, outputs, arena
        self.constants = dict(plan.program.constants)
        self.build = emission.build
        self._places: dict[Any, int] = {}

    def emit(self) -> None:
        """Emit all steps in order."""
        from fdl.compile.emit_group import GroupEmitter
        from fdl.compile.singles import emit_single

        team = self.emission.team
        hazards = Hazards(team, self.given.slots)
        for step in self.given.steps:
            with self.emission.lap(self.given, step):
                with during("threads"):
                    shared = team.together and shares(step)
                    hazards.before(step, shared)
                with nullcontext() if shared else team.alone():
                    if isinstance(step, LoopsStep):
                        # What a nest of one equation needs is tried for each (`is_lowerable`): fusion is at fault.
                        with during("fuse"):
                            self.loops(step)
                    elif isinstance(step, GroupStep):
                        with during("group"):
                            GroupEmitter(self, step).emit()
                    else:
                        emit_single(self, step)

    def at_slot(self, slot: Slot, var: Var) -> Any:
        """The pointer to a slot."""
        if slot.kind == "input":
            return self.inputs[slot.number]
        if slot.kind == "output":
            return self.outputs[slot.number]
        if slot.kind == "constant":
            return self.emission.constant(self.constants[var])
        return self.workspace(slot.number)

    def workspace(self, offset: int) -> Any:
        """The pointer to an offset in the arena."""
        return self.build.ir.gep(self.arena, [I64(offset)], source_etype=I8) if offset else self.arena

    def pointer(self, atom: Any) -> Any:
        """The pointer to the first element of a stored value or a literal."""
        if isinstance(atom, Literal):
            return self.emission.constant(atom.value)
        return self.at_slot(self.given.slots[atom], atom)

    def first(self, view: View) -> Any:
        """The pointer to the first element of a view."""
        pointer, size = self.pointer(view.root), view.type.dtype.itemsize
        return self.build.ir.gep(pointer, [I64(view.offset * size)], source_etype=I8) if view.offset else pointer

    def in_place(self, view: View, var: Var) -> bool:
        """Whether `var` was given the memory that `view` shows."""
        return isinstance(view.root, Var) and self.given.slots[view.root] == self.given.slots[var]

    def loops(self, step: LoopsStep) -> None:
        """Call the function of a loop nest, with the part of its work that this thread does."""
        loops, slots, team = step.loops, self.given.slots, self.emission.team
        together = team.together
        if 0 in loops.extents:
            return
        operands: dict[Slot, Var] = {}
        for var in (*step.reads, *step.outputs):
            operands.setdefault(slots[var], var)
        order = {slot: n for n, slot in enumerate(operands)}

        def make() -> ir.Function:
            name = self.emission.module.get_unique_name("nest")
            types = [POINTER] * len(operands) + [I64, I64] * together
            function = new_function(self.emission.module, name, types)
            function.attributes.add("noinline")
            build = Build(self.emission.module, self.emission.target, function)
            nest = NestEmitter(build, loops, lambda var: function.args[order[slots[var]]])
            part = (build.argument(-2, int64), build.argument(-1, int64)) if together else None
            units = nest.divide(lambda _: part) if part else 1
            nest.emit()
            build.ret()
            return function, units

        key = loops.key(lambda var: order[slots[var]])
        function, units = self.emission.shared(f"{key} {together}", make)
        pointers = [self.pointer(var) for var in operands.values()]
        if units > 1:
            self.build.call_function(function, [*pointers, *team.share(units)])
            return
        with team.alone():
            self.build.call_function(function, [*pointers, *team.share(units)] if together else pointers)

    def place(self, step: SingleStep) -> int:
        """The number of the equation of a step."""
        if not self._places:
            self._places = {equation: n for n, equation in enumerate(self.given.program.equations)}
        return self._places[step.equation]

    def host(self, step: SingleStep) -> None:
        """Call Python for a step."""
        emission = self.emission
        number = len(emission.hosts)
        emission.hosts.append(((*self.path, self.place(step)), tuple(v.strides for v in step.views)))
        self.call_outside(step, emission.callback, [I64(number)])

    def foreign(self, step: SingleStep) -> None:
        """Call another compiler's code for a step."""
        self.call_outside(step, self.emission.foreign_address((*self.path, self.place(step))), [])

    def call_outside(self, step: SingleStep, function: Any, arguments: list[Any]) -> None:
        """Call a function that takes a table of pointers to operands and results last, and returns a status."""
        emission, build = self.emission, self.build
        pointers = [self.first(v) for v in step.views] + [self.pointer(v) for v in step.equation.outputs]
        table = build.stack_slot(POINTER, max(len(pointers), 1))
        with emission.team.alone():
            for n, pointer in enumerate(pointers):
                build.ir.store(pointer, build.ir.gep(table, [I64(n)], source_etype=POINTER))
            status = build.call_pointer(function, I32, [*arguments, table])
            with build.ir.if_then(build.ir.icmp_signed("!=", status, I32(0)), likely=False):
                emission.team.fail(status)

    def load_scalar(self, view: View) -> Value:
        """The value of a scalar operand."""
        return self.build.load(self.first(view), carrier(view.type.dtype))

    def copy(self, source: Any, target: Any, size: int | Value) -> None:
        """Copy bytes between places that do not overlap."""
        name, boolean = "llvm.memcpy.p0.p0.i64", ir.IntType(1)
        function = self.build.declare(name, ir.VoidType(), [POINTER, POINTER, I64, boolean])
        self.build.ir.call(function, [target, source, self.build.index(size).ir, boolean(0)])
