"""Functions with derivatives of the user's own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np

from fdl.control.call import Call
from fdl.control.higher import Higher, check_operands, is_linear, nonzero, sample_program, spread, take
from fdl.core import trace
from fdl.core.interpret import apply_program, interpret
from fdl.core.primitive import Linear
from fdl.core.program import Program
from fdl.core.types import TensorType
from fdl.errors import DifferentiationError
from fdl.ops.reduce import sum_
from fdl.ops.shape import all_batched, zeros_of
from fdl.transforms.batch import batch_program, batch_values
from fdl.transforms.forward import jvp_values
from fdl.transforms.linearize import linearize_values
from fdl.transforms.transpose import backward as run_backward
from fdl.transforms.transpose import transpose_program


class Rule:
    """A Python function among the parameters of an operation: equal to itself only; pickles by value."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__qualname__ = f"{getattr(function, '__qualname__', 'rule')}@{id(function):x}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

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
    `label` is its name. Rules take and return flat sequences of values; a tangent or cotangent of None is zero.
    """

    linear = True
    program: Program
    closed: int = field(default=0, kw_only=True)
    label: str = field(default="", kw_only=True)

    def check_closed(self, tangents: Sequence[Any]) -> None:
        """Raise if a value that the function closes over is being differentiated."""
        for tangent in tangents:
            if tangent is not None:
                raise DifferentiationError(
                    f"{self.label} has a derivative rule of its own, but closes over a {trace.lift(tangent).type} by "
                    "which the gradient is taken (or got it in nondiff_argnums); the rule cannot account for it. Pass "
                    "the value as an argument instead."
                )

    @property
    def inlined(self) -> Program:
        return self.program

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        check_operands(self, self.program.input_types, types)
        return self.program.output_types

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return interpret(self.program, arrays)

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        """That of the Program, of a function which a rule applies to tangents."""
        linear, marks = is_linear(args), nonzero(cotangents)
        program, has = transpose_program(self.program, linear, marks, separate=True)
        outs = Call(program, self.label)(*take(args, linear, False), *take(cotangents, marks))
        return spread(spread(outs, has), linear)

    def over_batch(self, size: int, batched: Sequence[bool], axis_name: Any, tag: Any = None) -> "Custom":
        """The same function over a batch, without a Program; all of its outputs are batched."""
        raise NotImplementedError

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        every = (True,) * len(self.program.outputs)
        program = batch_program(self.program, size, tuple(batched), every, axis_name)[0]
        whole = self.over_batch(size, batched[self.closed :], axis_name)
        return replace(whole, program=program, closed=self.closed)(*args), every


@dataclass(frozen=True)
class CustomCall:
    """A call of a function with derivative rules, before an interpreter makes of it what it needs.

    Attributes:
        function: from flat values to a list of values.
        rules: the operation, but for its Program.
        owners: functions and values in whose closures traced values may hide.
    """

    function: Callable[..., Any]
    rules: Custom
    owners: Sequence[Any]

    def record(self, args: Sequence[Any]) -> tuple[Custom, list[Any]]:
        """The operation, and the traced values that the function closes over, which are its first operands."""
        types = [trace.lift(a).type for a in args]
        program, captured = trace.trace_program(self.function, types, self.rules.label)
        return replace(self.rules, program=program, closed=len(captured)), captured

    def over_batch(self, size: int, batched: Sequence[bool], axis_name: Any, tag: Any) -> "CustomCall":
        """The call over a batch; values of the vmap that has the `tag` may be closed over."""

        def function(*values: Any) -> list[Any]:
            return all_batched(size, *batch_values(self.function, size, values, batched, axis_name, tag))

        return CustomCall(function, self.rules.over_batch(size, batched, axis_name, tag), self.owners)

    def closed_over(self) -> Iterator[Any]:
        """Traced values in the closures of the function and its rules."""
        seen: set[int] = set()
        found: list[Any] = list(self.owners)
        while found:
            owner = found.pop()
            if id(owner) in seen:
                continue
            seen.add(id(owner))
            if isinstance(owner, trace.Tracer):
                yield owner.held
            elif isinstance(owner, (list, tuple)):
                found += owner
            elif isinstance(owner, dict):
                found += owner.values()
            elif isinstance(owner, FunctionType):
                for cell in owner.__closure__ or ():
                    with suppress(ValueError):  # nothing was assigned to the name yet
                        found.append(cell.cell_contents)
                found += owner.__defaults__ or ()


NO_PROGRAM = Program((), (), ())


class CustomJvp(Custom):
    """A Program with ``rule(primals, tangents) -> (outputs, tangents)``."""

    rule: Rule

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        self.check_closed(tangents[: self.closed])
        return self.rule(list(primals[self.closed :]), list(tangents[self.closed :]))

    def over_batch(self, size: int, batched: Sequence[bool], axis_name: Any, tag: Any = None) -> "CustomJvp":
        count = len(batched)

        def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            has, moves = nonzero(tangents), list[bool]()

            def one(*values: Any) -> list[Any]:
                outs, dots = self.rule(list(values[:count]), spread(values[count:], has))
                moves[:] = nonzero(dots)
                return [*outs, *(d for d in dots if d is not None)]

            values = [*primals, *take(tangents, has)]
            outs, found = batch_values(one, size, values, [*batched, *take(batched, has)], axis_name, tag)
            outs = all_batched(size, outs, found)
            return outs[: len(moves)], spread(outs[len(moves) :], moves)

        return CustomJvp(NO_PROGRAM, Rule(rule), label=self.label)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, operands in sample_program(rng):
            yield CustomJvp(program, Rule(_program_jvp(program))), *operands


def _program_jvp(program: Program) -> Callable[..., Any]:
    def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        outs, dots = jvp_values(lambda *xs: apply_program(program, xs), primals, tangents)
        return outs, [zeros_of(o.type) if d is None else d for o, d in zip(outs, dots, strict=True)]

    return rule


class CustomVjp(Custom):
    """A Program with two rules.

    ``forward(operands, which of them have a tangent) -> (outputs, residuals)`` and ``backward(residuals, cotangents)``,
    which returns the operands' cotangents.
    """

    forward: Rule
    backward: Rule

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        self.check_closed(tangents[: self.closed])
        primals, tangents = primals[self.closed :], tangents[self.closed :]
        outs, residuals = self.forward(list(primals), nonzero(tangents))
        given = [zeros_of(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        derivative = CustomDerivative(self.backward, len(residuals), tuple(trace.lift(o).type for o in outs))
        return outs, derivative(*residuals, *given)

    def over_batch(self, size: int, batched: Sequence[bool], axis_name: Any, tag: Any = None) -> "CustomVjp":
        flags = tuple(batched)
        counts: list[int] = []

        def forward(primals: Sequence[Any], perturbed: Sequence[bool]) -> tuple[list[Any], list[Any]]:
            def one(*values: Any) -> list[Any]:
                outs, residuals = self.forward(list(values), perturbed)
                counts[:] = [len(outs)]
                return [*outs, *residuals]

            values = all_batched(size, *batch_values(one, size, primals, flags, axis_name, tag))
            return values[: counts[0]], values[counts[0] :]

        backward = _batched_backward(self.backward, size, flags, axis_name, tag)
        return CustomVjp(NO_PROGRAM, Rule(forward), Rule(backward), label=self.label)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, operands in sample_program(rng):

            def forward(values: Sequence[Any], perturbed: Sequence[bool], program: Program = program) -> Any:
                return apply_program(program, values), list(values)

            def backward(residuals: Sequence[Any], cotangents: Sequence[Any], program: Program = program) -> Any:
                _, linear, known, has = linearize_values(
                    lambda *xs: apply_program(program, xs), residuals, [True] * len(residuals)
                )
                args = [*known, *(Linear(r.type) for r in residuals)]
                return run_backward(linear, args, take(cotangents, has))[len(known) :]

            yield CustomVjp(program, Rule(forward), Rule(backward)), *operands


def _batched_backward(
    backward: Rule, size: int, flags: tuple[bool, ...], axis_name: Any, tag: Any = None
) -> Callable[..., Any]:
    """The backward rule over a batch: cotangents of operands shared by the batch are summed over it."""

    def run(residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        count, given = len(residuals), nonzero(cotangents)
        has: list[bool] = []

        def one(*values: Any) -> list[Any]:
            found = backward(list(values[:count]), spread(values[count:], given))
            has[:] = [f is not None for f in found]
            return [f for f in found if f is not None]

        values = [*residuals, *take(cotangents, given)]
        found = iter(all_batched(size, *batch_values(one, size, values, (True,) * len(values), axis_name, tag)))
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

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return (range(self.residuals, len(types)),)

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        found = self.backward(list(args[: self.residuals]), list(cotangents))
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
