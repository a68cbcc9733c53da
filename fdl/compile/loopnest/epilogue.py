"""Code of epilogues: what is computed on each vector of a result while it is in the cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import Affine, merged_strides
from fdl.compile.ir.body import Apply, Constant, Load
from fdl.compile.ir.plan import Slot
from fdl.compile.ir.steps import KernelStep, LoopNest
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.core.program import Var


@dataclass(frozen=True)
class Access:
    """Element ``constant + sum of index * stride`` of an operand, for the index of an element of the result.

    Attributes:
        operand: its number.
        constant: offset.
        strides: along the axes of the result that the kernel runs through.
    """

    operand: int
    constant: int
    strides: tuple[int, ...]


class EpilogueEmitter:
    """The epilogue of a step, as its kernel calls it (`fdl.compile.kernels.kernel.Epilogue`).

    Args:
        step: with an epilogue.
        slots: where the stored values are.
        axes: how many axes of the result the kernel runs through, the last ones; others have one element.

    Attributes:
        operands: the arrays that it reads or writes, in the order in which the kernel passes their pointers.
    """

    def __init__(self, step: KernelStep, slots: Mapping[Var, Slot], axes: int) -> None:
        assert step.epilogue is not None
        (self.result,) = step.equation.outputs
        self.loops, self._slots, self._axes = step.epilogue, slots, axes
        self._known: dict[Slot, int] = {}
        self.operands: list[Var] = []
        self.loads = {
            number: self._access(i.var, i.flat)
            for number, i in enumerate(self.loops.instructions)
            if isinstance(i, Load) and i.var is not self.result
        }
        own, stores = slots[self.result], self.loops.stores
        #: The instruction whose value takes the result's place, if there is one.
        self.replaced = next((s.number for s in stores if slots[s.var] == own), None)
        self.stores = [(s.number, self._access(s.var, s.flat)) for s in stores if slots[s.var] != own]

    def _access(self, var: Var, flat: Affine) -> Access:
        steps = merged_strides(flat.coefficients, self.loops.extents, self.result.type.shape)
        assert steps is not None
        # What is updated in place has one pointer, since pointers are promised not to overlap.
        slot = self._slots[var]
        if slot not in self._known:
            self._known[slot] = len(self.operands)
            self.operands.append(var)
        return Access(self._known[slot], flat.constant, steps[-self._axes :])

    def key(self) -> str:
        """A text that is equal for equal code."""
        parts: list[object] = [self.loads, self.stores, self.replaced]
        parts += [i.var.type.dtype if isinstance(i, Load) else i for i in self.loops.instructions]
        return repr(parts)

    def __call__(
        self, build: Build, value: Value, index: tuple[Value, ...], pointers: Sequence[ir.Value], mask: Value | None,
        axis: int = -1,
    ) -> Value | None:  # fmt: skip
        def place(access: Access) -> tuple[ir.Value, Value, int]:
            where = build.index(access.constant)
            for i, step in zip(index, access.strides, strict=True):
                where = where + i * step if step else where
            return pointers[access.operand], where, access.strides[axis]

        values: list[Value] = []
        for number, instruction in enumerate(self.loops.instructions):
            if isinstance(instruction, Apply):
                found = instruction.operation.lower(build, *(values[o] for o in instruction.operands))
            elif isinstance(instruction, Constant):
                dtype = transport_dtype(instruction.dtype)
                found = build.constant(np.frombuffer(instruction.data, dtype)[0], dtype, value.lanes)
            elif number not in self.loads:
                found = value
            else:
                assert isinstance(instruction, Load)
                (pointer, where, stride), dtype = place(self.loads[number]), transport_dtype(instruction.var.type.dtype)
                lanes = (value.lanes, stride, mask) if stride else ()
                found = build.load(pointer, dtype, where, *lanes)
            values.append(build.broadcast(found, value.lanes))
        for number, access in self.stores:
            pointer, where, stride = place(access)
            build.store(values[number], pointer, where, stride, mask)
        return None if self.replaced is None else values[self.replaced]


def as_nest(step: KernelStep) -> LoopNest:
    """The epilogue as a nest of its own, for kernels that take none."""
    assert step.epilogue is not None
    loops = step.epilogue.collapsed()
    reads = tuple(dict.fromkeys(load.var for load in loops.reads()))
    return LoopNest(loops, [s.var for s in loops.stores], reads)
