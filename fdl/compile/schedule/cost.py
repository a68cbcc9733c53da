"""Rough times of steps on one core, in microseconds: what is worth dividing among threads."""

import os
from math import prod
from typing import assert_never

from fdl.compile.ir.plan import ControlStep, Plan, Step, nbytes
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest
from fdl.compile.ir.tiles import NestTile, TileGroup
from fdl.compile.ir.work import work_of
from fdl.compile.kernels import control_of, lowering_of
from fdl.compile.llvm.target import host_target
from fdl.compile.schedule.fuse import is_nothing
from fdl.core.program import Equation

#: Microseconds of a step that does nothing.
_CALL_TIME = 0.003


def shares(step: Step) -> bool:
    """Whether the threads divide the work of a step, or of steps inside it."""
    return shared_time(step) > 0


def worth_threads(plan: Plan) -> bool:
    """Whether a program has enough work for more than one thread; the pool is made of POSIX threads."""
    return os.name == "posix" and sum(map(shared_time, plan.steps)) >= host_target().tuning.program_time


def shared_time(step: Step) -> float:
    """Time of the work that is divided."""
    match step:
        case ControlStep(equation=Equation(operation=operation), plans=plans):
            control = control_of(operation)
            assert control is not None
            return control.inner_time(operation, [sum(map(shared_time, plan.steps)) for plan in plans])
        case LoopNest():
            time = _loops_time(step)
        case TileGroup():
            tiles = step.members
            time = sum(_loops_time(t.step) if isinstance(t, NestTile) else _equation_time(t.step) for t in tiles)
        case KernelStep() | HostCall():
            time = _equation_time(step)
        case _:
            assert_never(step)
    return time if time >= host_target().tuning.step_time else 0.0


def plan_time(plan: Plan) -> float:
    """About how long a plan takes."""
    return sum(_CALL_TIME + _step_time(step) for step in plan.steps)


def _step_time(step: Step) -> float:
    match step:
        case ControlStep(equation=Equation(operation=operation), plans=plans):
            control = control_of(operation)
            assert control is not None
            return control.inner_time(operation, list(map(plan_time, plans)))
        case LoopNest():
            return _loops_time(step)
        case TileGroup():
            return sum(_loops_time(t.step) if isinstance(t, NestTile) else _work_time(t.step) for t in step.members)
        case KernelStep() | HostCall():
            return _work_time(step)
        case _:
            assert_never(step)


def _loops_time(step: LoopNest) -> float:
    loops, tuning = step.loops, host_target().tuning
    iterations = prod(loops.extents)
    size = max([v.type.dtype.itemsize for v in step.outputs])
    return (
        iterations * (work_of(loops.instructions) + 1) * size / 32 / tuning.instruction_rate
        + _bytes(step) / tuning.byte_rate
    )


def _bytes(step: LoopNest | EquationStep) -> int:
    return sum(nbytes(v.type) for v in (*step.reads, *step.outputs))


def _equation_time(step: EquationStep) -> float:
    operation = step.equation.operation
    lowering = lowering_of(operation)
    return _work_time(step) if lowering.parallel else 0.0


def _work_time(step: EquationStep) -> float:
    if is_nothing(step.equation):
        return 0.0
    operation = step.equation.operation
    operands, results = [v.type for v in step.views], [v.type for v in step.outputs]
    tuning = host_target().tuning
    return (
        lowering_of(operation).effort(operation, operands, results) / tuning.flop_rate + _bytes(step) / tuning.byte_rate
    )
