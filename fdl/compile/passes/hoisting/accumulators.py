"""A carry that only adds up products is one product behind the loop.

The sum over steps of x_t y_t is a product that contracts the steps as well: this is how weight gradients of a loop are
made by one large product of the stacks of its operands, instead of many small ones that read and write the sum.
"""

from dataclasses import replace

from fdl.compile.passes.hoisting.scan import Carried, MutableScan, bytes_of
from fdl.core.program import Atom, Equation, Var
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.ops.elementwise import Add, Neg
from fdl.ops.shape import BroadcastInDim, Reshape, Sum, Transpose
from fdl.ops.slicing import Reverse, Slice

#: Operations that may be applied to the sum as well as to what is summed.
LINEAR = (Add, Neg, Transpose, Reshape, BroadcastInDim, Reverse, Slice)


def move_accumulators(loop: MutableScan) -> None:
    """Remove the carries that are sums of products, where stacking the operands costs less than the sums do."""
    # Sums of what is stacked by then come last.
    for leaves in ((DotGeneral, ConvGeneral), (DotGeneral, ConvGeneral, Sum)):
        for carried in list(loop.carried):
            term = _added(loop, carried)
            if term is None or not _is_accumulated(loop, term, leaves):
                continue
            loop.carried.remove(carried)
            total = _accumulated(loop, term)
            loop.after.apply(Add(), carried.start, total, model=loop.model, into=carried.result)
    loop.prune()


def _added(loop: MutableScan, carried: Carried) -> Atom | None:
    """What each step adds to a carry that is read nowhere else."""
    maker = loop.makers.get(carried.next)
    if maker is None or not isinstance(maker.operation, Add) or carried.var not in maker.inputs:
        return None
    if loop.uses[carried.var] != 1 or loop.uses[carried.next] != 1:
        return None
    return maker.inputs[1] if maker.inputs[0] is carried.var else maker.inputs[0]


def _is_accumulated(loop: MutableScan, atom: Atom, leaves: tuple[type, ...]) -> bool:
    """Whether the sum over all steps can be computed outside, and should."""
    maker = loop.makers.get(atom)
    if maker is None or loop.uses[atom] != 1 or maker.scope:
        return False
    operation = maker.operation
    if isinstance(operation, LINEAR):
        return all(_is_accumulated(loop, a, leaves) for a in maker.inputs)
    if not isinstance(operation, leaves) or (isinstance(operation, ConvGeneral) and _is_grouped(operation)):
        return False
    if not all(isinstance(a, Var) and not loop.is_invariant(a) for a in maker.inputs):
        return False
    if any(a in loop.makers and loop.makers[a].scope for a in maker.inputs):
        return False
    extra = loop.new_bytes(maker.inputs)
    return extra == 0 or (not isinstance(operation, Sum) and extra <= bytes_of(atom) and loop.may_stack(extra))


def _is_grouped(operation: ConvGeneral) -> bool:
    return operation.feature_group_count > 1 or operation.batch_group_count > 1


def _accumulated(loop: MutableScan, atom: Atom) -> Var:
    """The sum over all steps of a value of the body."""
    maker = loop.makers[atom]
    operation = maker.operation
    model = replace(maker, scope=loop.model.scope)
    if isinstance(operation, LINEAR):
        return loop.after.apply(operation, *(_accumulated(loop, a) for a in maker.inputs), model=model)
    operands = [loop.stacked(a) for a in maker.inputs]
    match operation:
        case Sum():
            return loop.after.apply(Sum((0, *(a + 1 for a in operation.axes))), *operands, model=model)
        case DotGeneral():
            contracting, batch = (
                (tuple(a + 1 for a in x), tuple(a + 1 for a in y))
                for x, y in (operation.contracting, operation.batch_axes)
            )
            x_summed, y_summed = contracting
            whole = DotGeneral(((0, *x_summed), (0, *y_summed)), batch, operation.dtype)
            return loop.after.apply(whole, *operands, model=model)
        case ConvGeneral():
            places = operation.numbers.lhs_spec[1], operation.numbers.rhs_spec[1]
            merged = [_merged_steps(loop, x, place, model) for x, place in zip(operands, places, strict=True)]
            return loop.after.apply(operation, *merged, model=model)
    raise AssertionError(f"{operation!r} does not add up products")


def _merged_steps(loop: MutableScan, stack: Atom, place: int, model: Equation) -> Var:
    """A stack with the axis of steps put before axis `place` of a step, and merged with it."""
    axes = (*range(1, place + 1), 0, *range(place + 1, stack.type.ndim))
    moved = loop.after.apply(Transpose(axes), stack, model=model)
    shape = moved.type.shape
    merged = (*shape[:place], shape[place] * shape[place + 1], *shape[place + 2 :])
    return loop.after.apply(Reshape(merged), moved, model=model)
