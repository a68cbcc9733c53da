"""Forward mode: every value carries its tangent along."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.core import trace
from fdl.core.interpret import apply_program
from fdl.core.operation import Operation
from fdl.core.program import Program
from fdl.core.trace import Interpreter, Tracer, Value, check_alive, entered, lift, use
from fdl.dtypes import is_inexact
from fdl.errors import ConcretizationError
from fdl.ops.convert import convert
from fdl.ops.shape import zeros_of


class DualTracer(Tracer):
    """A value and its tangent; a tangent that is zero is None."""

    __slots__ = ("primal", "tangent")

    def __init__(self, interpreter: Interpreter, primal: Value, tangent: Value) -> None:
        super().__init__(interpreter, primal.type)
        self.primal = primal
        self.tangent = tangent

    def origin(self) -> str:
        parts = (self.tangent, self.primal)
        return next((found for p in parts if isinstance(p, Tracer) and (found := p.origin())), "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.type}, primal={self.primal!r}>"

    def concrete(self, why: str = "") -> np.ndarray:
        array = self.discrete(why)
        if not is_inexact(self.type.dtype):
            return array
        raise ConcretizationError(
            f"{why or 'a concrete value'} was needed at {trace.source_line()} of a {self.type}{self.origin()} that is "
            "being differentiated: no derivative can follow a number outside of fdl, so its gradient would be zero "
            "without a word. Compute with fdl.numpy instead of math and numpy; return what you want to look at with "
            "has_aux=True, or show it with fdl.debug.print; write fdl.lax.stop_gradient(x) where no gradient is wanted."
        )

    def discrete(self, why: str = "") -> np.ndarray:
        check_alive(self)
        return self.primal.discrete(why)


class JVPInterpreter(Interpreter):
    """Applies the jvp rule of every operation that meets a tangent."""

    def __init__(self, parent: Interpreter) -> None:
        self.parent = parent

    def split(self, value: Any) -> tuple[Value, Value | None]:
        """Primal and tangent of a value."""
        if type(value) is DualTracer and value.interpreter is self:
            return value.primal, value.tangent
        return lift(value), None

    def join(self, primal: Value, tangent: Value | None) -> Value:
        """The value with this primal and tangent."""
        return primal if tangent is None else DualTracer(self, primal, tangent)

    def enter(self, primal: Any, tangent: Value | None) -> Value:
        """An argument with a tangent; that of a weak one has the dtype that it shows."""
        if not getattr(primal, "weak", False):
            return self.join(lift(primal), tangent)
        if tangent is None:
            return primal
        dtype = primal.held.type.dtype
        return self.join(primal.held, convert(tangent, dtype)).weakened(primal.type.dtype)

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        primals, tangents = zip(*map(self.split, args), strict=True) if args else ((), ())
        with use(self.parent):
            if all(t is None for t in tangents):
                return self.parent.process(operation, primals)
            outs, dots = operation.jvp(primals, tangents)
        if not operation.multiple:
            outs, dots = (outs,), (dots,)
        return [self.join(o, d) for o, d in zip(outs, dots, strict=True)]

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        primals, tangents = zip(*map(self.split, args), strict=True) if args else ((), ())
        call.rules.check_closed([self.split(v)[1] for v in call.closed_over()])
        with use(self.parent):
            if all(t is None for t in tangents):
                return self.parent.call_custom(call, primals)
            outs, dots = call.rules.jvp(primals, tangents)
        return [self.join(o, d) for o, d in zip(outs, dots, strict=True)]


def jvp_values(
    function: Callable[..., Sequence[Any]], primals: Sequence[Any], tangents: Sequence[Value | None]
) -> tuple[list[Value], list[Value | None]]:
    """Values and tangents (None is zero) of ``function(*primals)``, a sequence of values."""
    forward = JVPInterpreter(trace.current())
    with entered(forward):
        outs = function(*[forward.enter(p, t) for p, t in zip(primals, tangents, strict=True)])
        pairs = [forward.split(o) for o in outs]
    return [p for p, _ in pairs], [t for _, t in pairs]


@lru_cache(maxsize=1024)
def jvp_program(
    program: Program, nonzero: tuple[bool, ...], instantiate: tuple[bool, ...]
) -> tuple[Program, tuple[bool, ...]]:
    """The Program of values and tangents.

    Args:
        program: what to differentiate.
        nonzero: which inputs have a tangent.
        instantiate: which outputs must have one, zeros if need be.

    Returns:
        A Program from the inputs and the tangents of those marked, to the outputs and the tangents that exist; and
        which outputs have one.
    """
    out_nonzero: tuple[bool, ...] = ()

    def run(*values: Value) -> list[Value]:
        nonlocal out_nonzero
        primals, rest = values[: len(nonzero)], iter(values[len(nonzero) :])
        tangents = [next(rest) if has else None for has in nonzero]
        outs, dots = jvp_values(lambda *xs: apply_program(program, xs), primals, tangents)
        dots = [
            zeros_of(o.type) if d is None and need else d for o, d, need in zip(outs, dots, instantiate, strict=True)
        ]
        out_nonzero = tuple(d is not None for d in dots)
        return outs + [d for d in dots if d is not None]

    types = list(program.input_types) + [t for t, has in zip(program.input_types, nonzero, strict=True) if has]
    result, captured = trace.trace_program(run, types)
    trace.require_closed(captured)
    return result, out_nonzero
