"""A product with a matrix that all steps share is one product for all steps, before or behind the loop or between two.

If neither operand depends on the carry, it is computed before the loop; if the carry does not depend on the result,
behind it. If what the product depends on does not depend on the result (the second layer of a recurrent network on the
first), the loop is cut in two and the product stands between them.
"""

from collections.abc import Iterable

from fdl.compile.passes.hoisting.residuals import minimum_cut
from fdl.compile.passes.hoisting.scan import BATCHED, Carried, MutableScan, Outside, bytes_of
from fdl.core.program import Atom, Equation, Var
from fdl.core.rewrite import live
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.ops.shape import Reshape

#: What is worth doing for all steps at once.
PRODUCTS = (DotGeneral, ConvGeneral)


def distributed(loop: MutableScan) -> list[MutableScan]:
    """The loop, or loops that do the same one after the other."""
    while True:
        for equation in loop.equations:
            if _is_candidate(loop, equation):
                if _move_before(loop, equation) or _move_behind(loop, equation):
                    break
                parts = _cut(loop, equation)
                if parts is not None:
                    return [part for half in parts for part in distributed(half)]
        else:
            return [loop]


def _is_candidate(loop: MutableScan, equation: Equation) -> bool:
    """Whether the product reads a matrix of all steps that is at least as large as what a step makes."""
    if not isinstance(equation.operation, PRODUCTS) or equation.scope:
        return False
    fixed = [a for a in equation.inputs if loop.is_invariant(a)]
    (out,) = equation.outputs
    return len(fixed) == 1 and bytes_of(fixed[0]) >= bytes_of(out) and loop.may_stack(bytes_of(out))


def _is_batched(equations: list[Equation]) -> bool:
    """Whether batching rules can do equations for all steps at once."""
    return all(
        (e.operation.lowering_kind in BATCHED or isinstance(e.operation, PRODUCTS))
        and not (e.operation.multiple or e.operation.effect or e.scope)
        for e in equations
    )


def _needed(loop: MutableScan, atoms: Iterable[Atom]) -> tuple[set[Atom], list[Equation]]:
    """All that values depend on within a step, and the equations that make it, but for what all steps share."""
    equations, wanted = live(loop.equations, atoms, loop.is_invariant, effects=False)
    return wanted, equations


def _move_before(loop: MutableScan, equation: Equation) -> bool:
    """Compute a product, and what leads to it, before the loop, if no carry does."""
    wanted, chain = _needed(loop, equation.outputs)
    if any(c.var in wanted for c in loop.carried) or not _is_batched(chain):
        return False
    (out,) = equation.outputs
    (whole,) = loop.batched(loop.before, chain, [out], equation)
    loop.scanned[out] = whole
    loop.prune()
    return True


def _affected(loop: MutableScan, equation: Equation) -> set[Atom]:
    """What depends on the results of an equation, in later steps too."""
    found: set[Atom] = set(equation.outputs)
    while True:
        count = len(found)
        for e in loop.equations:
            if not found.isdisjoint(e.inputs):
                found.update(e.outputs)
        found.update(c.var for c in loop.carried if c.next in found)
        if len(found) == count:
            return found


def _move_behind(loop: MutableScan, equation: Equation) -> bool:
    """Compute a product, and what follows from it, behind the loop, if that is no carry."""
    affected = _affected(loop, equation)
    if any(c.var in affected for c in loop.carried):
        return False
    tail = [e for e in loop.equations if not affected.isdisjoint(e.outputs)]
    moved = [s for s in loop.stacks if s[1] in affected]
    given = [a for e in tail for a in e.inputs if a not in affected and not loop.is_invariant(a)]
    extra = loop.new_bytes(given)
    gained = sum(bytes_of(a) for _, a in moved)
    if not _is_batched(tail) or extra > gained + max(map(bytes_of, equation.inputs)) or not loop.may_stack(extra):
        return False
    # What is behind the loop already may read these results.
    later, loop.after = loop.after, Outside()
    found = loop.batched(loop.after, tail, [a for _, a in moved], equation)
    loop.stacks = [s for s in loop.stacks if s not in moved]
    for (result, _), whole in zip(moved, found, strict=True):
        loop.after.apply(Reshape(result.type.shape), whole, model=loop.model, into=result)
    loop.after.extend(later)
    loop.prune()
    return True


def _cut(loop: MutableScan, equation: Equation) -> tuple[MutableScan, MutableScan] | None:
    """The loop without what depends on a product, and that with it; None if a product depends on its own result."""
    affected = _affected(loop, equation)
    if not affected.isdisjoint(equation.inputs) or any(e.operation.effect for e in loop.equations):
        return None
    wanted, _ = _needed(loop, equation.inputs)
    if not affected.isdisjoint(wanted):
        return None
    second: list[Equation] = [e for e in loop.equations if not affected.isdisjoint(e.outputs)]
    crossing = _crossing(loop, second, affected)
    there = {a: result for result, a in loop.stacks if isinstance(a, Var) and a not in affected}
    # What cheap operations make of slices is made again by the second loop.
    crossing = minimum_cut(loop.equations, crossing, {*loop.scanned, *loop.invariant, *there})
    extra = loop.new_bytes(crossing)
    if extra > sum(bytes_of(a) for a in equation.inputs if not loop.is_invariant(a)) or not loop.may_stack(extra):
        return None
    # What was moved behind the loop may need the results of both parts.
    last, loop.after = loop.after, Outside()
    stacked: dict[Var, Atom] = {a: loop.stacked(a) for a in crossing}
    late = [c for c in loop.carried if c.var in affected]
    stays: list[Carried] = [c for c in loop.carried if c.var not in affected]
    behind = [s for s in loop.stacks if s[1] in affected]
    after = loop.part(late, behind, {**loop.scanned, **there, **stacked})
    before = loop.part(stays, [s for s in loop.stacks if s not in behind], dict(loop.scanned))
    before.before, before.after, after.after = loop.before, loop.after, last
    return before, after


def _crossing(loop: MutableScan, equations: list[Equation], affected: set[Atom]) -> list[Var]:
    """What the equations, and the carries that are affected, read that other equations make."""
    read = [a for e in equations for a in e.inputs] + [c.next for c in loop.carried if c.var in affected]
    crossing = [a for a in dict.fromkeys(read) if not (loop.is_invariant(a) or a in affected or a in loop.scanned)]
    return [a for a in crossing if isinstance(a, Var)]
