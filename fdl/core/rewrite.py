"""What passes over Programs have in common: who uses a value, and what is needed."""

from collections.abc import Callable, Iterable, Sequence

from fdl.core.program import Atom, Equation, Literal, Program


def uses(equations: Iterable[Equation]) -> dict[Atom, list[Equation]]:
    """The equations that read each atom, each once and in their order."""
    found: dict[Atom, list[Equation]] = {}
    for equation in equations:
        for atom in dict.fromkeys(equation.inputs):
            found.setdefault(atom, []).append(equation)
    return found


def live(
    equations: Sequence[Equation],
    wanted: Iterable[Atom],
    known: Callable[[Atom], bool] = lambda atom: False,
    effects: bool = True,
) -> tuple[list[Equation], set[Atom]]:
    """What some values depend on.

    Args:
        equations: in their order.
        wanted: the values.
        known: whether an atom is given, whatever equation makes it.
        effects: whether equations with an effect are needed as well.

    Returns:
        (the equations that are needed, in their order; all atoms that they read and what was wanted, but for what is
        known).
    """
    needed = {a for a in wanted if not known(a)}
    kept = []
    for equation in reversed(equations):
        if (effects and equation.operation.effect) or not needed.isdisjoint(equation.outputs):
            kept.append(equation)
            needed.update(a for a in equation.inputs if not isinstance(a, Literal) and not known(a))
    return kept[::-1], needed


def eliminate_dead(program: Program) -> Program:
    """`program` without the equations and constants that neither an output nor an effect needs."""
    kept, needed = live(program.equations, program.outputs)
    constants = tuple((v, value) for v, value in program.constants if v in needed)
    return Program(program.inputs, tuple(kept), program.outputs, constants)
