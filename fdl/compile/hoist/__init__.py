"""Work that a loop would repeat, or do in small parts, moved out of it."""

from dataclasses import replace
from typing import Any

from fdl.compile.hoist.invariants import move_invariants, without_invariants
from fdl.compile.hoist.loop import Loop
from fdl.compile.hoist.products import distributed
from fdl.compile.hoist.totals import move_totals
from fdl.compile.inline import Step
from fdl.compile.simplify import simplify
from fdl.core.program import Program, Var


def hoist(program: Program) -> Program:
    """A simplified Program whose loops, on all levels, do only what has to be done in every step."""
    needed: set[Any] = {a for e in program.equations for a in e.inputs} | set(program.outputs)
    equations: list[Any] = []
    constants = list(program.constants)
    for equation in program.equations:
        if equation.operation.name == "scan":
            for loop in _loops(equation, needed):
                equations += loop.steps()
                constants += loop.before.constants + loop.after.constants
        elif equation.operation.name == "while":
            operation: Any = equation.operation
            body = simplify(hoist(simplify(operation.body)))
            found, more = without_invariants(replace(equation, operation=replace(operation, body=body)))
            equations += found
            constants += more
        else:
            equations.append(equation)
    return Program(program.inputs, tuple(equations), program.outputs, tuple(constants))


def _loops(equation: Step, needed: set[Var]) -> list[Loop]:
    """What a scan is replaced by."""
    operation: Any = equation.operation
    body = simplify(hoist(simplify(operation.body)))
    loop = Loop(replace(equation, operation=replace(operation, body=body)))
    loop.prune(needed)
    move_invariants(loop)
    if loop.length < 2 or body.effect:
        return [loop]
    move_totals(loop)
    return distributed(loop)
