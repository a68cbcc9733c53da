"""Long reductions to few results, in two steps: chunks first, so that threads can share them, then their results.

How many chunks there are depends on the loops only, so that bits do not depend on the number of threads.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TypeVar

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.loops import Loops, combined, reindexed
from fdl.core.program import Var
from fdl.core.types import TensorType
from fdl.ops.precision import accumulator

#: A nest with fewer iterations times instructions is not split.
_WORK = 1 << 19
#: Nor is one with so many results, whose loops can be shared.
_RESULTS = 512
#: Chunks, if the loop can be divided evenly; the first is best.
_CHUNKS = (32, 16, 24, 28, 20, 30, 25, 27, 21, 18, 22, 26, 36, 40, 48, 64, 8, 10, 12, 14, 15, 9, 11, 13, 7, 5, 6, 4)


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
    results = prod(n for n, mark in zip(loops.extents, loops.reduced, strict=True) if not mark)
    if not loops.reductions or results > _RESULTS or prod(loops.extents) * len(loops.instructions) < _WORK:
        return None
    for count in _CHUNKS:
        for axis, (extent, mark) in enumerate(zip(loops.extents, loops.reduced, strict=True)):
            if mark and extent % count == 0 and extent > count:
                return axis, count
    return None


def _divided(items: Sequence[Item], axis: int, pair: tuple[Item, Item]) -> tuple[Item, ...]:
    return (*items[:axis], *pair, *items[axis + 1 :])
