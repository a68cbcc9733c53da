"""Code for groups of steps: all members on one tile after the other."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from fdl.compile.ir.reductions import identity_element
from fdl.compile.ir.steps import KernelStep
from fdl.compile.ir.tiles import NestTile, ProductTile, RowTile, TileGroup
from fdl.compile.kernels.kernel import pieces
from fdl.compile.kernels.matmul.product import product_kernel
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.compile.loopnest.row_nest import RowNest
from fdl.core.program import Literal, Var
from fdl.dtypes import int8


class GroupEmitter:
    """Emits one group.

    Args:
        emitter: of the plan.
        group: the step.
    """

    def __init__(self, emitter: Any, group: TileGroup) -> None:
        self.emitter, self.group, self.space = emitter, group, group.space
        self.emission, self.build = emitter.emission, emitter.build

    def emit(self) -> None:
        """Emit this thread's part of the work."""
        group, build, emission = self.group, self.build, self.emission
        self.scratch = emission.scratch_for(group.private_bytes)
        outside = emission.scratch_taken
        emission.scratch_taken += group.private_bytes
        team = emission.team
        with build.loop(*team.share(group.work)) as self.work, team.solo():
            self.clear_partial()
            if group.chunks == 1:
                first = self.work * group.together
                with build.loop(first, build.min(first + group.together, self.space.units)) as unit:
                    self.rows(unit, build.index(0), build.index(self.space.rows))
            else:
                unit = build.quotient(self.work, group.chunks)
                start = (self.work - unit * group.chunks) * group.chunk
                self.rows(unit, start, build.min(start + group.chunk, self.space.rows))
        emission.scratch_taken = outside

    def rows(self, unit: Value, start: Value, stop: Value) -> None:
        """All members on the rows [start, stop) of a unit."""
        build, group = self.build, self.group
        for member in group.members:
            if member.summed and not (member.sums and member.sums[0] in group.chunk_sums):
                self.clear_sums(member, unit)
        if any(isinstance(member, ProductTile) for member in group.members):
            with pieces(build, start, stop, group.tile_rows, self.space.rows) as piece:
                for row, count in piece():
                    self.tile(unit, row, row + count, count)
        else:
            with build.loop(start, stop, group.tile_rows) as row:
                self.tile(unit, row, build.min(row + group.tile_rows, stop), None)

    def tile(self, unit: Value, begin: Value, end: Value, count: int | None) -> None:
        """All members on a tile, the rows [begin, end), of which there are `count`."""
        self.first_row = unit * self.space.rows + begin
        for member in self.group.members:
            if isinstance(member, NestTile):
                self.nest(member, unit, begin, end)
            else:
                assert count is not None
                self.product(member, unit, begin, count)

    def pointer(self, var: Var | Literal) -> Any:
        """Where element 0 of a value would be, if there were more of it than the part that there is."""
        if isinstance(var, Literal):  # a number that a product reads as a matrix
            return self.emitter.pointer(var)
        slot = self.emitter.given.slots[var]
        if slot.kind == "private":
            place = self.build.at(self.scratch, slot.number, int8)
            return self.build.at(place, -(self.first_row * self.space.inner(var)), var.type.dtype)
        if var in self.group.chunk_sums:
            partial = self.group.chunk_sums[var]
            return self.build.at(self.emitter.pointer(partial), self.work * var.type.size, partial.type.dtype)
        return self.emitter.pointer(var)

    def clear_partial(self) -> None:
        """Let the sums of a chunk begin."""
        for member in self.group.members:
            if isinstance(member, NestTile):
                for r in member.loops.reductions:
                    if r.var in self.group.chunk_sums:
                        self.fill(self.pointer(r.var), self.group.chunk_sums[r.var].type.dtype, r.kind, r.var.type.size)

    def clear_sums(self, member: RowTile, unit: Value) -> None:
        """Let the sums of a unit begin in the results."""
        kinds = [r.kind for r in member.loops.reductions] if isinstance(member, NestTile) else ["sum"]
        for var, kind in zip(member.sums, kinds, strict=True):
            size, dtype = var.type.size // self.space.units, var.type.dtype
            self.fill(self.build.at(self.emitter.pointer(var), unit * size, dtype), dtype, kind, size)

    def fill(self, pointer: ir.Value, dtype: Any, kind: str, size: int) -> None:
        """Store what a reduction of nothing gives."""
        build = self.build
        lanes = build.target.lanes(dtype)
        for first, stop, step in ((0, size // lanes * lanes, lanes), (size // lanes * lanes, size, 1)):
            if first < stop:
                with build.loop(first, stop, step) as i:
                    build.store(build.constant(identity_element(kind, dtype), dtype, step), pointer, i)

    def nest(self, member: NestTile, unit: Value, begin: Value, end: Value) -> None:
        """Call the function of a nest."""
        loops, slots = member.loops, self.emitter.given.slots
        partial = self.group.chunk_sums

        def slot(var: Var) -> Any:
            return slots[partial.get(var, var)]

        operands: dict[Any, Var] = {}
        for var in (*member.step.reads, *member.step.outputs):
            operands.setdefault(slot(var), var)
        order = {slot: n for n, slot in enumerate(operands)}

        def make() -> Any:
            module = self.emission.module
            function = new_function(module, module.get_unique_name("rows"), [POINTER] * len(operands) + [I64] * 3)
            function.attributes.add("noinline")
            build = Build(module, self.emission.target, function)
            bounds = [build.argument(len(operands) + n, "int64") for n in range(3)]
            RowNest(build, member.into(partial), lambda var: function.args[order[slots[var]]], *bounds).emit()
            build.ret()
            return function

        sums = tuple(partial[v].type.dtype for v in member.sums if v in partial)
        key = f"rows {self.space} {member.unit_loops} {sums} {loops.key(lambda var: order[slot(var)])}"
        function = self.emission.shared(key, make)
        self.build.call_function(function, [*map(self.pointer, operands.values()), unit, begin, end])

    def product(self, member: ProductTile, unit: Value, begin: Value, count: int) -> None:
        """Call the kernel of a product."""
        step, emission, build = member.step, self.emission, self.build
        (x, y), (out,) = step.views, step.equation.outputs
        dtype = out.type.dtype
        (m, k), n = x.type.shape[-2:], y.type.shape[-1]
        rows, depth = (count if member.along == axis else size for axis, size in (("m", m), ("k", k)))
        a, b = ((0, v.strides[-2], v.strides[-1]) for v in (x, y))
        spec = Contraction(dtype, 1, rows, n, depth, a, b, (0, n, 1), member.along == "k" and count < k)
        kernel = product_kernel(emission, spec, self.emitter.epilogue(step, 3))
        pointers = []
        for view, axis in zip((x, y), member.row_axes(), strict=True):
            offset = self.entry(view.type.shape, view.strides, unit) + view.offset
            if axis is not None:
                offset = offset + begin * view.strides[axis]
            pointers.append(build.at(self.pointer(view.base), offset, dtype))
        start = unit * (m * n) + begin * n if member.along == "m" else unit * (m * n)
        pointers.append(build.at(self.pointer(out), start, dtype))
        for var, steps in self.epilogue_strides(step):
            offset = self.entry(out.type.shape, steps, unit) + begin * steps[-2]
            pointers.append(build.at(self.pointer(var), offset, var.type.dtype))
        kernel.run(build, pointers, emission.scratch_for(kernel.scratch_bytes))

    def epilogue_strides(self, step: KernelStep) -> list[tuple[Var, tuple[int, ...]]]:
        """The operands of an epilogue, with their strides along all axes of the result."""
        epilogue = self.emitter.epilogue(step, step.equation.outputs[0].type.ndim)
        if epilogue is None:
            return []
        found = {a.operand: a.strides for a in (*epilogue.loads.values(), *(access for _, access in epilogue.stores))}
        return [(var, found[number]) for number, var in enumerate(epilogue.operands)]

    def entry(self, shape: Sequence[int], strides: Sequence[int], unit: Value) -> Value:
        """How far the matrix of a unit is from the first one."""
        offset, rest = self.build.index(0), unit
        batch = shape[:-2]
        for axis in range(len(batch) - 1, -1, -1):
            above = self.build.quotient(rest, batch[axis]) if axis else self.build.index(0)
            offset = offset + (rest - above * batch[axis]) * strides[axis]
            rest = above
        return offset
