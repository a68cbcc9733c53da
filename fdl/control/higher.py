"""Base of the primitives that hold Programs, and what they share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.program import Atom, Equation, Literal, Program, Var, subprograms
from fdl.core.rewrite import eliminate_dead
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.errors import ShapeError
from fdl.ops.arithmetic import mul
from fdl.ops.trigonometric import sin
from fdl.transforms.linearize import partial_eval_program


class Higher(Primitive, abstract=True):
    """An operation with Programs among its parameters; returns a tuple."""

    multiple = True
    compile_eagerly = True
    lowering_kind = "control"

    @property
    def effect(self) -> bool:
        """Whether a Program inside does something besides computing its results."""
        return any(program.effect for program in subprograms(self))

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self.batch_named(size, args, batched, None)


def _no_guard(program: Program) -> Program | None:
    return None


#: A Program of one more input, the first, without which its checks hold; None if it has no checks. Where examples of a
#: batch run what only others have chosen, it says which. `fdl.control.check`, which has the checks, sets it.
guard: Callable[[Program], Program | None] = _no_guard


def check_operands(operation: Primitive, expected: Sequence[TensorType], found: Sequence[TensorType]) -> None:
    """Raise unless the operands have the types that a Program expects."""
    if tuple(expected) != tuple(found):
        raise ShapeError(
            f"{operation.name} was given ({', '.join(map(str, found))}), but its program takes "
            f"({', '.join(map(str, expected))})"
        )


def take(items: Sequence[Any], marks: Sequence[bool], wanted: bool = True) -> list[Any]:
    """The items whose mark is `wanted`."""
    return [item for item, mark in zip(items, marks, strict=True) if mark == wanted]


def spread(items: Sequence[Any], marks: Sequence[bool]) -> list[Any]:
    """The opposite of :func:`take`: the items where marked, None elsewhere."""
    rest = iter(items)
    return [next(rest) if mark else None for mark in marks]


def nonzero(tangents: Sequence[Any]) -> tuple[bool, ...]:
    """Which tangents are there."""
    return tuple(t is not None for t in tangents)


def is_linear(args: Sequence[Any]) -> tuple[bool, ...]:
    """Which operands stand for linear ones."""
    return tuple(isinstance(a, Linear) for a in args)


def either(first: Sequence[bool], second: Sequence[bool]) -> tuple[bool, ...]:
    """Elementwise or."""
    return tuple(a or b for a, b in zip(first, second, strict=True))


def reorder(program: Program, inputs: Sequence[int], outputs: Sequence[int] | None = None) -> Program:
    """`program` with its inputs (all of them) and outputs (possibly fewer) in another order."""
    found = program.outputs if outputs is None else tuple(program.outputs[i] for i in outputs)
    return eliminate_dead(
        Program(tuple(program.inputs[i] for i in inputs), program.equations, found, program.constants)
    )


def extend(program: Program, types: Sequence[TensorType], position: int | None = None) -> Program:
    """`program` with more inputs, which it ignores, at `position` (the end)."""
    extra = tuple(Var(t) for t in types)
    position = len(program.inputs) if position is None else position
    inputs = program.inputs[:position] + extra + program.inputs[position:]
    return Program(inputs, program.equations, program.outputs, program.constants)


class ProgramSplit:
    """A Program cut in two, where residuals that are known inputs, or cheaply made again, need no output.

    Args:
        program: what to cut.
        unknown: which inputs are unknown.
        instantiate: which outputs must be unknown.
        invariant: how many of the first inputs can be read again at no cost, because all steps of a loop share them.

    Attributes:
        known: from the known inputs to the known outputs, then the residuals that are computed.
        unknown: from the unknown inputs, the forwarded inputs, the residuals, to the unknown outputs.
        forwarded: numbers (among all inputs) of the known inputs that the unknown half reads.
        out_unknown: which outputs the unknown half makes.
        residual_types: of the computed residuals.
    """

    def __init__(
        self, program: Program, unknown: Sequence[bool], instantiate: Sequence[bool], invariant: int = 0
    ) -> None:
        known, half, self.out_unknown, types = partial_eval_program(program, tuple(unknown), tuple(instantiate))
        count = len(known.outputs) - len(types)
        residuals = known.outputs[count:]
        place = dict(zip(known.inputs, indices_of(unknown, False), strict=True))
        inner = half.inputs[len(half.inputs) - len(types) :]
        own = half.inputs[: len(half.inputs) - len(types)]
        passed = [(place[r], v) for r, v in zip(residuals, inner, strict=True) if r in place]
        cheap = _cheap(known, {v for v, n in place.items() if n < invariant})
        made = {v for equation in cheap for v in equation.outputs} | {v for v, _ in known.constants}
        computed = [(r, v) for r, v in zip(residuals, inner, strict=True) if r not in place and r not in made]
        again: dict[Atom, Atom] = {v: r for r, v in zip(residuals, inner, strict=True) if r in made}
        redone = eliminate_dead(Program((), tuple(cheap), tuple(again.values()))).equations
        names: dict[Atom, Atom] = {r: v for r, v in zip(residuals, inner, strict=True) if r in place}
        read = dict.fromkeys(a for e in redone for a in e.inputs if a in place and a not in names)
        passed += [(place[var], var) for var in read]
        self.forwarded = [number for number, _ in passed]
        self.residual_types = [r.type for r, _ in computed]
        self.known = eliminate_dead(
            Program(
                known.inputs, known.equations, known.outputs[:count] + tuple(r for r, _ in computed), known.constants
            )
        )
        inputs = own + tuple(v for _, v in passed) + tuple(v for _, v in computed)
        equations = _renamed(redone, names) + _renamed(half.equations, again)
        outputs = tuple(again.get(a, a) for a in half.outputs)
        self.unknown = eliminate_dead(Program(inputs, equations, outputs, half.constants + known.constants))


def _cheap(program: Program, inputs: set[Any]) -> list[Equation]:
    """Equations that move or map elements of nothing but literals, constants and the given inputs."""
    found = []
    known: set[Any] = inputs | {v for v, _ in program.constants}
    for equation in program.equations:
        plain = equation.operation.lowering_kind in ("elementwise", "move") and not equation.operation.multiple
        if plain and all(isinstance(a, Literal) or a in known for a in equation.inputs):
            found.append(equation)
            known.update(equation.outputs)
    return found


def _renamed(equations: Sequence[Equation], names: Any) -> tuple[Equation, ...]:
    """The equations, reading other variables in the place of some."""
    return tuple(
        Equation(e.operation, tuple(names.get(a, a) for a in e.inputs), e.outputs, e.source) for e in equations
    )


def indices_of(marks: Sequence[bool], wanted: bool) -> list[int]:
    """Where the marks are the one that is wanted."""
    return [i for i, mark in enumerate(marks) if mark == wanted]


def sample_program(rng: np.random.Generator) -> Iterator[tuple[Program, list[np.ndarray]]]:
    """A small smooth Program of two inputs and two outputs, with operands, for the laws."""
    x, y = rng.normal(size=(3,)), rng.normal(size=(3,))
    type = TensorType((3,), x.dtype)
    yield trace_program(lambda a, b: [mul(sin(a), b), a], [type, type])[0], [x, y]
