"""What is the same in all steps of a loop is computed once, before it."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from fdl.compile.passes.hoisting.scan import MutableScan, Outside, bytes_of
from fdl.control.while_loop import While
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.types import NumPyArray
from fdl.ops.shape import BroadcastInDim, Reshape


def move_invariants(loop: MutableScan) -> None:
    """Make operands of the loop of what depends on its constants alone, unless that is longer than what it reads."""
    _merge_inputs(loop)
    for equation in _worthwhile(loop.equations, loop.is_invariant):
        for var in equation.outputs:
            loop.hoisted(var)
    _invariant_results(loop)
    loop.prune()


def _merge_inputs(loop: MutableScan) -> None:
    """One variable for each operand, literals in their place, and no carry that never changes."""
    names: dict[Var, Atom] = {}
    for carried in list(loop.carried):
        if carried.next is carried.var:
            loop.constants[carried.var] = carried.start
            loop.carried.remove(carried)
            loop.after.apply(Reshape(carried.var.type.shape), carried.start, model=loop.model, into=carried.result)
    for inputs in (loop.constants, loop.scanned):
        first: dict[Atom, Var] = {}
        for var, outer in inputs.items():
            if isinstance(outer, Literal) and inputs is loop.constants:
                names[var] = outer
            elif first.setdefault(outer, var) is not var:
                names[var] = first[outer]
    loop.substitute(names)


def _worthwhile(equations: Iterable[Equation], is_invariant: Callable[[Atom], bool]) -> list[Equation]:
    """The equations of invariant operands that are worth an operand of the loop."""
    found = []
    sources: dict[Atom, int] = {}
    for equation in equations:
        if equation.operation.effect or not all(map(is_invariant, equation.inputs)):
            continue
        read = sum(sources.get(a, bytes_of(a)) for a in dict.fromkeys(equation.inputs) if isinstance(a, Var))
        own = sum(map(bytes_of, equation.outputs))
        if equation.operation.lowering_kind in ("elementwise", "move") and own > read:
            # Rather repeated than read from memory.
            sources.update((v, read) for v in equation.outputs)
        else:
            found.append(equation)
    return found


def _invariant_results(loop: MutableScan) -> None:
    """Stacks of what is known outside are no results of the loop."""
    known: dict[Atom, Var] = {}
    for result, atom in list(loop.stacks):
        if loop.is_invariant(atom):
            axes = tuple(range(1, result.type.ndim))
            loop.after.apply(BroadcastInDim(result.type.shape, axes), loop.hoisted(atom), model=loop.model, into=result)
        elif atom in loop.scanned or atom in known:
            source = loop.scanned[atom] if atom in loop.scanned else known[atom]
            loop.after.apply(Reshape(result.type.shape), source, model=loop.model, into=result)
        else:
            known[atom] = result
            continue
        loop.stacks.remove((result, atom))


def without_invariants(equation: Equation, operation: While) -> tuple[list[Equation], list[tuple[Var, NumPyArray]]]:
    """A while with what its body computes of its constants moved before it; and the constants that this reads."""
    body = operation.body
    outside = Outside()
    first, count = operation.condition_constants, operation.body_constants
    names: dict[Var, Atom] = dict(zip(body.inputs[:count], equation.inputs[first : first + count], strict=True))
    for var, value in body.constants:
        names[var] = copy = Var(var.type)
        outside.constants.append((copy, value))
    fixed = set(names)
    for e in body.equations:
        if not e.operation.effect and all(isinstance(a, Literal) or a in fixed for a in e.inputs):
            fixed.update(e.outputs)
    makers: dict[Atom, Equation] = {v: e for e in body.equations for v in e.outputs}

    def moved(atom: Atom) -> Atom:
        if isinstance(atom, Literal):
            return atom
        if atom not in names:
            maker = makers[atom]
            inputs = tuple(map(moved, maker.inputs))
            outputs = tuple(Var(v.type) for v in maker.outputs)
            outside.equations.append(replace(maker, inputs=inputs, outputs=outputs, scope=equation.scope))
            names.update(zip(maker.outputs, outputs, strict=True))
        return names[atom]

    for e in _worthwhile(body.equations, lambda a: isinstance(a, Literal) or a in fixed):
        for var in e.outputs:
            moved(var)
    kept = tuple(e for e in body.equations if not set(e.outputs) & set(names))
    read = {a for e in kept for a in e.inputs} | set(body.outputs)
    constants = [v for v in names if v in read]
    inner = Program((*constants, *body.inputs[count:]), kept, body.outputs)
    operands = (*equation.inputs[:first], *(names[v] for v in constants), *equation.inputs[first + count :])
    loop = While(operation.condition, inner, first, len(constants))
    return [*outside.equations, replace(equation, operation=loop, inputs=operands)], outside.constants
