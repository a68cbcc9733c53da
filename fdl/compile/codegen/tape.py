"""Long plans as data: a tape of records, which one loop runs through.

LLVM's work on a function grows faster than its length. Each step of a long plan is therefore a function of its own,
equal steps are one function, and the plan is a constant array of records, one a step: which function to call, and where
its operands are. An operand is one word: the number of a pointer in the *frame* and an offset in bytes. The
loop makes pointers of them before it calls the function. The frame is like the table of the program (see
`fdl.compile.codegen.emit`): the same four pointers first, then the elements of all inputs and outputs, then constants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.codegen.emission import Emission, untimed
from fdl.compile.codegen.hazards import Hazards
from fdl.compile.codegen.plan import PlanEmitter, verifier
from fdl.compile.fallback import during
from fdl.compile.ir.plan import Plan, Step
from fdl.compile.ir.steps import EquationStep, LoopNest, View
from fdl.compile.ir.tiles import TileGroup
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.layout import DATA_OFFSET, OBJECTS
from fdl.compile.llvm.values import I8, I32, I64, POINTER
from fdl.compile.schedule.cost import shares
from fdl.core.program import Literal
from fdl.dtypes import int64

#: The bits of a word that number a pointer of the frame; the others are an offset.
NUMBER_BITS = 24


@dataclass(frozen=True)
class StepFunction:
    """The code of a step, ``i32 step(ptr operands, ptr frame)``, with threads followed by the arguments of a `Team`.

    Attributes:
        function: it returns 0 or the status of a host call that failed.
        barriers: that it waits at.
    """

    function: ir.Function
    barriers: int


class Tape:
    """Emits a plan as a tape, and the loop that runs it.

    Args:
        emission: of the program.
        plan: what to run.
        inputs, outputs: pointers to elements; None for those of the program.
        arena: pointer to the memory of values.
    """

    def __init__(
        self,
        emission: Emission,
        plan: Plan,
        inputs: Sequence[ir.Value] | None,
        outputs: Sequence[ir.Value] | None,
        arena: ir.Value,
    ) -> None:
        self.emission, self.given = emission, plan
        self.inputs, self.outputs, self.arena = inputs, outputs, arena
        self.starts = {"arena": 0, "input": OBJECTS, "output": OBJECTS + len(plan.program.inputs)}
        self.starts["constant"] = self.starts["output"] + len(plan.outputs)
        self.constants: dict[int, int] = {}
        self.functions: dict[str, tuple[int, ir.Function]] = {}
        self.words: list[int] = []
        self.most = 1

    def emit(self) -> None:
        """Emit the functions of all steps, and here a loop over their records."""
        emission, plan = self.emission, self.given
        hazards, verified = Hazards(emission.team, plan.slots), verifier(emission.team, plan)
        most = self.starts["constant"] + len(plan.program.constants) + sum(1 for _ in self._literals())
        with emission.frame(8 * most) as place:
            for step in plan.steps:
                with during("threads"):
                    shared = emission.team.together and shares(step)
                    waits = hazards.before(step, shared)
                before = emission.team.barriers + waits
                self.record(step, shared, waits)
                with during("threads"):
                    verified(step, shared, before, emission.team.barriers)
            if self.starts["constant"] + len(self.constants) > most:
                raise RuntimeError("the frame of a tape has no room for its constants")
            frame = emission.before_end(place)
        self.fill(frame)
        self.run(frame)

    def _literals(self) -> Iterator[View]:
        for step in self.given.steps:
            for part in [tile.step for tile in step.members] if isinstance(step, TileGroup) else [step]:
                if isinstance(part, EquationStep):
                    yield from (view for view in part.views if isinstance(view.base, Literal))

    def word(self, kind: str, number: int, offset: int) -> int:
        """An operand; arguments as in `PlanEmitter.at`."""
        if kind == "constant":
            number = self.constants.setdefault(number, len(self.constants))
        return (self.starts[kind] + number) | offset << NUMBER_BITS

    def record(self, step: Step, shared: bool, waits: bool) -> None:
        """Append a step, which is `shared` by the threads or not, and before which they wait or not."""
        emitter = StepEmitter(self)
        known = key = None
        if isinstance(step, LoopNest) and self.emission.lap is untimed:
            operands, order = emitter.operands(step)
            loops = step.loops.key(lambda var: order[self.given.slots[var]])
            key = f"step {loops} {self.emission.team.together} {shared} {waits}"
            known = self.emission.steps.get(key)
            if known is not None:
                for var in operands:
                    emitter.operand(*emitter.place_of(var))
        if known is None:
            known = emitter.function(step, shared, waits)
            if key is None:
                key = str(known.function).replace(known.function.name, "step", 1)
                if key in self.emission.steps:
                    del self.emission.module.globals[known.function.name]
            known = self.emission.steps.setdefault(key, known)
        self.emission.team.barriers += known.barriers
        number, _ = self.functions.setdefault(known.function.name, (len(self.functions), known.function))
        self.words += [number | len(emitter.words) + 1 << 32, *emitter.words]
        self.most = max(self.most, len(emitter.words))

    def fill(self, frame: ir.Value) -> None:
        """Put the pointers into the frame."""
        emission, build = self.emission, self.emission.build.ir

        def put(number: Any, pointer: ir.Value) -> None:
            build.store(pointer, build.gep(frame, [number], source_etype=POINTER))

        own = (self.arena, emission.scratch, emission.callbacks, emission.constant_table)
        for number, pointer in enumerate(own):
            put(I64(number), pointer)
        if self.inputs is None or self.outputs is None:
            with emission.build.loop(OBJECTS, self.starts["constant"]) as n:
                array = build.load(build.gep(emission.table, [n.ir], source_etype=POINTER), typ=POINTER)
                address = build.gep(array, [I64(DATA_OFFSET)], source_etype=I8)
                put(n.ir, build.load(address, typ=POINTER))
        else:
            for number, pointer in enumerate([*self.inputs, *self.outputs], OBJECTS):
                put(I64(number), pointer)
        if self.constants:
            numbers = emission.constant(np.array(list(self.constants), np.int64))
            with emission.build.loop(0, len(self.constants)) as n:
                number = build.load(build.gep(numbers, [n.ir], source_etype=I64), typ=I64)
                address = build.gep(emission.constant_table, [number], source_etype=POINTER)
                put(build.add(n.ir, I64(self.starts["constant"])), build.load(address, typ=POINTER))

    def run(self, frame: ir.Value) -> None:
        """Call the function of each record."""
        emission, build, team = self.emission, self.emission.build, self.emission.team
        code, functions = build.ir, self._table()
        start = emission.constant(np.array(self.words, np.int64))
        stop = code.gep(start, [I64(len(self.words))], source_etype=I64)
        operands = build.stack_slot(POINTER, self.most)
        before = code.block
        head, after = (build.function.append_basic_block(n) for n in ("record", "done"))
        code.branch(head)
        code.position_at_end(head)
        record = code.phi(POINTER)
        record.add_incoming(start, before)
        word = code.load(record, typ=I64)
        number, length = code.and_(word, I64((1 << 32) - 1)), code.lshr(word, I64(32))
        function = code.load(code.gep(functions, [number], source_etype=POINTER), typ=POINTER)
        with build.loop(1, build.value(length, int64)) as n:
            self._resolve(record, n.ir, operands, frame)
        status = build.call_pointer(function, I32, [operands, frame, *team.arguments])
        with code.if_then(code.icmp_signed("!=", status, I32(0)), likely=False):
            team.fail(status)
        following = code.gep(record, [length], source_etype=I64)
        record.add_incoming(following, code.block)
        code.cbranch(code.icmp_unsigned("<", following, stop), head, after)
        code.position_at_end(after)

    def _resolve(self, record: ir.Value, number: ir.Value, operands: ir.Value, frame: ir.Value) -> None:
        """Write the pointer that word `number` of a record means, behind those of the words before."""
        code = self.emission.build.ir
        word = code.load(code.gep(record, [number], source_etype=I64), typ=I64)
        place, offset = code.and_(word, I64((1 << NUMBER_BITS) - 1)), code.lshr(word, I64(NUMBER_BITS))
        base = code.load(code.gep(frame, [place], source_etype=POINTER), typ=POINTER)
        pointer = code.gep(base, [offset], source_etype=I8)
        code.store(pointer, code.gep(operands, [code.sub(number, I64(1))], source_etype=POINTER))

    def _table(self) -> ir.GlobalVariable:
        """A constant array of the functions."""
        module, kind = self.emission.module, ir.ArrayType(POINTER, len(self.functions))
        table = ir.GlobalVariable(module, kind, module.get_unique_name("steps"))
        table.initializer = ir.Constant(kind, [function for _, function in self.functions.values()])
        table.global_constant, table.linkage = True, "internal"
        return table


class StepEmitter(PlanEmitter):
    """Emits the function of one step of a tape.

    Attributes:
        words: its operands, in the order of a record.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__(tape.emission, tape.given, (), (), None)
        self.tape = tape
        self.words: dict[int, int] = {}

    def function(self, step: Step, shared: bool, waits: bool) -> StepFunction:
        """A new function; arguments as in `Tape.record`."""
        emission, outside = self.emission, self.emission.team
        name, kinds = emission.module.get_unique_name("step"), [POINTER, POINTER, *outside.types]
        function = new_function(emission.module, name, kinds, I32)
        self.build = Build(emission.module, emission.target, function)
        team = outside.inside(self.build)
        with emission.inside(self.build, team, function.args[1]):
            with emission.lap(self.given, step):
                if waits:
                    team.barrier()
                self.step(step, shared)
            self.build.ir.ret(I32(0))
        return StepFunction(function, team.barriers)

    def operand(self, kind: str, number: int, offset: int) -> int:
        """The number of an operand, which is new unless it was used before; arguments as in `at`."""
        return self.words.setdefault(self.tape.word(kind, number, offset), len(self.words))

    def at(self, kind: str, number: int, offset: int) -> Any:
        operand = self.operand(kind, number, offset)
        return self.emission.local(f"operand {operand}", lambda: self._resolved(operand))

    def _resolved(self, operand: int) -> Any:
        build, operands = self.build.ir, self.build.function.args[0]
        with build.goto_entry_block():
            return build.load(build.gep(operands, [I64(operand)], source_etype=POINTER), typ=POINTER)
