"""Partial evaluation: run what is known, record what depends on unknown (tangent) inputs.

Forward mode run on top of it leaves the tangent computation as a linear Program: linearization.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fdl.core import trace
from fdl.core.interpret import apply_program
from fdl.core.operation import Operation
from fdl.core.program import Atom, Program, Var
from fdl.core.trace import StagedTracer, Staging, Value, entered, lift, use
from fdl.core.types import TensorType
from fdl.transforms.forward import JVPInterpreter


class PartialEvaluation(Staging):
    """Records operations on unknown values; hands all others to its parent.

    Known operands of a recorded operation, arrays and outer tracers alike, become captured inputs: the residuals.
    """

    def constant(self, value: Value) -> Atom:
        if value.type.shape == ():
            return super().constant(value)
        return self.capture(value)

    def capture(self, value: Value) -> Var:
        """The variable that stands for a known value."""
        if id(value) not in self.captured:
            self.captured[id(value)] = (Var(value.type), value)
        return self.captured[id(value)][0]

    def is_unknown(self, value: Any) -> bool:
        """Whether `value` belongs to the recorded part."""
        return type(value) is StagedTracer and value.interpreter is self

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        unknown = [self.is_unknown(a) for a in args]
        if not any(unknown):
            with use(self.parent):
                return self.parent.process(operation, args)
        known = [None if u else lift(a) for a, u in zip(args, unknown, strict=True)]
        split = operation.partial_eval(known, [lift(a).type for a in args])
        if split is NotImplemented:
            return super().process(operation, args)
        return self.process_split(split, args)

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        if any(map(self.is_unknown, args)):
            # A rule applies the function to a tangent, in which it is linear: what is recorded is only transposed.
            return call.function(*args)
        with use(self.parent):
            return self.parent.call_custom(call, args)

    def process_split(self, split: "Split", args: Sequence[Any]) -> Sequence[Any]:
        """Run the known half of an operation that holds Programs, and record the other half."""
        with use(self.parent):
            known_outs = list(self.parent.process(split.known, [args[i] for i in split.known_args]))
        count = len(known_outs) - split.residuals
        residuals = known_outs[count:]
        operands = [args[i] for i in split.unknown_args] + residuals
        unknown_outs = super().process(split.unknown, operands)
        known_iter, unknown_iter = iter(known_outs[:count]), iter(unknown_outs)
        return [next(unknown_iter) if u else next(known_iter) for u in split.out_unknown]


@dataclass
class Split:
    """An operation cut in two by partial evaluation.

    The operation `known` takes the arguments numbered `known_args` and returns the known outputs, then `residuals`
    values that the operation `unknown` takes after the arguments numbered `unknown_args`. Both are ``multiple``.
    """

    known: Operation
    known_args: Sequence[int]
    unknown: Operation
    unknown_args: Sequence[int]
    residuals: int
    out_unknown: Sequence[bool]


def linearize_values(
    function: Callable[..., Sequence[Any]],
    primals: Sequence[Any],
    active: Sequence[bool],
    interpreter: type[JVPInterpreter] = JVPInterpreter,
) -> tuple[list[Value], Program, list[Value], list[bool]]:
    """Run ``function(*primals)`` and record its derivative.

    Args:
        function: takes and returns values (a sequence).
        primals: where to linearize.
        active: which inputs have a tangent.
        interpreter: what applies the rules of operations.

    Returns:
        The outputs; the linear Program from (residuals, tangents of the active inputs) to the tangents of those outputs
        that depend on them; the residuals; which outputs those are.
    """
    evaluation = PartialEvaluation(trace.current())
    evaluation.name = getattr(function, "name", "")
    if hasattr(function, "describe"):
        numbers = [n for n, a in enumerate(active) if a]
        evaluation.describe = lambda n: function.describe(numbers[n])
    forward = interpreter(evaluation)
    with entered(evaluation):
        tangents = [
            evaluation.new_input((p if isinstance(p, Value) else lift(p)).type) if a else None
            for p, a in zip(primals, active, strict=True)
        ]
        with entered(forward):
            outs = function(*[forward.enter(p, t) for p, t in zip(primals, tangents, strict=True)])
            pairs = [forward.split(o) for o in outs]
        # A tangent may be known after all (zero times something); it is then part of the linear program as a residual.
        program, residuals = evaluation.finish([t for _, t in pairs if t is not None])
    return [p for p, _ in pairs], program, residuals, [t is not None for _, t in pairs]


@lru_cache(maxsize=1024)
def partial_eval_program(
    program: Program, unknown: tuple[bool, ...], instantiate: tuple[bool, ...]
) -> tuple[Program, Program, tuple[bool, ...], tuple[TensorType, ...]]:
    """Cut a Program in two by which inputs are known.

    Args:
        program: what to cut.
        unknown: which inputs are not known yet.
        instantiate: which outputs must count as unknown even if they are known.

    Returns:
        The known Program (known inputs to known outputs, then residuals); the unknown Program (unknown inputs, then
        residuals, to unknown outputs); which outputs are unknown; the residuals' types. A residual that is itself a
        known input is passed through.
    """
    unknown_half: Program
    out_unknown: tuple[bool, ...] = ()
    residual_types: tuple[TensorType, ...] = ()

    def run(*known_inputs: Value) -> list[Value]:
        nonlocal unknown_half, out_unknown, residual_types
        evaluation = PartialEvaluation(trace.current())
        known = iter(known_inputs)
        with entered(evaluation):
            tracers = [
                evaluation.new_input(t) if u else next(known) for t, u in zip(program.input_types, unknown, strict=True)
            ]
            outs = apply_program(program, tracers)
            out_unknown = tuple(evaluation.is_unknown(o) or need for o, need in zip(outs, instantiate, strict=True))
            half, residuals = evaluation.finish([o for o, u in zip(outs, out_unknown, strict=True) if u])
        count = len(residuals)
        unknown_half = Program(half.inputs[count:] + half.inputs[:count], half.equations, half.outputs, half.constants)
        residual_types = tuple(r.type for r in residuals)
        return [o for o, u in zip(outs, out_unknown, strict=True) if not u] + list(residuals)

    types = [t for t, u in zip(program.input_types, unknown, strict=True) if not u]
    known_half, captured = trace.trace_program(run, types)
    trace.require_closed(captured)
    return known_half, unknown_half, out_unknown, residual_types
