"""Native control flow: branches and loops in the one function, with the plans of inner Programs in their bodies.

The carry of a loop lives in two places that take turns: an iteration reads the one and writes the other.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, cast

from llvmlite import ir

from fdl.compile.ir.plan import ControlStep, aligned, nbytes
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import I8, POINTER, Value
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Op
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.operation import Operation
from fdl.core.program import Program
from fdl.core.types import TensorType
from fdl.dtypes import bool_, int64


@dataclass(frozen=True)
class Body:
    """A Program that an operation holds, which runs as a plan of its own.

    Attributes:
        program: what it computes.
        donate: which inputs' memory it may overwrite.
        carry: by number of the output, the only input whose memory the output may take; None if any donated one.
    """

    program: Program
    donate: tuple[bool, ...] = ()
    carry: dict[int, int] | None = None


class ControlLowering(ABC, Generic[Op]):
    """How branches or loops become machine code: around the plans of the Programs that the operation holds.

    Defining a subclass registers it for its operation.

    Class attributes:
        operation: the class of operations that it lowers.
    """

    operation: ClassVar[type[Operation]]

    def __init_subclass__(cls) -> None:
        _registry[cls.operation] = cls()

    def operation_of(self, step: ControlStep) -> Op:
        """The operation of a step."""
        return cast(Op, step.equation.operation)

    @abstractmethod
    def bodies(self, operation: Op) -> Sequence[Body]:
        """The Programs that are planned."""

    def carried(self, step: ControlStep) -> list[TensorType]:
        """Types of the carry of a loop."""
        return []

    def inner_bytes(self, arenas: Sequence[int]) -> int:
        """Memory for the values of the inner plans, given that of each."""
        return sum(arenas)

    @abstractmethod
    def inner_time(self, operation: Op, times: Sequence[float]) -> float:
        """How long the inner plans take in all, given the time of each."""

    def workspace_bytes(self, step: ControlStep) -> int:
        """The inner plans' values, the second place of a carry, a condition's verdict."""
        size = sum(aligned(nbytes(t)) for t in self.carried(step))
        return size + self.inner_bytes([aligned(p.arena_bytes) for p in step.plans]) + aligned(1)

    def describe(self, operation: Op) -> str:
        """The operation in the cost report, which tells what its plans cost apart."""
        return f"{operation.name}, itself"

    @abstractmethod
    def emit(self, emitter: Emitter, step: ControlStep) -> None:
        """Emit the code of a step."""


_registry: dict[type[Operation], ControlLowering[Any]] = {}


def control_of(operation: Operation) -> ControlLowering[Any] | None:
    """The lowering of a branch or a loop; None for other operations."""
    return _registry.get(type(operation))


class CondLowering(ControlLowering[Cond]):
    """A switch over the branches."""

    operation = Cond

    def bodies(self, operation: Cond) -> Sequence[Body]:
        return [Body(program) for program in operation.branches]

    def inner_bytes(self, arenas: Sequence[int]) -> int:
        return max(arenas)

    def inner_time(self, operation: Cond, times: Sequence[float]) -> float:
        return max(times)

    def emit(self, emitter: Emitter, step: ControlStep) -> None:
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
        for plan, block in zip(step.plans, blocks, strict=True):
            build.ir.position_at_end(block)
            emitter.emission.plan(plan, inputs, outputs, arena)
            build.ir.branch(after)
        build.ir.position_at_end(after)


class ScanLowering(ControlLowering[Scan]):
    """A loop over the leading axis."""

    operation = Scan

    def bodies(self, operation: Scan) -> Sequence[Body]:
        return [_repeated(operation.body, operation.constants, operation.carries)]

    def carried(self, step: ControlStep) -> list[TensorType]:
        operation = self.operation_of(step)
        return [v.type for v in step.outputs[: operation.carries]]

    def inner_time(self, operation: Scan, times: Sequence[float]) -> float:
        return sum(times) * operation.length

    def describe(self, operation: Scan) -> str:
        return f"scan of {operation.length} steps, itself"

    def emit(self, emitter: Emitter, step: ControlStep) -> None:
        operation = self.operation_of(step)
        build, (plan,) = emitter.build, step.plans
        space = _Workspace(emitter, step)
        constants, initial, scanned = operation.divide(step.views)
        fixed = [emitter.first(v) for v in constants]
        carry = _Carry(emitter, step, self.carried(step), space, [emitter.first(v) for v in initial], operation.length)
        sources = [emitter.first(v) for v in scanned]
        stacks = step.outputs[operation.carries :]
        targets = [emitter.pointer(v) for v in stacks]
        arena = space.take(plan.arena_bytes)
        with build.loop(0, operation.length) as i:
            number = build.sub(build.constant(operation.length - 1, int64), i) if operation.reverse else i
            now, following = carry.read()
            slices = [_slice(build, p, number, v.type) for p, v in zip(sources, scanned, strict=True)]
            written = [_slice(build, p, number, v.type) for p, v in zip(targets, stacks, strict=True)]
            emitter.emission.plan(plan, [*fixed, *now, *slices], [*following, *written], arena)
            carry.swap(now, following)
            emitter.poll(step.plans, i, operation.length)


class WhileLowering(ControlLowering[While]):
    """A loop that ends when the condition's Program returns false."""

    operation = While

    def bodies(self, operation: While) -> Sequence[Body]:
        count = len(operation.body.outputs)
        return [Body(operation.condition), _repeated(operation.body, operation.body_constants, count)]

    def carried(self, step: ControlStep) -> list[TensorType]:
        return [v.type for v in step.outputs]

    def inner_time(self, operation: While, times: Sequence[float]) -> float:
        return sum(times) * host_target().tuning.unknown_iterations

    def emit(self, emitter: Emitter, step: ControlStep) -> None:
        operation = self.operation_of(step)
        build, (condition, body) = emitter.build, step.plans
        space = _Workspace(emitter, step)
        test_constants, body_constants, initial = (
            [emitter.first(v) for v in vs] for vs in operation.divide(step.views)
        )
        carry = _Carry(emitter, step, self.carried(step), space, initial, 0)
        test_arena, body_arena = space.take(condition.arena_bytes), space.take(body.arena_bytes)
        verdict = space.take(1)
        count = build.variable(build.index(0))
        with build.while_() as loop:
            now, following = carry.read()
            emitter.emission.plan(condition, [*test_constants, *now], [verdict], test_arena)
            loop.proceed_if(build.load(verdict, bool_))
            emitter.emission.plan(body, [*body_constants, *now], following, body_arena)
            carry.swap(now, following)
            number = count.get()
            emitter.poll(step.plans, number)
            count.set(build.add(number, 1))
        carry.deliver()


def _repeated(body: Program, constants: int, carries: int) -> Body:
    """The body of a loop; an iteration may update the carry, which follows the constants, where it is."""
    carry = {n: constants + n for n in range(carries)}
    return Body(body, tuple(n in carry.values() for n in range(len(body.inputs))), carry)


class _Workspace:
    """Hands out the memory of a step."""

    def __init__(self, emitter: Emitter, step: ControlStep) -> None:
        self.emitter, self.offset = emitter, step.workspace

    def take(self, size: int) -> Any:
        """The pointer to the next `size` bytes."""
        pointer = self.emitter.workspace(self.offset)
        self.offset += aligned(size)
        return pointer


class _Carry:
    """The two places of every carried value, as variables of the loop."""

    def __init__(
        self, emitter: Emitter, step: ControlStep, types: Sequence[TensorType], space: _Workspace,
        initial: Sequence[Any], swaps: int,
    ) -> None:  # fmt: skip
        """Start with a copy of `initial`, so that after `swaps` iterations the values are where the results belong."""
        self.emitter, self.types, build = emitter, types, emitter.build
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


def _slice(build: Build, pointer: ir.Value, number: Value, type: TensorType) -> Any:
    """The pointer to a slice along the leading axis."""
    size = nbytes(type.with_shape(type.shape[1:]))
    return build.ir.gep(pointer, [build.mul(number, size).ir], source_etype=I8)
