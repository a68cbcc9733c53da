"""Elementwise results of which only slices are read are computed slice by slice, where these are used.

The gates of a recurrent cell are sums that are split into parts; each part then is in the loops that use it.
"""

from dataclasses import replace

from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import uses
from fdl.ops.slicing import Slice


def sink_slices(program: Program) -> Program:
    """`program` with slices taken of operands instead of elementwise results, if together they are no longer."""
    users = uses(program.equations)
    returned = set(program.outputs)
    gone: set[Equation] = set()
    found: list[Equation] = []
    for equation in reversed(program.equations):
        if not _is_split(equation, users, returned):
            found.append(equation)
            continue
        for part in users[equation.outputs[0]]:
            gone.add(part)
            found += _sliced(equation, part, users)[::-1]
        for atom in equation.inputs:
            users[atom] = [u for u in users[atom] if u is not equation]
    # The slices were passed before it was known that they are computed early instead.
    kept = tuple(e for e in reversed(found) if e not in gone)
    return Program(program.inputs, kept, program.outputs, program.constants)


def _is_split(equation: Equation, users: dict[Atom, list[Equation]], returned: set[Atom]) -> bool:
    if (
        equation.operation.lowering_kind != "elementwise"
        or equation.operation.multiple
        or equation.outputs[0] in returned
    ):
        return False
    (out,) = equation.outputs
    parts = users.get(out, [])
    if not parts or not all(isinstance(p.operation, Slice) for p in parts):
        return False
    if any(isinstance(a, Literal) or a.type.shape != out.type.shape for a in equation.inputs):
        return False
    same_scope = all(p.scope == equation.scope for p in parts)
    return same_scope and sum(p.outputs[0].type.size for p in parts) <= out.type.size


def _sliced(equation: Equation, part: Equation, users: dict[Atom, list[Equation]]) -> list[Equation]:
    """The equations that make one slice of an elementwise result."""
    found: list[Equation] = []
    inputs: list[Var] = []
    for atom in equation.inputs:
        var = Var(part.operation.result(atom.type))
        found.append(replace(part, inputs=(atom,), outputs=(var,)))
        users.setdefault(atom, []).append(found[-1])
        inputs.append(var)
    found.append(replace(equation, inputs=tuple(inputs), outputs=part.outputs))
    for var in inputs:
        users[var] = [found[-1]]
    return found
