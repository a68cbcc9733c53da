"""Gather and scatter: windows whose places come from index vectors, or from columns of such."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep, View
from fdl.compile.kernels.columns import GatherByColumns, ScatterByColumns
from fdl.compile.kernels.copies import COMBINE, copy_operand, copy_window
from fdl.compile.kernels.kernel import call_divided
from fdl.compile.kernels.lookup import Lookup
from fdl.compile.kernels.moves import SliceLowering, UpdateLowering
from fdl.compile.kernels.places import Column, Places, dot, nested
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


class GatherLowering(SliceLowering[Gather | GatherByColumns]):
    """A window for every place."""

    operations = (Gather, GatherByColumns)

    def supports(self, step: KernelStep) -> bool:
        return super().supports(step) and step.views[0].type.size > 0

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x,), extents, columns, views = _divided(self.operation(step), step.views)
        (out,) = step.outputs
        dtype, register = x.type.dtype, transport_dtype(x.type.dtype)
        offsets, windows = operation.numbers.offset_dims, operation.windows(x.type)
        places = Places(extents, windows, columns, operation.mode)
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

        key = (operation, x.type, x.strides, places)
        pointers = [emitter.pointer(out), emitter.first(x), *map(emitter.first, views)]
        lookup = Lookup(x, places, filler, sizes, x_steps, target_steps, place_steps)
        if lookup.applies:
            call_divided(emitter, "gather", key, pointers, lookup.emit)
            return
        many = max(extents, default=1) > 1
        fetched = _fetched(x.type, x.strides, windows.sizes, False)

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, *numbers: ir.Value) -> None:
            within = None if many else team

            def body(counters: list[Value]) -> None:
                _fetch(build, places, numbers, counters, source, fetched)
                first, inside = places.locate(build, numbers, counters, x.strides)
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

            nested(build, extents, body, team if many else None)

        call_divided(emitter, "gather", key, pointers, fill)


class ScatterLowering(UpdateLowering[Scatter | ScatterByColumns]):
    """A copy (unless it is made in place) into which windows are combined, in the order of their places.

    Every thread goes through all places. Threads divide the places of windows, or the elements of a single one;
    but not where windows may meet in other elements, because an index moves them along an axis on which they extend.
    """

    operations = (Scatter, ScatterByColumns)

    def supports(self, step: KernelStep) -> bool:
        operation = self.operation(step)
        scatter = operation.moved if isinstance(operation, ScatterByColumns) else operation
        kind, dtype = scatter.kind, step.views[0].type.dtype
        return super().supports(step) and (kind == "set" or is_lowerable(COMBINE[kind], (dtype, dtype)))

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x, updates), extents, columns, views = _divided(self.operation(step), step.views)
        (out,) = step.outputs
        dtype, register = x.type.dtype, transport_dtype(x.type.dtype)
        axes, windows, steps = operation.numbers, operation.windows(x.type, updates.type), strides(x.type.shape)
        place_steps = [s for a, s in enumerate(updates.strides) if a not in axes.update_window_dims]
        dropped = axes.inserted_window_dims + axes.operand_batching_dims
        kept = [a for a in range(x.type.ndim) if a not in dropped]
        sizes, target_steps = [windows.sizes[a] for a in kept], [steps[a] for a in kept]
        update_steps = [updates.strides[a] for a in axes.update_window_dims]
        aligned = all(windows.sizes[a] == 1 for a in windows.index_map)
        copy_operand(emitter, x, out)
        places = Places(extents, windows, columns, operation.mode)
        many, fetched = max(extents, default=1) > 1, _fetched(x.type, steps, windows.sizes, True)
        apart = min([steps[a] for a in windows.index_map], default=0) if aligned and many else 0

        def fill(build: Build, team: Team, y: ir.Value, source: ir.Value, *numbers: ir.Value) -> None:
            within = team if aligned and not apart else None
            begin, end = team.share(build.target.tuning.place_classes)

            def body(counters: list[Value], apart: int = 0) -> None:
                _fetch(build, places, numbers, counters, y, fetched)
                first, inside = places.locate(build, numbers, counters, steps)
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

        key = (operation, x.type, places, updates.type, updates.strides)
        pointers = [emitter.pointer(out), emitter.first(updates), *map(emitter.first, views)]
        call_divided(emitter, "scatter", key, pointers, fill)


def _divided(operation: Any, views: Sequence[View]) -> tuple[Any, list[View], tuple[int, ...], tuple[Column, ...], Any]:
    """(the gather or scatter on index vectors, its operands but for these, extents of places, columns, their views)."""
    if isinstance(operation, GatherByColumns | ScatterByColumns):
        others, columns = operation.divide(views)
        pairs = zip(columns, operation.extents, strict=True)
        found = tuple(Column(c.type.dtype, c.strides, extent=extent) for c, extent in pairs)
        return operation.moved, others, columns[0].type.shape, found, columns
    x, indices, *updates = views
    *extents, count = indices.type.shape
    *steps, step = indices.strides
    found = tuple(Column(indices.type.dtype, tuple(steps), n * step) for n in range(count))
    return operation, [x, *updates], tuple(extents), found, [indices] * count


@dataclass(frozen=True)
class _Fetched:
    """What windows are in memory: strides of the array around them and its last element; cache lines of a window."""

    steps: tuple[int, ...]
    last: int
    register: np.dtype
    lines: int
    written: bool


def _fetch(
    build: Build, places: Places, columns: Sequence[ir.Value], counters: Sequence[Value], pointer: ir.Value,
    window: _Fetched,
) -> None:  # fmt: skip
    """Ask for the window of a later place, unless it is counted from the end, which is rare and takes as long."""
    tuning, extents = build.target.tuning, places.extents
    if not counters or window.lines > tuning.window_lines or extents[-1] <= tuning.windows_ahead:
        return
    if (window.last + 1) * window.register.itemsize <= tuning.cached_table:
        return
    later = build.min(counters[-1] + tuning.windows_ahead, extents[-1] - 1)
    first, _ = places.from_front.locate(build, columns, [*counters[:-1], later], window.steps)
    for line in range(window.lines):
        place = build.min(first + line * (_LINE // window.register.itemsize), window.last)
        build.prefetch(pointer, window.register, place, window.written)


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
