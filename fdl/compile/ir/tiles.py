"""Steps restricted to some rows, and the groups that run them tile by tile.

A space has `units`, and `rows` in each of them. The work of a step falls into as many parts, one for each row, which
can be done in any order or, where rows are summed up, one after the other. What a part makes or reads is *its own* if
it lies in the matching part of the value, cut evenly in row-major order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fdl.compile.ir.affine import Affine, strides
from fdl.compile.ir.loops import Loops
from fdl.compile.ir.steps import KernelStep, LoopNest, View
from fdl.core.program import Var


@dataclass(frozen=True)
class RowSpace:
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
class NestTile:
    """A loop nest whose first loops run through units and then rows.

    Attributes:
        step: the nest.
        loops: the same loops, split where units or rows end.
        space: the units and rows.
        unit_loops: how many loops run through the units.
    """

    step: LoopNest
    loops: Loops
    space: RowSpace
    unit_loops: int

    @property
    def row_loop(self) -> int | None:
        """The loop over rows."""
        return self.unit_loops if self.space.rows > 1 else None

    @cached_property
    def summed(self) -> bool:
        """Whether results are sums over rows, or over units too."""
        return any(self.loops.reduced[: self.unit_loops + (self.row_loop is not None)])

    @property
    def sums_units(self) -> bool:
        """Whether they are sums over all units."""
        return any(self.loops.reduced[: self.unit_loops])

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

    def into(self, others: dict[Var, Var]) -> "NestTile":
        """The same tile with other results."""
        reductions = tuple(replace(r, var=others.get(r.var, r.var)) for r in self.loops.reductions)
        return replace(self, loops=replace(self.loops, reductions=reductions))

    def is_own(self, flat: Affine, var: Var) -> bool:
        """Whether element `flat` of `var` belongs to the row."""
        return _is_own(flat, self.loops.extents[: self.unit_loops], self.space, var)

    @property
    def is_valid(self) -> bool:
        """Whether sums run over all of the rows, and everything else is stored in rows."""
        reduced = self.loops.reduced[: self.unit_loops]
        if any(reduced) and not (all(reduced) and (self.row_loop is None or self.loops.reduced[self.row_loop])):
            return False
        own = self.loops.stores if self.summed else self.loops.results()
        return all(self.is_own(s.flat, s.var) for s in own)


@dataclass(frozen=True, eq=False)
class ProductTile:
    """A batched matrix product, one product of the batch for each unit.

    Attributes:
        step: the product.
        space: the units and rows.
        along: what the rows of the space are: ``m`` (rows of the result), ``k`` (what is summed) or nothing at all.
        epilogue: what is computed on its result, restricted to the same rows; None if there is nothing.
    """

    step: KernelStep
    space: RowSpace
    along: str
    epilogue: NestTile | None

    @property
    def summed(self) -> bool:
        """Whether the results are sums over rows."""
        return self.along == "k"

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
        own = all(self._is_own(view, axis, var) for view, axis in pairs if view.base is var)
        return own and (self.epilogue is None or self.epilogue.reads_own(var))

    def _is_own(self, view: View, axis: int | None, var: Var) -> bool:
        batch, extents, steps = view.type.ndim - 2, list(view.type.shape), list(view.strides)
        if axis is not None:
            extents.insert(batch, extents.pop(axis))
            steps.insert(batch, steps.pop(axis))
        elif self.along:
            return False
        flat = Affine(view.offset, tuple(steps), tuple(extents))
        return _is_own(flat, extents[:batch], self.space, var)


RowTile = NestTile | ProductTile


def _is_own(flat: Affine, units: Sequence[int], space: RowSpace, var: Var) -> bool:
    inner = space.inner(var)
    wanted = [s * space.rows * inner for s in strides(units)] + [inner] * (space.rows > 1)
    inside = flat.coefficients[len(wanted) :], flat.extents[len(wanted) :]
    own = zip(flat.coefficients, flat.extents, wanted, strict=False)
    if not inner or any(c != w and n > 1 for c, n, w in own):
        return False
    low, high = Affine(flat.constant, *inside).bounds()
    return low >= 0 and high < inner


@dataclass(eq=False)
class TileGroup:
    """Steps that run tile by tile, one after the other.

    Attributes:
        space: the rows.
        members: the steps, in order.
        tile_rows: how many rows a member does at a time.
        chunk: rows of a unit of work that lie in one unit of the space, a multiple of `tile_rows` unless all of them.
        together: units of the space in a unit of work; 1 if a chunk is not all rows.
        chunk_sums: where the sums of chunks are, by the result that they add up to.
        private: values that nothing else reads.
        outputs: all others.
        reads: values from outside.
        private_bytes: memory of a thread for the private values.
    """

    space: RowSpace
    members: list[RowTile]
    tile_rows: int
    chunk: int
    together: int
    chunk_sums: dict[Var, Var]
    private: list[Var]
    outputs: list[Var]
    reads: tuple[Var, ...]
    private_bytes: int = 0

    @property
    def chunks(self) -> int:
        """Chunks of a unit of the space."""
        return -(-self.space.rows // self.chunk)

    @property
    def work(self) -> int:
        """Units of work, which do not depend on each other."""
        return -(-self.space.units // self.together) * self.chunks
