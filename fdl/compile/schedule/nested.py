"""Steps that need more than a place for their result: the plans of Programs that they hold, and memory to work in."""

from collections.abc import Callable
from math import prod
from typing import Any

from fdl.compile.fallback import Skip
from fdl.compile.ir.plan import Plan, SingleStep, nbytes
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.arena import aligned
from fdl.compile.schedule.fuse import is_nothing
from fdl.core.types import TensorType

#: Operations that hold Programs for which native code is made.
CONTROL = ("cond", "scan", "while")

#: Chunks of the input channels of a convolution, if they can be divided evenly; the first is best.
_CHUNKS = (16, 8, 12, 10, 20, 14)
#: No chunks for more outputs than this, for less work, or where the kernel has so many units of work itself.
_OUTPUTS, _FLOPS, _UNITS = 4096, 4_000_000, 8
#: Output features of a tile: what kernels cut the work of a convolution into.
_PANEL = 16


def convolution_chunks(operation: Any, x: TensorType, w: TensorType, out: TensorType) -> int:
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


def nested_plans(equation: Any, skip: Skip, make_plan: Callable[..., Plan]) -> list[Plan]:
    """Plans of the Programs that a control flow operation holds, made by `make_plan`; none for other operations."""
    if "control" in skip or equation.operation.name not in CONTROL or is_nothing(equation):
        return []
    operation = equation.operation
    if operation.name == "cond":
        return [make_plan(prepared(p, skip), skip=skip) for p in operation.branches]
    # An iteration may update the carry where it is.
    repeated = operation.name == "while"
    constants = operation.body_constants if repeated else operation.constants
    count = len(equation.outputs) if repeated else operation.carries
    carry = {n: constants + n for n in range(count)}
    donate = tuple(n in carry.values() for n in range(len(operation.body.inputs)))
    body = make_plan(prepared(operation.body, skip), donate, carry, skip)
    return [make_plan(prepared(operation.condition, skip), skip=skip), body] if repeated else [body]


def workspace_bytes(step: SingleStep) -> int:
    """Memory for the sums of chunks; the inner plans' values, the second place of a carry, a condition's verdict."""
    if step.equation.operation.family == "conv" and step.views:
        (x, w), (out,) = step.views, step.equation.outputs
        count = convolution_chunks(step.equation.operation, x.type, w.type, out.type)
        return count * nbytes(out.type) if count > 1 else 0
    if not step.plans:
        return 0
    size = sum(aligned(nbytes(t)) for t in carried(step))
    arenas = [aligned(p.arena_bytes) for p in step.plans]
    return size + (max(arenas) if step.equation.operation.name == "cond" else sum(arenas)) + aligned(1)


def carried(step: SingleStep) -> list[TensorType]:
    """Types of the carry of a loop."""
    name = step.equation.operation.name
    if name == "scan":
        return [v.type for v in step.outputs[: step.equation.operation.carries]]
    return [v.type for v in step.outputs] if name == "while" else []
