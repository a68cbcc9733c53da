"""Steps that need more than a place for their result: the plans of Programs that they hold, and memory to work in."""

from typing import Protocol

from fdl.compile.fallback import Skip
from fdl.compile.ir.plan import ControlStep, Plan
from fdl.compile.ir.steps import EquationStep, KernelStep
from fdl.compile.kernels import control_of, lowering_of
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.fuse import is_nothing
from fdl.core.program import Equation, Program


class MakePlan(Protocol):
    """What makes the plan of a Program inside (`fdl.compile.schedule.planner.make_plan`)."""

    def __call__(
        self,
        program: Program,
        donate: tuple[bool, ...] = (),
        carry: dict[int, int] | None = None,
        skip: Skip = frozenset(),
    ) -> Plan: ...


def is_native_control(equation: Equation, skip: Skip) -> bool:
    """Whether an equation is a branch or a loop for which native code is made."""
    return control_of(equation.operation) is not None and "control" not in skip and not is_nothing(equation)


def nested_plans(equation: Equation, skip: Skip, make_plan: MakePlan) -> list[Plan]:
    """Plans of the Programs that a control flow operation holds, made by `make_plan`."""
    control = control_of(equation.operation)
    assert control is not None
    bodies = control.bodies(equation.operation)
    return [make_plan(prepared(body.program, skip), body.donate, body.carry, skip) for body in bodies]


def workspace_bytes(step: EquationStep) -> int:
    """Memory that the code of a step needs besides its results."""
    operation = step.equation.operation
    match step:
        case ControlStep() if (control := control_of(operation)) is not None:
            return control.workspace_bytes(step)
        case KernelStep() if not is_nothing(step.equation):
            return lowering_of(operation).workspace_bytes(step)
    return 0
