"""Native control flow: branches and loops in the one function, with the plans of inner Programs in their bodies.

The carry of a loop lives in two places that take turns: an iteration reads the one and writes the other.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from fdl.compile.fallback import Skip
from fdl.compile.ir.plan import ControlStep, nbytes
from fdl.compile.llvm.values import I8, POINTER, Value
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.arena import aligned
from fdl.compile.schedule.nested import carried
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.program import Program, subprograms
from fdl.core.types import TensorType
from fdl.dtypes import bool_, int64


class _Workspace:
    """Hands out the memory of a step."""

    def __init__(self, emitter: Any, step: ControlStep) -> None:
        self.emitter, self.offset = emitter, step.workspace

    def take(self, size: int) -> Any:
        """The pointer to the next `size` bytes."""
        pointer = self.emitter.workspace(self.offset)
        self.offset += aligned(size)
        return pointer


def emit_cond(emitter: Any, step: ControlStep) -> None:
    """A switch over the branches."""
    build = emitter.build
    index = emitter.load_scalar(step.views[0])
    inputs = [emitter.first(v) for v in step.views[1:]]
    outputs = [emitter.pointer(v) for v in step.outputs]
    arena = _Workspace(emitter, step).take(0)
    last = len(step.plans) - 1
    index = build.min(build.max(index, 0), last)
    after = build.function.append_basic_block("after")
    blocks = [build.function.append_basic_block("branch") for _ in step.plans]
    switch = build.ir.switch(index.ir, blocks[last])
    for number, block in enumerate(blocks[:last]):
        switch.add_case(ir.Constant(index.ir.type, number), block)
    for number, (plan, block) in enumerate(zip(step.plans, blocks, strict=True)):
        build.ir.position_at_end(block)
        emitter.emission.plan(plan, inputs, outputs, arena, _path(emitter, step, number))
        build.ir.branch(after)
    build.ir.position_at_end(after)


def _path(emitter: Any, step: ControlStep, number: int) -> tuple[Any, ...]:
    """How to find the Program of one of the plans of a step: pairs of an equation and a Program that it holds."""
    return (*emitter.path, (emitter.place(step), number))


def find_equation(program: Program, path: tuple[Any, ...], skip: Skip) -> Any:
    """The equation at a path in a Program that was prepared without the passes to `skip`."""
    for place, number in path[:-1]:
        program = prepared(list(subprograms(program.equations[place].operation))[number], skip)
    return program.equations[path[-1]]


class _Carry:
    """The two places of every carried value, as variables of the loop."""

    def __init__(self, emitter: Any, step: ControlStep, space: _Workspace, initial: Sequence[Any], swaps: int) -> None:
        """Start with a copy of `initial`, so that after `swaps` iterations the values are where the results belong."""
        self.emitter, self.types, build = emitter, carried(step), emitter.build
        self.results = [emitter.pointer(v) for v in step.outputs[: len(self.types)]]
        others = [space.take(nbytes(t)) for t in self.types]
        self.stays = step.plans[-1].reused
        pairs = list(zip(self.results, others, strict=True))
        if swaps % 2:
            pairs = [(a, b) if n in self.stays else (b, a) for n, (a, b) in enumerate(pairs)]
        self.now: list[Any] = []
        self.following: list[Any] = []
        with emitter.emission.team.alone():
            for (first, _), source, type in zip(pairs, initial, self.types, strict=True):
                emitter.copy(source, first, nbytes(type))
        emitter.emission.team.barrier()
        for first, second in pairs:
            for slots, pointer in ((self.now, first), (self.following, second)):
                slots.append(build.stack_slot(POINTER))
                build.ir.store(pointer, slots[-1])

    def read(self) -> tuple[list[Any], list[Any]]:
        """Pointers to the current values and to where the next ones go."""
        load = self.emitter.build.ir.load
        return [load(s, typ=POINTER) for s in self.now], [load(s, typ=POINTER) for s in self.following]

    def swap(self, now: Sequence[Any], following: Sequence[Any]) -> None:
        """Make the next values the current ones, where they were not written in their place."""
        store = self.emitter.build.ir.store
        for number, (a, b) in enumerate(zip(now, following, strict=True)):
            if number not in self.stays:
                store(b, self.now[number])
                store(a, self.following[number])

    def deliver(self) -> None:
        """Move the values to the results if an odd number of iterations left them in the other place."""
        build, team = self.emitter.build, self.emitter.emission.team
        with team.alone():
            for pointer, result, type in zip(self.read()[0], self.results, self.types, strict=True):
                with build.ir.if_then(build.ir.icmp_unsigned("!=", pointer, result)):
                    self.emitter.copy(pointer, result, nbytes(type))
        team.barrier()


def emit_scan(emitter: Any, step: ControlStep, operation: Scan) -> None:
    """A loop over the leading axis."""
    build, (plan,) = emitter.build, step.plans
    space = _Workspace(emitter, step)
    constants, initial, scanned = operation.divide(step.views)
    fixed = [emitter.first(v) for v in constants]
    carry = _Carry(emitter, step, space, [emitter.first(v) for v in initial], operation.length)
    sources = [emitter.first(v) for v in scanned]
    stacks = step.outputs[operation.carries :]
    targets = [emitter.pointer(v) for v in stacks]
    arena = space.take(plan.arena_bytes)
    with build.loop(0, operation.length) as i:
        number = build.sub(build.constant(operation.length - 1, int64), i) if operation.reverse else i
        now, following = carry.read()
        slices = [_slice(build, p, number, v.type) for p, v in zip(sources, scanned, strict=True)]
        written = [_slice(build, p, number, v.type) for p, v in zip(targets, stacks, strict=True)]
        emitter.emission.plan(plan, [*fixed, *now, *slices], [*following, *written], arena, _path(emitter, step, 0))
        carry.swap(now, following)


def _slice(build: Any, pointer: Any, number: Value, type: TensorType) -> Any:
    """The pointer to a slice along the leading axis."""
    size = nbytes(type.with_shape(type.shape[1:]))
    return build.ir.gep(pointer, [build.mul(number, size).ir], source_etype=I8)


def emit_while(emitter: Any, step: ControlStep, operation: While) -> None:
    """A loop that ends when the condition's Program returns false."""
    build, (condition, body) = emitter.build, step.plans
    space = _Workspace(emitter, step)
    test_constants, body_constants, initial = ([emitter.first(v) for v in vs] for vs in operation.divide(step.views))
    carry = _Carry(emitter, step, space, initial, 0)
    test_arena, body_arena = space.take(condition.arena_bytes), space.take(body.arena_bytes)
    verdict = space.take(1)
    with build.while_() as loop:
        now, following = carry.read()
        emitter.emission.plan(condition, [*test_constants, *now], [verdict], test_arena, _path(emitter, step, 0))
        loop.proceed_if(build.load(verdict, bool_))
        emitter.emission.plan(body, [*body_constants, *now], following, body_arena, _path(emitter, step, 1))
        carry.swap(now, following)
    carry.deliver()


def emit_control(emitter: Any, step: ControlStep) -> None:
    """The code of a branch or a loop."""
    match step.equation.operation:
        case Cond():
            emit_cond(emitter, step)
        case Scan() as operation:
            emit_scan(emitter, step, operation)
        case While() as operation:
            emit_while(emitter, step, operation)
