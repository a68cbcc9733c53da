"""Machine code of programs over rows (`fdl.compile.ir.rows`), whose extents are arguments.

The function is called as that of a Program (`fdl.compile.codegen.emit`), with the numbers of rows and columns in the
place of constants. It goes over each row once for each reduction that waits for another one, and once more. It returns
0, or `UNUSABLE` if an input is not contiguous and aligned. Float sums are kept in float64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.rows import RowProgram, Step, stages, stored_values
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import Variable, new_function
from fdl.compile.llvm.layout import CONTIGUOUS_ALIGNED, DATA_OFFSET, ENTRY, FLAGS_OFFSET, OBJECTS, UNUSABLE
from fdl.compile.llvm.memory import suffix
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I32, I64, POINTER, Value, memory_type, wide
from fdl.dtypes import float64
from fdl.ops.reduce import identity
from fdl.ops.shape import Sum

#: Registers of a vector in passes that compute little for an element, and in others.
_LIGHT, _HEAVY = 4, 2


def emit_rows(program: RowProgram, target: Target) -> ir.Module:
    """The module of a program's function.

    Raises:
        DtypeError, NotImplementedError: an operation has no native code for its operands.
    """
    return _RowsEmitter(program, target).emit()


class _RowsEmitter:
    def __init__(self, program: RowProgram, target: Target) -> None:
        self.program, self.target = program, target
        self.first, self.stage = len(program.inputs), stages(program)
        self.module = ir.Module()
        self.function = new_function(self.module, ENTRY, [POINTER], I32, exported=True)
        self.build = Build(self.module, target, self.function)
        self.stored = stored_values(program)
        sizes = [k.dtype.itemsize for k in (*program.inputs, *(s.kind for s in program.steps)) if k.dtype.kind != "b"]
        self.lanes = target.vector_bits // 8 // max(4, *sizes)

    def emit(self) -> ir.Module:
        """The whole function."""
        build, program = self.build, self.program
        _, self.scratch, _, extents = (self.entry(n) for n in range(OBJECTS))
        objects = [self.entry(OBJECTS + n) for n in range(self.first + len(program.outputs))]
        for given in objects[: self.first]:
            self.check(given)
        pointers = [self.data(given) for given in objects]
        inputs, outputs = pointers[: self.first], pointers[self.first :]
        rows, self.columns = (build.load(extents, np.dtype(np.int64), number) for number in range(2))
        with build.loop(0, rows) as row:
            start = row * self.columns
            self.scalars: dict[int, Value] = {}
            self.places: dict[int, tuple[ir.Value, Value | int]] = {}
            for number, kind in enumerate(program.inputs):
                if kind.columns:
                    self.places[number] = inputs[number], start if kind.rows else 0
                else:
                    self.scalars[number] = build.load(inputs[number], kind.dtype, row if kind.rows else 0)
            offset: Any = 0
            for number in self.stored:
                dtype = program.kind(number).dtype
                self.places[number] = (
                    build.ir.gep(self.scratch, [build.index(offset).ir], source_etype=ir.IntType(8)),
                    0,
                )
                offset = self.columns * dtype.itemsize + offset
            written = [(n, p, start) for n, p in zip(program.outputs, outputs, strict=True) if program.kind(n).columns]
            for number in range(max(self.stage) + 1):
                self.compute_scalars(number)
                self.go_over(number, written)
            for number, pointer in zip(program.outputs, outputs, strict=True):
                kind = program.kind(number)
                if not kind.columns:
                    build.store(self.scalars[number], pointer, row if kind.rows else 0)
        build.ir.ret(I32(0))
        return self.module

    def entry(self, number: int) -> ir.Value:
        """A pointer of the table."""
        build = self.build
        return build.ir.load(build.ir.gep(self.function.args[0], [I64(number)], source_etype=POINTER), typ=POINTER)

    def check(self, given: ir.Value) -> None:
        """Return `UNUSABLE` unless an array is contiguous and aligned."""
        build = self.build
        flags = build.ir.load(build.ir.gep(given, [I64(FLAGS_OFFSET)], source_etype=ir.IntType(8)), typ=I32)
        wanted = I32(CONTIGUOUS_ALIGNED)
        with build.ir.if_then(build.ir.icmp_unsigned("!=", build.ir.and_(flags, wanted), wanted), likely=False):
            build.ir.ret(I32(UNUSABLE))

    def data(self, given: ir.Value) -> ir.Value:
        """Where the elements of an array are."""
        build = self.build
        return build.ir.load(build.ir.gep(given, [I64(DATA_OFFSET)], source_etype=ir.IntType(8)), typ=POINTER)

    def step(self, number: int) -> Step:
        return self.program.steps[number - self.first]

    def compute_scalars(self, stage: int) -> None:
        """What does not vary along the row and can be known before the pass of this number."""
        for number, step in enumerate(self.program.steps, self.first):
            fixed = number not in self.scalars and not step.kind.columns and not step.reduces
            if fixed and self.stage[number] <= stage:
                operands = [self.scalars[o] for o in step.operands]
                self.scalars[number] = step.operation.lower(self.build, *operands)

    def go_over(self, stage: int, written: Sequence[tuple[int, ir.Value, Value]]) -> None:
        """One pass over the row: results, values that are kept, and the reductions that can be done."""
        steps = list(enumerate(self.program.steps, self.first))
        reductions = [n for n, s in steps if s.reduces and self.stage[n] == stage + 1]
        stores = [(n, *self.places[n]) for n in self.stored if self.stage[n] == stage]
        stores += [w for w in written if self.stage[w[0]] == stage]
        if not reductions and not stores:
            return
        build = self.build
        wanted = [*(n for n, _, _ in stores), *(self.step(n).operands[0] for n in reductions)]
        light = all(self.step(n).operation.exact for n in self.computed(wanted, stage))
        lanes = self.lanes * (_LIGHT if light else _HEAVY)
        accumulators = {n: build.variable(self.identity(n, lanes)) for n in reductions}
        whole = self.columns - build.value(build.ir.urem(self.columns.ir, I64(lanes)), np.dtype(np.int64))
        with build.loop(0, whole, lanes) as j:
            self.vector(j, lanes, None, stage, stores, accumulators)
        accumulators = {n: build.variable(self.folded(n, total.get())) for n, total in accumulators.items()}
        with build.loop(whole, self.columns, self.lanes) as j:
            mask = build.first_lanes(self.columns - j, self.lanes)
            self.vector(j, self.lanes, mask, stage, stores, accumulators)
        for number, total in accumulators.items():
            reduced = build.reduce(self.operator(number), total.get())
            self.scalars[number] = build.convert(reduced, self.step(number).kind.dtype)

    def computed(self, wanted: Sequence[int], stage: int) -> set[int]:
        """The steps that a pass computes for each element."""
        found: set[int] = set()
        stack = list(wanted)
        while stack:
            number = stack.pop()
            if number in found or number < self.first or number in self.scalars:
                continue
            if number in self.stored and self.stage[number] < stage:
                continue
            found.add(number)
            stack += self.step(number).operands
        return found

    def vector(
        self,
        j: Value,
        lanes: int,
        mask: Value | None,
        stage: int,
        stores: Sequence[tuple[int, ir.Value, Any]],
        accumulators: dict[int, Variable],
    ) -> None:
        """The elements from column `j` on."""
        build, values = self.build, dict[int, Value]()

        def value(number: int) -> Value:
            if number not in values:
                values[number] = build.broadcast(compute(number), lanes)
            return values[number]

        def compute(number: int) -> Value:
            if number in self.scalars:
                return self.scalars[number]
            if number < self.first or (number in self.stored and self.stage[number] < stage):
                pointer, start = self.places[number]
                return build.load(pointer, self.program.kind(number).dtype, j + start, lanes, 1, mask)
            step = self.step(number)
            found: Value = step.operation.lower(build, *map(value, step.operands))
            return found

        for number, pointer, start in stores:
            self.store(value(number), pointer, j + start, mask)
        for number, total in accumulators.items():
            found = value(self.step(number).operands[0])
            if self.operator(number) == "sum":
                found = build.convert(found, self.accumulator(number))
            if mask is not None:
                found = build.select(mask, found, self.identity(number, lanes))
            total.set(self.combine(number)(total.get(), found))

    def store(self, value: Value, pointer: ir.Value, index: Value, mask: Value | None) -> None:
        build = self.build
        if mask is None or mask.lanes == 1:
            build.store(value, pointer, index, 1, mask)
            return
        stored = build.pack(value)
        address = build.at(pointer, index, value.dtype)
        kind = wide(memory_type(value.dtype), mask.lanes)
        arguments = [stored, address, I32(value.dtype.itemsize), mask.ir]
        name = f"llvm.masked.store.{suffix(kind)}.p0"
        build.ir.call(build.declare(name, ir.VoidType(), [a.type for a in arguments]), arguments)

    def operator(self, number: int) -> str:
        operation = self.step(number).operation
        return "sum" if isinstance(operation, Sum) else operation.name.removeprefix("reduce_")

    def accumulator(self, number: int) -> np.dtype:
        """The dtype in which a sum is kept."""
        dtype = self.step(number).kind.dtype
        return dtype if dtype.kind in "iu" else float64

    def combine(self, number: int) -> Callable[[Value, Value], Value]:
        return {"sum": self.build.add, "max": self.build.max, "min": self.build.min}[self.operator(number)]

    def identity(self, number: int, lanes: int) -> Value:
        """What a reduction begins with."""
        operator = self.operator(number)
        if operator == "sum":
            return self.build.constant(0, self.accumulator(number), lanes)
        dtype = self.program.kind(self.step(number).operands[0]).dtype
        return self.build.constant(identity(dtype, operator == "max"), dtype, lanes)

    def folded(self, number: int, total: Value) -> Value:
        """The total of the wide vectors of a pass in the lanes of one register."""
        while total.lanes > self.lanes:
            half = total.lanes // 2
            low, high = (self.build.part(total, start, half) for start in (0, half))
            total = self.combine(number)(low, high)
        return total
