"""Scan: a Program carried along the leading axis of its operands."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.control.higher import (
    Higher,
    ProgramSplit,
    check_operands,
    indices_of,
    is_linear,
    nonzero,
    reorder,
    sample_program,
    spread,
    take,
)
from fdl.core.interpret import interpret
from fdl.core.primitive import Linear
from fdl.core.program import Program
from fdl.core.trace import require_closed, trace_program
from fdl.core.types import TensorType
from fdl.errors import ShapeError
from fdl.ops.arithmetic import add
from fdl.ops.shape import all_batched, move_axis, zeros_of
from fdl.transforms.batch import batch_program
from fdl.transforms.forward import jvp_program
from fdl.transforms.linearize import Split
from fdl.transforms.transpose import backward


class Scan(Higher):
    """Runs `body` once for each of `length` slices.

    `body` takes constants, the carry, and one slice of each scanned operand; it returns the new carry and one slice of
    each stacked result. Operands are constants, initial carry, scanned ones; results are the last carry and the stacks.
    """

    linear = True
    body: Program
    length: int
    reverse: bool = False
    constants: int = 0
    carries: int = 0

    def divide(self, args: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Constants, carry, scanned."""
        first, second = self.constants, self.constants + self.carries
        return args[:first], args[first:second], args[second:]

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        constants, carry, scanned = self.divide(types)
        for type in scanned:
            if type.shape[:1] != (self.length,):
                raise ShapeError(f"scan over {self.length} steps cannot take a scanned operand {type}")
        slices = [t.with_shape(t.shape[1:]) for t in scanned]
        check_operands(self, self.body.input_types, (*constants, *carry, *slices))
        check_operands(self, self.body.output_types[: self.carries], carry)
        return (*carry, *(t.with_shape((self.length, *t.shape)) for t in self.body.output_types[self.carries :]))

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        constants, carry, scanned = self.divide(arrays)
        stacks = [np.empty((self.length, *t.shape), t.dtype) for t in self.body.output_types[self.carries :]]
        for step in range(self.length)[:: -1 if self.reverse else 1]:
            outs = interpret(self.body, [*constants, *carry, *(x[step] for x in scanned)])
            carry = outs[: self.carries]
            for stack, value in zip(stacks, outs[self.carries :], strict=True):
                stack[step] = value
        return [*carry, *stacks]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        constants, carry, scanned = map(list, self.divide(primals))
        dots = self.divide(tangents)
        marks, const_marks, scan_marks = nonzero(dots[1]), nonzero(dots[0]), nonzero(dots[2])
        free = (False,) * (len(self.body.outputs) - self.carries)
        while True:
            program, has = jvp_program(self.body, const_marks + marks + scan_marks, marks + free)
            if has[: self.carries] == marks:
                break
            marks = has[: self.carries]
        count, (nc, nm, nx) = len(self.body.inputs), (sum(const_marks), sum(marks), sum(scan_marks))
        inputs = [*range(self.constants), *range(count, count + nc)]
        inputs += [*range(self.constants, self.constants + self.carries), *range(count + nc, count + nc + nm)]
        inputs += [*range(self.constants + self.carries, count), *range(count + nc + nm, count + nc + nm + nx)]
        total = len(self.body.outputs)
        outputs = [*range(self.carries), *range(total, total + nm), *range(self.carries, total)]
        outputs += range(total + nm, len(program.outputs))
        body = reorder(program, inputs, outputs)
        started = [zeros_of(c.type) if d is None else d for c, d, m in zip(carry, dots[1], marks, strict=True) if m]
        loop = Scan(body, self.length, self.reverse, self.constants + nc, self.carries + nm)
        outs = loop(*constants, *take(dots[0], const_marks), *carry, *started, *scanned, *take(dots[2], scan_marks))
        first, second = self.carries + nm, nm + total
        primal_outs = [*outs[: self.carries], *outs[first:second]]
        return primal_outs, spread([*outs[self.carries : first], *outs[second:]], has)

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Split:
        constants, carry, scanned = map(tuple, self.divide([k is None for k in known]))
        free = (False,) * (len(self.body.outputs) - self.carries)
        while True:
            split = ProgramSplit(self.body, constants + carry + scanned, carry + free, self.constants)
            if split.out_unknown[: self.carries] == carry:
                break
            carry = split.out_unknown[: self.carries]
        unknown = constants + carry + scanned
        first, second = self.constants, self.constants + self.carries
        # A residual that is a constant or a slice is read again from there; one that is the carry must be stacked.
        carried = [n for n in split.forwarded if first <= n < second]
        known_half = split.known
        place = dict(zip(indices_of(unknown, False), known_half.inputs, strict=True))
        count = len(known_half.outputs) - len(split.residual_types)
        known_body = Program(
            known_half.inputs,
            known_half.equations,
            known_half.outputs + tuple(place[n] for n in carried),
            known_half.constants,
        )
        own, half = sum(unknown), split.unknown
        forwarded = dict(zip(split.forwarded, half.inputs[own:], strict=False))
        mine = dict(zip(indices_of(unknown, True), half.inputs[:own], strict=True))
        const_args = [n for n in range(first) if n in mine or n in forwarded]
        carry_args = [n for n in range(first, second) if n in mine]
        scan_args = [n for n in range(second, len(unknown)) if n in mine or n in forwarded]
        read = {**forwarded, **mine}
        stacked = half.inputs[own + len(split.forwarded) :] + tuple(forwarded[n] for n in carried)
        inputs = tuple(read[n] for n in const_args + carry_args + scan_args) + stacked
        unknown_body = Program(inputs, half.equations, half.outputs, half.constants)
        known_carries = self.carries - sum(carry)
        return Split(
            known=Scan(known_body, self.length, self.reverse, self.constants - sum(constants), known_carries),
            known_args=indices_of(unknown, False),
            unknown=Scan(unknown_body, self.length, self.reverse, len(const_args), len(carry_args)),
            unknown_args=const_args + carry_args + scan_args,
            residuals=len(known_body.outputs) - count,
            out_unknown=split.out_unknown,
        )

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        const_linear, carry_given, scan_linear = self.divide(is_linear(args))
        # A first carry that is known is the zero tangent of a carry that only later depends on linear operands.
        carry_linear = (True,) * self.carries
        linear = (*const_linear, *carry_linear, *scan_linear)
        constants, _, scanned = self.divide(args)
        marks = nonzero(cotangents[self.carries :])
        const_types, scan_types, carry_types = (
            [t for t, is_lin in zip(ts, ls, strict=True) if is_lin]
            for ts, ls in zip(self.split_types(), (const_linear, scan_linear, carry_linear), strict=True)
        )
        fixed, sliced = take(constants, const_linear, False), take(scanned, scan_linear, False)
        stack_types = [t for t, m in zip(self.body.output_types[self.carries :], marks, strict=True) if m]
        sizes = [len(fixed), len(const_types), self.carries, len(stack_types), len(sliced)]

        def step(*values: Any) -> list[Any]:
            rest = iter(values)
            fix, sums, state, stacks, slices = ([next(rest) for _ in range(n)] for n in sizes)
            operands = merge_linear(self.body.input_types, linear, [*fix, *slices])
            outs = backward(self.body, operands, [*state, *spread(stacks, marks)])
            found = self.divide(outs)
            added = [s if o is None else add(s, o) for s, o in zip(sums, take(found[0], const_linear), strict=True)]
            moved = [zeros_of(t) if o is None else o for t, o in zip(carry_types, found[1], strict=True)]
            sent = [
                zeros_of(t) if o is None else o for t, o in zip(scan_types, take(found[2], scan_linear), strict=True)
            ]
            return [*added, *moved, *sent]

        types = [f.type for f in fixed] + const_types + carry_types + stack_types
        types += [s.type.with_shape(s.type.shape[1:]) for s in sliced]
        body, captured = trace_program(step, types)
        require_closed(captured)
        loop = Scan(body, self.length, not self.reverse, len(fixed), len(const_types) + self.carries)
        state = [zeros_of(t) if c is None else c for t, c in zip(carry_types, cotangents, strict=False)]
        outs = loop(*fixed, *map(zeros_of, const_types), *state, *take(cotangents[self.carries :], marks), *sliced)
        first, second = len(const_types), len(const_types) + self.carries
        moved = [o if given else None for o, given in zip(outs[first:second], carry_given, strict=True)]
        return [*spread(outs[:first], const_linear), *moved, *spread(outs[second:], scan_linear)]

    def split_types(self) -> tuple[Sequence[TensorType], Sequence[TensorType], Sequence[TensorType]]:
        """Types of the body's constants, slices and carry."""
        constants, carry, slices = self.divide(self.body.input_types)
        return constants, slices, carry

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        constants, carry, scanned = map(tuple, self.divide(batched))
        free = (False,) * (len(self.body.outputs) - self.carries)
        flags = carry
        while True:
            body, found = batch_program(self.body, size, constants + flags + scanned, flags + free, axis_name)
            if found[: self.carries] == flags:
                break
            flags = found[: self.carries]
        fixed, state, slices = self.divide(args)
        state = [all_batched(size, [v], [b or not f])[0] for v, b, f in zip(state, carry, flags, strict=True)]
        slices = [move_axis(x, 0, 1) if b else x for x, b in zip(slices, scanned, strict=True)]
        outs = Scan(body, self.length, self.reverse, self.constants, self.carries)(*fixed, *state, *slices)
        stacks = [
            move_axis(o, 1, 0) if b else o for o, b in zip(outs[self.carries :], found[self.carries :], strict=True)
        ]
        return [*outs[: self.carries], *stacks], found

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, (x, y) in sample_program(rng):
            for reverse in (False, True):
                yield Scan(program, 4, reverse, 0, 1), x, rng.normal(size=(4, 3))
            yield Scan(program, 2, False, 1, 0), x, rng.normal(size=(2, 3))
            yield Scan(program, 0, False, 0, 1), x, rng.normal(size=(0, 3))
            yield Scan(program, 3, False, 0, 2), x, y


def merge_linear(types: Sequence[TensorType], linear: Sequence[bool], known: Sequence[Any]) -> list[Any]:
    """Operands for the backward pass: ``Linear`` where marked, the known values elsewhere."""
    rest = iter(known)
    return [Linear(t) if is_lin else next(rest) for t, is_lin in zip(types, linear, strict=True)]
