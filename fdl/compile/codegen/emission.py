"""What all parts of one program's code share: the function that is being emitted, constants, memory for kernels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.host import HostOperation
from fdl.compile.ir.plan import Plan, Step, aligned
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.layout import CONTIGUOUS_ALIGNED, DATA_OFFSET, ENTRY, FLAGS_OFFSET, OBJECTS, UNUSABLE, WRITEABLE
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I8, I32, I64, POINTER
from fdl.compile.loopnest.team import Team
from fdl.dtypes import int8


def untimed(plan: Plan, step: Step) -> AbstractContextManager[None]:
    """Surrounds the code of a step with nothing."""
    return nullcontext()


class Emission(ABC):
    """What all parts of one program's code share, and the function that is being emitted.

    Attributes:
        module: the module.
        target: the processor.
        build: emits the code of the present function.
        table: the present function's pointers to arena, scratch memory, ...
        inputs, outputs: how many there are.
        constants: arrays that the code reads.
        hosts: operations that Python is called for, by the number that the code passes.
        foreign: for each call of another compiler's code the number of the constant that is replaced by its address,
            and the operation, which knows it.
        routines: names of LAPACK's routines, and the numbers of the constants that are replaced by their addresses.
        linked: operations that call them.
        scratch_bytes: memory that kernels need at once.
        team: the threads that run the code.
        lap: surrounds the code of each step of a plan; with nothing unless time is taken (see `stopwatch`).
    """

    def __init__(
        self, target: Target, inputs: int, outputs: int, overwritten: Collection[int] = (), parallel: bool = False
    ) -> None:
        self.target = target
        self.module = ir.Module("program")
        self.inputs, self.outputs = inputs, outputs
        self.constants: list[np.ndarray] = []
        self.hosts: list[HostOperation] = []
        self.foreign: list[tuple[int, HostOperation]] = []
        self.routines: dict[str, int] = {}
        self.linked: list[HostOperation] = []
        self.scratch_bytes = self.scratch_taken = 0
        self.frame_bytes = self.frames_taken = 0
        self.lap: Callable[[Plan, Step], AbstractContextManager[None]] = untimed
        self._constant_numbers: dict[Any, int] = {}
        self._functions: dict[str, Any] = {}
        self._local: dict[str, Any] = {}
        self.steps: dict[str, Any] = {}
        arguments = [POINTER, POINTER, I64, I64] if parallel else [POINTER]
        self.build = Build(self.module, target, new_function(self.module, ENTRY, arguments, I32, exported=True))
        self.team = Team(self.build, *self.build.function.args[1:])
        self.table = self.build.argument(0)
        self._scratch_size = ir.GlobalVariable(self.module, I64, "scratch")
        if parallel:
            self._local["scratch"] = self._own_scratch()
        self._check(overwritten)

    @property
    def arena(self) -> Any:
        """The memory of the program's values."""
        return self.local("arena", lambda: self.fetch(self.table, 0))

    @property
    def scratch(self) -> Any:
        """The scratch memory of this thread."""
        return self.local("scratch", lambda: self.fetch(self.table, 1))

    @property
    def callbacks(self) -> Any:
        """The functions that call Python; a null pointer where there is none."""
        return self.local("callbacks", lambda: self.fetch(self.table, 2))

    def callback(self, number: int) -> Any:
        """One of them, loaded here."""
        build = self.build.ir
        return build.load(build.gep(self.callbacks, [I64(number)], source_etype=POINTER), typ=POINTER)

    @property
    def constant_table(self) -> Any:
        """Pointers to the constants."""
        return self.local("constants", lambda: self.fetch(self.table, 3))

    def _own_scratch(self) -> Any:
        """The part of the scratch memory that belongs to this thread."""
        build = self.build.ir
        offset = build.mul(self.team.number.ir, build.load(self._scratch_size, typ=I64))
        return build.gep(self.fetch(self.table, 1), [offset], source_etype=I8)

    @contextmanager
    def inside(self, build: Build, team: Team, table: ir.Value) -> Iterator[None]:
        """Emit into another function for a while, whose `table` begins like that of the program."""
        outside = self.build, self.team, self.table, self._local
        self.build, self.team, self.table, self._local = build, team, table, {}
        try:
            yield
        finally:
            self.build, self.team, self.table, self._local = outside

    def fetch(self, table: ir.Value, number: int) -> Any:
        """Pointer `number` of a table."""
        with self.build.ir.goto_entry_block():
            address = self.build.ir.gep(table, [I64(number)], source_etype=POINTER)
            return self.build.ir.load(address, typ=POINTER)

    def _check(self, overwritten: Collection[int]) -> None:
        """Return `UNUSABLE` unless all inputs can be used as they are."""
        build, missing = self.build.ir, I32(0)
        wanted = [CONTIGUOUS_ALIGNED | (WRITEABLE if n in overwritten else 0) for n in range(self.inputs)]
        if self.inputs > self.target.tuning.checked_inputs:
            table = self.constant(np.array(wanted, np.int32))
            with self.build.loop(0, self.inputs) as n:
                number = build.add(n.ir, I64(OBJECTS))
                array = build.load(build.gep(self.table, [number], source_etype=POINTER), typ=POINTER)
                self._require(self._missing(array, build.load(build.gep(table, [n.ir], source_etype=I32), typ=I32)))
            return
        for number, flags in enumerate(wanted):
            missing = build.or_(missing, self._missing(self.fetch(self.table, OBJECTS + number), I32(flags)))
        self._require(missing)

    def _missing(self, array: Any, wanted: Any) -> Any:
        """Which of the wanted flags an array has not."""
        build = self.build.ir
        flags = build.load(build.gep(array, [I64(FLAGS_OFFSET)], source_etype=I8), typ=I32)
        return build.xor(build.and_(flags, wanted), wanted)

    def _require(self, missing: Any) -> None:
        """Go on if nothing is missing."""
        build = self.build.ir
        with build.if_then(build.icmp_unsigned("!=", missing, I32(0)), likely=False):
            build.ret(I32(UNUSABLE))

    def elements(self, number: int) -> Any:
        """The address of the elements of an array of the table."""
        array = self.fetch(self.table, OBJECTS + number)
        with self.build.ir.goto_entry_block():
            address = self.build.ir.gep(array, [I64(DATA_OFFSET)], source_etype=I8)
            return self.build.ir.load(address, typ=POINTER)

    def input(self, number: int) -> Any:
        """The pointer to an input."""
        return self.local(f"input {number}", lambda: self.elements(number))

    def output(self, number: int) -> Any:
        """The pointer to an output."""
        return self.local(f"output {number}", lambda: self.elements(self.inputs + number))

    def constant(self, value: np.ndarray) -> Any:
        """The pointer to an array that is known now."""
        return self.constant_pointer(self.constant_number(value))

    def constant_number(self, value: np.ndarray) -> int:
        """The number of a constant, which is a new one unless an equal array has one."""
        key = (value.shape, value.dtype, value.tobytes())
        if key not in self._constant_numbers:
            self._constant_numbers[key] = len(self.constants)
            self.constants.append(np.ascontiguousarray(value))
        return self._constant_numbers[key]

    def constant_pointer(self, number: int) -> Any:
        """The pointer to a constant."""
        return self.local(f"constant {number}", lambda: self.fetch(self.constant_table, number))

    def foreign_address(self, operation: HostOperation) -> Any:
        """The address of the code of an operation, which the process that loads this code looks up."""
        self.foreign.append((len(self.constants), operation))
        return self.fetch(self.constant_table, self._placeholder())

    def routine(self, name: str, operation: HostOperation) -> Any:
        """The address of a routine of LAPACK for an operation, which the process that loads this code looks up."""
        if name not in self.routines:
            self.routines[name] = self._placeholder()
        self.linked.append(operation)
        return self.constant_pointer(self.routines[name])

    def _placeholder(self) -> int:
        """The number of a constant that becomes an address."""
        self.constants.append(np.zeros(0, np.uint8))
        return len(self.constants) - 1

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a key."""
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]

    def local(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a key in each function: values that are there in all of it."""
        if key not in self._local:
            self._local[key] = make()
        return self._local[key]

    def scratch_for(self, size: int) -> Any:
        """Scratch memory of at least `size` bytes, shared by all kernels, behind what is taken at the moment."""
        self.scratch_bytes = max(self.scratch_bytes, self.scratch_taken + size)
        return self.build.at(self.scratch, self.scratch_taken, int8)

    @contextmanager
    def frame(self, size: int) -> Iterator[Any]:
        """Memory of this thread that the body uses for nothing else; gives its distance from scratch memory's end."""
        outside, self.frames_taken = self.frames_taken, self.frames_taken + size
        self.frame_bytes = max(self.frame_bytes, self.frames_taken)
        try:
            yield self.frames_taken
        finally:
            self.frames_taken = outside

    def before_end(self, offset: int) -> Any:
        """The pointer to a place before the end of this thread's scratch memory."""
        build = self.build.ir
        place = build.sub(build.load(self._scratch_size, typ=I64), I64(offset))
        return build.gep(self.scratch, [place], source_etype=I8)

    @abstractmethod
    def plan(self, plan: Plan, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], arena: ir.Value) -> None:
        """Emit the steps of an inner plan on pointers to its inputs, outputs and arena.

        All threads have done their part of it when it is left.
        """

    def finish(self) -> ir.Module:
        """Return from the function; the module."""
        self.scratch_bytes = aligned(self.scratch_bytes) + aligned(self.frame_bytes)
        size = self._scratch_size
        size.initializer, size.global_constant, size.linkage = I64(self.scratch_bytes), True, "internal"
        self.build.ir.ret(I32(0))
        return self.module
