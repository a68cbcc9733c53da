"""Transposition: a linear Program run backwards, from cotangents of outputs to cotangents of inputs."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fdl.core import trace
from fdl.core.interpret import apply_program
from fdl.core.primitive import Linear
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.trace import ReplayedLines, Value, lift
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import add
from fdl.ops.shape import zeros_of
from fdl.transforms.linearize import partial_eval_program

#: What follows the line of an operation in the line of its transposition.
BACKWARD = ", backward"


def backward(program: Program, args: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
    """Cotangents of the linear inputs.

    Args:
        program: linear in those inputs whose argument is :class:`Linear`.
        args: the other inputs' values, and ``Linear(type)``.
        cotangents: of the outputs; None is zero.

    Returns:
        A cotangent, or None for zero, for every input (None where it is not linear).
    """
    values: dict[Var, Any] = {var: lift(value) for var, value in program.constants}
    values.update(zip(program.inputs, args, strict=True))
    linear = _run_known(program, values)
    found: dict[Var, Any] = {}

    def accumulate(atom: Atom, cotangent: Any) -> None:
        if cotangent is None or isinstance(atom, Literal) or not isinstance(values[atom], Linear):
            return
        if atom not in found:
            found[atom] = cotangent
        elif isinstance(cotangent, Value) and isinstance(found[atom], Value):
            found[atom] = add(found[atom], cotangent)
        else:
            found[atom] = found[atom] + cotangent

    for atom, cotangent in zip(program.outputs, cotangents, strict=True):
        accumulate(atom, cotangent)
    with ReplayedLines() as at:
        for equation in reversed(linear):
            outs = [found.pop(v, None) for v in equation.outputs]
            if all(c is None for c in outs):
                continue
            at(f"{equation.source.removesuffix(BACKWARD)}{BACKWARD}" if equation.source else "")
            operands = [_operand(values, a) for a in equation.inputs]
            for atom, cotangent in zip(equation.inputs, _transposed(equation, outs, operands), strict=True):
                accumulate(atom, cotangent)
    return [found.get(v) if isinstance(a, Linear) else None for v, a in zip(program.inputs, args, strict=True)]


def _transposed(equation: Equation, outs: Sequence[Any], operands: Sequence[Any]) -> Sequence[Any]:
    """Cotangents of the operands of one equation."""
    operation = equation.operation
    groups = operation.linear_groups([o.type for o in operands])
    linear = {number for number, operand in enumerate(operands) if isinstance(operand, Linear)}
    if not any(linear.issubset(group) for group in groups):
        raise DifferentiationError(
            f"only linear functions can be transposed, but {operation.name} at {equation.source} is not linear"
            + (_in_which(linear, groups) if groups else "")
        )
    if len(linear) == 1:
        (number,) = linear
        own = operands[number].cotangent_through(operation, outs, operands)
        if own is not None:
            return [own if n == number else None for n in range(len(operands))]
    return operation.transpose(outs if operation.multiple else outs[0], *operands)


def _in_which(linear: set[int], groups: Sequence[Sequence[int]]) -> str:
    """In which operands an operation is not linear that is linear in others."""
    wrong = sorted(linear.difference(*groups))
    numbers = [_ORDINALS[n] if n < len(_ORDINALS) else f"number {n}" for n in wrong or sorted(linear)]
    both = "" if wrong else " together"
    return f" in its {' and '.join(numbers)} operand{'s' * (len(numbers) > 1)}{both}"


_ORDINALS = ("first", "second", "third", "fourth")


def _run_known(program: Program, values: dict[Var, Any]) -> list[Equation]:
    """Evaluate what does not depend on linear inputs into `values`; returns the equations that do."""
    linear = []
    process = trace.current().process
    with ReplayedLines() as at:
        for equation in program.equations:
            operands = [_operand(values, a) for a in equation.inputs]
            if any(isinstance(o, Linear) for o in operands):
                linear.append(equation)
                values.update((v, Linear(v.type)) for v in equation.outputs)
            else:
                at(equation.source)
                values.update(zip(equation.outputs, process(equation.operation, operands), strict=True))
    return linear


def _operand(values: dict[Var, Any], atom: Atom) -> Any:
    return lift(atom.value) if isinstance(atom, Literal) else values[atom]


def _backward_separated(
    program: Program, linear: tuple[bool, ...], args: Sequence[Any], cotangents: Sequence[Any]
) -> list[Any]:
    """Cotangents of the linear inputs, after computing what does not depend on them."""
    known, rest, _, _ = partial_eval_program(program, linear, (True,) * len(program.outputs))
    residuals = apply_program(known, [a for a in args if not isinstance(a, Linear)])
    operands = [a for a in args if isinstance(a, Linear)]
    return backward(rest, [*operands, *residuals], cotangents)[: len(operands)]


@lru_cache(maxsize=1024)
def transpose_program(
    program: Program,
    linear: tuple[bool, ...],
    nonzero: tuple[bool, ...],
    instantiate: bool = False,
    separate: bool = False,
) -> tuple[Program, tuple[bool, ...]]:
    """The transposed Program.

    Args:
        program: linear in the inputs marked in `linear`.
        linear: which inputs it is linear in.
        nonzero: which outputs have a cotangent.
        instantiate: whether every linear input gets a cotangent, zeros if need be.
        separate: whether operations that hold Programs may mix linear and other computation, and must be cut in two.

    Returns:
        A Program from (inputs that are not linear, cotangents of the marked outputs) to the cotangents of those linear
        inputs that have one; and which these are, per linear input.
    """
    has: tuple[bool, ...] = ()

    def run(*values: Value) -> list[Value]:
        nonlocal has
        rest = iter(values)
        args = [
            Linear(t) if is_linear else next(rest) for t, is_linear in zip(program.input_types, linear, strict=True)
        ]
        cotangents = [next(rest) if n else None for n in nonzero]
        if separate:
            outs = _backward_separated(program, linear, args, cotangents)
        else:
            outs = backward(program, args, cotangents)
            outs = [o for o, is_linear in zip(outs, linear, strict=True) if is_linear]
        if instantiate:
            types = [t for t, is_linear in zip(program.input_types, linear, strict=True) if is_linear]
            outs = [zeros_of(t) if o is None else o for o, t in zip(outs, types, strict=True)]
        has = tuple(o is not None for o in outs)
        return [o for o in outs if o is not None]

    types = [t for t, is_linear in zip(program.input_types, linear, strict=True) if not is_linear]
    types += [t for t, n in zip(program.output_types, nonzero, strict=True) if n]
    result, captured = trace.trace_program(run, types)
    trace.require_closed(captured)
    return result, has
