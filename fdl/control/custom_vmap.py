"""Functions with a rule of the user's own for vmap."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from fdl.control.call import Call
from fdl.control.custom import Rule
from fdl.control.higher import indices_of, is_linear, nonzero, reorder, sample_program, spread, take
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.trace import require_closed, trace_program
from fdl.core.types import TensorType
from fdl.errors import BatchError
from fdl.ops.reduce import sum_
from fdl.ops.shape import all_batched, reshape, zeros_of
from fdl.ops.slicing import slice_
from fdl.transforms.batch import batch_program, batch_values
from fdl.transforms.forward import jvp_program, jvp_values
from fdl.transforms.linearize import Split
from fdl.transforms.transpose import transpose_program

#: ``rule(size of the batch, which operands are batched, operands) -> (results, which of them are batched)``.
FlatRule = Callable[[int, Sequence[bool], Sequence[Any]], tuple[list[Any], Sequence[bool]]]


class CustomVmap(Call):
    """A Program whose batching rule is given.

    The derivatives of such a function are such functions, whose rules are the derivatives of the rule. ``closed``
    counts the first operands, which the function closes over and the rule knows nothing of.
    """

    mixed = True
    rule: Rule = field(kw_only=True)
    closed: int = field(default=0, kw_only=True)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        marks, every = nonzero(tangents), (True,) * len(self.program.outputs)
        program, _ = jvp_program(self.program, marks, every)
        rule = Rule(_rule_of_jvp(self.call_rule, marks))
        outs = CustomVmap(program, self.label, rule=rule)(*primals, *take(tangents, marks))
        return outs[: len(every)], outs[len(every) :]

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Split:
        unknown = tuple(k is None for k in known)
        depends = _depends(self.program, unknown)
        places, kept = indices_of(unknown, False), indices_of(depends, False)
        program = reorder(self.program, range(len(unknown)), kept)
        known_half = Program(
            tuple(program.inputs[n] for n in places), program.equations, program.outputs, program.constants
        )
        missing = take(self.program.input_types, unknown)
        rest = indices_of(depends, True)
        return Split(
            known=CustomVmap(known_half, self.label, rule=Rule(_rule_of_known(self.call_rule, unknown, missing, kept))),
            known_args=places,
            unknown=CustomVmap(
                reorder(self.program, range(len(unknown)), rest), self.label, rule=Rule(_picked(self.call_rule, rest))
            ),
            unknown_args=list(range(len(known))),
            residuals=0,
            out_unknown=depends,
        )

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        linear, marks = is_linear(args), nonzero(cotangents)
        program, _ = transpose_program(self.program, linear, marks, instantiate=True, separate=True)
        rule = Rule(_rule_of_transpose(self.call_rule, linear, marks, self.program.input_types))
        outs = CustomVmap(program, self.label, rule=rule)(*take(args, linear, False), *take(cotangents, marks))
        return spread(outs, linear)

    def call_rule(self, size: int, batched: Sequence[bool], args: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        """The results over a batch, and which of them are batched, as the rule says."""
        if any(batched[: self.closed]):
            raise BatchError(
                f"{self.label} has a vmap rule of its own, but closes over a value that is mapped, which the rule "
                "cannot account for. Pass the value as an argument instead."
            )
        return self.rule(size, list(batched[self.closed :]), list(args[self.closed :]))

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        if any(batched):
            return self.call_rule(size, batched, args)
        return super().batch_named(size, args, batched, axis_name)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, operands in sample_program(rng):
            yield CustomVmap(program, rule=Rule(_program_rule(program))), *operands


def _program_rule(program: Program) -> FlatRule:
    def rule(size: int, batched: Sequence[bool], args: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        none = (False,) * len(program.outputs)
        over_batch, flags = batch_program(program, size, tuple(batched), none)
        return apply_program(over_batch, args), flags

    return rule


def _depends(program: Program, unknown: Sequence[bool]) -> tuple[bool, ...]:
    """Which outputs depend on unknown inputs."""
    moving: set[Any] = set(take(program.inputs, unknown))
    for equation in program.equations:
        if not moving.isdisjoint(equation.inputs):
            moving.update(equation.outputs)
    return tuple(a in moving for a in program.outputs)


def _picked(rule: FlatRule, places: Sequence[int]) -> FlatRule:
    """A rule for some of the results."""

    def run(size: int, batched: Sequence[bool], args: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        outs, flags = rule(size, batched, args)
        return [outs[n] for n in places], tuple(flags[n] for n in places)

    return run


def _rule_of_known(
    rule: FlatRule, unknown: Sequence[bool], missing: Sequence[TensorType], places: Sequence[int]
) -> FlatRule:
    """A rule for results that do not depend on the unknown operands, which count as batched, like tangents."""

    def run(size: int, batched: Sequence[bool], args: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        given, flags = iter(args), iter(batched)
        zeros = iter([zeros_of(t.with_shape((size, *t.shape))) for t in missing])
        whole = [next(zeros) if u else next(given) for u in unknown]
        return _picked(rule, places)(size, [u or next(flags) for u in unknown], whole)

    return run


def _rule_of_jvp(rule: FlatRule, marks: Sequence[bool]) -> FlatRule:
    """The rule for values, then tangents of the operands marked.

    A value counts as batched where it or its tangent is. If no value is batched together with its tangent, those of
    one point in many directions for example, the rule sees a batch of nothing, and vmap does the rest.
    """

    def run(size: int, batched: Sequence[bool], args: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        count = len(marks)
        points, moves = batched[:count], spread(batched[count:], marks)
        if any(p if m is None else p and m for p, m in zip(points, moves, strict=True)):
            both = [p or bool(m) for p, m in zip(points, moves, strict=True)]
            alone = [b and not given for b, given in zip([*both, *take(both, marks)], batched, strict=True)]
            values = all_batched(size, args, [not a for a in alone])
            found: list[bool] = []

            def over_batch(*values: Any) -> list[Any]:
                outs, flags = rule(size, both, list(values))
                found[:] = flags
                return outs

            outs = _with_tangents(over_batch, values, marks)
            return outs, (*found, *found)

        def one(*values: Any) -> list[Any]:
            outs, flags = rule(size, [False] * count, list(values))
            return [_first(o) if f else o for o, f in zip(outs, flags, strict=True)]

        outs, flags = batch_values(lambda *values: _with_tangents(one, values, marks), size, args, batched)
        return outs, tuple(flags)

    return run


def _with_tangents(function: Callable[..., Sequence[Any]], values: Sequence[Any], marks: Sequence[bool]) -> list[Any]:
    """Results, then their tangents, from values and the tangents of those marked."""
    outs, dots = jvp_values(function, values[: len(marks)], spread(values[len(marks) :], marks))
    return [*outs, *(zeros_of(o.type) if d is None else d for o, d in zip(outs, dots, strict=True))]


def _first(x: Any) -> Any:
    """The first of a batch."""
    shape = x.type.shape
    return reshape(slice_(x, (0,) * len(shape), (1, *shape[1:])), shape[1:])


def _rule_of_transpose(
    rule: FlatRule, linear: Sequence[bool], marks: Sequence[bool], types: Sequence[TensorType]
) -> FlatRule:
    """The rule for operands that are not linear, then cotangents of the results marked."""

    def run(size: int, batched: Sequence[bool], args: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        count = len(linear) - sum(linear)
        known, given = list(args[:count]), list(args[count:])
        known_flags = iter(batched[:count])
        flags = [True if is_lin else next(known_flags) for is_lin in linear]
        rest = iter(known)
        whole = [
            t.with_shape((size, *t.shape)) if is_lin else next(rest).type
            for t, is_lin in zip(types, linear, strict=True)
        ]
        out_flags: list[bool] = []

        def forward(*values: Any) -> list[Any]:
            outs, found = rule(size, flags, list(values))
            out_flags[:] = found
            return outs

        program, captured = trace_program(forward, whole)
        require_closed(captured)
        cotangents = [
            c if b == f else sum_(c, (0,)) if b else all_batched(size, [c], [False])[0]
            for c, b, f in zip(given, batched[count:], take(out_flags, marks), strict=True)
        ]
        back, _ = transpose_program(program, tuple(linear), tuple(marks), instantiate=True, separate=True)
        return apply_program(back, [*known, *cotangents]), (True,) * sum(linear)

    return run
