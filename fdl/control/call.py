"""Call: a Program applied to operands."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.control.higher import (
    Higher,
    ProgramSplit,
    check_operands,
    indices_of,
    is_linear,
    nonzero,
    sample_program,
    spread,
    take,
)
from fdl.core.interpret import interpret
from fdl.core.program import Program
from fdl.core.types import TensorType
from fdl.transforms.batch import batch_program
from fdl.transforms.forward import jvp_program
from fdl.transforms.linearize import Split
from fdl.transforms.transpose import transpose_program


class Call(Higher):
    """The outputs of a Program: what a jitted function becomes inside other traces."""

    linear = True
    #: Whether the program may mix what is linear with what is not when it is transposed.
    mixed: ClassVar[bool] = False
    program: Program
    label: str = ""

    @property
    def inlined(self) -> Program:
        return self.program

    def like(self, program: Program) -> "Call":
        """The same kind of call of another Program."""
        return type(self)(program, self.label)

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        check_operands(self, self.program.input_types, types)
        return self.program.output_types

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return interpret(self.program, arrays)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        none = (False,) * len(self.program.outputs)
        program, has = jvp_program(self.program, nonzero(tangents), none)
        outs = self.like(program)(*primals, *take(tangents, nonzero(tangents)))
        return outs[: len(has)], spread(outs[len(has) :], has)

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        linear = is_linear(args)
        program, has = transpose_program(self.program, linear, nonzero(cotangents), separate=self.mixed)
        outs = self.like(program)(*take(args, linear, False), *take(cotangents, nonzero(cotangents)))
        return spread(spread(outs, has), linear)

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        none = (False,) * len(self.program.outputs)
        program, flags = batch_program(self.program, size, tuple(batched), none, axis_name)
        return self.like(program)(*args), flags

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Split:
        unknown = tuple(k is None for k in known)
        split = ProgramSplit(self.program, unknown, (False,) * len(self.program.outputs))
        return Split(
            known=Call(split.known, self.label),
            known_args=indices_of(unknown, False),
            unknown=Call(split.unknown, self.label),
            unknown_args=indices_of(unknown, True) + split.forwarded,
            residuals=len(split.residual_types),
            out_unknown=split.out_unknown,
        )

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, operands in sample_program(rng):
            yield type(self)(program), *operands
