"""Cond: one of several Programs, chosen by an integer."""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from fdl.control import higher
from fdl.control.higher import (
    Higher,
    ProgramSplit,
    check_operands,
    either,
    extend,
    indices_of,
    is_linear,
    nonzero,
    sample_program,
    spread,
    take,
)
from fdl.core.interpret import apply_program, interpret
from fdl.core.program import Program
from fdl.core.trace import lift, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import is_inexact
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import max_, min_
from fdl.ops.compare import eq
from fdl.ops.select import gate, select
from fdl.ops.shape import all_batched, broadcast_in_dim, full_like, repeat, zeros_of
from fdl.transforms.batch import batch_program
from fdl.transforms.forward import jvp_program
from fdl.transforms.linearize import Split
from fdl.transforms.transpose import transpose_program


class Cond(Higher):
    """The outputs of ``branches[index]``, for an int32 index that is clamped into range; operands follow the index."""

    linear = True
    branches: tuple[Program, ...]

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        if types[0].shape != () or types[0].dtype != np.int32:
            raise DtypeError(f"cond needs an int32 scalar as its index, got {types[0]}")
        for branch in self.branches:
            check_operands(self, branch.input_types, types[1:])
            if branch.output_types != self.branches[0].output_types:
                raise ShapeError("the branches of a cond must return the same types")
        return self.branches[0].output_types

    def reference(self, index: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
        return interpret(self.branches[min(max(int(index), 0), len(self.branches) - 1)], arrays)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        marks = nonzero(tangents[1:])
        none = (False,) * len(self.branches[0].outputs)
        has = reduce(either, (jvp_program(b, marks, none)[1] for b in self.branches))
        branches = tuple(jvp_program(b, marks, has)[0] for b in self.branches)
        outs = Cond(branches)(*primals, *take(tangents[1:], marks))
        return outs[: len(has)], spread(outs[len(has) :], has)

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return (range(1, len(types)),)

    def transpose(self, cotangents: Sequence[Any], index: Any, *args: Any) -> Sequence[Any]:
        linear = is_linear(args)
        marks = nonzero(cotangents)
        branches = tuple(transpose_program(b, linear, marks, True)[0] for b in self.branches)
        outs = Cond(branches)(index, *take(args, linear, False), *take(cotangents, marks))
        return [None, *spread(outs, linear)]

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        every = (True,) * len(self.branches[0].outputs)
        if batched[0]:
            return self.batch_by_select(size, args, batched, axis_name), every
        none = (False,) * len(every)
        marks = tuple(batched[1:])
        flags = reduce(either, (batch_program(b, size, marks, none, axis_name)[1] for b in self.branches))
        branches = tuple(batch_program(b, size, marks, flags, axis_name)[0] for b in self.branches)
        return Cond(branches)(*args), flags

    def batch_by_select(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> list[Any]:
        """Every branch for every example, and the outputs picked by each one's index.

        A branch that is not taken must not spoil gradients: its operands pass through gates.
        """
        operands, marks = _spread(size, args[1:], batched[1:])
        every = (True,) * len(self.branches[0].outputs)
        index = _clamped(args[0], len(self.branches) - 1)
        outs: list[Any] = []
        for number, branch in enumerate(self.branches):
            chosen = eq(index, full_like(index, number))
            checked = higher.guard(branch)
            flags = marks if checked is None else (True, *marks)
            program = batch_program(checked or branch, size, flags, every, axis_name)[0]
            given = [] if checked is None else [chosen]
            given += [
                gate(broadcast_in_dim(chosen, x.type.shape, (0,)), x) if b and is_inexact(x.type.dtype) else x
                for x, b in zip(operands, marks, strict=True)
            ]
            found = apply_program(program, given)
            outs = [
                select(broadcast_in_dim(chosen, o.type.shape, (0,)), n, o) if number else n
                for n, o in zip(found, outs or found, strict=True)
            ]
        return outs

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Any:
        if known[0] is None:
            return NotImplemented
        unknown = tuple(k is None for k in known[1:])
        none = (False,) * len(self.branches[0].outputs)
        out_unknown = reduce(either, (ProgramSplit(b, unknown, none).out_unknown for b in self.branches))
        splits = [ProgramSplit(b, unknown, out_unknown) for b in self.branches]
        forwarded = sorted({n for h in splits for n in h.forwarded})
        residual_types = [h.residual_types for h in splits]
        arg_types = types[1:]
        return Split(
            known=Cond(tuple(_padded_known(h, i, residual_types) for i, h in enumerate(splits))),
            known_args=[0, *(n + 1 for n in indices_of(unknown, False))],
            unknown=Cond(
                tuple(_padded_unknown(h, i, residual_types, forwarded, arg_types) for i, h in enumerate(splits))
            ),
            unknown_args=[0, *(n + 1 for n in indices_of(unknown, True) + forwarded)],
            residuals=sum(map(len, residual_types)),
            out_unknown=out_unknown,
        )

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, (x, y) in sample_program(rng):
            other = trace_program(lambda a, b: [all_batched(1, [a], [True])[0], b], program.input_types)[0]
            for index in (-1, 0, 1, 7):
                yield Cond((program, other)), np.int32(index), x, y


#: Operands that all examples share are repeated up to this many elements, or as many as the largest that they do not.
SHARED = 1024


def _spread(size: int, operands: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], tuple[bool, ...]]:
    """Values of the operands and which are batched, small shared numbers among them.

    The cotangents of a shared operand are summed over the batch inside of a branch, where no gate can take out those
    examples that did not choose it. Large ones, matrices of weights, stay as they are: to repeat them would cost a
    batch of products, and their derivatives are finite unless an infinite number is multiplied by them.
    """
    values = [lift(x) for x in operands]
    limit = max([SHARED] + [x.type.size // max(size, 1) for x, b in zip(values, batched, strict=True) if b])
    small = [not b and is_inexact(x.type.dtype) and x.type.size <= limit for x, b in zip(values, batched, strict=True)]
    values = [repeat(x, size) if s else x for x, s in zip(values, small, strict=True)]
    return values, tuple(b or s for b, s in zip(batched, small, strict=True))


def _clamped(index: Any, last: int) -> Any:
    return max_(full_like(index, 0), min_(index, full_like(index, last)))


def _padded_known(split: ProgramSplit, number: int, residual_types: Sequence[Sequence[TensorType]]) -> Program:
    """The known half of a branch, returning zeros for the residuals of the other branches."""

    def run(*args: Any) -> list[Any]:
        outs = apply_program(split.known, args)
        count = len(outs) - len(split.residual_types)
        residuals = [
            r
            for i, ts in enumerate(residual_types)
            for r in (outs[count:] if i == number else [zeros_of(t) for t in ts])
        ]
        return outs[:count] + residuals

    return trace_program(run, split.known.input_types)[0]


def _padded_unknown(
    split: ProgramSplit,
    number: int,
    residual_types: Sequence[Sequence[TensorType]],
    forwarded: Sequence[int],
    arg_types: Sequence[TensorType],
) -> Program:
    """The unknown half of a branch, taking what the other branches forward and leave behind as well."""
    half = split.unknown
    own = len(half.inputs) - len(split.forwarded) - len(split.residual_types)
    inputs = list(half.inputs[:own])
    mine = dict(zip(split.forwarded, half.inputs[own : own + len(split.forwarded)], strict=True))
    inputs += [mine[n] if n in mine else extend(half, [arg_types[n]]).inputs[-1] for n in forwarded]
    for i, types in enumerate(residual_types):
        inputs += (
            half.inputs[own + len(split.forwarded) :] if i == number else extend(half, types).inputs[len(half.inputs) :]
        )
    return Program(tuple(inputs), half.equations, half.outputs, half.constants)
