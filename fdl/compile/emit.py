"""From a plan to one LLVM function, ``i32 run(ptr table)``, or with threads (see `native_pool`)
``i32 run(ptr table, ptr team, i64 number, i64 count)``.

The table holds pointers: the arena, the scratch memory of kernels, the callback for host calls, a table of constants,
then the NumPy arrays of inputs and outputs, as objects: the code looks up itself where their elements are (the layout
of NumPy's array object is part of its C API), since asking Python would take longer than many programs. It returns 0,
the status of a host call that failed, or `UNUSABLE` if an input is not laid out as it has to be.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.arena import aligned
from fdl.compile.buffers import LoopsStep, Plan, SingleStep, Slot
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
from fdl.config import config
from fdl.core.program import Literal, Var
from fdl.dtypes import int8, int64

#: More inputs than this are checked in a loop.
FEW_INPUTS = 16

#: Plans of more steps, or more operands of all steps, than this are data rather than code; see `fdl.compile.tape`.
MOST_STEPS, MOST_OPERANDS = 64, 512


def untimed(plan: Plan, step: Any) -> AbstractContextManager[None]:
    """Surrounds the code of a step with nothing."""
    return nullcontext()


class Emission:
    """What all parts of one program's code share, and the function that is being emitted.

    Attributes:
        module: the module.
        target: the processor.
        build: emits the code of the present function.
        table: the present function's pointers to arena, scratch memory, ...
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
        self.frame_bytes = self.frames_taken = 0
        self.lap: Callable[[Plan, Any], AbstractContextManager[None]] = untimed
        self._constant_numbers: dict[Any, int] = {}
        self._functions: dict[str, Any] = {}
        self._local: dict[str, Any] = {}
        self.steps: dict[str, Any] = {}
        arguments = [POINTER, POINTER, I64, I64] if parallel else [POINTER]
        self.build = Build(self.module, target, new_function(self.module, ENTRY, arguments, I32, exported=True))
        self.team = Team(self.build, *self.build.function.args[1:])
        self.table = self.build.argument(0)
        self._scratch_size = ir.GlobalVariable(self.module, I64, "scratch")
        if parallel:
            self._local["scratch"] = self._own_scratch()
        self._check(overwritten)

    @property
    def arena(self) -> Any:
        """The memory of the program's values."""
        return self.local("arena", lambda: self.fetch(self.table, 0))

    @property
    def scratch(self) -> Any:
        """The scratch memory of this thread."""
        return self.local("scratch", lambda: self.fetch(self.table, 1))

    @property
    def callback(self) -> Any:
        """The function that calls Python."""
        return self.local("callback", lambda: self.fetch(self.table, 2))

    @property
    def constant_table(self) -> Any:
        """Pointers to the constants."""
        return self.local("constants", lambda: self.fetch(self.table, 3))

    def _own_scratch(self) -> Any:
        """The part of the scratch memory that belongs to this thread."""
        build = self.build.ir
        offset = build.mul(self.team.number.ir, build.load(self._scratch_size, typ=I64))
        return build.gep(self.fetch(self.table, 1), [offset], source_etype=I8)

    @contextmanager
    def inside(self, build: Build, team: Team, table: Any) -> Iterator[None]:
        """Emit into another function for a while, whose `table` begins like that of the program."""
        outside = self.build, self.team, self.table, self._local
        self.build, self.team, self.table, self._local = build, team, table, {}
        try:
            yield
        finally:
            self.build, self.team, self.table, self._local = outside

    def fetch(self, table: Any, number: int) -> Any:
        """Pointer `number` of a table."""
        with self.build.ir.goto_entry_block():
            address = self.build.ir.gep(table, [I64(number)], source_etype=POINTER)
            return self.build.ir.load(address, typ=POINTER)

    def _check(self, overwritten: Collection[int]) -> None:
        """Return `UNUSABLE` unless all inputs can be used as they are."""
        build, missing = self.build.ir, I32(0)
        wanted = [CONTIGUOUS_ALIGNED | (WRITEABLE if n in overwritten else 0) for n in range(self.inputs)]
        if self.inputs > FEW_INPUTS:
            table = self.constant(np.array(wanted, np.int32))
            with self.build.loop(0, self.inputs) as n:
                number = build.add(n.ir, I64(OBJECTS))
                array = build.load(build.gep(self.table, [number], source_etype=POINTER), typ=POINTER)
                self._require(self._missing(array, build.load(build.gep(table, [n.ir], source_etype=I32), typ=I32)))
            return
        for number, flags in enumerate(wanted):
            missing = build.or_(missing, self._missing(self.fetch(self.table, OBJECTS + number), I32(flags)))
        self._require(missing)

    def _missing(self, array: Any, wanted: Any) -> Any:
        """Which of the wanted flags an array has not."""
        build = self.build.ir
        flags = build.load(build.gep(array, [I64(FLAGS_OFFSET)], source_etype=I8), typ=I32)
        return build.xor(build.and_(flags, wanted), wanted)

    def _require(self, missing: Any) -> None:
        """Go on if nothing is missing."""
        build = self.build.ir
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
        return self.local(f"input {number}", lambda: self.elements(number))

    def output(self, number: int) -> Any:
        """The pointer to an output."""
        return self.local(f"output {number}", lambda: self.elements(self.inputs + number))

    def constant(self, value: np.ndarray) -> Any:
        """The pointer to an array that is known now."""
        return self.constant_pointer(self.constant_number(value))

    def constant_number(self, value: np.ndarray) -> int:
        """The number of a constant, which is a new one unless an equal array has one."""
        key = (value.shape, value.dtype, value.tobytes())
        if key not in self._constant_numbers:
            self._constant_numbers[key] = len(self.constants)
            self.constants.append(np.ascontiguousarray(value))
        return self._constant_numbers[key]

    def constant_pointer(self, number: int) -> Any:
        """The pointer to a constant."""
        return self.local(f"constant {number}", lambda: self.fetch(self.constant_table, number))

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

    def local(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a key in each function: values that are there in all of it."""
        if key not in self._local:
            self._local[key] = make()
        return self._local[key]

    def scratch_for(self, size: int) -> Any:
        """Scratch memory of at least `size` bytes, shared by all kernels, behind what is taken at the moment."""
        self.scratch_bytes = max(self.scratch_bytes, self.scratch_taken + size)
        return self.build.at(self.scratch, self.scratch_taken, int8)

    @contextmanager
    def frame(self, size: int) -> Iterator[Any]:
        """Memory of this thread that the body uses for nothing else; gives its distance from scratch memory's end."""
        outside, self.frames_taken = self.frames_taken, self.frames_taken + size
        self.frame_bytes = max(self.frame_bytes, self.frames_taken)
        try:
            yield self.frames_taken
        finally:
            self.frames_taken = outside

    def before_end(self, offset: int) -> Any:
        """The pointer to a place before the end of this thread's scratch memory."""
        build = self.build.ir
        place = build.sub(build.load(self._scratch_size, typ=I64), I64(offset))
        return build.gep(self.scratch, [place], source_etype=I8)

    def program(self, plan: Plan) -> None:
        """Emit the steps of the program's plan."""
        if self._is_long(plan):
            self._tape(plan, None, None, self.arena, ())
            return
        inputs, outputs = map(self.input, range(self.inputs)), map(self.output, range(self.outputs))
        PlanEmitter(self, plan, list(inputs), list(outputs), self.arena, ()).emit()

    def plan(
        self, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any], arena: Any, path: tuple[Any, ...]
    ) -> None:
        """Emit the steps of an inner plan on pointers to its inputs, outputs and arena; `path` leads to its Program.

        All threads have done their part of it when it is left.
        """
        if self._is_long(plan):
            self._tape(plan, inputs, outputs, arena, path)
        else:
            PlanEmitter(self, plan, inputs, outputs, arena, path).emit()
        self.team.barrier()

    def _is_long(self, plan: Plan) -> bool:
        operands = sum(len(step.reads) + len(step.outputs) for step in plan.steps)
        return (len(plan.steps) > MOST_STEPS or operands > MOST_OPERANDS) and "tape" not in plan.skip

    def _tape(self, *arguments: Any) -> None:
        from fdl.compile.tape import Tape

        with during("tape"):
            Tape(self, *arguments).emit()

    def finish(self) -> ir.Module:
        """Return from the function; the module."""
        self.scratch_bytes = aligned(self.scratch_bytes) + aligned(self.frame_bytes)
        size = self._scratch_size
        size.initializer, size.global_constant, size.linkage = I64(self.scratch_bytes), True, "internal"
        self.build.ir.ret(I32(0))
        return self.module


def verifier(team: Team, plan: Plan) -> Callable[[Any, bool, int, int], None]:
    """What is shown each step of a plan, as `fdl.compile.verify.Barriers`; nothing unless `config.debug_compiler`."""
    if not (config.debug_compiler and team.together):
        return lambda *_: None
    from fdl.compile.verify import Barriers

    return Barriers(plan)


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
        team = self.emission.team
        hazards, verified = Hazards(team, self.given.slots), verifier(team, self.given)
        for step in self.given.steps:
            with self.emission.lap(self.given, step):
                with during("threads"):
                    shared = team.together and shares(step)
                    if hazards.before(step, shared):
                        team.barrier()
                before = team.barriers
                self.step(step, shared)
                with during("threads"):
                    verified(step, shared, before, team.barriers)

    def step(self, step: Any, shared: bool) -> None:
        """Emit a step, which is `shared` by all threads or done by one alone."""
        from fdl.compile.emit_group import GroupEmitter
        from fdl.compile.singles import emit_single

        with nullcontext() if shared else self.emission.team.alone():
            if isinstance(step, LoopsStep):
                # What a nest of one equation needs is tried for each (`is_lowerable`): fusion is at fault.
                with during("fuse"):
                    self.loops(step)
            elif isinstance(step, GroupStep):
                with during("group"):
                    GroupEmitter(self, step).emit()
            else:
                emit_single(self, step)

    def at(self, kind: str, number: int, offset: int) -> Any:
        """The pointer to a byte of an input, an output, a constant of the emission, or the arena."""
        if kind == "constant":
            base = self.emission.constant_pointer(number)
        else:
            base = self.arena if kind == "arena" else (self.inputs if kind == "input" else self.outputs)[number]
        return self.build.ir.gep(base, [I64(offset)], source_etype=I8) if offset else base

    def place_of(self, atom: Any) -> tuple[str, int, int]:
        """Where a stored value or a literal begins, as arguments for `at`."""
        if isinstance(atom, Literal):
            return "constant", self.emission.constant_number(atom.value), 0
        slot = self.given.slots[atom]
        if slot.kind == "arena":
            return "arena", 0, slot.number
        if slot.kind == "constant":
            return "constant", self.emission.constant_number(self.constants[atom]), 0
        return slot.kind, slot.number, 0

    def workspace(self, offset: int) -> Any:
        """The pointer to an offset in the arena."""
        return self.at("arena", 0, offset)

    def pointer(self, atom: Any) -> Any:
        """The pointer to the first element of a stored value or a literal."""
        return self.at(*self.place_of(atom))

    def first(self, view: View) -> Any:
        """The pointer to the first element of a view."""
        kind, number, start = self.place_of(view.root)
        return self.at(kind, number, start + view.offset * view.type.dtype.itemsize)

    def in_place(self, view: View, var: Var) -> bool:
        """Whether `var` was given the memory that `view` shows."""
        return isinstance(view.root, Var) and self.given.slots[view.root] == self.given.slots[var]

    def loops(self, step: LoopsStep) -> None:
        """Call the function of a loop nest, with the part of its work that this thread does."""
        loops, slots, team = step.loops, self.given.slots, self.emission.team
        together = team.together
        if 0 in loops.extents:
            return
        operands, order = self.operands(step)

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
        pointers = [self.pointer(var) for var in operands]
        if units > 1:
            self.build.call_function(function, [*pointers, *team.share(units)])
            return
        with team.alone():
            self.build.call_function(function, [*pointers, *team.share(units)] if together else pointers)

    def operands(self, step: LoopsStep) -> tuple[list[Var], dict[Slot, int]]:
        """A value in each place that a nest uses, and the number of each place."""
        slots, operands = self.given.slots, dict[Slot, Var]()
        for var in (*step.reads, *step.outputs):
            operands.setdefault(slots[var], var)
        return list(operands.values()), {slot: n for n, slot in enumerate(operands)}

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
