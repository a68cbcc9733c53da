"""Code of the steps of one plan."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import assert_never

from llvmlite import ir

from fdl.compile.codegen.emission import Emission
from fdl.compile.codegen.group import GroupEmitter
from fdl.compile.codegen.hazards import Hazards
from fdl.compile.codegen.kernel_step import emit_kernel
from fdl.compile.fallback import during
from fdl.compile.ir.host import HostOperation
from fdl.compile.ir.plan import ControlStep, Plan, Slot, Step
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest, View
from fdl.compile.ir.tiles import TileGroup
from fdl.compile.kernels import control_of
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.layout import HOST, POLL
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import I8, I32, I64, POINTER, Value, transport_dtype
from fdl.compile.loopnest.epilogue import EpilogueEmitter
from fdl.compile.loopnest.nest import NestEmitter
from fdl.compile.loopnest.team import Team
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.cost import plan_time, shares
from fdl.config import config
from fdl.core.program import Atom, Literal, Program, Var
from fdl.dtypes import int64


def verifier(team: Team, plan: Plan) -> Callable[[Step, bool, int, int], None]:
    """What is shown each step of a plan (`schedule.verify_memory.Barriers`); nothing unless `debug_compiler`."""
    if not (config.debug_compiler and team.together):
        return lambda *_: None
    from fdl.compile.schedule.verify_memory import Barriers

    return Barriers(plan)


class PlanEmitter:
    """Emits the steps of one plan."""

    def __init__(
        self,
        emission: Emission,
        plan: Plan,
        inputs: Sequence[ir.Value],
        outputs: Sequence[ir.Value],
        arena: ir.Value,
    ) -> None:
        self.emission, self.given = emission, plan
        self.inputs, self.outputs, self.arena = inputs, outputs, arena
        self.constants = dict(plan.program.constants)
        self.build = emission.build

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

    def step(self, step: Step, shared: bool) -> None:
        """Emit a step, which is `shared` by all threads or done by one alone."""
        with nullcontext() if shared else self.emission.team.alone():
            match step:
                case LoopNest():
                    # What a nest of one equation needs is tried for each (`is_lowerable`): fusion is at fault.
                    with during("fuse"):
                        self.loops(step)
                case TileGroup():
                    with during("group"):
                        GroupEmitter(self, step).emit()
                case ControlStep():
                    with during("control"):
                        control = control_of(step.equation.operation)
                        assert control is not None
                        control.emit(self, step)
                case KernelStep():
                    emit_kernel(self, step)
                case HostCall():
                    with during("kernels"):
                        self.host(step)
                case _:
                    assert_never(step)

    def at(self, kind: str, number: int, offset: int) -> ir.Value:
        """The pointer to a byte of an input, an output, a constant of the emission, or the arena."""
        if kind == "constant":
            base = self.emission.constant_pointer(number)
        else:
            base = self.arena if kind == "arena" else (self.inputs if kind == "input" else self.outputs)[number]
        return self.build.ir.gep(base, [I64(offset)], source_etype=I8) if offset else base

    def place_of(self, atom: Atom) -> tuple[str, int, int]:
        """Where a stored value or a literal begins, as arguments for `at`."""
        if isinstance(atom, Literal):
            return "constant", self.emission.constant_number(atom.value), 0
        slot = self.given.slots[atom]
        if slot.kind == "arena":
            return "arena", 0, slot.number
        if slot.kind == "constant":
            return "constant", self.emission.constant_number(self.constants[atom]), 0
        return slot.kind, slot.number, 0

    def workspace(self, offset: int) -> ir.Value:
        """The pointer to an offset in the arena."""
        return self.at("arena", 0, offset)

    def pointer(self, atom: Atom) -> ir.Value:
        """The pointer to the first element of a stored value or a literal."""
        return self.at(*self.place_of(atom))

    def first(self, view: View) -> ir.Value:
        """The pointer to the first element of a view."""
        kind, number, start = self.place_of(view.base)
        return self.at(kind, number, start + view.offset * view.type.dtype.itemsize)

    def in_place(self, view: View, var: Var) -> bool:
        """Whether `var` was given the memory that `view` shows."""
        return isinstance(view.base, Var) and self.given.slots[view.base] == self.given.slots[var]

    def loops(self, step: LoopNest) -> None:
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

    def operands(self, step: LoopNest) -> tuple[list[Var], dict[Slot, int]]:
        """A value in each place that a nest uses, and the number of each place."""
        slots, operands = self.given.slots, dict[Slot, Var]()
        for var in (*step.reads, *step.outputs):
            operands.setdefault(slots[var], var)
        return list(operands.values()), {slot: n for n, slot in enumerate(operands)}

    def epilogue(self, step: KernelStep, axes: int) -> EpilogueEmitter | None:
        """The epilogue of a step for a kernel that runs through the last `axes` axes of the result, if there is one."""
        return None if step.epilogue is None else EpilogueEmitter(step, self.given.slots, axes)

    def prepared(self, program: Program) -> Program:
        """A Program that an operation holds, after all passes."""
        return prepared(program, self.given.skip)

    def host(self, step: EquationStep) -> None:
        """Call Python for a step."""
        emission = self.emission
        number = len(emission.hosts)
        emission.hosts.append(host_operation(step))
        self.call_outside(step, emission.callback(HOST), [emission.callbacks, I64(number)])

    def foreign(self, step: EquationStep) -> None:
        """Call another compiler's code for a step."""
        self.call_outside(step, self.emission.foreign_address(host_operation(step)), [])

    def routine(self, step: EquationStep, name: str) -> ir.Value:
        """The address of a routine of LAPACK that the kernel of a step calls."""
        return self.emission.routine(name, host_operation(step))

    def call_outside(self, step: EquationStep, function: ir.Value, arguments: list[ir.Value]) -> None:
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

    def poll(self, plans: Sequence[Plan], number: Value, last: int | None = None) -> None:
        """In a loop around plans, look for signals every so many iterations.

        Args:
            plans: which run in every iteration.
            number: of the iteration, from 0.
            last: how many there are, if that is known; a short loop looks for none.
        """
        build, wanted = self.build, host_target().tuning.signal_time
        every = 1 << max(int(math.log2(wanted / max(sum(map(plan_time, plans)), 2e-3))), 0)
        if last is not None and last < every:
            return
        due = build.eq(build.and_(number, build.index(every - 1)), build.index(every - 1))
        with build.if_(due, likely=False), self.emission.team.alone():
            self.look_for_signals()

    def look_for_signals(self) -> None:
        """Let Python handle the signals that have come; if a handler raises, end the function.

        One thread does it alone.
        """
        emission, build = self.emission, self.build
        with build.ir.if_then(build.ir.icmp_unsigned("!=", emission.callbacks, POINTER(None))):
            poll = emission.callback(POLL)
            with build.ir.if_then(build.ir.icmp_unsigned("!=", poll, POINTER(None))):
                status = build.call_pointer(poll, I32, [emission.callbacks])
                with build.ir.if_then(build.ir.icmp_signed("!=", status, I32(0)), likely=False):
                    emission.team.fail(status)

    def load_scalar(self, view: View) -> Value:
        """The value of a scalar operand."""
        return self.build.load(self.first(view), transport_dtype(view.type.dtype))

    def copy(self, source: ir.Value, target: ir.Value, size: int | Value) -> None:
        """Copy bytes between places that do not overlap."""
        name, boolean = "llvm.memcpy.p0.p0.i64", ir.IntType(1)
        function = self.build.declare(name, ir.VoidType(), [POINTER, POINTER, I64, boolean])
        self.build.ir.call(function, [target, source, self.build.index(size).ir, boolean(0)])


def host_operation(step: EquationStep) -> HostOperation:
    """A step as what calls it from native code has to know it."""
    return HostOperation(
        step.equation.operation,
        tuple(v.type for v in step.views),
        tuple(v.strides for v in step.views),
        tuple(v.type for v in step.equation.outputs),
    )
