"""Steps restricted to some rows: the parts of which groups of steps are made.

A space has `units`, and `rows` in each of them. A step is cut by a space if its work falls into as many parts, one for
each row, so that the parts can be done in any order or, where rows are summed up, one after the other. What a part
makes or reads is *its own* if it lies in the matching part of the value, cut evenly in row-major order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

from fdl.compile.ir.affine import Affine, strides
from fdl.compile.ir.loops import Loops, reindexed
from fdl.compile.ir.steps import View
from fdl.compile.lowerings.lowering import has_product_kernel
from fdl.compile.passes.canonical import product
from fdl.core.program import Var

#: Products of fewer operations for one unit are left to a kernel that knows all units.
LEAST_FLOPS = 16384


@dataclass(frozen=True)
class Space:
    """The parts into which work is cut: `units` times `rows`."""

    units: int
    rows: int

    @property
    def size(self) -> int:
        """How many rows there are in all units."""
        return self.units * self.rows

    def inner(self, var: Var) -> int:
        """Elements of a row of a value; 0 if it has not as many rows."""
        return 0 if var.type.size % self.size else var.type.size // self.size


@dataclass(frozen=True, eq=False)
class NestCut:
    """A loop nest whose first loops run through units and then rows.

    Attributes:
        step: the step that is cut.
        loops: the same loops, split where units or rows end.
        space: of the cut.
        fixed: how many loops run through the units.
    """

    step: Any
    loops: Loops
    space: Space
    fixed: int

    @property
    def ranged(self) -> int | None:
        """The loop over rows."""
        return self.fixed if self.space.rows > 1 else None

    @cached_property
    def summed(self) -> bool:
        """Whether results are sums over rows, or over units too."""
        return any(self.loops.reduced[: self.fixed + (self.ranged is not None)])

    @property
    def sums_units(self) -> bool:
        """Whether they are sums over all units."""
        return any(self.loops.reduced[: self.fixed])

    @cached_property
    def made(self) -> list[Var]:
        """What it makes row by row."""
        return [s.var for s in self.loops.stores] + [r.var for r in self.loops.reductions if not self.summed]

    @cached_property
    def sums(self) -> list[Var]:
        """What is complete only when all rows are."""
        return [r.var for r in self.loops.reductions if self.summed]

    def reads_own(self, var: Var) -> bool:
        """Whether each row reads only its own part of `var`."""
        return all(self.is_own(load.flat, var) for load in self.loops.reads() if load.var is var)

    def into(self, others: dict[Var, Var]) -> "NestCut":
        """The same cut with other results."""
        reductions = tuple(replace(r, var=others.get(r.var, r.var)) for r in self.loops.reductions)
        return replace(self, loops=replace(self.loops, reductions=reductions))

    def is_own(self, flat: Affine, var: Var) -> bool:
        """Whether element `flat` of `var` belongs to the row."""
        return _is_own(flat, self.loops.extents[: self.fixed], self.space, var)

    @property
    def is_valid(self) -> bool:
        """Whether sums run over all of the rows, and everything else is stored in rows."""
        reduced = self.loops.reduced[: self.fixed]
        if any(reduced) and not (all(reduced) and (self.ranged is None or self.loops.reduced[self.ranged])):
            return False
        own = self.loops.stores if self.summed else self.loops.results()
        return all(self.is_own(s.flat, s.var) for s in own)


@dataclass(frozen=True, eq=False)
class ProductCut:
    """A batched matrix product, one product of the batch for each unit.

    Attributes:
        step: the step that is cut.
        space: of the cut.
        along: what the rows of the space are: ``m`` (rows of the result), ``k`` (what is summed) or nothing at all.
        tail: its epilogue, cut too; None if it has none.
    """

    step: Any
    space: Space
    along: str
    tail: NestCut | None

    loops = None

    @property
    def summed(self) -> bool:
        """Whether the results are sums over rows."""
        return self.along == "k"

    sums_units = False

    @property
    def made(self) -> list[Var]:
        """What it makes row by row."""
        return [] if self.summed else list(self.step.outputs)

    @property
    def sums(self) -> list[Var]:
        """What is complete only when all rows are."""
        return self.step.outputs if self.summed else []

    def row_axes(self) -> tuple[int | None, int | None]:
        """The axes of the operands, counted from the end, that run through rows."""
        return {"m": (-2, None), "k": (-1, -2)}.get(self.along, (None, None))

    def reads_own(self, var: Var) -> bool:
        """Whether each row reads only its own part of `var`."""
        pairs = zip(self.step.views, self.row_axes(), strict=True)
        own = all(self._is_own(view, axis, var) for view, axis in pairs if view.root is var)
        return own and (self.tail is None or self.tail.reads_own(var))

    def _is_own(self, view: View, axis: int | None, var: Var) -> bool:
        batch, extents, steps = view.type.ndim - 2, list(view.type.shape), list(view.strides)
        if axis is not None:
            extents.insert(batch, extents.pop(axis))
            steps.insert(batch, steps.pop(axis))
        elif self.along:
            return False
        flat = Affine(view.offset, tuple(steps), tuple(extents))
        return _is_own(flat, extents[:batch], self.space, var)


Cut = NestCut | ProductCut


def _is_own(flat: Affine, units: Sequence[int], space: Space, var: Var) -> bool:
    inner = space.inner(var)
    wanted = [s * space.rows * inner for s in strides(units)] + [inner] * (space.rows > 1)
    inside = flat.coefficients[len(wanted) :], flat.extents[len(wanted) :]
    own = zip(flat.coefficients, flat.extents, wanted, strict=False)
    if not inner or any(c != w and n > 1 for c, n, w in own):
        return False
    low, high = Affine(flat.constant, *inside).bounds()
    return low >= 0 and high < inner


def cut_loops(step: Any, loops: Loops, space: Space) -> NestCut | None:
    """The loops of a step cut by a space, if they can be."""
    if not loops.extents or prod(loops.extents) % space.size:
        return None
    found = _split(loops.extents, space)
    if found is None:
        return None
    pieces, fixed = found
    cut = NestCut(step, _refined(loops, pieces), space, fixed)
    return cut if cut.is_valid else None


Piece = tuple[int, int, int]


def _split(extents: Sequence[int], space: Space) -> tuple[list[Piece], int] | None:
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


def cut_product(step: Any, space: Space, made: Iterable[Var]) -> ProductCut | None:
    """A batched product cut by a space in which `made` is made row by row, if it can be."""
    x, y = step.views
    *batch, m, k = x.type.shape
    if not is_batched_product(step) or prod(batch) != space.units:
        return None
    made, n = set(made), y.type.shape[-1]
    if 2 * m * n * k < LEAST_FLOPS:
        return None
    tail = None
    if step.epilogue is not None:
        tail = cut_loops(step, step.epilogue, space)
        if tail is None:
            return None
    choices = [""] if space.rows == 1 else [a for a, size in (("m", m), ("k", k)) if size == space.rows]
    for along in choices:
        if along == "k" and tail:
            continue
        cut = ProductCut(step, space, along, tail)
        if all(cut.reads_own(view.root) for view in step.views if view.root in made):
            return cut
    return None


def is_batched_product(step: Any) -> bool:
    """Whether a step is a product in canonical form, of more than one pair of matrices."""
    if step.equation.operation.family != "contract":
        return False
    if len(step.views) != 2:
        return False
    x, dtype = step.views[0], step.equation.outputs[0].type.dtype
    canonical = step.equation.operation == product(x.type.ndim) and x.type.ndim > 2
    return canonical and has_product_kernel(dtype) and x.type.dtype == dtype and prod(x.type.shape[:-2]) > 1


def spaces(step: Any) -> list[Space]:
    """Spaces that a step is cut by naturally."""
    if hasattr(step, "loops"):
        return _nest_spaces(step.loops)
    if not is_batched_product(step):
        return []
    *batch, m, k = step.views[0].type.shape
    units = prod(batch)
    return [Space(units, 1), Space(units, m), Space(units, k)]


def _nest_spaces(loops: Loops) -> list[Space]:
    extents = loops.extents
    found = [Space(1, e) for e in extents[:1]]
    return [*found, Space(extents[0], extents[1])] if len(extents) > 2 else found
