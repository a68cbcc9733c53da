"""Moving blocks of elements to places that are known, or that are numbers when the code runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.copies import copy_operand, copy_window
from fdl.compile.kernels.kernel import call_divided
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.dtypes import int64, uint64
from fdl.ops.slicing import Concatenate, DynamicSlice, DynamicUpdateSlice, Pad


class MoveLowering(Lowering[Op]):
    """Base: elements of one dtype are moved as they are, from operands with any strides."""

    reads_views = True
    parallel = True

    def supports(self, step: KernelStep) -> bool:
        return transport_dtype(step.views[0].type.dtype) is not None


class ConcatenateLowering(MoveLowering[Concatenate]):
    """Operands one after the other."""

    operations = (Concatenate,)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        (out,), axis = step.outputs, self.operation(step).axis
        steps, dtype = strides(out.type.shape), out.type.dtype
        pointers, offset, key = [emitter.pointer(out)], 0, []
        for view in step.views:
            key.append((view.type.shape, view.strides, offset))
            pointers.append(emitter.first(view))
            offset += view.type.shape[axis] * steps[axis]

        def fill(build: Build, team: Team, target: ir.Value, *sources: ir.Value) -> None:
            for (shape, source_steps, first), source in zip(key, sources, strict=True):
                to = build.at(target, first, transport_dtype(dtype)), steps
                copy_window(build, team, shape, dtype, (source, source_steps), to)

        call_divided(emitter, "concatenate", (key, dtype, steps), pointers, fill)


class PadLowering(MoveLowering[Pad]):
    """Padding between elements: the padding everywhere, then the elements into their places."""

    operations = (Pad,)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x, filler), (out,) = self.operation(step), step.views, step.outputs
        dtype, steps = out.type.dtype, strides(out.type.shape)
        sizes, first, target = [], 0, 0
        zipped = zip(x.type.shape, out.type.shape, operation.low, operation.interior, strict=True)
        for axis, (n, extent, low, interior) in enumerate(zipped):
            skipped = max(0, -(low // (interior + 1)))
            sizes.append(max(0, min(n, -((low - extent) // (interior + 1))) - skipped))
            first += skipped * x.strides[axis]
            target += (low + skipped * (interior + 1)) * steps[axis]
        wide = tuple(s * (i + 1) for s, i in zip(steps, operation.interior, strict=True))

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, padding: ir.Value) -> None:
            zero = (0,) * len(steps)
            copy_window(build, team, out.type.shape, dtype, (padding, zero), (y, steps))
            register = transport_dtype(dtype)
            read, written = build.at(source, first, register), build.at(y, target, register)
            team.barrier()
            copy_window(build, team, sizes, dtype, (read, x.strides), (written, wide))

        key = (operation, x.type, x.strides)
        pointers = [emitter.pointer(out), emitter.first(x), emitter.first(filler)]
        call_divided(emitter, "pad", key, pointers, fill)


class SliceLowering(MoveLowering[Op]):
    """Base: blocks are read; of the first operand only as much as there is in the result."""

    def bytes(self, operation: Op, operands: Types, results: Types) -> int:
        whole, *others = map(nbytes, operands)
        (out,) = map(nbytes, results)
        return min(whole, out) + sum(others) + out


class UpdateLowering(MoveLowering[Op]):
    """Base: blocks of the first operand are replaced, in its own memory unless it is needed afterwards."""

    def overwritten(self, operation: Op, result: int, operands: int) -> int:
        return 0

    def bytes(self, operation: Op, operands: Types, results: Types) -> int:
        others = [nbytes(t) for t in operands[1:]]
        return 2 * min(nbytes(results[0]), max(others, default=0)) + sum(others)


class DynamicSliceLowering(SliceLowering[DynamicSlice]):
    """A block from a place known when the code runs."""

    operations = (DynamicSlice,)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        x, *starts = step.views
        (out,) = step.outputs
        register, shape = transport_dtype(x.type.dtype), out.type.shape

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, *pointers: ir.Value) -> None:
            first = _block_start(build, pointers, starts, x.type.shape, shape, x.strides)
            block = build.at(source, first, register), x.strides
            copy_window(build, team, shape, x.type.dtype, block, (y, strides(shape)))

        key = (x.type, x.strides, shape, [s.type for s in starts])
        pointers = [emitter.pointer(out), emitter.first(x), *map(emitter.first, starts)]
        call_divided(emitter, "dynamic_slice", key, pointers, fill)


class DynamicUpdateSliceLowering(UpdateLowering[DynamicUpdateSlice]):
    """A copy (unless it is made in place) with a block replaced."""

    operations = (DynamicUpdateSlice,)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        x, update, *starts = step.views
        (out,) = step.outputs
        register, shape, steps = transport_dtype(x.type.dtype), update.type.shape, strides(x.type.shape)
        copy_operand(emitter, x, out)

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, *pointers: ir.Value) -> None:
            first = _block_start(build, pointers, starts, x.type.shape, shape, steps)
            copy_window(
                build, team, shape, x.type.dtype, (source, update.strides), (build.at(y, first, register), steps)
            )

        key = (x.type, shape, update.strides, [s.type for s in starts])
        pointers = [emitter.pointer(out), emitter.first(update), *map(emitter.first, starts)]
        call_divided(emitter, "dynamic_update_slice", key, pointers, fill)


def start_of(
    build: Build, pointer: ir.Value, dtype: np.dtype, index: Any = 0, lanes: int = 1, step: int = 1,
    wide: np.dtype = int64,
) -> Value:  # fmt: skip
    """An index from memory, or one for each lane, as signed numbers that are so wide."""
    value = build.load(pointer, dtype, index, lanes, step)
    if dtype == uint64:
        value = build.min(value, 2**62)
    return build.convert(value, wide)


def _block_start(build: Build, starts: Sequence[Any], views: Any, shape: Any, sizes: Any, steps: Any) -> Value:
    """The number of the first element of a block that is moved so that it lies inside."""
    total = build.index(0)
    for pointer, view, extent, size, step in zip(starts, views, shape, sizes, steps, strict=True):
        start = build.min(build.max(start_of(build, pointer, view.type.dtype), 0), extent - size)
        total = total + start * step
    return total
