"""Loops along one axis that carry a result: cumulative sums and their kin, and the place of an extreme element."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.reductions import identity_element
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.kernel import call_function
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value, is_float
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Types
from fdl.dtypes import bool_, int32, int64, is_inexact
from fdl.ops.cumulative import Cumlogsumexp, Cummax, Cummin, Cumprod, Cumsum, Cumulative
from fdl.ops.precision import accumulator
from fdl.ops.reduce import ArgExtremum, ArgMax, ArgMin

#: Bytes of a line that is read together with its neighbours: those of a vector stay in the first-level cache.
_SHORT = 256


class CumulativeLowering(Lowering[Cumulative]):
    """Every element combined with all before it."""

    operations = (Cumsum, Cumprod, Cummax, Cummin, Cumlogsumexp)
    reads_views = True
    #: How the elements are combined: the kind of the reduction, and the method of `Build`.
    kinds: ClassVar[dict[type[Cumulative], tuple[str, str]]] = {
        Cumsum: ("sum", "add"),
        Cumprod: ("prod", "mul"),
        Cummax: ("max", "max"),
        Cummin: ("min", "min"),
    }

    def flops(self, operation: Cumulative, operands: Types, results: Types) -> int:
        return results[0].size if is_inexact(results[0].dtype) else 0

    def supports(self, step: KernelStep) -> bool:
        return type(self.operation(step)) in self.kinds and step.views[0].type.dtype.kind != "c"

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x,), (out,) = self.operation(step), step.views, step.outputs
        (kind, method), dtype = self.kinds[type(operation)], x.type.dtype
        wide, axis, count = accumulator(dtype), operation.axis, x.type.shape[operation.axis]
        y = strides(out.type.shape)
        start = -0.0 if kind == "sum" and is_float(wide) else identity_element(kind, wide)  # 0 - 0 would be no -0

        def fill(build: Build, source: ir.Value, target: ir.Value) -> None:
            for read, written, lanes in _lines(build, x.type.shape, axis, (x.strides, y), dtype):
                combine = _combined(build, method, build.constant(start, wide, lanes))
                with build.loop(0, count) as i:
                    place = build.sub(build.index(count - 1), i) if operation.reverse else i
                    value = build.load(source, dtype, read + place * x.strides[axis], lanes, _step(x, axis))
                    total = combine(build.convert(value, wide))
                    build.store(build.convert(total, dtype), target, written + place * y[axis])

        key = (operation, x.type, x.strides)
        call_function(emitter, "cumulative", key, [emitter.first(x), emitter.pointer(out)], fill)


def _combined(build: Build, method: str, start: Value) -> Callable[[Value], Value]:
    """A function that combines one more element with all before it."""
    total = build.variable(start)

    def combine(value: Value) -> Value:
        total.set(getattr(build, method)(total.get(), value))
        return total.get()

    if method not in ("max", "min") or start.lanes > 1 or not is_float(start.dtype):
        return combine
    # A single line waits for each total. The first NaN is kept apart, so that a total is the comparison alone.
    better = build.gt if method == "max" else build.lt
    seen, nan = build.variable(build.constant(False, bool_)), build.variable(start)

    def combine_apart(value: Value) -> Value:
        nan.set(build.select(seen.get(), nan.get(), value))
        seen.set(build.or_(seen.get(), build.ne(value, value)))
        total.set(build.select(better(total.get(), value), total.get(), value))
        return build.select(seen.get(), nan.get(), total.get())

    return combine_apart


class ArgExtremumLowering(Lowering[ArgExtremum]):
    """The place of the first extreme element; NaN counts as extreme."""

    operations = (ArgMax, ArgMin)
    reads_views = True

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (x,), (out,) = self.operation(step), step.views, step.outputs
        dtype, axis, count = x.type.dtype, operation.axis, x.type.shape[operation.axis]
        shape = out.type.shape
        y = list(strides(shape))
        y.insert(axis, 0)
        largest = isinstance(operation, ArgMax)

        def better(build: Build, new: Value, old: Value) -> Value:
            wins = build.gt(new, old) if largest else build.lt(new, old)
            if is_float(dtype):
                wins = build.or_(wins, build.and_(build.ne(new, new), build.eq(old, old)))
            return wins

        def along(build: Build, source: ir.Value, target: ir.Value) -> None:
            """Lines of neighbouring elements: every lane finds its best, the first of these is the result."""
            lanes = build.target.lanes(dtype)
            whole = count // lanes * lanes
            for read, written, _ in _lines(build, x.type.shape, axis, (x.strides, y), dtype, together=False):
                best = build.variable(build.load(source, dtype, read, lanes))
                place = build.variable(build.iota(int32, lanes))
                with build.loop(lanes, whole, lanes) as i:
                    value = build.load(source, dtype, read + i, lanes)
                    wins = better(build, value, best.get())
                    best.set(build.select(wins, value, best.get()))
                    here = build.broadcast(build.convert(i, int32), lanes) + build.iota(int32, lanes)
                    place.set(build.select(wins, here, place.get()))
                values, places = best.get(), place.get()
                winner, found = build.lane(values, 0), build.lane(places, 0)
                for n in range(1, lanes):
                    value, here = build.lane(values, n), build.lane(places, n)
                    ties = build.and_(build.not_(better(build, winner, value)), here < found)
                    wins = build.or_(better(build, value, winner), ties)
                    winner, found = build.select(wins, value, winner), build.select(wins, here, found)
                best, place = build.variable(winner), build.variable(found)
                with build.loop(whole, count) as i:
                    value = build.load(source, dtype, read + i)
                    wins = better(build, value, best.get())
                    best.set(build.select(wins, value, best.get()))
                    place.set(build.select(wins, build.convert(i, int32), place.get()))
                build.store(build.convert(place.get(), out.type.dtype), target, written)

        def fill(build: Build, source: ir.Value, target: ir.Value) -> None:
            neighbours = axis == x.type.ndim - 1 and x.strides[axis] == 1 and dtype.itemsize >= 4
            if neighbours and 2 * build.target.lanes(dtype) <= count < 2**31:
                along(build, source, target)
                return
            counter = int32 if count < 2**31 else int64
            for read, written, lanes in _lines(build, x.type.shape, axis, (x.strides, y), dtype, counter):
                first = build.load(source, dtype, read, lanes, _step(x, axis))
                best, place = build.variable(first), build.variable(build.constant(0, counter, lanes))
                with build.loop(1, count) as i:
                    value = build.load(source, dtype, read + i * x.strides[axis], lanes, _step(x, axis))
                    wins = better(build, value, best.get())
                    best.set(build.select(wins, value, best.get()))
                    here = build.broadcast(build.convert(i, counter), lanes)
                    place.set(build.select(wins, here, place.get()))
                build.store(build.convert(place.get(), out.type.dtype), target, written)

        key = (operation, x.type, x.strides)
        call_function(emitter, "arg_extremum", key, [emitter.first(x), emitter.pointer(out)], fill)


def _step(x: Any, axis: int) -> int:
    """Distance of the lanes of a vector, which run along the last axis but `axis`."""
    others = [step for a, step in enumerate(x.strides) if a != axis]
    return others[-1] if others else 1


def _lines(
    build: Build,
    shape: Sequence[int],
    axis: int,
    steps: Sequence[Sequence[int]],
    *dtypes: np.dtype,
    together: bool = True,
) -> Iterator[Any]:
    """(offset in each array..., lanes) for every line along `axis`, or `together`, for vectors of neighbouring lines.

    Lines of neighbouring elements are read by vectors only if they are short, since each lane reads cache lines of its
    own. What is left of the last axis is read by vectors of half as many elements each time, not one line after the
    other: lines next to each other share their cache lines. A generator inside open loops: its consumer emits the body
    between two steps.
    """
    others = [a for a in range(len(shape)) if a != axis]
    last = others[-1] if others else 0
    near = axis < last or shape[axis] * dtypes[0].itemsize <= _SHORT
    vector = together and bool(others) and near and steps[1][last] == 1
    outer = others[:-1] if vector else others
    pieces = [(0, 1, 1)]
    if vector:
        pieces = list(_halved(shape[last], min(build.target.lanes(d) for d in dtypes)))
    for first, stop, lanes in pieces:
        with _Loops(build, [shape[a] for a in outer]) as counters, build.loop(first, stop, lanes) as i:
            offsets = []
            for own in steps:
                total = build.index(0)
                for counter, a in zip(counters, outer, strict=True):
                    total = total + counter * own[a]
                offsets.append(total + i * own[last] if vector else total)
            yield (*offsets, lanes)


def _halved(extent: int, lanes: int) -> Iterator[tuple[int, int, int]]:
    """An axis in pieces (first, stop, lanes) of fewer and fewer lanes, each at most half of those before."""
    first = 0
    while first < extent:
        stop = first + (extent - first) // lanes * lanes
        if first < stop:
            yield first, stop, lanes
        first, lanes = stop, lanes // 2


class _Loops:
    """Nested loops as one context manager."""

    def __init__(self, build: Build, extents: Sequence[int]) -> None:
        self.contexts: list[Any] = [build.loop(0, n) for n in extents]

    def __enter__(self) -> list[Value]:
        return [c.__enter__() for c in self.contexts]

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self.contexts):
            context.__exit__(*error)
