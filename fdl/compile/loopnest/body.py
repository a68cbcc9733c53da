"""Code for the body of a nest: its instructions for one vector of iterations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import assert_never

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.body import Apply, Choose, Constant, Guards, Index, Instruction, Load
from fdl.compile.ir.loops import Loops, operands_of
from fdl.compile.ir.work import work_of
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.core.program import Var
from fdl.core.types import DType
from fdl.dtypes import int32, int64

#: The index of each loop; 0 of those that have not been opened yet.
Counters = tuple[Value, ...]
#: Masks of guards for a number of lanes, each made once.
Masks = dict[tuple[Guards, int], Value]


class BodyEmitter:
    """Emits the instructions of a nest at the end of a function.

    Args:
        build: where the code goes.
        loops: the nest.
        pointer: the LLVM pointer to the first element of a stored value.
    """

    def __init__(self, build: Build, loops: Loops, pointer: Callable[[Var], ir.Value]) -> None:
        self.build, self.loops, self.pointer, self.tuning = build, loops, pointer, build.target.tuning
        self.last = len(loops.extents) - 1
        self.invariant = self._invariants()

    def _invariants(self) -> list[bool]:
        """Which instructions give the same all along the last loop, and so are computed before it."""
        found: list[bool] = []

        def still(affine: Affine) -> bool:
            return self.last < 0 or not affine.coefficients[self.last]

        for i in self.loops.instructions:
            match i:
                case Apply():
                    found.append(all(found[o] for o in i.operands))
                case Load():
                    found.append(still(i.flat) and all(still(index) for index, _ in i.guards))
                case Choose():
                    found.append(found[i.inside] and found[i.outside] and all(still(index) for index, _ in i.guards))
                case Index():
                    found.append(still(i.value))
                case Constant():
                    found.append(True)
                case _:
                    assert_never(i)
        return found

    def hoisted(self, counters: Counters) -> dict[int, Value]:
        """The values of those instructions, by number."""
        values: dict[int, Value] = {}
        masks: Masks = {}
        for number, instruction in enumerate(self.loops.instructions):
            if self.invariant[number] and not isinstance(instruction, Constant):
                for o in operands_of(instruction):
                    if o not in values:
                        values[o] = self.compute(self.loops.instructions[o], values, counters, 1, masks)
                values[number] = self.compute(instruction, values, counters, 1, masks)
        return values

    @property
    def lanes(self) -> int:
        """Elements of a full vector: as many as a register holds of the widest dtype that is computed with."""
        sizes = [4 if d.itemsize == 2 and d.kind not in "iu" else d.itemsize for d in self.dtypes() if d.kind != "b"]
        lanes = max(1, self.build.target.vector_bits // 8 // max(sizes, default=4))
        return self.abreast * lanes if lanes > 1 else lanes

    @property
    def abreast(self) -> int:
        """Registers of each vector: two, or four where there are enough, if an element is so much work, one step after
        the other, that a processor does not reach the next one while it waits. More than one would change in which
        order numbers are added up."""
        varying = [i for i, fixed in zip(self.loops.instructions, self.invariant, strict=True) if not fixed]
        if self.loops.reductions or work_of(varying) < self.tuning.chained_work:
            return 1
        return 4 if self.build.target.vector_bits == 512 and len(varying) <= self.tuning.chained_body else 2

    def dtypes(self) -> Iterator[DType]:
        """The dtypes of what varies from lane to lane."""
        for instruction, invariant in zip(self.loops.instructions, self.invariant, strict=True):
            if not invariant and not isinstance(instruction, (Index, Constant)):
                dtype = instruction.var.type.dtype if isinstance(instruction, Load) else instruction.dtype
                yield transport_dtype(dtype) or dtype

    def address(self, affine: Affine, counters: Counters) -> IndexLike:
        """An affine index at the current iteration (of the first lane), as an integer or a value."""
        total: IndexLike = affine.constant
        for coefficient, counter in zip(affine.coefficients, counters, strict=True):
            if coefficient:
                term = counter if coefficient == 1 else counter * coefficient
                total = term if isinstance(total, int) and total == 0 else term + total
        return total

    def evaluate(self, counters: Counters, lanes: int, hoisted: dict[int, Value]) -> list[Value]:
        """All instructions for one vector of iterations."""
        values: list[Value] = []
        masks: Masks = {}
        for number, instruction in enumerate(self.loops.instructions):
            found = hoisted.get(number) or self.compute(instruction, values, counters, lanes, masks)
            values.append(self.build.broadcast(found, lanes))
        return values

    def compute(
        self,
        instruction: Instruction,
        values: Mapping[int, Value] | Sequence[Value],
        counters: Counters,
        lanes: int,
        masks: Masks,
    ) -> Value:
        """One instruction."""
        build = self.build
        match instruction:
            case Apply(operation, operands, _):
                return operation.lower(build, *(values[o] for o in operands))
            case Constant(data, dtype):
                moved = transport_dtype(dtype)
                return build.constant(np.frombuffer(data, moved)[0], moved, lanes)
            case Load():
                return self.load(instruction, counters, lanes, masks)
            case Choose(guards, inside, outside, _):
                return build.select(self.mask(guards, counters, lanes, masks), values[inside], values[outside])
            case Index(value, dtype):
                index = build.index(self.address(value, counters))
                step = value.coefficients[self.last] if lanes > 1 else 0
                if step:
                    index = build.broadcast(index, lanes)
                    index = index + build.iota(int64, lanes) * build.constant(step, int64, lanes)
                return build.convert(index, dtype)
            case _:
                assert_never(instruction)

    def load(self, load: Load, counters: Counters, lanes: int, masks: Masks) -> Value:
        """A vector from memory."""
        build, dtype = self.build, transport_dtype(load.var.type.dtype)
        stride = load.flat.coefficients[self.last] if lanes > 1 else 0
        index, pointer = self.address(load.flat, counters), self.pointer(load.var)
        if not load.guards:
            return build.load(pointer, dtype, index, lanes if stride else 1, stride or 1)
        fixed = tuple(g for g in load.guards if lanes == 1 or not g[0].coefficients[self.last])
        if stride == 0:
            # Lanes share the element, which may be missing only for a reason that they share.
            if fixed:
                inside = self.mask(fixed, counters, 1, masks)
                index = build.select(inside, build.index(index), build.index(0))
            return build.load(pointer, dtype, index)
        return build.load(pointer, dtype, index, lanes, stride, self.mask(load.guards, counters, lanes, masks))

    def mask(self, guards: Guards, counters: Counters, lanes: int, masks: Masks) -> Value:
        """Whether all guards hold, per lane."""
        key = (guards, lanes)
        if key not in masks:
            tests = [self.inside(index, extent, counters, lanes) for index, extent in guards]
            total = tests[0]
            for test in tests[1:]:
                total = self.build.and_(total, test)
            masks[key] = self.build.broadcast(total, lanes)
        return masks[key]

    def inside(self, affine: Affine, extent: int, counters: Counters, lanes: int) -> Value:
        """Whether 0 <= index < extent."""
        build = self.build
        index = build.index(self.address(affine, counters))
        spans = (abs(c) * n for c, n in zip(affine.coefficients, self.loops.extents, strict=True))
        if max(extent, abs(affine.constant) + sum(spans)) < 2**31:
            index = build.convert(index, int32)  # twice as many lanes
        step = affine.coefficients[self.last] if lanes > 1 else 0
        if step:
            integer = index.dtype
            index = build.broadcast(index, lanes) + build.iota(integer, lanes) * build.constant(step, integer, lanes)
        return build.and_(build.ge(index, 0), build.lt(index, extent))


def with_counter(counters: Counters, axis: int, value: Value) -> Counters:
    """The counters with another value for one loop."""
    return (*counters[:axis], value, *counters[axis + 1 :])
