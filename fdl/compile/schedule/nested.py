"""Steps that need more than a place for their result: the plans of Programs that they hold, and memory to work in."""

from math import prod
from typing import Protocol

from fdl.compile.fallback import Skip
from fdl.compile.ir.plan import ControlStep, Plan, nbytes
from fdl.compile.ir.steps import EquationStep
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.arena import aligned
from fdl.compile.schedule.fuse import is_nothing
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.program import Equation, Program
from fdl.core.types import TensorType
from fdl.ops.conv import ConvGeneral

#: Chunks of the input channels of a convolution, if they can be divided evenly; the first is best.
_CHUNKS = (16, 8, 12, 10, 20, 14)
#: No chunks for more outputs than this, for less work, or where the kernel has so many units of work itself.
_OUTPUTS, _FLOPS, _UNITS = 4096, 4_000_000, 8
#: Output features of a tile: what kernels cut the work of a convolution into.
_PANEL = 16


def convolution_chunks(operation: ConvGeneral, x: TensorType, w: TensorType, out: TensorType) -> int:
    """Into how many sums a convolution is divided, its operands having features last; 1 is as it is.

    Few outputs may be long sums: the gradient by the weights of a first layer is, as its channels are the images of the
    batch. How many chunks there are depends on the shapes only, so that bits do not depend on the number of threads.
    """
    channels, outputs = x.shape[-1], out.shape[-1]
    if operation.feature_group_count > 1 or operation.batch_group_count > 1 or out.size > _OUTPUTS:
        return 1
    units = out.shape[1] if x.shape[0] == 1 else -(-outputs // _PANEL) * prod(out.shape[1:-1])
    if units >= _UNITS or 2 * out.size * (w.size // max(1, outputs)) < _FLOPS:
        return 1
    return next((n for n in _CHUNKS if channels % n == 0 and channels >= 2 * n), 1)


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
    return isinstance(equation.operation, (Cond, Scan, While)) and "control" not in skip and not is_nothing(equation)


def nested_plans(equation: Equation, skip: Skip, make_plan: MakePlan) -> list[Plan]:
    """Plans of the Programs that a control flow operation holds, made by `make_plan`."""
    match operation := equation.operation:
        case Cond():
            return [make_plan(prepared(p, skip), skip=skip) for p in operation.branches]
        case Scan():
            constants, count = operation.constants, operation.carries
        case While():
            constants, count = operation.body_constants, len(equation.outputs)
        case _:
            raise AssertionError(f"{operation.name} holds no Programs")
    # An iteration may update the carry where it is.
    carry = {n: constants + n for n in range(count)}
    donate = tuple(n in carry.values() for n in range(len(operation.body.inputs)))
    body = make_plan(prepared(operation.body, skip), donate, carry, skip)
    if isinstance(operation, While):
        return [make_plan(prepared(operation.condition, skip), skip=skip), body]
    return [body]


def workspace_bytes(step: EquationStep) -> int:
    """Memory for the sums of chunks; the inner plans' values, the second place of a carry, a condition's verdict."""
    operation = step.equation.operation
    if isinstance(operation, ConvGeneral) and step.views:
        (x, w), (out,) = step.views, step.equation.outputs
        count = convolution_chunks(operation, x.type, w.type, out.type)
        return count * nbytes(out.type) if count > 1 else 0
    if not isinstance(step, ControlStep):
        return 0
    size = sum(aligned(nbytes(t)) for t in carried(step))
    arenas = [aligned(p.arena_bytes) for p in step.plans]
    return size + (max(arenas) if isinstance(operation, Cond) else sum(arenas)) + aligned(1)


def carried(step: ControlStep) -> list[TensorType]:
    """Types of the carry of a loop."""
    match operation := step.equation.operation:
        case Scan():
            return [v.type for v in step.outputs[: operation.carries]]
        case While():
            return [v.type for v in step.outputs]
    return []
