"""What all decompositions of groups of small matrices have in common; a unit of work is a group."""

from collections.abc import Sequence
from math import prod

from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.grouped.grid import LaneGrid, LaneMatrices
from fdl.compile.kernels.kernel import Kernel, kernel_function, offset_of_unit, run_kernel
from fdl.compile.kernels.lapack.calls import LapackLowering
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import Value
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.core.types import TensorType
from fdl.dtypes import float32, float64


class GroupedLowering(Lowering[Op]):
    """Base: `grids` says what scratch memory a group needs; `group` emits what is done to it.

    Class attributes:
        large: what calls LAPACK for all other matrices.
    """

    reads_views = True
    parallel = True
    large: LapackLowering[Op]

    def small(self, operation: Op, operands: Types) -> bool:
        """Whether the matrices are computed here."""
        (a,) = operands
        lanes = self.lanes(operands, host_target().lanes(float64))
        return a.dtype in (float32, float64) and a.size > 0 and max(a.shape[-2:]) <= self.extent(operation, lanes)

    def supports(self, step: KernelStep) -> bool:
        return self.small(self.operation(step), [v.type for v in step.views]) or self.large.supports(step)

    def effort(self, operation: Op, operands: Types, results: Types) -> int:
        return self.large.effort(operation, operands, results)

    def extent(self, operation: Op, lanes: int) -> int:
        """Rows and columns of the largest matrices that are computed here, in groups of so many."""
        return host_target().tuning.grouped_matrix

    def lanes(self, operands: Types, vector: int) -> int:
        """Matrices of a group: two vectors of them hide how long divisions take."""
        count = prod(operands[0].shape[:-2])
        if count < max(2, vector // 2):
            return 1
        return 2 * vector if count > vector else vector

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, emission = self.operation(step), emitter.emission
        types = [v.type for v in step.views]
        if not self.small(operation, types):
            self.large.emit(emitter, step)
            return
        arrays: list[tuple[TensorType, Sequence[int]]] = [(v.type, v.strides) for v in step.views]
        arrays += [(v.type, strides(v.type.shape)) for v in step.outputs]
        batch, count = types[0].shape[:-2], prod(types[0].shape[:-2])
        vector = emission.target.lanes(float64)
        lanes = self.lanes(types, vector)
        shapes = self.grids(operation, types)
        sizes = [-(-LaneGrid.bytes(vector, rows, width, lanes) // 64) * 64 for rows, width in shapes]

        def make() -> Kernel:
            build = kernel_function(emission.module, emission.target, operation.name, len(arrays))
            *pointers, scratch, _, _ = build.function.args
            grids = [
                LaneGrid(build, build.at(scratch, sum(sizes[:n]), "uint8"), width, lanes)
                for n, (_, width) in enumerate(shapes)
            ]
            if lanes == 1:  # nothing but the room behind rows is read before it is written
                for grid, (rows, _) in zip(grids, shapes, strict=True):
                    grid.clear(rows)
            with build.loop(build.argument(-2, "int64"), build.argument(-1, "int64")) as unit:
                numbers = [build.min(unit * lanes + lane, build.index(count - 1)) for lane in range(lanes)]
                stacks = [
                    _stack(build, pointer, type, steps, numbers, batch)
                    for pointer, (type, steps) in zip(pointers, arrays, strict=True)
                ]
                self.group(operation, types, grids, stacks)
            build.ret()
            return Kernel(build.function, sum(sizes), -(-count // lanes))

        pointers = [*map(emitter.first, step.views), *map(emitter.pointer, step.outputs)]
        run_kernel(emitter, f"{operation} {arrays}", make, pointers)

    def grids(self, operation: Op, operands: Types) -> Sequence[tuple[int, int]]:
        """Rows, and elements of a row, of the matrices in scratch memory."""
        raise NotImplementedError

    def group(self, operation: Op, operands: Types, grids: Sequence[LaneGrid], stacks: Sequence[LaneMatrices]) -> None:
        """Emit the work on a group: the operands' matrices, and the results', which may be vectors."""
        raise NotImplementedError


def _stack(
    build: Build,
    pointer: ir.Value,
    type: TensorType,
    steps: Sequence[int],
    numbers: Sequence[Value],
    batch: tuple[int, ...],
) -> LaneMatrices:
    """The matrices (or vectors, as matrices of one row) of an operand that have these numbers."""
    inner = (0, 0, *steps[len(batch) :])
    offsets = [offset_of_unit(build, number, batch, steps) for number in numbers]
    return LaneMatrices(build, pointer, offsets, (inner[-2], inner[-1]), type.dtype)
