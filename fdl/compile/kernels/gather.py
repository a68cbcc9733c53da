"""Gather and scatter: windows whose places come from index vectors."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.copies import COMBINE, copy_operand, copy_window
from fdl.compile.kernels.kernel import call_divided
from fdl.compile.kernels.lookup import Lookup
from fdl.compile.kernels.moves import SliceLowering, UpdateLowering
from fdl.compile.kernels.places import dot, located, nested
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import Value, transport_dtype
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.elementwise import is_lowerable
from fdl.compile.lowerings.emitter import Emitter
from fdl.core.types import TensorType
from fdl.dtypes import int64
from fdl.ops.indexing import Gather, Scatter, default_fill

#: Bytes of a cache line.
_LINE = 64


class GatherLowering(SliceLowering[Gather]):
    """A window for every index vector."""

    operations = (Gather,)

    def supports(self, step: KernelStep) -> bool:
        return super().supports(step) and step.views[0].type.size > 0

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x, indices), (out,) = self.operation(step), step.views, step.outputs
        dtype, register = x.type.dtype, transport_dtype(x.type.dtype)
        offsets, windows = operation.numbers.offset_dims, operation.windows(x.type)
        steps = strides(out.type.shape)
        place_steps = [s for a, s in enumerate(steps) if a not in offsets]
        dropped = operation.numbers.collapsed_slice_dims + operation.numbers.operand_batching_dims
        kept = [a for a in range(x.type.ndim) if a not in dropped]
        sizes, x_steps = [windows.sizes[a] for a in kept], [x.strides[a] for a in kept]
        target_steps = [steps[o] for o in offsets]
        value = operation.fill_value
        if value is None:
            value = 0 if dtype.names or operation.mode != "fill" else default_fill(dtype)
        filler = np.zeros((), dtype).tobytes() if dtype.names else np.asarray(value).astype(dtype).tobytes()

        key = (operation, x.type, x.strides, indices.type, indices.strides)
        pointers = [emitter.pointer(out), emitter.first(x), emitter.first(indices)]
        lookup = Lookup(x, indices, windows, operation.mode, filler, sizes, x_steps, target_steps, place_steps)
        if lookup.applies:
            call_divided(emitter, "gather", key, pointers, lookup.emit)
            return
        count = indices.type.shape[:-1]
        many = max(count, default=1) > 1
        fetched = _fetched(x.type, x.strides, windows.sizes, False)

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, index: ir.Value) -> None:
            places = _Places(build, windows, indices, index, operation.mode)
            within = None if many else team

            def body(counters: list[Value]) -> None:
                places.fetch(counters, count, source, fetched)
                first, inside = places.locate(counters, x.strides)
                window = build.at(source, first, register), x_steps
                target = build.at(y, dot(build, counters, place_steps), register), target_steps
                if inside is None:
                    copy_window(build, within, sizes, dtype, window, target)
                    return
                with build.if_else(inside) as (then, otherwise):
                    with then:
                        copy_window(build, within, sizes, dtype, window, target)
                    with otherwise:
                        copy_window(build, within, sizes, dtype, filler, target)

            nested(build, count, body, team if many else None)

        call_divided(emitter, "gather", key, pointers, fill)


class ScatterLowering(UpdateLowering[Scatter]):
    """A copy (unless it is made in place) into which windows are combined, in the order of the index vectors.

    Every thread goes through all index vectors. Threads divide the places of windows, or the elements of a single one;
    but not where windows may meet in other elements, because an index moves them along an axis on which they extend.
    """

    operations = (Scatter,)

    def supports(self, step: KernelStep) -> bool:
        kind, dtype = self.operation(step).kind, step.views[0].type.dtype
        return super().supports(step) and (kind == "set" or is_lowerable(COMBINE[kind], (dtype, dtype)))

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x, indices, updates), (out,) = self.operation(step), step.views, step.outputs
        dtype, register = x.type.dtype, transport_dtype(x.type.dtype)
        numbers, windows, steps = operation.numbers, operation.windows(x.type, updates.type), strides(x.type.shape)
        place_steps = [s for a, s in enumerate(updates.strides) if a not in numbers.update_window_dims]
        dropped = numbers.inserted_window_dims + numbers.operand_batching_dims
        kept = [a for a in range(x.type.ndim) if a not in dropped]
        sizes, target_steps = [windows.sizes[a] for a in kept], [steps[a] for a in kept]
        update_steps = [updates.strides[a] for a in numbers.update_window_dims]
        aligned = all(windows.sizes[a] == 1 for a in windows.index_map)
        copy_operand(emitter, x, out)
        extents = indices.type.shape[:-1]
        many, fetched = max(extents, default=1) > 1, _fetched(x.type, steps, windows.sizes, True)
        apart = min([steps[a] for a in windows.index_map], default=0) if aligned and many else 0

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, index: ir.Value) -> None:
            places = _Places(build, windows, indices, index, operation.mode)
            within = team if aligned and not apart else None
            begin, end = team.share(build.target.tuning.place_classes)

            def body(counters: list[Value], apart: int = 0) -> None:
                places.fetch(counters, extents, y, fetched)
                first, inside = places.locate(counters, steps)
                if apart:
                    part = build.and_(
                        build.quotient(first, apart), build.constant(build.target.tuning.place_classes - 1, int64)
                    )
                    mine = build.and_(build.ge(part, begin), build.lt(part, end))
                    inside = mine if inside is None else build.and_(mine, inside)
                update = build.at(source, dot(build, counters, place_steps), register), update_steps
                target = build.at(y, first, register), target_steps
                if inside is None:
                    copy_window(build, within, sizes, dtype, update, target, operation.kind)
                    return
                with build.if_(inside):
                    copy_window(build, within, sizes, dtype, update, target, operation.kind)

            if not apart:
                with nullcontext() if aligned else team.alone():
                    nested(build, extents, body)
                return
            with build.if_else(build.gt(team.count, 1)) as (several, one):
                with several:
                    nested(build, extents, partial(body, apart=apart))
                with one:  # without a test of each place
                    nested(build, extents, body)

        key = (operation, x.type, indices.type, indices.strides, updates.type, updates.strides)
        pointers = [emitter.pointer(out), emitter.first(updates), emitter.first(indices)]
        call_divided(emitter, "scatter", key, pointers, fill)


class _Places:
    """Loops over index vectors, and where the windows that they name begin."""

    def __init__(self, build: Build, windows: Any, indices: Any, pointer: ir.Value, mode: str) -> None:
        self.build, self.windows, self.indices, self.pointer, self.mode = build, windows, indices, pointer, mode

    def locate(self, counters: Sequence[Value], steps: Sequence[int]) -> tuple[Value, Value | None]:
        """(first element of the window, whether it lies inside, if that matters) in an operand with those strides."""
        return located(self.build, self.windows, self.indices, self.pointer, self.mode, counters, steps)

    def fetch(self, counters: Sequence[Value], extents: Sequence[int], pointer: ir.Value, window: "_Fetched") -> None:
        """Ask for the window of a later index vector."""
        build, ahead = self.build, self.build.target.tuning.windows_ahead
        if not counters or window.lines > build.target.tuning.window_lines or extents[-1] <= ahead:
            return
        if (window.last + 1) * window.register.itemsize <= build.target.tuning.cached_table:
            return
        later = build.min(counters[-1] + ahead, extents[-1] - 1)
        first, _ = self.locate([*counters[:-1], later], window.steps)
        for line in range(window.lines):
            place = build.min(first + line * (_LINE // window.register.itemsize), window.last)
            build.prefetch(pointer, window.register, place, window.written)


@dataclass(frozen=True)
class _Fetched:
    """What windows are in memory: strides of the array around them and its last element; cache lines of a window."""

    steps: tuple[int, ...]
    last: int
    register: np.dtype
    lines: int
    written: bool


def _fetched(type: TensorType, steps: Sequence[int], sizes: Sequence[int], written: bool) -> _Fetched:
    """Windows of these sizes along the axes of an array of `type`."""
    length, register = 1, transport_dtype(type.dtype)
    assert register is not None
    for step, size in sorted(zip(steps, sizes, strict=True)):
        if size != 1 and step != length:
            length = host_target().tuning.window_lines * _LINE  # in several pieces: more than is fetched
        length *= size
    last = sum((n - 1) * s for n, s in zip(type.shape, steps, strict=True))
    return _Fetched(tuple(steps), last, register, -(-length * register.itemsize // _LINE), written)
