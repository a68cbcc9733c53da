"""From a plan to one LLVM function, ``i32 run(ptr table)``, or with threads (see `native.pool`)
``i32 run(ptr table, ptr team, i64 number, i64 count)``.

The table holds pointers: the arena, the scratch memory of kernels, the callback for host calls, a table of constants,
then the NumPy arrays of inputs and outputs, as objects: the code looks up itself where their elements are (the layout
of NumPy's array object is part of its C API), since asking Python would take longer than many programs. It returns 0,
the status of a host call that failed, or `UNUSABLE` if an input is not laid out as it has to be.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from fdl.compile.codegen.emission import Emission
from fdl.compile.codegen.plan import PlanEmitter
from fdl.compile.codegen.tape import Tape
from fdl.compile.fallback import during
from fdl.compile.ir.plan import Plan
from fdl.compile.llvm.target import Target
from fdl.compile.schedule.cost import plan_time, worth_threads


def emit_plan(
    plan: Plan, target: Target, watch: Callable[["ProgramEmission", Plan], None] | None = None
) -> "ProgramEmission":
    """The code of a program's plan.

    Args:
        plan: what to run.
        target: the processor, and for which programs LLVM takes its time.
        watch: is shown the emission and the plan before any code is emitted.
    """
    with during("threads"):
        parallel = "threads" not in plan.skip and worth_threads(plan)
    inputs, outputs = len(plan.program.inputs), len(plan.outputs)
    emission = ProgramEmission(target.for_program(plan_time(plan)), inputs, outputs, plan.reused.values(), parallel)
    if watch is not None:
        watch(emission, plan)
    emission.program(plan)
    return emission


class ProgramEmission(Emission):
    """The code of a program: plans that are short step by step, long ones as a tape."""

    def program(self, plan: Plan) -> None:
        """Emit the steps of the program's plan."""
        if self._is_long(plan):
            self._tape(plan, None, None, self.arena)
            return
        inputs, outputs = map(self.input, range(self.inputs)), map(self.output, range(self.outputs))
        PlanEmitter(self, plan, list(inputs), list(outputs), self.arena).emit()

    def plan(self, plan: Plan, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], arena: ir.Value) -> None:
        if self._is_long(plan):
            self._tape(plan, inputs, outputs, arena)
        else:
            PlanEmitter(self, plan, inputs, outputs, arena).emit()
        self.team.barrier()

    def _is_long(self, plan: Plan) -> bool:
        operands = sum(len(step.reads) + len(step.outputs) for step in plan.steps)
        tuning = self.target.tuning
        long = len(plan.steps) > tuning.tape_steps or operands > tuning.tape_operands
        return long and "tape" not in plan.skip

    def _tape(self, *arguments: Any) -> None:
        with during("tape"):
            Tape(self, *arguments).emit()
