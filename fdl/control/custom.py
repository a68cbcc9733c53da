"""Functions with derivatives of the user's own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any

import cloudpickle
import numpy as np

from fdl.control.higher import Higher, check_operands, is_linear, sample_program, take
from fdl.core import trace
from fdl.core.interpret import apply_program, interpret
from fdl.core.program import Program
from fdl.core.types import TensorType
from fdl.errors import DifferentiationError
from fdl.ops.reduce import sum_
from fdl.ops.shape import all_batched, zeros_of
from fdl.transforms.batch import batch_program, batch_values


class Rule:
    """A Python function among the parameters of an operation: equal to itself only; pickles by value."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__qualname__ = f"{getattr(function, '__qualname__', 'rule')}@{id(function):x}"

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.function is other.function

    def __hash__(self) -> int:
        return hash(id(self.function))

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_rule, (cloudpickle.dumps(self.function),)


def _load_rule(data: bytes) -> Rule:
    return Rule(cloudpickle.loads(data))


class Custom(Higher, abstract=True):
    """A Program whose derivative is given by rules instead of its equations.

    ``closed`` counts the first operands, which the function closes over and the rules know nothing of;
    `label` is its name.
    """

    program: Program
    closed: int = field(default=0, kw_only=True)
    label: str = field(default="", kw_only=True)

    def check_closed(self, tangents: Sequence[Any]) -> None:
        """Raise if a value that the function closes over is being differentiated."""
        for tangent in tangents[: self.closed]:
            if tangent is not None:
                raise DifferentiationError(
                    f"{self.label} has a derivative rule of its own, but closes over a {trace.lift(tangent).type} by "
                    "which the gradient is taken; the rule cannot account for it. Pass the value as an argument "
                    "instead."
                )

    @property
    def inlined(self) -> Program:
        return self.program

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        check_operands(self, self.program.input_types, types)
        return self.program.output_types

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return interpret(self.program, arrays)

    def batched_program(self, size: int, batched: Sequence[bool], axis_name: Any) -> Program:
        """The program over a batch, all of its outputs batched."""
        return batch_program(self.program, size, tuple(batched), (True,) * len(self.program.outputs), axis_name)[0]


class CustomJvp(Custom):
    """A Program with ``rule(primals, tangents) -> (outputs, tangents)`` on flat sequences of values."""

    rule: Rule

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        self.check_closed(tangents)
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        return self.rule(list(primals), given)

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        flags = tuple(batched)

        def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            def one(*values: Any) -> list[Any]:
                outs, dots = self.rule(list(values[: len(flags)]), list(values[len(flags) :]))
                return [*outs, *dots]

            values, found = batch_values(one, size, [*primals, *tangents], flags + flags, axis_name)
            values = all_batched(size, values, found)
            return values[: len(values) // 2], values[len(values) // 2 :]

        program = self.batched_program(size, flags, axis_name)
        operation = CustomJvp(program, Rule(rule), closed=self.closed, label=self.label)
        return operation(*args), (True,) * len(program.outputs)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, operands in sample_program(rng):
            yield CustomJvp(program, Rule(_program_jvp(program))), *operands


def _program_jvp(program: Program) -> Callable[..., Any]:
    def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        from fdl.transforms.forward import jvp_values

        outs, dots = jvp_values(lambda *xs: apply_program(program, xs), primals, tangents)
        return outs, [zeros_of(o.type) if d is None else d for o, d in zip(outs, dots, strict=True)]

    return rule


class CustomVjp(Custom):
    """A Program with rules on flat sequences of values.

    ``forward(*operands) -> (outputs, residuals)`` and ``backward(residuals, cotangents)``, which returns the
    operands' cotangents.
    """

    forward: Rule
    backward: Rule

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        self.check_closed(tangents)
        outs, residuals = self.forward(*primals)
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        derivative = CustomDerivative(self.backward, len(residuals), tuple(trace.lift(o).type for o in outs))
        return outs, derivative(*residuals, *given)

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        flags = tuple(batched)
        counts: list[int] = []

        def forward(*primals: Any) -> tuple[list[Any], list[Any]]:
            def one(*values: Any) -> list[Any]:
                outs, residuals = self.forward(*values)
                counts[:] = [len(outs)]
                return [*outs, *residuals]

            values = all_batched(size, *batch_values(one, size, primals, flags, axis_name))
            return values[: counts[0]], values[counts[0] :]

        backward = _batched_backward(self.backward, size, flags, axis_name)
        program = self.batched_program(size, flags, axis_name)
        operation = CustomVjp(program, Rule(forward), Rule(backward), closed=self.closed, label=self.label)
        return operation(*args), (True,) * len(program.outputs)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        from fdl.core.primitive import Linear
        from fdl.transforms.linearize import linearize_values
        from fdl.transforms.transpose import backward as run_backward

        for program, operands in sample_program(rng):

            def forward(*values: Any, program: Program = program) -> Any:
                return apply_program(program, values), list(values)

            def backward(residuals: Sequence[Any], cotangents: Sequence[Any], program: Program = program) -> Any:
                _, linear, known, has = linearize_values(
                    lambda *xs: apply_program(program, xs), residuals, [True] * len(residuals)
                )
                args = [*known, *(Linear(r.type) for r in residuals)]
                return run_backward(linear, args, take(cotangents, has))[len(known) :]

            yield CustomVjp(program, Rule(forward), Rule(backward)), *operands


def _batched_backward(backward: Rule, size: int, flags: tuple[bool, ...], axis_name: Any) -> Callable[..., Any]:
    """The backward rule over a batch: cotangents of operands shared by the batch are summed over it."""

    def run(residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        count = len(residuals)
        has: list[bool] = []

        def one(*values: Any) -> list[Any]:
            found = backward(list(values[:count]), list(values[count:]))
            has[:] = [f is not None for f in found]
            return [f for f in found if f is not None]

        values = [*residuals, *cotangents]
        found = iter(all_batched(size, *batch_values(one, size, values, (True,) * len(values), axis_name)))
        outs = [next(found) if h else None for h in has]
        return [o if o is None or b else sum_(o, (0,)) for o, b in zip(outs, flags, strict=True)]

    return run


class CustomDerivative(Higher):
    """The unknown linear map whose transpose is a custom backward rule; operands are residuals, then tangents."""

    linear = True
    backward: Rule
    residuals: int
    types: tuple[TensorType, ...]

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        return self.types

    def reference(self, *arrays: np.ndarray) -> Any:
        raise DifferentiationError(
            "forward-mode differentiation (jvp, jacfwd, linearize) of a custom_vjp function is not defined: only its "
            "backward rule is known. Use grad, vjp or jacrev, or define the function with custom_jvp."
        )

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), self(*primals[: self.residuals], *tangents[self.residuals :])

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        given = [zeros_of(t) if c is None else c for c, t in zip(cotangents, self.types, strict=True)]
        found = self.backward(list(args[: self.residuals]), given)
        linear = is_linear(args[self.residuals :])
        return [None] * self.residuals + [f if is_lin else None for f, is_lin in zip(found, linear, strict=True)]

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        flags = (True,) * len(args)
        backward = Rule(_batched_backward(self.backward, size, flags[self.residuals :], axis_name))
        types = tuple(t.with_shape((size, *t.shape)) for t in self.types)
        outs = CustomDerivative(backward, self.residuals, types)(*all_batched(size, args, batched))
        return outs, (True,) * len(outs)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        # It has no value of its own; CustomVjp's samples exercise it.
        return iter(())
