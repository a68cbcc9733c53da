"""Sorting along an axis, and the largest elements of rows; a unit of work is one line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.kernel import Kernel, kernel_function, run_kernel
from fdl.compile.kernels.radix import Layout, key_of, layout_of, number_of, sorter
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import Value, is_float, transport_dtype
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.dtypes import int64, uint32
from fdl.ops.sort import Sort, TopK


@dataclass(frozen=True)
class Lines:
    """Arrays of one shape, seen as lines along an axis."""

    shape: tuple[int, ...]
    axis: int

    @property
    def count(self) -> int:
        """How many lines there are."""
        return prod(n for a, n in enumerate(self.shape) if a != self.axis)

    @property
    def length(self) -> int:
        """How many elements a line has."""
        return self.shape[self.axis]

    def offset(self, build: Build, line: Value, steps: Sequence[int]) -> Value:
        """Where in an array with these strides a line begins."""
        total = build.index(0)
        for axis in reversed(range(len(self.shape))):
            if axis == self.axis or self.shape[axis] == 1:
                continue
            rest = build.quotient(line, self.shape[axis])
            total = total + (line - rest * self.shape[axis]) * steps[axis]
            line = rest
        return total


class _Memory:
    """Scratch memory for sorting up to `count` records of a layout."""

    def __init__(self, build: Build, layout: Layout, scratch: ir.Value, count: int) -> None:
        self.build, self.layout = build, layout
        sizes = layout.bytes_for(count) * 2
        places = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
        *arrays, self.counters = [build.at(scratch, p, np.uint8) for p in places]
        self.records, self.room = arrays[: len(sizes) // 2], arrays[len(sizes) // 2 :]

    def write(self, index: Value, words: Sequence[Value]) -> None:
        """Store a record."""
        for pointer, word in zip(self.records, words, strict=True):
            self.build.store(word, pointer, index)

    def sort(self, count: Any) -> list[Any]:
        """Sort the first `count` records; pointers to the result."""
        build = self.build
        function = sorter(build, self.layout)
        swapped = build.call_function(function, [*self.records, *self.room, self.counters, build.index(count)])
        return [build.ir.select(swapped, b, a) for a, b in zip(self.records, self.room, strict=True)]

    def read(self, pointers: Sequence[ir.Value], index: Value) -> list[Value]:
        """The words of a record."""
        return [self.build.load(p, d, index) for p, d in zip(pointers, self.layout.arrays, strict=True)]


class LineLowering(Lowering[Op]):
    """Base: a kernel for lines along an axis, of which a thread does some."""

    reads_views = True
    parallel = True

    def effort(self, operation: Op, operands: Types, results: Types) -> int:
        return host_target().tuning.sort_flops * operands[0].size

    def run(
        self, emitter: Emitter, step: KernelStep, lines: Lines, scratch_bytes: int, fill: Callable[..., None]
    ) -> None:
        """Emit and call the kernel whose body for the first element of a line in each array `fill` emits."""
        emission = emitter.emission
        arrays = [(v.type.dtype, v.strides) for v in step.views]
        arrays += [(v.type.dtype, strides(v.type.shape)) for v in step.outputs]

        def make() -> Kernel:
            build = kernel_function(emission.module, emission.target, self.operation(step).name, len(arrays))
            *pointers, scratch, _, _ = build.function.args
            with build.loop(build.argument(-2, "int64"), build.argument(-1, "int64")) as line:
                here = [
                    build.at(p, lines.offset(build, line, steps), transport_dtype(dtype))
                    for p, (dtype, steps) in zip(pointers, arrays, strict=True)
                ]
                fill(build, here[: len(step.views)], here[len(step.views) :], scratch)
            build.ret()
            return Kernel(build.function, scratch_bytes, lines.count)

        pointers = [*map(emitter.first, step.views), *map(emitter.pointer, step.outputs)]
        run_kernel(emitter, f"{self.operation(step)} {lines} {arrays}", make, pointers)


class SortLowering(LineLowering[Sort]):
    """Operands reordered together so that the first ones ascend."""

    operations = (Sort,)

    def layouts(self, step: KernelStep) -> list[Layout | None]:
        """How records of each key and its place are laid out; None for a dtype that is not sorted."""
        operation, several = self.operation(step), len(step.views) > 1
        count = step.views[0].type.shape[operation.axis]
        return [layout_of(v.type.dtype, several, count) for v in step.views[: operation.num_keys]]

    def supports(self, step: KernelStep) -> bool:
        length = step.views[0].type.shape[self.operation(step).axis]
        moved = all(transport_dtype(v.type.dtype) is not None for v in step.views)
        return moved and None not in self.layouts(step) and length < 2**32

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, views = self.operation(step), step.views
        lines = Lines(views[0].type.shape, operation.axis)
        layouts = self.layouts(step)
        axis, steps = operation.axis, strides(lines.shape)
        scratch_bytes = max(layout.scratch_bytes(lines.length) for layout in layouts if layout is not None)
        if len(layouts) > 1:
            scratch_bytes += 4 * lines.length

        def fill(build: Build, sources: Sequence[ir.Value], targets: Sequence[ir.Value], scratch: ir.Value) -> None:
            inputs = [(p, v.type.dtype, v.strides[axis]) for p, v in zip(sources, views, strict=True)]
            outputs = [(p, steps[axis]) for p in targets]
            if len(views) == 1:
                _sort_values(build, inputs[0], outputs[0], scratch, lines.length, layouts[0])
            elif operation.num_keys == 1 and _share_a_word(views[0].type.dtype, [v.type.dtype for v in views[1:]]):
                _sort_pairs(build, inputs, outputs, scratch, lines.length, layouts[0])
            else:
                _sort_together(build, inputs, outputs, scratch, lines.length, layouts)

        self.run(emitter, step, lines, scratch_bytes, fill)


def _sort_values(build: Build, source: Any, target: Any, scratch: Any, count: int, layout: Any) -> None:
    """Sort by the keys alone, and make the numbers again from these."""
    (pointer, dtype, step), (to, stride) = source, target
    memory = _Memory(build, layout, scratch, count)
    with build.loop(0, count) as i:
        memory.write(i, layout.make(build, key_of(build, build.load(pointer, dtype, i * step)), None))
    found = memory.sort(count)
    # Zeros of both signs have one key, as have all NaN: they are fetched where they were, in their order.
    special = [lambda x: build.eq(x, 0.0), lambda x: build.ne(x, x)] if is_float(dtype) else []
    cursors = [build.variable(build.index(0)) for _ in special]
    with build.loop(0, count) as i:
        (word,) = memory.read(found, i)
        number = number_of(build, word, dtype)
        build.store(number, to, i * stride)
        for is_special, cursor in zip(special, cursors, strict=True):
            with build.if_(is_special(number), likely=False):
                with build.while_() as loop:
                    other = build.load(pointer, dtype, cursor.get() * step)
                    loop.proceed_if(build.not_(is_special(other)))
                    cursor.set(cursor.get() + 1)
                build.store(build.load(pointer, dtype, cursor.get() * step), to, i * stride)
                cursor.set(cursor.get() + 1)


def _share_a_word(key: np.dtype, others: Sequence[np.dtype]) -> bool:
    """Whether a record can hold all that is sorted: an integer key and one number, of up to 32 bits each."""
    small = len(others) == 1 and others[0].kind in "iuf" and others[0].itemsize == 4
    return small and key.kind in "iu" and key.itemsize <= 4


def _sort_pairs(
    build: Build, sources: Sequence[Any], targets: Sequence[Any], scratch: Any, count: int, layout: Any
) -> None:
    """Sort keys with the numbers beside them, which take the room of their places: nothing is fetched afterwards."""
    (keys, key_dtype, key_step), (numbers, dtype, step) = sources
    memory = _Memory(build, layout, scratch, count)
    with build.loop(0, count) as i:
        number = build.bitcast(build.load(numbers, dtype, i * step), uint32)
        memory.write(i, layout.make(build, key_of(build, build.load(keys, key_dtype, i * key_step)), number))
    found = memory.sort(count)
    with build.loop(0, count) as i:
        (word,) = memory.read(found, i)
        build.store(number_of(build, layout.key(build, word), key_dtype), targets[0][0], i * targets[0][1])
        build.store(build.bitcast(build.convert(word, uint32), dtype), targets[1][0], i * targets[1][1])


def _sort_together(
    build: Build, sources: Sequence[Any], targets: Sequence[Any], scratch: Any, count: int, layouts: Sequence[Any]
) -> None:
    """Sort keys with their places, the last keys first, and fetch every operand from these places."""
    memories = [_Memory(build, layout, scratch, count) for layout in layouts]
    order = build.at(scratch, max(layout.scratch_bytes(count) for layout in layouts), np.uint8)
    found: list[Any] = []
    for (pointer, dtype, step), memory in reversed(list(zip(sources, memories, strict=False))):
        with build.loop(0, count) as i:
            place = build.convert(build.load(order, uint32, i), int64) if found else i
            memory.write(i, memory.layout.make(build, key_of(build, build.load(pointer, dtype, place * step)), place))
        found = memory.sort(count)
        if memory is not memories[0]:
            with build.loop(0, count) as i:
                build.store(build.convert(memory.layout.place(build, memory.read(found, i)), uint32), order, i)
    memory = memories[0]
    for (pointer, dtype, step), (to, stride) in zip(sources, targets, strict=True):
        with build.loop(0, count) as i:
            place = memory.layout.place(build, memory.read(found, i))
            build.store(build.load(pointer, transport_dtype(dtype), place * step), to, i * stride)


class TopKLowering(LineLowering[TopK]):
    """The largest elements of every row and their places."""

    operations = (TopK,)

    def supports(self, step: KernelStep) -> bool:
        x = step.views[0].type
        return layout_of(x.dtype, True) is not None and x.shape[-1] < 2**32 and self.operation(step).k > 0

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        k, (x,), outs = self.operation(step).k, step.views, step.outputs
        lines = Lines(x.type.shape, x.type.ndim - 1)
        dtype, count, layout = x.type.dtype, lines.length, layout_of(x.type.dtype, True)
        assert layout is not None
        room = min(count, k + max(k, emitter.emission.target.tuning.candidates))
        stride, lanes = x.strides[-1], emitter.emission.target.lanes(dtype)

        def fill(build: Build, sources: Sequence[ir.Value], targets: Sequence[ir.Value], scratch: ir.Value) -> None:
            (source,), memory = sources, _Memory(build, layout, scratch, room)

            def key(place: Value, lanes: int = 1) -> Value:
                return build.not_(key_of(build, build.load(source, dtype, place * stride, lanes)))

            def write(index: Value, value: Value, place: Value) -> None:
                memory.write(index, layout.make(build, value, place))

            first = k if room < count else count
            with build.loop(0, first) as i:
                write(i, key(i), i)
            found: Sequence[Any] = memory.sort(first)
            if room < count:
                found = _displaced(build, memory, found, key, write, (k, room, count), lanes if stride == 1 else 1)
            with build.loop(0, k) as i:
                place = layout.place(build, memory.read(found, i))
                build.store(build.load(source, dtype, place * stride), targets[0], i)
                build.store(build.convert(place, outs[1].type.dtype), targets[1], i)

        self.run(emitter, step, lines, layout.scratch_bytes(room), fill)


def _displaced(
    build: Build, memory: _Memory, found: Sequence[Any], key: Callable[..., Value], write: Callable[..., None],
    sizes: tuple[int, int, int], lanes: int,
) -> Sequence[Any]:  # fmt: skip
    """The first `k` records once all elements have been seen; candidates gather behind them until there is no room."""
    k, room, count = sizes
    layout = memory.layout

    def settle(pointers: Sequence[ir.Value]) -> Value:
        """Move the best records to the front; the key that has to be beaten."""
        with build.loop(0, k) as i:
            memory.write(i, memory.read(pointers, i))
        filled.set(build.index(k))
        (last, *_) = memory.read(pointers, build.index(k - 1))
        return build.convert(layout.key(build, last), keys)

    keys = np.dtype(f"uint{layout.bits}")
    filled = build.variable(build.index(k))
    limit = build.variable(settle(found))

    def consider(place: Value) -> None:
        own = key(place)
        with build.if_(own < limit.get()):
            write(filled.get(), own, place)
            filled.set(filled.get() + 1)
            with build.if_(filled.get() >= room):
                limit.set(settle(memory.sort(room)))

    whole = k + (count - k) // lanes * lanes
    if lanes > 1:
        with build.loop(k, whole, lanes) as block:
            better = key(block, lanes) < build.broadcast(limit.get(), lanes)
            with build.if_(build.reduce("or", better), likely=False), build.loop(block, block + lanes) as place:
                consider(place)
    with build.loop(whole if lanes > 1 else k, count) as place:
        consider(place)
    return memory.sort(filled.get())
