"""Window reductions and what their derivatives need, as vectors of the innermost dimension.

All take arrays that are contiguous in the order (outer, *spatial, inner); a window over any dimensions of an array has
this form when the leading dimensions without window are merged into `outer` and the trailing ones into `inner`.

* ``emit_reduce(module, target, spec, kind)``: operands (x, y). `kind` is ``sum``, ``prod``, ``max`` or ``min``;
  positions outside x, or between its dilated elements, are left out, and a window without any element gives the
  identity of `kind`. float16 and bfloat16 are summed in float32.
* ``emit_select_and_scatter(module, target, spec, kind)``: operands (x, dy, dx). dx is zero except that each window's dy
  is added to the position of its first extreme element; `kind` is ``max`` or ``min``, NaN counts as extreme.
* ``emit_select_and_gather(module, target, spec, kind)``: operands (x, dx, dy). The transpose of the former.

Units of work are the `outer` elements.
"""

import itertools
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import Kernel, kernel_function
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import Variable
from fdl.compile.llvm.sharing import LONG
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import HALVES, I32, Value, is_float
from fdl.dtypes import bool_, float32, int32

Sizes = tuple[int, ...]

#: The number of a tap, known when code is emitted or only when it runs.
Tap = int | Value


@dataclass(frozen=True)
class Window:
    """A window over the spatial dimensions; tuples have one entry for each of them (any number).

    Attributes:
        dtype: any integer or real float dtype.
        outer, inner: sizes of the merged leading and trailing dimensions.
        in_spatial, window, out_spatial: sizes of x, the window and y.
        stride: step of the window.
        low: padding before x (may be negative); the padding after follows from `out_spatial`.
        dilation: distance of two taps of the window.
        base_dilation: distance of two elements of x.
    """

    dtype: np.dtype
    outer: int
    inner: int
    in_spatial: Sizes
    window: Sizes
    out_spatial: Sizes
    stride: Sizes
    low: Sizes
    dilation: Sizes
    base_dilation: Sizes


def supports(dtype: Any) -> bool:
    """Whether windows over this dtype have a kernel; booleans and complex numbers do not."""
    dtype = np.dtype(dtype)
    return dtype != bool_ and (dtype.kind in "iu" or is_float(dtype))


def emit_reduce(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the reduction of every window of x by `kind`."""
    nest = _Nest(kernel_function(module, target, f"{LONG}window.{kind}", 2), spec)
    b = nest.build
    x, y = b.function.args[:2]
    combine: Callable[[Value, Value], Value] = {"sum": b.add, "prod": b.mul, "max": b.max, "min": b.min}[kind]
    dtype = float32 if spec.dtype in HALVES and kind in ("sum", "prod") else spec.dtype
    start = {"sum": 0, "prod": 1, "max": _lowest(dtype), "min": _highest(dtype)}[kind]

    def output(point: _Point) -> None:
        total = b.variable(b.constant(start, dtype, point.lanes))

        def add(where: Value, _: Tap) -> None:
            total.set(combine(total.get(), b.convert(nest.read(x, point, where), dtype)))

        nest.taps(point, add)
        b.store(b.convert(total.get(), spec.dtype), y, point.place)

    nest.outputs(output)
    b.ret()
    return nest.kernel()


def emit_select_and_scatter(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the gradient of max or min pooling."""
    nest = _Nest(kernel_function(module, target, f"{LONG}window.{kind}.scatter", 3), spec)
    b = nest.build
    x, dy, dx = b.function.args[:3]
    lines = spec.in_spatial[0] if spec.in_spatial else 1
    size = spec.inner * math.prod(spec.in_spatial[1:])

    def clear(outer: Value, o: Value, count: int) -> None:
        """Clear what the windows from `o` of `count` on the first axis meet first, as near to its use as can be."""
        if nest.tiles:
            return
        if any(e > 1 for e in spec.base_dilation) or len(spec.in_spatial) < 2:
            start, stop = b.select(o > 0, b.index(lines), 0), b.index(lines)
        else:
            reach = (spec.window[0] - 1) * spec.dilation[0] + 1 - spec.low[0]
            start, stop = (b.max(b.min((o + i) * spec.stride[0] + reach, lines), 0) for i in (-1, 0))
            start, stop = b.select(o > 0, start, 0), b.select(b.eq(o, count - 1), lines, stop)
        room = b.max(stop - start, 0) * (size * spec.dtype.itemsize)
        b.clear(b.at(dx, (outer * lines + start) * size, spec.dtype), room)

    def output(point: _Point) -> None:
        chosen = _choose(nest, x, kind, point)
        slope = b.load(dy, spec.dtype, point.place, point.lanes)
        row: list[Value] = []

        def add(where: Value, tap: Tap) -> None:
            # Zero is added elsewhere: selecting what to store would become a masked store, slow on some processors.
            share = b.select(b.eq(chosen.get(), tap), slope, 0)
            if nest.tiles and point.lanes > 1 and point.step == 2 == spec.window[-1]:
                row.append(share)
                if len(row) == 2:
                    _store_alternating(b, row, dx, where - 1)
                    row.clear()
                return
            if not nest.apart:
                share = nest.read(dx, point, where) + share
            b.store(share, dx, where, point.step)

        nest.taps(point, add)

    nest.outputs(output, clear)
    b.ret()
    return nest.kernel()


def _store_alternating(b: Build, pair: list[Value], pointer: ir.Value, where: Value) -> None:
    """Store the lanes of two vectors in turn."""
    lanes = pair[0].lanes
    for half in (0, lanes // 2):
        order = [source * lanes + half + i for i in range(lanes // 2) for source in (0, 1)]
        mask = ir.Constant(ir.VectorType(I32, lanes), order)
        mixed = b.ir.shuffle_vector(pair[0].ir, pair[1].ir, mask)
        b.store(b.value(mixed, pair[0].dtype), pointer, where + 2 * half)


def emit_select_and_gather(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the derivative of max or min pooling along a direction dx."""
    nest = _Nest(kernel_function(module, target, f"{LONG}window.{kind}.gather", 3), spec)
    b = nest.build
    x, dx, dy = b.function.args[:3]

    def output(point: _Point) -> None:
        chosen = _choose(nest, x, kind, point)
        found = b.variable(b.constant(0, spec.dtype, point.lanes))

        def pick(where: Value, tap: Tap) -> None:
            found.set(b.select(b.eq(chosen.get(), tap), nest.read(dx, point, where), found.get()))

        nest.taps(point, pick)
        b.store(found.get(), dy, point.place)

    nest.outputs(output)
    b.ret()
    return nest.kernel()


def _choose(nest: "_Nest", x: Any, kind: str, point: "_Point") -> Variable:
    """The number of the first tap with the extreme element, -1 if there is none."""
    b, spec = nest.build, nest.spec
    best = b.variable(b.constant(0, spec.dtype, point.lanes))
    chosen = b.variable(b.constant(-1, int32, point.lanes))

    def compare(where: Value, tap: Tap) -> None:
        value = nest.read(x, point, where)
        number = b.broadcast(b.constant(tap, int32) if isinstance(tap, int) else tap, point.lanes)
        if isinstance(tap, int) and tap == 0:
            best.set(value)
            chosen.set(number)
            return
        before = best.get()
        if is_float(spec.dtype):
            # Beyond the best or NaN, unless the best is NaN already.
            beyond = b.ir.fcmp_unordered(">" if kind == "max" else "<", value.ir, before.ir)
            better = b.value(beyond, bool_) & b.eq(before, before)
        else:
            better = (value > before) if kind == "max" else (value < before)
        if not isinstance(tap, int):
            better = better | (chosen.get() < 0)
        best.set(b.select(better, value, before))
        chosen.set(b.select(better, number, chosen.get()))

    nest.taps(point, compare)
    return chosen


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if is_float(dtype) else int(np.iinfo(dtype).min)


def _highest(dtype: np.dtype) -> Any:
    return np.inf if is_float(dtype) else int(np.iinfo(dtype).max)


@dataclass(frozen=True)
class _Point:
    """Outputs that are made together, in the lanes of a vector.

    Attributes:
        outer: index of the outer dimension.
        position: of the first lane, along each spatial axis.
        inner: index of the first lane along the inner dimension.
        lanes: how many.
        step: distance of two lanes in x.
        place: index of the first lane into y.
        within: whether every tap along the last axis meets x, for all lanes.
    """

    outer: Value
    position: tuple[Value, ...]
    inner: Value
    lanes: int
    step: int
    place: Value
    within: bool


class _Nest:
    """The loops over outputs and over the taps that meet an element of x.

    Lanes run along the inner dimension, or along the last spatial axis if there is no inner one.
    """

    def __init__(self, build: Build, spec: Window) -> None:
        self.build, self.spec = build, spec
        self.begin, self.end = build.argument(-2, "int64"), build.argument(-1, "int64")
        # One register, so that masks of comparisons have its shape too.
        self.lanes = build.target.lanes(spec.dtype)

    @property
    def apart(self) -> bool:
        """Whether no element of x is in two windows."""
        s = self.spec
        rows = zip(s.window, s.stride, s.dilation, s.base_dilation, strict=True)
        return all(window <= stride and dilation == base == 1 for window, stride, dilation, base in rows)

    @property
    def tiles(self) -> bool:
        """Whether every element of x is in just one window."""
        s = self.spec
        whole = zip(s.window, s.stride, s.low, s.out_spatial, s.in_spatial, strict=True)
        return self.apart and self._unrolled and all(w == t and p == 0 and o * t == n for w, t, p, o, n in whole)

    @property
    def _unrolled(self) -> bool:
        few = math.prod(self.spec.window) <= self.build.target.tuning.unrolled_taps
        return few and all(e == 1 for e in self.spec.base_dilation)

    def read(self, pointer: ir.Value, point: _Point, where: Value) -> Value:
        """The elements of x, or of an array like it, that a tap meets."""
        return self.build.load(pointer, self.spec.dtype, where, point.lanes, point.step)

    def kernel(self) -> Kernel:
        """The finished kernel."""
        return Kernel(self.build.function, 0, self.spec.outer)

    def outputs(
        self, body: Callable[[_Point], None], before: Callable[[Value, Value, int], None] = lambda *_: None
    ) -> None:
        """Emit `body` for all outputs, in vectors.

        `before` comes ahead of what it is called with: the outer index, an index of the first axis, the axis' size.
        """
        b, spec = self.build, self.spec
        *outside, last = spec.out_spatial or (1,)
        along = spec.inner == 1 and bool(spec.out_spatial) and self._unrolled
        with ExitStack() as stack:
            outer = stack.enter_context(b.loop(self.begin, self.end))
            above: tuple[Value, ...] = ()
            for n in outside:
                above += (stack.enter_context(b.loop(0, n)),)
                if len(above) == 1:
                    before(outer, above[0], n)
            if not above:
                before(outer, b.index(0), 1)
            line = outer
            for o, size in zip(above, outside, strict=True):
                line = line * size + o
            if along:
                first, stop = self._within(len(outside))
                runs = [(0, first, 1), *_runs(first, stop, self.lanes), (stop, last, 1)]
                for start, end, lanes in (run for run in runs if run[0] < run[1]):
                    with b.loop(start, end, lanes) as o:
                        place, step = line * last + o, spec.stride[-1]
                        body(_Point(outer, (*above, o), b.index(0), lanes, step, place, start >= first and end <= stop))
                return
            o = stack.enter_context(b.loop(0, last))
            position = (*above, o) if spec.out_spatial else ()
            for start, end, lanes in _runs(0, spec.inner, self.lanes):
                with b.loop(start, end, lanes) as inner:
                    place = (line * last + o) * spec.inner + inner
                    body(_Point(outer, position, inner, lanes, 1, place, False))

    def _within(self, axis: int) -> tuple[int, int]:
        """The outputs along an axis of undilated x all of whose taps meet x, from the first to one after the last."""
        s = self.spec
        stride, low, reach = s.stride[axis], s.low[axis], (s.window[axis] - 1) * s.dilation[axis]
        first = min(max(0, -(-low // stride)), s.out_spatial[axis])
        stop = (s.in_spatial[axis] - 1 - reach + low) // stride + 1
        return first, max(first, min(stop, s.out_spatial[axis]))

    def taps(self, point: _Point, body: Callable[[Value, Tap], None]) -> None:
        """Emit `body` for the taps of one window, in order, with (index into x, number of the tap).

        Small windows that lie within x are unrolled; the number is an integer there.
        """
        b, spec = self.build, self.spec
        starts = [o * s - low for o, s, low in zip(point.position, spec.stride, spec.low, strict=True)]
        if not self._unrolled:
            self._loop_taps(point, starts, body)
            return
        unsure = [
            d
            for d, count in enumerate(spec.out_spatial)
            if self._within(d) != (0, count) and not (point.within and d == len(starts) - 1)
        ]
        if not unsure:
            self._unroll_taps(point, starts, body)
            return
        inside = b.constant(True, bool_)
        for d in unsure:
            reach = (spec.window[d] - 1) * spec.dilation[d]
            inside = inside & (starts[d] >= 0) & (starts[d] + reach < spec.in_spatial[d])
        with b.if_else(inside) as (then, otherwise):
            with then:
                self._unroll_taps(point, starts, body)
            with otherwise:
                self._loop_taps(point, starts, body)

    def _unroll_taps(self, point: _Point, starts: list[Value], body: Callable[[Value, Tap], None]) -> None:
        spec = self.spec
        first = self._x_index(point.outer, starts) + point.inner
        for number, tap in enumerate(itertools.product(*map(range, spec.window))):
            offset = 0
            for t, step, size in zip(tap, spec.dilation, spec.in_spatial, strict=True):
                offset = offset * size + t * step
            body(first + offset * spec.inner, number)

    def _loop_taps(self, point: _Point, starts: list[Value], body: Callable[[Value, Tap], None]) -> None:
        b, spec = self.build, self.spec
        with ExitStack() as stack:
            element, number = [], b.index(0)
            for d, start in enumerate(starts):
                first, stop = self._meeting(d, start)
                tap = stack.enter_context(b.loop(first, stop))
                at = start + tap * spec.dilation[d]
                number = number * spec.window[d] + tap
                base = spec.base_dilation[d]
                if base > 1:
                    stack.enter_context(b.if_(b.eq(b.rem(at, base), 0)))
                    at = b.quotient(at, base)
                element.append(at)
            body(self._x_index(point.outer, element) + point.inner, b.convert(number, int32))

    def _meeting(self, d: int, start: Value) -> tuple[Value, Value]:
        """The taps of dimension d that lie within dilated x, from the first to the one after the last."""
        b, spec = self.build, self.spec
        reach = (spec.in_spatial[d] - 1) * spec.base_dilation[d]
        step = spec.dilation[d]
        first = b.quotient(b.max(-start, 0) + (step - 1), step)
        stop = b.min(b.quotient(b.max(reach + step - start, 0), step), spec.window[d])
        return first, stop

    def _x_index(self, outer: Value, element: list[Value]) -> Value:
        """Index of inner element 0 at the coordinates `element` of x."""
        where = outer
        for q, size in zip(element, self.spec.in_spatial, strict=True):
            where = where * size + q
        return where * self.spec.inner


def _runs(start: int, stop: int, lanes: int) -> list[tuple[int, int, int]]:
    """[start, stop) as ranges (start, stop, lanes) of whole vectors, shorter and shorter: masks would cost more."""
    result = []
    while lanes:
        end = start + (stop - start) // lanes * lanes
        if end > start:
            result.append((start, end, lanes))
        start, lanes = end, lanes // 2
    return result
