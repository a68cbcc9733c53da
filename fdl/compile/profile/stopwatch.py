"""Time of every step of a program while it runs, measured by the native code itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from fdl.compile.ir.plan import ControlStep, Plan, Step
from fdl.compile.llvm.values import I32, I64, POINTER

#: The exported array: nanoseconds and number of runs of each step.
CELLS = "stopwatch"


@dataclass(eq=False)
class Lap:
    """A step whose time is taken.

    Attributes:
        plan: that it is a step of.
        step: what runs.
        parent: number of the lap that it is inside of, or None.
    """

    plan: Plan
    step: Step
    parent: int | None


def count_steps(plan: Plan) -> int:
    """How many steps a plan has, with those inside of them."""
    inner = [p for step in plan.steps if isinstance(step, ControlStep) for p in step.plans]
    return len(plan.steps) + sum(map(count_steps, inner))


class Stopwatch:
    """Emits code that adds up the time that thread 0 spends in each step, waiting for the others included.

    Args:
        emission: of the program.
        steps: how many there are.

    Attributes:
        laps: the steps in the order in which their code was emitted.
    """

    def __init__(self, emission: Any, steps: int) -> None:
        self.emission = emission
        self.laps: list[Lap] = []
        self._open: list[int] = []
        kind = ir.ArrayType(I64, 2 * max(steps, 1))
        self._cells = ir.GlobalVariable(emission.module, kind, CELLS)
        self._cells.initializer = ir.Constant(kind, None)

    @contextmanager
    def lap(self, plan: Plan, step: Step) -> Iterator[None]:
        """The body emits the code of a step."""
        build, team, number = self.emission.build, self.emission.team, len(self.laps)
        self.laps.append(Lap(plan, step, self._open[-1] if self._open else None))
        self._open.append(number)
        start = build.stack_slot(I64)
        with team.alone():
            build.ir.store(self._now(), start)
        yield
        self._open.pop()
        with team.alone():
            self._add(2 * number, build.ir.sub(self._now(), build.ir.load(start, typ=I64)))
            self._add(2 * number + 1, I64(1))

    def _now(self) -> Any:
        """Nanoseconds of the monotonic clock."""
        build = self.emission.build
        spec = build.stack_slot(I64, 2)
        function = build.declare("clock_gettime", I32, [I32, POINTER])
        build.ir.call(function, [I32(time.CLOCK_MONOTONIC), spec])
        seconds = build.ir.load(spec, typ=I64)
        nanoseconds = build.ir.load(build.ir.gep(spec, [I64(1)], source_etype=I64), typ=I64)
        return build.ir.add(build.ir.mul(seconds, I64(10**9)), nanoseconds)

    def _add(self, cell: int, amount: Any) -> None:
        build = self.emission.build.ir
        place = build.gep(self._cells, [I64(0), I64(cell)])
        build.store(build.add(build.load(place, typ=I64), amount), place)
