"""Checking a schedule against its own rules, apart from the passes that made it; on where `config.debug_compiler` is.

Steps are looked at after each pass over them: values are made once and before they are used, every access is inside of
its array, every result is written completely, every reduction runs through all that it reduces. `verify_memory` looks
at the places that values were given afterwards.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import assert_never

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.body import Load
from fdl.compile.ir.loops import Loops, Reduce, Store, operands_of
from fdl.compile.ir.plan import ControlStep, Step
from fdl.compile.ir.reductions import REDUCTIONS
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest, View
from fdl.compile.ir.tiles import NestTile, ProductTile, TileGroup
from fdl.compile.schedule.fuse import is_nothing
from fdl.core.program import Literal, Program, Var
from fdl.errors import VerificationError

#: Guarded loads of nests with more iterations are tried at the ends of each loop only.
_ALL = 2048


def require(condition: bool, where: str, what: str) -> None:
    """Raise unless a condition holds."""
    if not condition:
        raise VerificationError(f"{where}: {what}")


def verify_steps(steps: Sequence[Step], program: Program, outputs: Iterable[Var]) -> None:
    """Check steps before they have memory.

    Args:
        steps: in the order in which they run.
        program: whose values they make.
        outputs: values that the steps have to make.

    Raises:
        VerificationError: names the step at fault.
    """
    made = {*program.inputs, *(v for v, _ in program.constants)}
    for number, step in enumerate(steps):
        where = step_name(number, step)
        for var in step.reads:
            require(var in made, where, f"it reads a {var.type} that no step before it makes")
        for var in step.outputs:
            require(var not in made, where, f"it makes a {var.type} that was made before")
        made.update(step.outputs)
        match step:
            case LoopNest():
                _verify_nest(step.loops, step, where)
            case TileGroup():
                _verify_group(step, where)
            case KernelStep() | HostCall() | ControlStep():
                _verify_equation(step, where)
            case _:
                assert_never(step)
    for var in outputs:
        require(var in made, "the schedule", f"no step makes an output {var.type}")
    _verify_reductions(steps, program)
    _verify_effects(steps, program)


def step_name(number: int, step: Step) -> str:
    """A step for messages."""
    made = ", ".join(str(v.type) for v in step.outputs)
    if isinstance(step, EquationStep):
        return f"step {number} ({step.equation.operation.name}, {step.equation.source}, makes {made})"
    return f"step {number} (makes {made})"


def _verify_nest(loops: Loops, step: LoopNest | EquationStep, where: str, results: Iterable[Var] | None = None) -> None:
    """Check the loops of a step, or its epilogue, which makes `results` (all of the step if none are given)."""
    wanted = set(step.outputs if results is None else results)
    stored = [s.var for s in loops.results()]
    require(set(stored) == wanted and len(stored) == len(wanted), where, "its loops do not store each result once")
    for load in loops.reads():
        require(load.var in step.reads or load.var in step.outputs, where, f"it loads a {load.var.type} unsaid")
        require(_is_inside(load), where, f"it loads from outside of a {load.var.type}, at {load.flat}")
    for number, instruction in enumerate(loops.instructions):
        for operand in operands_of(instruction):
            require(operand < number, where, f"instruction {number} uses instruction {operand}, which comes later")
    for item in loops.results():
        require(0 <= item.number < len(loops.instructions), where, "it stores an instruction that it has not")
        marks = loops.reduced if isinstance(item, Reduce) else (False,) * len(loops.extents)
        require(_covers(item.flat, loops.extents, marks, item.var.type.size), where, _uncovered(item))


def _uncovered(item: Store | Reduce) -> str:
    return f"it does not write each element of a {item.var.type} once, at {item.flat}"


def _is_inside(load: Load) -> bool:
    """Whether all that is loaded lies inside of its array."""
    size, extents = load.var.type.size, load.flat.extents
    if 0 in extents:
        return True
    if not load.guards:
        low, high = load.flat.bounds()
        return low >= 0 and high < size
    whole = prod(extents) <= _ALL
    ranges = [range(n) if whole or n <= 4 else (0, 1, n // 2, n - 2, n - 1) for n in extents]
    for index in product(*ranges):
        if all(0 <= _at(a, index) < extent for a, extent in load.guards) and not 0 <= _at(load.flat, index) < size:
            return False
    return True


def _at(affine: Affine, index: Sequence[int]) -> int:
    return affine.constant + sum(c * i for c, i in zip(affine.coefficients, index, strict=True))


def _covers(flat: Affine, extents: Sequence[int], reduced: Sequence[bool], size: int) -> bool:
    """Whether the loops that are not reduced run through each element of an array once, and the others stay there."""
    if 0 in extents:
        return True
    moving = []
    for step, extent, mark in zip(flat.coefficients, extents, reduced, strict=True):
        if mark and step:
            return False
        if not mark and extent > 1:
            moving.append((step, extent))
    reached = 1
    for step, extent in sorted(moving):
        if step != reached:
            return False
        reached *= extent
    return flat.constant == 0 and reached == size


def _verify_equation(step: EquationStep, where: str) -> None:
    equation = step.equation
    if is_nothing(equation):
        return
    require(list(equation.outputs) == step.outputs[: len(equation.outputs)], where, "it does not make its results")
    require(len(step.views) == len(equation.inputs), where, "it has not as many operands as its equation")
    for view, atom in zip(step.views, equation.inputs, strict=True):
        require(view.type == atom.type, where, f"it reads a {view.type} as an operand {atom.type}")
        require(isinstance(view.base, Literal) or view.base in step.reads, where, "it reads an operand unsaid")
        require(_view_is_inside(view), where, f"an operand lies outside of the {view.base.type} that it is part of")
    if isinstance(step, KernelStep) and step.epilogue is not None:
        _verify_nest(step.epilogue, step, where, step.outputs[len(equation.outputs) :])
    else:
        require(len(step.outputs) == len(equation.outputs), where, "it makes too much")


def _view_is_inside(view: View) -> bool:
    if view.type.size == 0:
        return True
    low, high = Affine(view.offset, view.strides, view.type.shape).bounds()
    return low >= 0 and high < view.base.type.size


def _verify_group(group: TileGroup, where: str) -> None:
    """Check that members read of each other only what is there, in their own rows."""
    own: set[Var] = set()
    late: set[Var] = set()
    for number, tile in enumerate(group.members):
        here = f"{where}, member {number}"
        for var in tile.step.reads:
            require(var in own or var in group.reads, here, f"it reads a {var.type} that is not made yet")
            require(var not in late, here, f"it reads a {var.type} before all of its rows are summed up")
            require(var not in own or tile.reads_own(var), here, f"it reads other rows of a {var.type}")
        own.update(tile.made)
        late.update(tile.sums)
        match tile:
            case NestTile():
                require(tile.is_valid, here, "it does not fall into rows")
                _verify_nest(tile.loops, tile.step, here)
            case ProductTile():
                _verify_equation(tile.step, here)
    known = own | late
    require(known.isdisjoint(group.private) or set(group.private) <= own, where, "a sum over rows is private")
    for var in group.outputs:
        require(var in known or var in group.chunk_sums.values(), where, f"no member makes an output {var.type}")
    for var in known - set(group.private) - set(group.outputs):
        require(var in group.chunk_sums, where, f"a {var.type} is neither an output nor private")
    for var, part in group.chunk_sums.items():
        require(var in late, where, f"no member sums up a {var.type}")
        require(part.type.shape == (group.work, var.type.size), where, f"the sums of its chunks are a {part.type}")


def _nests(steps: Iterable[Step]) -> Iterator[tuple[Loops, dict[Var, Var]]]:
    """All loops with reductions, and what they make instead of their results."""
    for step in steps:
        if isinstance(step, LoopNest):
            yield step.loops, {}
        elif isinstance(step, TileGroup):
            yield from ((tile.loops, step.chunk_sums) for tile in step.members if isinstance(tile, NestTile))


def _verify_reductions(steps: Sequence[Step], program: Program) -> None:
    """Check that reductions run through all elements, also those that are made in parts which are added up later."""
    wanted: dict[Var, tuple[int, str]] = {}
    for equation in program.equations:
        kind = REDUCTIONS.get(type(equation.operation))
        if kind is not None:
            wanted[equation.outputs[0]] = equation.inputs[0].type.size, kind
    given = {*program.inputs, *(v for v, _ in program.constants), *(v for e in program.equations for v in e.outputs)}
    for loops, chunk_sums in reversed(list(_nests(steps))):
        for reduction in loops.reductions:
            where = f"a reduction to {reduction.var.type}"
            var = chunk_sums.get(reduction.var, reduction.var)
            require(var in wanted, where, "nothing needs it")
            count, kind = wanted[var]
            require(reduction.kind == kind, where, f"it is a {reduction.kind} instead of a {kind}")
            source = loops.instructions[reduction.number]
            if isinstance(source, Load) and source.var not in given:
                # The last part of a reduction, of what its first part has left.
                wanted[source.var] = count, kind
                count = source.var.type.size
                require(
                    _covers(source.flat, loops.extents, (False,) * len(loops.extents), count), where, "parts missing"
                )
            iterations = prod(loops.extents)
            require(iterations == count, where, f"it runs through {iterations} of {count} elements")


def _verify_effects(steps: Iterable[Step], program: Program) -> None:
    """Check that what has effects runs once each, in the order of the program."""
    found = [s.equation for s in steps if isinstance(s, EquationStep) and s.equation.operation.effect]
    wanted = [e for e in program.equations if e.operation.effect]
    require(found == wanted, "the schedule", "operations with effects do not run once each in the program's order")
