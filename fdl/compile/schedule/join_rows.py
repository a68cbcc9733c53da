"""Loops over narrow rows, joined so that vectors run on from row to row.

An image with six channels is rows of six elements, which fill no vector. Eight rows together are 48 elements, six whole
vectors. What is the same in every row (a bias) is repeated eight times beforehand; sums over rows become eight sums
that are added up afterwards.
"""

from dataclasses import replace
from math import gcd

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.body import Apply, Constant, Load
from fdl.compile.ir.loops import Loops, Store, combined
from fdl.compile.llvm.target import host_target
from fdl.core.program import Var
from fdl.core.types import TensorType
from fdl.ops.precision import accumulator


def join_rows(loops: Loops) -> list[Loops]:
    """The nest, or nests that repeat what rows share, the nest on joined rows, and nests that add up its sums."""
    count = _joined_count(loops)
    if count is None:
        return [loops]
    width = loops.extents[-1]
    extents = (*loops.extents[:-2], loops.extents[-2] // count, width * count)

    def merge(affine: Affine) -> Affine:
        *outer, row, column = affine.coefficients
        return Affine(affine.constant, (*outer, row * count, column), extents)

    repeated: dict[Load, Var] = {}
    before: list[Loops] = []

    def load(found: Load) -> Load:
        if not _is_shared(found):
            return Load(found.var, merge(found.flat), ())
        if found not in repeated:
            repeated[found] = Var(TensorType((count, width), found.var.type.dtype))
            read = Load(found.var, Affine(found.flat.constant, (0, found.flat.coefficients[-1]), (count, width)), ())
            store = Store(repeated[found], Affine(0, (width, 1), (count, width)), 0)
            before.append(Loops((count, width), (False, False), (read,), (store,), ()))
        return Load(repeated[found], Affine(0, (*(0 for _ in extents[:-1]), 1), extents), ())

    instructions = tuple(load(i) if isinstance(i, Load) else i for i in loops.instructions)
    stores = tuple(replace(s, flat=merge(s.flat)) for s in loops.stores)
    sums = [Var(TensorType((count, width), accumulator(r.var.type.dtype))) for r in loops.reductions]
    flat = Affine(0, (*(0 for _ in extents[:-1]), 1), extents)
    reductions = tuple(replace(r, var=var, flat=flat) for r, var in zip(loops.reductions, sums, strict=True))
    joined = Loops(extents, loops.reduced, instructions, stores, reductions)
    after = [combined(r, var) for r, var in zip(loops.reductions, sums, strict=True)]
    return [*before, joined.collapsed(), *after]


def _joined_count(loops: Loops) -> int | None:
    """How many rows are joined; None if that is impossible or does not pay."""
    tuning = host_target().tuning
    if len(loops.extents) < 2 or not 1 < loops.extents[-1] <= tuning.narrow_elements:
        return None
    rows, width = loops.extents[-2:]
    count = tuning.joined_elements // gcd(width, tuning.joined_elements)
    if count == 1 or rows % count or rows * width < tuning.joined_iterations:
        return None
    if loops.reductions and not (all(loops.reduced[:-1]) and not loops.reduced[-1]):
        return None
    for i in loops.instructions:
        if isinstance(i, Load):
            if i.guards or not (_is_shared(i) or _runs_on(i.flat, width)):
                return None
        elif not isinstance(i, (Apply, Constant)):
            return None
    runs_on = all(_runs_on(s.flat, width) for s in loops.stores)
    in_order = all(r.flat.coefficients[-1] == 1 and not r.flat.constant for r in loops.reductions)
    return count if runs_on and in_order else None


def _runs_on(flat: Affine, width: int) -> bool:
    """Whether the first element of a row follows the last one of the row before."""
    return flat.coefficients[-2] == flat.coefficients[-1] * width


def _is_shared(load: Load) -> bool:
    """Whether rows read the same elements."""
    return not any(load.flat.coefficients[:-1]) and bool(load.flat.coefficients[-1])
