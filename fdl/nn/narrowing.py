"""Programs whose products and convolutions take and make floats of 16 bits; everything else computes in float32.

What is a product, or is read by one, is held in 16 bits for all who read it, so that it is stored once. Operations that
only move or choose elements keep the 16 bits, which changes no number. All others get float32, which the compiler
converts to in registers. Inputs and outputs of a Program keep their dtypes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fdl.control.call import Call
from fdl.control.checkpoint import Named, Remat
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core import trace
from fdl.core.operation import Operation
from fdl.core.program import Atom, Literal, Program
from fdl.core.trace import ReplayedLines, lift, trace_program
from fdl.dtypes import float32
from fdl.ops.arithmetic import Abs, Max, Min, StopGradient
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.ops.convert import convert
from fdl.ops.elementwise import Neg
from fdl.ops.indexing import Gather
from fdl.ops.reduce import ReduceMax, ReduceMin
from fdl.ops.select import Gate, Select
from fdl.ops.shape import BroadcastInDim, Reshape, Transpose
from fdl.ops.slicing import Concatenate, DynamicSlice, DynamicUpdateSlice, Pad, Reverse, Slice
from fdl.ops.window import ReduceWindow, SelectAndGather, SelectAndScatterAdd
from fdl.transforms.inline import inline_those

#: They move elements, or are the largest of some: what a product reads through them is held in 16 bits before.
_MOVES = (Reshape, Transpose, BroadcastInDim, Slice, Reverse, Pad, Concatenate)
#: They return elements of their operands, or those negated.
_CHOICES = (
    *_MOVES, DynamicSlice, DynamicUpdateSlice, Gather, Max, Min, Neg, Abs, Select, Gate, StopGradient,
    ReduceMax, ReduceMin, SelectAndGather, SelectAndScatterAdd,
)  # fmt: skip


class Held:
    """A value of a Program, in float32, in 16 bits, or both.

    Args:
        wide: the value in its own dtype; None while only the other is known.
        narrow: the value in 16 bits; None if it is not held so.
        exact: whether 16 bits hold it, though it is in float32: a known number, in every element.
    """

    def __init__(self, wide: Any, narrow: Any = None, exact: bool = False) -> None:
        self._wide, self.narrow, self.exact = wide, narrow, exact

    @property
    def wide(self) -> Any:
        """The value in float32, or in its own dtype if that is another one."""
        if self._wide is None:
            self._wide = convert(self.narrow, float32)
        return self._wide

    @property
    def is_float32(self) -> bool:
        """Whether the Program computed it in float32."""
        return self._wide is None or self._wide.type.dtype == float32

    def narrowed(self, dtype: np.dtype) -> Any:
        """The value in 16 bits.

        One that is in float32 is converted for each reader, so that cotangents of parameters add up in float32.
        """
        return convert(self.wide, dtype) if self.narrow is None else self.narrow


class Narrowing:
    """Runs Programs with products in `dtype`, in the current interpreter."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def __call__(self, program: Program, args: Sequence[Any]) -> list[Any]:
        """The outputs of a Program, in its own dtypes."""
        return [held.wide for held in self.run(program, [Held(a) for a in args])]

    def run(self, program: Program, args: Sequence[Held]) -> list[Held]:
        """The outputs, each as it is held."""
        program = inline_those(program, lambda operation: type(operation) is Call)
        values: dict[Atom, Held] = {var: Held(lift(value)) for var, value in program.constants}
        values.update(zip(program.inputs, args, strict=True))
        wanted = _read_by_products(program)

        def read(atom: Atom) -> Held:
            return self.known(atom.value) if isinstance(atom, Literal) else values[atom]

        with ReplayedLines() as at:
            for equation in program.equations:
                at(equation.source)
                outs = self.equation(equation.operation, list(map(read, equation.inputs)))
                for var, held in zip(equation.outputs, outs, strict=True):
                    if var in wanted and held.narrow is None and held.is_float32:
                        held = Held(None, convert(held.wide, self.dtype))
                    values[var] = held
        return [read(atom) for atom in program.outputs]

    def equation(self, operation: Operation, args: Sequence[Held]) -> list[Held]:
        """The results of one operation."""
        if _is_product(operation) and all(a.is_float32 for a in args):
            return self.narrow_results(operation, [a.narrowed(self.dtype) for a in args])
        if self.keeps(operation, args):
            return self.narrow_results(operation, [self.chosen(a) for a in args])
        if isinstance(operation, Scan):
            return self.scan(operation, args)
        if isinstance(operation, (Remat, Named)):
            return self.call(operation, args)
        exact = isinstance(operation, BroadcastInDim) and args[0].exact
        outs = trace.current().process(self.inside(operation), [a.wide for a in args])
        return [Held(o, exact=exact) for o in outs]

    def narrow_results(self, operation: Operation, args: Sequence[Any]) -> list[Held]:
        """The results of an operation on 16-bit floats, which it returns too."""
        outs = trace.current().process(operation, args)
        return [Held(None, o) if o.type.dtype == self.dtype else Held(o) for o in outs]

    def keeps(self, operation: Operation, args: Sequence[Held]) -> bool:
        """Whether an operation returns elements of its operands, all of which 16 bits hold."""
        chooses = isinstance(operation, _CHOICES) or _is_largest(operation)
        floats = [a for a in args if a.is_float32]
        held = [a.narrow is not None for a in floats]
        return chooses and any(held) and all(h or a.exact for h, a in zip(held, floats, strict=True))

    def known(self, number: np.ndarray) -> Held:
        """A number that is written in the Program."""
        with np.errstate(over="ignore"):
            exact = number.dtype == float32 and bool(number.astype(self.dtype).astype(float32) == number)
        return Held(lift(number), exact=exact)

    def chosen(self, held: Held) -> Any:
        """The operand of an operation that chooses elements."""
        return held.narrowed(self.dtype) if held.is_float32 else held.wide

    def inside(self, operation: Operation) -> Operation:
        """An operation whose Programs are narrowed, between borders that stay; derivative rules are let alone."""
        changed: dict[str, Any] = {}
        if isinstance(operation, Cond):
            changed["branches"] = tuple(map(self.program, operation.branches))
        if isinstance(operation, While):
            changed["body"] = self.program(operation.body)
        return replace(operation, **changed) if changed else operation  # type: ignore[type-var]  # a dataclass

    def program(self, program: Program) -> Program:
        """A Program of the same inputs and outputs."""
        return trace_program(lambda *args: self(program, args), program.input_types)[0]

    def call(self, operation: Any, args: Sequence[Held]) -> list[Held]:
        """The results of a call that is kept as one: operands and results may be of 16 bits."""
        program, held = self.borders(operation.program, args, lambda _: True, 0)
        outs = trace.current().process(operation.like(program), held)
        return self.as_held(outs, operation.program)

    def scan(self, operation: Scan, args: Sequence[Held]) -> list[Held]:
        """The results of a loop: what it reads and stacks may be of 16 bits, constants and carries stay as they are.

        Cotangents of constants add up over all steps, for which 16 bits are too few.
        """
        first = operation.constants + operation.carries
        body, held = self.borders(operation.body, args, lambda n: n >= first, operation.carries)
        outs = trace.current().process(replace(operation, body=body), held)
        return self.as_held(outs, operation.body)

    def borders(
        self, program: Program, args: Sequence[Held], may: Callable[[int], bool], fixed: int
    ) -> tuple[Program, list[Any]]:
        """A Program narrowed, and its operands: of 16 bits where they are held so and `may` be; outputs too, after the
        first `fixed` ones."""
        narrow = [may(n) and a.narrow is not None for n, a in enumerate(args)]
        held = [a.narrow if low else a.wide for a, low in zip(args, narrow, strict=True)]
        types = [t.with_dtype(self.dtype if low else None) for t, low in zip(program.input_types, narrow, strict=True)]

        def run(*values: Any) -> list[Any]:
            given = [Held(None, v) if low else Held(v) for v, low in zip(values, narrow, strict=True)]
            outs = self.run(program, given)
            return [o.wide if n < fixed or o.narrow is None else o.narrow for n, o in enumerate(outs)]

        return trace_program(run, types)[0], held

    def as_held(self, outs: Sequence[Any], program: Program) -> list[Held]:
        """Results of an operation that holds a Program, some of which may have become narrow."""
        types = program.output_types
        return [Held(None, o) if o.type.dtype != t.dtype else Held(o) for o, t in zip(outs, types, strict=True)]


def _is_product(operation: Operation) -> bool:
    """Whether an operation sums products in the dtype of its operands."""
    summed = not isinstance(operation, DotGeneral) or operation.contracting[0]
    return isinstance(operation, (DotGeneral, ConvGeneral)) and operation.dtype is None and bool(summed)


def _read_by_products(program: Program) -> set[Atom]:
    """What products read, also through operations that move elements."""
    found: set[Atom] = set()
    for equation in reversed(program.equations):
        moves = isinstance(equation.operation, _MOVES) or _is_largest(equation.operation)
        if _is_product(equation.operation) or (moves and equation.outputs[0] in found):
            found.update(equation.inputs)
    return {a for a in found if not isinstance(a, Literal)}


def _is_largest(operation: Operation) -> bool:
    """Whether an operation finds the largest or smallest element of windows."""
    return isinstance(operation, ReduceWindow) and operation.kind != "sum"
