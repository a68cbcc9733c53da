"""Restricting steps to some rows (`fdl.compile.ir.tiles`), where their work falls into rows."""

from collections.abc import Iterable, Sequence
from math import prod

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.loops import Loops, reindexed
from fdl.compile.ir.steps import KernelStep, LoopNest
from fdl.compile.ir.tiles import NestTile, ProductTile, RowSpace
from fdl.compile.kernels.matmul.product import is_batched_product
from fdl.compile.llvm.target import host_target
from fdl.core.program import Atom, Var


def tile_nest(nest: LoopNest, space: RowSpace) -> NestTile | None:
    """A loop nest restricted to rows, if it can be."""
    loops = nest.loops
    if not loops.extents or prod(loops.extents) % space.size:
        return None
    found = _split(loops.extents, space)
    if found is None:
        return None
    pieces, unit_loops = found
    tile = NestTile(nest, _refined(loops, pieces), space, unit_loops)
    return tile if tile.is_valid else None


Piece = tuple[int, int, int]


def _split(extents: Sequence[int], space: RowSpace) -> tuple[list[Piece], int] | None:
    """(loop, extent, step) of each new loop, and how many run through units; the rows need a loop of their own."""
    rest, found, counts = list(enumerate(extents)), list[Piece](), []
    for size in (space.units, space.rows):
        before = len(found)
        while size > 1:
            if not rest:
                return None
            number, extent = rest.pop(0)
            if size % extent == 0:
                found.append((number, extent, 1))
                size //= extent
            elif extent % size == 0:
                found.append((number, size, extent // size))
                rest.insert(0, (number, extent // size))
                size = 1
            else:
                return None
        counts.append(len(found) - before)
    return None if counts[1] > 1 else (found + [(n, e, 1) for n, e in rest], counts[0])


def _refined(loops: Loops, pieces: Iterable[Piece]) -> Loops:
    """The loops with other extents."""
    pieces = list(pieces)
    extents = tuple(extent for _, extent, _ in pieces)

    return reindexed(
        loops,
        extents,
        tuple(loops.reduced[n] for n, _, _ in pieces),
        lambda a: Affine(a.constant, tuple(a.coefficients[n] * step for n, _, step in pieces), extents),
    )


def tile_product(step: KernelStep, space: RowSpace, made: Iterable[Var]) -> ProductTile | None:
    """A batched product restricted to rows, in which `made` is made row by row, if it can be."""
    if not is_batched_product(step):
        return None
    x, y = step.views
    *batch, m, k = x.type.shape
    if prod(batch) != space.units:
        return None
    own, n = set[Atom](made), y.type.shape[-1]
    if 2 * m * n * k < host_target().tuning.tile_product_flops:
        return None
    epilogue = None
    if step.epilogue is not None:
        epilogue = tile_nest(LoopNest(step.epilogue, step.outputs, step.reads), space)
        if epilogue is None:
            return None
    choices = [""] if space.rows == 1 else [a for a, size in (("m", m), ("k", k)) if size == space.rows]
    for along in choices:
        if along == "k" and epilogue:
            continue
        tile = ProductTile(step, space, along, epilogue)
        if all(tile.reads_own(v.base) for v in step.views if isinstance(v.base, Var) and v.base in own):
            return tile
    return None


def spaces(step: LoopNest | KernelStep) -> list[RowSpace]:
    """Spaces that a step falls into naturally; of equations, those of batched products do."""
    if isinstance(step, LoopNest):
        extents = step.loops.extents
        found = [RowSpace(1, e) for e in extents[:1]]
        return [*found, RowSpace(extents[0], extents[1])] if len(extents) > 2 else found
    *batch, m, k = step.views[0].type.shape
    units = prod(batch)
    return [RowSpace(units, 1), RowSpace(units, m), RowSpace(units, k)]
