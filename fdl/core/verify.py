"""Checking a Program against its own rules."""

from fdl.core.program import Literal, Program, Var, subprograms
from fdl.errors import VerificationError


def verify(program: Program) -> None:
    """Check that every value is made once, before it is used, and has the type its operation says, on all levels.

    Raises:
        VerificationError: names the equation at fault.
    """
    made: set[Var] = set()

    def make(var: Var, where: str) -> None:
        if var in made:
            raise VerificationError(f"{where} makes a value that exists already, in\n{program}")
        made.add(var)

    for var in program.inputs:
        make(var, "an input")
    for var, value in program.constants:
        make(var, "a constant")
        if (value.shape, value.dtype) != (var.type.shape, var.type.dtype):
            raise VerificationError(f"a constant of type {var.type} holds {value.dtype}{value.shape}")
    for number, equation in enumerate(program.equations):
        where = f"equation {number} ({equation.operation.name}, {equation.source})"
        for atom in equation.inputs:
            if not isinstance(atom, Literal) and atom not in made:
                raise VerificationError(f"{where} uses a {atom.type} that nothing has made yet, in\n{program}")
        result = equation.operation.result(*[a.type for a in equation.inputs])
        expected = tuple(result) if equation.operation.multiple else (result,)
        found = tuple(v.type for v in equation.outputs)
        if expected != found:
            raise VerificationError(f"{where} should make {expected}, but is said to make {found}, in\n{program}")
        for var in equation.outputs:
            make(var, where)
        for inner in subprograms(equation.operation):
            verify(inner)
    for atom in program.outputs:
        if not isinstance(atom, Literal) and atom not in made:
            raise VerificationError(f"the program returns a {atom.type} that nothing has made, in\n{program}")
