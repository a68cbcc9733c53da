"""While: a Program repeated as long as another one says so."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.control import higher
from fdl.control.higher import Higher, check_operands, extend, indices_of, nonzero, reorder, spread, take
from fdl.core.interpret import apply_program, interpret
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.errors import DifferentiationError, DtypeError
from fdl.ops.arithmetic import add, mul
from fdl.ops.compare import lt
from fdl.ops.reduce import any_
from fdl.ops.select import select
from fdl.ops.shape import all_batched, broadcast_in_dim, zeros_of
from fdl.ops.trigonometric import sin
from fdl.transforms.batch import batch_program
from fdl.transforms.forward import jvp_program
from fdl.transforms.linearize import Split, partial_eval_program


class While(Higher):
    """Carry values, changed by `body` while `condition` holds.

    Operands: constants of the condition, constants of the body, the carry. It has no reverse mode, since the number of
    steps, and so what the backward pass would have to keep, is not known.
    """

    linear = True
    condition: Program
    body: Program
    condition_constants: int = 0
    body_constants: int = 0

    def divide(self, args: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Constants of the condition, constants of the body, carry."""
        first, second = self.condition_constants, self.condition_constants + self.body_constants
        return args[:first], args[first:second], args[second:]

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        mine, body, carry = self.divide(types)
        check_operands(self, self.condition.input_types, (*mine, *carry))
        check_operands(self, self.body.input_types, (*body, *carry))
        check_operands(self, self.body.output_types, carry)
        if self.condition.output_types != (TensorType((), np.dtype(bool)),):
            raise DtypeError(f"the condition of a while must return one bool scalar, not {self.condition.output_types}")
        return tuple(carry)

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        mine, body, carry = self.divide(arrays)
        while interpret(self.condition, [*mine, *carry])[0]:
            carry = interpret(self.body, [*body, *carry])
        return list(carry)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        mine, body, carry = self.divide(primals)
        _, body_dots, carry_dots = self.divide(tangents)
        body_marks, marks = nonzero(body_dots), nonzero(carry_dots)
        while (found := jvp_program(self.body, body_marks + marks, marks)[1]) != marks:
            marks = found
        program, _ = jvp_program(self.body, body_marks + marks, marks)
        # The jvp program takes constants, carry, their tangents; the loop wants the tangents of constants beside them.
        constants, count, dots = len(body), len(carry), sum(body_marks)
        order = [*range(constants), *range(constants + count, constants + count + dots)]
        order += [*range(constants, constants + count), *range(constants + count + dots, len(program.inputs))]
        dot_types = [c.type for c in take(carry, marks)]
        loop = While(extend(self.condition, dot_types), reorder(program, order), len(mine), constants + dots)
        started = [_instantiate(c, d) for c, d, m in zip(carry, carry_dots, marks, strict=True) if m]
        outs = loop(*mine, *body, *take(body_dots, body_marks), *carry, *started)
        return outs[:count], spread(outs[count:], marks)

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Split:
        """The known carries run by themselves; the unknown ones need the whole loop once more."""
        _, body, carry = self.divide([k is None for k in known])
        while (found := partial_eval_program(self.body, (*body, *carry), tuple(carry))[2]) != tuple(carry):
            carry = found
        first, second = self.condition_constants, self.condition_constants + self.body_constants
        kept = indices_of(carry, False)
        condition_inputs = [*range(first), *(first + i for i in kept)]
        body_known = indices_of(body, False)
        # Cut, since a call in the body may have known and unknown outputs. The unknown loop makes residuals again.
        half = partial_eval_program(self.body, (*body, *carry), tuple(carry))[0]
        loop = While(
            _restrict(self.condition, condition_inputs),
            reorder(half, range(len(half.inputs)), range(len(kept))),
            first,
            len(body_known),
        )
        return Split(
            known=loop,
            known_args=[*range(first), *(first + i for i in body_known), *(second + i for i in kept)],
            unknown=_Keep(self, tuple(indices_of(carry, True))),
            unknown_args=list(range(len(known))),
            residuals=0,
            out_unknown=carry,
        )

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        raise DifferentiationError(
            "reverse-mode differentiation of while_loop, or of fori_loop with a traced number of steps, "
            "is not defined: "
            "the backward pass would have to store an unknown number of steps. Give while_loop a bound, max_steps, use "
            "fdl.lax.scan, or fori_loop with bounds that are Python integers, or forward mode (fdl.jvp, fdl.jacfwd)."
        )

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        mine, body, carry = self.divide(batched)
        flags = tuple(carry)
        while True:
            _, decided = batch_program(self.condition, size, (*mine, *flags), (False,), axis_name)
            if decided[0]:  # examples stop at different times, so that all that changes is one of a batch
                flags = tuple(f or c for f, c in zip(flags, self._changed(), strict=True))
            found = batch_program(self.body, size, (*body, *flags), flags, axis_name)[1]
            if found == flags:
                break
            flags = found
        constants, body_args, values = self.divide(args)
        started = [all_batched(size, [v], [b or not f])[0] for v, b, f in zip(values, carry, flags, strict=True)]
        condition, decided = batch_program(self.condition, size, (*mine, *flags), (False,), axis_name)
        step, _ = batch_program(self.body, size, (*body, *flags), flags, axis_name)
        if not decided[0]:
            loop = While(condition, step, len(constants), len(body_args))
            return loop(*constants, *body_args, *started), flags
        checked = higher.guard(self.body)
        if checked is not None:
            step, _ = batch_program(checked, size, (True, *body, *flags), flags, axis_name)
        loop = _loop_each(condition, step, len(constants), len(body_args), checked is not None)
        return loop(*constants, *constants, *body_args, *started), flags

    def _changed(self) -> list[bool]:
        """Which carries the body does not return as they came."""
        carried = self.body.inputs[self.body_constants :]
        return [out is not given for out, given in zip(self.body.outputs, carried, strict=True)]

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        number, vector = TensorType((), np.dtype(np.float64)), TensorType((3,), np.dtype(np.float64))
        condition = trace_program(lambda limit, i, x: [lt(i, limit)], [number, number, vector])[0]

        def step(scale: Any, i: Any, x: Any) -> list[Any]:
            return [add(i, np.float64(1.0)), mul(sin(x), broadcast_in_dim(scale, (3,), ()))]

        body = trace_program(step, [number, number, vector])[0]
        for limit in (-0.5, 2.5):
            yield While(condition, body, 1, 1), np.float64(limit), np.float64(1.5), np.float64(0.0), rng.normal(size=3)


class _Keep(Higher):
    """Some of the outputs of another operation; its program is that operation's."""

    linear = True
    operation: Any
    kept: tuple[int, ...]

    @property
    def effect(self) -> bool:
        return self.operation.effect

    @property
    def inlined(self) -> Program:
        return _kept_program(self)

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        found = self.operation.result(*types)
        return tuple(found[i] for i in self.kept)

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        found = self.operation.reference(*arrays)
        return [found[i] for i in self.kept]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        outs, dots = self.operation.jvp(primals, tangents)
        return [outs[i] for i in self.kept], [dots[i] for i in self.kept]

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        return self.operation.transpose(cotangents, *args)

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        outs, flags = self.operation.batch_named(size, args, batched, axis_name)
        return [outs[i] for i in self.kept], [flags[i] for i in self.kept]

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for operation, *operands in registry_samples(rng):
            yield _Keep(operation, (1,)), *operands


def registry_samples(rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Samples of While, for what wraps it."""
    return While.samples(While.__new__(While), rng)


def _kept_program(keep: _Keep) -> Program:
    operation = keep.operation
    types = [*operation.condition.input_types[: operation.condition_constants], *operation.body.input_types]
    return trace_program(lambda *args: [operation(*args)[i] for i in keep.kept], types)[0]


def _instantiate(value: Any, tangent: Any) -> Any:
    return zeros_of(value.type) if tangent is None else tangent


def _restrict(program: Program, inputs: Sequence[int]) -> Program:
    """`program` with only some inputs; its outputs must not depend on the others."""
    kept = reorder(program, range(len(program.inputs)))
    return Program(tuple(program.inputs[i] for i in inputs), kept.equations, kept.outputs, kept.constants)


def _loop_each(condition: Program, step: Program, constants: int, body_constants: int, checked: bool) -> While:
    """A loop over a batch whose examples stop at different times: those that are done keep their values.

    If it is `checked`, the first input of `step` tells which those are not.
    """
    body_types, carry_types = step.input_types[checked:][:body_constants], step.input_types[checked + body_constants :]

    def go(*args: Any) -> list[Any]:
        return [any_(apply_program(condition, args)[0], (0,))]

    def advance(*args: Any) -> list[Any]:
        mine, body, carry = (
            args[:constants],
            args[constants : constants + body_constants],
            args[constants + body_constants :],
        )
        active = apply_program(condition, [*mine, *carry])[0]
        new = apply_program(step, [*[active] * checked, *body, *carry])
        return [
            o if n is o else select(broadcast_in_dim(active, n.type.shape, (0,)), n, o)
            for n, o in zip(new, carry, strict=True)
        ]

    mine_types = condition.input_types[:constants]
    program = trace_program(go, [*mine_types, *carry_types])[0]
    body = trace_program(advance, [*mine_types, *body_types, *carry_types])[0]
    return While(program, body, constants, constants + body_constants)
