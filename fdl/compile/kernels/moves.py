"""Moving blocks of elements: concatenate, interior padding, dynamic slices, gather and scatter.

All of them copy windows: small loop nests from one strided place to another, whose starts are known or computed from
indices when the code runs.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl.compile.ir.affine import Affine, strides
from fdl.compile.ir.body import Apply, Constant, Load
from fdl.compile.ir.loops import Loops, Store
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import POINTER, Value, transport_dtype
from fdl.compile.loopnest.nest import NestEmitter
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.lowering import is_lowerable
from fdl.core.program import Var
from fdl.core.types import TensorType
from fdl.dtypes import int64, uint64
from fdl.ops import arithmetic
from fdl.ops.indexing import default_fill

#: Windows are fetched so many places before they are read or written, if they are not too many cache lines.
_AHEAD, _MOST_LINES, _LINE = 6, 32, 64
#: Windows that threads combine into an array are divided by their place modulo this.
_PARTS = 64

_COMBINE = {"add": arithmetic.add, "mul": arithmetic.mul, "min": arithmetic.min_, "max": arithmetic.max_}


def shared_function(emission: Any, name: str, key: Any, operands: int, fill: Callable[..., None]) -> Any:
    """A private function of pointers, made once a key; ``fill(build, *pointers)`` emits its body."""

    def make() -> Any:
        unique = emission.module.get_unique_name(name)
        function = new_function(emission.module, unique, [POINTER] * operands)
        function.attributes.add("noinline")
        build = Build(emission.module, emission.target, function)
        fill(build, *function.args)
        build.ret()
        return function

    return emission.shared(f"{name} {key}", make)


def call_divided(emitter: Any, name: str, key: Any, pointers: Sequence[Any], fill: Callable[..., None]) -> None:
    """Call a function like that of `shared_function` whose work threads divide; ``fill(build, team, *pointers)``."""
    emission, team = emitter.emission, emitter.emission.team

    def make() -> Any:
        unique = emission.module.get_unique_name(name)
        function = new_function(emission.module, unique, [POINTER] * len(pointers) + team.types)
        function.attributes.add("noinline")
        build = Build(emission.module, emission.target, function)
        fill(build, team.inside(build), *function.args[: len(pointers)])
        build.ret()
        return function

    function = emission.shared(f"{name} {key} {team.together}", make)
    emitter.build.call_function(function, [*pointers, *team.arguments])


def copy_window(
    build: Build, team: Team | None, sizes: Sequence[int], dtype: np.dtype, source: tuple[Any, Sequence[int]] | bytes,
    target: tuple[Any, Sequence[int]], kind: str = "set",
) -> None:  # fmt: skip
    """Copy a strided block, or one element all over a block; or combine what is there with it.

    Args:
        build: where the code goes.
        team: the threads that divide the work; none if there is one.
        sizes: of the block.
        dtype: of its elements.
        source: pointer and strides, or the bytes of an element.
        target: pointer and strides.
        kind: ``set``, or the kind of a scatter.
    """
    axes = sorted((a for a, n in enumerate(sizes) if n != 1), key=lambda a: -abs(target[1][a]))
    extents = tuple(sizes[a] for a in axes)
    if 0 in extents:
        return

    def affine(steps: Sequence[int]) -> Affine:
        return Affine(0, tuple(steps[a] for a in axes), extents)

    read, written = Var(TensorType((), dtype)), Var(TensorType((), dtype))
    to = affine(target[1])
    given = Constant(source, dtype) if isinstance(source, bytes) else Load(read, affine(source[1]), ())
    instructions: list[Any] = [given]
    if kind != "set":
        instructions += [Load(written, to, ()), Apply(_COMBINE[kind], (1, 0), dtype)]
    stores = (Store(written, to, len(instructions) - 1),)
    loops = Loops(extents, (False,) * len(extents), tuple(instructions), stores, ()).collapsed()
    nest = NestEmitter(build, loops, lambda var: source[0] if var is read else target[0])
    whole = team is not None and team.together and nest.divide(team.share) == 1
    with team.alone() if team is not None and whole else nullcontext():
        nest.emit()


def emit_concatenate(emitter: Any, step: Any) -> bool:
    """Operands one after the other."""
    (out,), axis = step.outputs, step.equation.operation.axis
    steps, dtype = strides(out.type.shape), out.type.dtype
    if transport_dtype(dtype) is None:
        return False
    pointers, offset, key = [emitter.pointer(out)], 0, []
    for view in step.views:
        key.append((view.type.shape, view.strides, offset))
        pointers.append(emitter.first(view))
        offset += view.type.shape[axis] * steps[axis]

    def fill(build: Build, team: Team, target: Any, *sources: Any) -> None:
        for (shape, source_steps, first), source in zip(key, sources, strict=True):
            to = build.at(target, first, transport_dtype(dtype)), steps
            copy_window(build, team, shape, dtype, (source, source_steps), to)

    call_divided(emitter, "concatenate", (key, dtype, steps), pointers, fill)
    return True


def emit_pad(emitter: Any, step: Any) -> bool:
    """Padding between elements: the padding everywhere, then the elements into their places."""
    operation, (x, filler), (out,) = step.equation.operation, step.views, step.outputs
    dtype, steps = out.type.dtype, strides(out.type.shape)
    if transport_dtype(dtype) is None:
        return False
    sizes, first, target = [], 0, 0
    zipped = zip(x.type.shape, out.type.shape, operation.low, operation.interior, strict=True)
    for axis, (n, extent, low, interior) in enumerate(zipped):
        skipped = max(0, -(low // (interior + 1)))
        sizes.append(max(0, min(n, -((low - extent) // (interior + 1))) - skipped))
        first += skipped * x.strides[axis]
        target += (low + skipped * (interior + 1)) * steps[axis]
    wide = tuple(s * (i + 1) for s, i in zip(steps, operation.interior, strict=True))

    def fill(build: Build, team: Team, y: Any, source: Any, padding: Any) -> None:
        zero = (0,) * len(steps)
        copy_window(build, team, out.type.shape, dtype, (padding, zero), (y, steps))
        register = transport_dtype(dtype)
        read, written = build.at(source, first, register), build.at(y, target, register)
        team.barrier()
        copy_window(build, team, sizes, dtype, (read, x.strides), (written, wide))

    key = (operation, x.type, x.strides)
    pointers = [emitter.pointer(out), emitter.first(x), emitter.first(filler)]
    call_divided(emitter, "pad", key, pointers, fill)
    return True


def _start(build: Build, pointer: Any, dtype: np.dtype, index: Any = 0) -> Value:
    """An index from memory, as a signed 64-bit number."""
    value = build.load(pointer, dtype, index)
    if dtype == uint64:
        value = build.min(value, 2**62)
    return build.convert(value, int64)


def _block_start(build: Build, starts: Sequence[Any], views: Any, shape: Any, sizes: Any, steps: Any) -> Value:
    """The number of the first element of a block that is moved so that it lies inside."""
    total = build.index(0)
    for pointer, view, extent, size, step in zip(starts, views, shape, sizes, steps, strict=True):
        start = build.min(build.max(_start(build, pointer, view.type.dtype), 0), extent - size)
        total = total + start * step
    return total


def emit_dynamic_slice(emitter: Any, step: Any) -> bool:
    """A block from a place known when the code runs."""
    x, *starts = step.views
    (out,) = step.outputs
    register, shape = transport_dtype(x.type.dtype), out.type.shape
    if register is None:
        return False

    def fill(build: Build, team: Team, y: Any, source: Any, *pointers: Any) -> None:
        first = _block_start(build, pointers, starts, x.type.shape, shape, x.strides)
        block = build.at(source, first, register), x.strides
        copy_window(build, team, shape, x.type.dtype, block, (y, strides(shape)))

    key = (x.type, x.strides, shape, [s.type for s in starts])
    pointers = [emitter.pointer(out), emitter.first(x), *map(emitter.first, starts)]
    call_divided(emitter, "dynamic_slice", key, pointers, fill)
    return True


def emit_dynamic_update_slice(emitter: Any, step: Any) -> bool:
    """A copy (unless it is made in place) with a block replaced."""
    x, update, *starts = step.views
    (out,) = step.outputs
    register, shape, steps = transport_dtype(x.type.dtype), update.type.shape, strides(x.type.shape)
    if register is None:
        return False
    copy_operand(emitter, x, out)

    def fill(build: Build, team: Team, y: Any, source: Any, *pointers: Any) -> None:
        first = _block_start(build, pointers, starts, x.type.shape, shape, steps)
        copy_window(build, team, shape, x.type.dtype, (source, update.strides), (build.at(y, first, register), steps))

    key = (x.type, shape, update.strides, [s.type for s in starts])
    pointers = [emitter.pointer(out), emitter.first(update), *map(emitter.first, starts)]
    call_divided(emitter, "dynamic_update_slice", key, pointers, fill)
    return True


def copy_operand(emitter: Any, x: Any, out: Var) -> None:
    """Copy the operand into the result, unless the result took over its memory."""
    if emitter.in_place(x, out):
        return

    def fill(build: Build, team: Team, y: Any, source: Any) -> None:
        copy_window(build, team, x.type.shape, x.type.dtype, (source, x.strides), (y, strides(x.type.shape)))

    call_divided(emitter, "copy", (x.type, x.strides), [emitter.pointer(out), emitter.first(x)], fill)
    emitter.emission.team.barrier()


class _Places:
    """Loops over index vectors, and where the windows that they name begin."""

    def __init__(self, build: Build, windows: Any, indices: Any, pointer: Any, mode: str) -> None:
        self.build, self.windows, self.indices, self.pointer, self.mode = build, windows, indices, pointer, mode

    def locate(self, counters: Sequence[Value], steps: Sequence[int]) -> tuple[Value, Value | None]:
        """(first element of the window, whether it lies inside, if that matters) in an operand with those strides."""
        build, windows = self.build, self.windows
        base = _dot(build, counters, self.indices.strides[:-1])
        starts = {
            axis: _start(build, self.pointer, self.indices.type.dtype, base + i * self.indices.strides[-1])
            for i, axis in enumerate(windows.index_map)
        }
        starts |= {a: counters[other] for a, other in zip(windows.batching, windows.indices_batching, strict=True)}
        first, inside = build.index(0), None
        for axis, start in starts.items():
            last = windows.shape[axis] - windows.sizes[axis]
            held = build.min(build.max(start, 0), last)
            if self.mode == "fill" and axis not in windows.batching:
                same = build.eq(held, start)
                inside = same if inside is None else build.and_(inside, same)
            first = first + held * steps[axis]
        return first, inside

    def fetch(self, counters: Sequence[Value], extents: Sequence[int], pointer: Any, window: "_Fetched") -> None:
        """Ask for the window of a later index vector."""
        if not counters or window.lines > _MOST_LINES or extents[-1] <= _AHEAD:
            return
        build = self.build
        later = build.min(counters[-1] + _AHEAD, extents[-1] - 1)
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
            length = _MOST_LINES * _LINE  # in several pieces: more than is fetched
        length *= size
    last = sum((n - 1) * s for n, s in zip(type.shape, steps, strict=True))
    return _Fetched(tuple(steps), last, register, -(-length * register.itemsize // _LINE), written)


def _dot(build: Build, counters: Sequence[Value], steps: Sequence[int]) -> Value:
    total = build.index(0)
    for counter, step in zip(counters, steps, strict=True):
        total = total + counter * step
    return total


def _nested(
    build: Build, extents: Sequence[int], body: Callable[[list[Value]], None], team: Team | None = None
) -> None:
    """``body(counters)`` in loops over `extents`, of which a team divides the longest."""
    divided = extents.index(max(extents)) if team is not None else None

    def enter(counters: list[Value]) -> None:
        if len(counters) == len(extents):
            body(counters)
            return
        axis = len(counters)
        bounds = team.share(extents[axis]) if team is not None and axis == divided else (0, extents[axis])
        with build.loop(*bounds) as i:
            enter([*counters, i])

    enter([])


def emit_gather(emitter: Any, step: Any) -> bool:
    """A window for every index vector."""
    operation, (x, indices), (out,) = step.equation.operation, step.views, step.outputs
    dtype, register = x.type.dtype, transport_dtype(x.type.dtype)
    if register is None or x.type.size == 0:
        return False
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

    count = indices.type.shape[:-1]
    many = max(count, default=1) > 1
    fetched = _fetched(x.type, x.strides, windows.sizes, False)

    def fill(build: Build, team: Team, y: Any, source: Any, index: Any) -> None:
        places = _Places(build, windows, indices, index, operation.mode)
        within = None if many else team

        def body(counters: list[Value]) -> None:
            places.fetch(counters, count, source, fetched)
            first, inside = places.locate(counters, x.strides)
            window = build.at(source, first, register), x_steps
            target = build.at(y, _dot(build, counters, place_steps), register), target_steps
            if inside is None:
                copy_window(build, within, sizes, dtype, window, target)
                return
            with build.if_else(inside) as (then, otherwise):
                with then:
                    copy_window(build, within, sizes, dtype, window, target)
                with otherwise:
                    copy_window(build, within, sizes, dtype, filler, target)

        _nested(build, count, body, team if many else None)

    key = (operation, x.type, x.strides, indices.type, indices.strides)
    pointers = [emitter.pointer(out), emitter.first(x), emitter.first(indices)]
    call_divided(emitter, "gather", key, pointers, fill)
    return True


def emit_scatter(emitter: Any, step: Any) -> bool:
    """A copy (unless it is made in place) into which windows are combined, in the order of the index vectors.

    Every thread goes through all index vectors. Threads divide the places of windows, or the elements of a single one;
    but not where windows may meet in other elements, because an index moves them along an axis on which they extend.
    """
    operation, (x, indices, updates), (out,) = step.equation.operation, step.views, step.outputs
    dtype, register = x.type.dtype, transport_dtype(x.type.dtype)
    if register is None or (operation.kind != "set" and not is_lowerable(_COMBINE[operation.kind], (dtype, dtype))):
        return False
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

    def fill(build: Build, team: Team, y: Any, source: Any, index: Any) -> None:
        places = _Places(build, windows, indices, index, operation.mode)
        within = team if aligned and not apart else None
        begin, end = team.share(_PARTS)

        def body(counters: list[Value]) -> None:
            places.fetch(counters, extents, y, fetched)
            first, inside = places.locate(counters, steps)
            if apart:
                part = build.and_(build.quotient(first, apart), build.constant(_PARTS - 1, int64))
                mine = build.and_(build.ge(part, begin), build.lt(part, end))
                inside = mine if inside is None else build.and_(mine, inside)
            update = build.at(source, _dot(build, counters, place_steps), register), update_steps
            target = build.at(y, first, register), target_steps
            if inside is None:
                copy_window(build, within, sizes, dtype, update, target, operation.kind)
                return
            with build.if_(inside):
                copy_window(build, within, sizes, dtype, update, target, operation.kind)

        with nullcontext() if aligned else team.alone():
            _nested(build, extents, body)

    key = (operation, x.type, indices.type, indices.strides, updates.type, updates.strides)
    pointers = [emitter.pointer(out), emitter.first(updates), emitter.first(indices)]
    call_divided(emitter, "scatter", key, pointers, fill)
    return True
