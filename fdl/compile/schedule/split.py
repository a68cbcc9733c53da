"""Long reductions to few results, in two steps: chunks first, so that threads can share them, then their results.

How many chunks there are depends on the loops only, so that bits do not depend on the number of threads.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TypeVar

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.loops import Loops, combined, reindexed
from fdl.compile.llvm.target import host_target
from fdl.core.program import Var
from fdl.core.types import TensorType
from fdl.ops.precision import accumulator

Item = TypeVar("Item")


def split(loops: Loops) -> list[Loops]:
    """The nest, or a nest that reduces chunks followed by those that reduce the chunks' results."""
    chosen = _chunks(loops)
    if chosen is None:
        return [loops]
    axis, count = chosen
    extents = _divided(loops.extents, axis, (count, loops.extents[axis] // count))

    def change(affine: Affine, step: int = 0) -> Affine:
        own = affine.coefficients[axis]
        pair = (own * extents[axis + 1] + step, own)
        return Affine(affine.constant, _divided(affine.coefficients, axis, pair), extents)

    moved = reindexed(loops, extents, _divided(loops.reduced, axis, (False, True)), change)
    sums = [Var(TensorType((count, r.var.type.size), accumulator(r.var.type.dtype))) for r in loops.reductions]
    pairs = list(zip(loops.reductions, sums, strict=True))
    reductions = tuple(replace(r, var=var, flat=change(r.flat, r.var.type.size)) for r, var in pairs)
    return [replace(moved, reductions=reductions).collapsed(), *(combined(r, var) for r, var in pairs)]


def _chunks(loops: Loops) -> tuple[int, int] | None:
    """The loop to divide, and into how many chunks."""
    tuning = host_target().tuning
    results = prod(n for n, mark in zip(loops.extents, loops.reduced, strict=True) if not mark)
    if (
        not loops.reductions
        or results > tuning.split_results
        or prod(loops.extents) * len(loops.instructions) < tuning.split_work
    ):
        return None
    for count in tuning.split_chunks:
        for axis, (extent, mark) in enumerate(zip(loops.extents, loops.reduced, strict=True)):
            if mark and extent % count == 0 and extent > count:
                return axis, count
    return None


def _divided(items: Sequence[Item], axis: int, pair: tuple[Item, Item]) -> tuple[Item, ...]:
    return (*items[:axis], *pair, *items[axis + 1 :])
