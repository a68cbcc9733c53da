"""Operations that make only the results that are read."""

from dataclasses import replace

from fdl.core.program import Equation, Program, Var


def narrow(program: Program) -> Program:
    """A Program of the same results whose operations make no others, where they can (`Operation.without`)."""
    read = {a for e in program.equations for a in e.inputs} | set(program.outputs)
    equations = tuple(_narrowed(e, [v in read for v in e.outputs]) for e in program.equations)
    return Program(program.inputs, equations, program.outputs, program.constants)


def _narrowed(equation: Equation, read: list[bool]) -> Equation:
    operation = None if all(read) else equation.operation.without(read)
    if operation is None:
        return equation
    outputs: tuple[Var, ...] = tuple(v for v, wanted in zip(equation.outputs, read, strict=True) if wanted)
    return replace(equation, operation=operation, outputs=outputs)
