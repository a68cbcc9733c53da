"""Window reductions and what their derivatives need, vectorised over the innermost dimension.

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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.build import Build, Variable
from fdl.compile.kernels.kernel import Kernel, kernel_function
from fdl.compile.target import Target
from fdl.compile.values import HALVES, Value, is_float
from fdl.dtypes import bool_, float32, int32

Sizes = tuple[int, ...]

#: Taps of the largest window that is unrolled.
_UNROLL = 9


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
    nest = _Nest(kernel_function(module, target, f"window.{kind}", 2), spec)
    b = nest.build
    x, y = b.function.args[:2]
    combine: Callable[[Value, Value], Value] = {"sum": b.add, "prod": b.mul, "max": b.max, "min": b.min}[kind]
    dtype = float32 if spec.dtype in HALVES and kind in ("sum", "prod") else spec.dtype
    start = {"sum": 0, "prod": 1, "max": _lowest(dtype), "min": _highest(dtype)}[kind]
    with nest.outputs() as (outer, position, inner, lanes, mask, place):
        total = b.variable(b.constant(start, dtype, lanes))

        def add(where: Value, _: Value) -> None:
            value = b.load(x, spec.dtype, where, lanes, mask=mask)
            total.set(combine(total.get(), b.convert(value, dtype)))

        nest.taps(outer, position, inner, add)
        b.store(b.convert(total.get(), spec.dtype), y, place, mask=mask)
    b.ret()
    return nest.kernel()


def emit_select_and_scatter(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the gradient of max or min pooling."""
    nest = _Nest(kernel_function(module, target, f"window.{kind}.scatter", 3), spec)
    b = nest.build
    x, dy, dx = b.function.args[:3]
    size = spec.inner * math.prod(spec.in_spatial)
    b.clear(b.at(dx, nest.begin * size, spec.dtype), (nest.end - nest.begin) * (size * spec.dtype.itemsize))
    with nest.outputs() as (outer, position, inner, lanes, mask, place):
        chosen = _choose(nest, x, kind, outer, position, inner, lanes, mask)
        slope = b.load(dy, spec.dtype, place, lanes, mask=mask)

        def add(where: Value, tap: Value) -> None:
            before = b.load(dx, spec.dtype, where, lanes, mask=mask)
            # Zero is added elsewhere: selecting what to store would become a masked store, slow on some processors.
            b.store(before + b.select(b.eq(chosen.get(), tap), slope, 0), dx, where, mask=mask)

        nest.taps(outer, position, inner, add)
    b.ret()
    return nest.kernel()


def emit_select_and_gather(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the derivative of max or min pooling along a direction dx."""
    nest = _Nest(kernel_function(module, target, f"window.{kind}.gather", 3), spec)
    b = nest.build
    x, dx, dy = b.function.args[:3]
    with nest.outputs() as (outer, position, inner, lanes, mask, place):
        chosen = _choose(nest, x, kind, outer, position, inner, lanes, mask)
        found = b.variable(b.constant(0, spec.dtype, lanes))

        def pick(where: Value, tap: Value) -> None:
            value = b.load(dx, spec.dtype, where, lanes, mask=mask)
            found.set(b.select(b.eq(chosen.get(), tap), value, found.get()))

        nest.taps(outer, position, inner, pick)
        b.store(found.get(), dy, place, mask=mask)
    b.ret()
    return nest.kernel()


def _choose(
    nest: "_Nest", x: Any, kind: str, outer: Value, position: list[Value], inner: Value, lanes: int, mask: Value | None
) -> Variable:
    """The number of the first tap with the extreme element, -1 if there is none."""
    b, spec = nest.build, nest.spec
    best = b.variable(b.constant(0, spec.dtype, lanes))
    chosen = b.variable(b.constant(-1, int32, lanes))

    def compare(where: Value, tap: Value) -> None:
        value = b.load(x, spec.dtype, where, lanes, mask=mask)
        better = (value > best.get()) if kind == "max" else (value < best.get())
        if is_float(spec.dtype):
            better = better | (b.ne(value, value) & b.eq(best.get(), best.get()))
        better = better | (chosen.get() < 0)
        best.set(b.select(better, value, best.get()))
        chosen.set(b.select(better, b.broadcast(tap, lanes), chosen.get()))

    nest.taps(outer, position, inner, compare)
    return chosen


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if is_float(dtype) else int(np.iinfo(dtype).min)


def _highest(dtype: np.dtype) -> Any:
    return np.inf if is_float(dtype) else int(np.iinfo(dtype).max)


class _Nest:
    """The loops over outputs and over the taps that meet an element of x."""

    def __init__(self, build: Build, spec: Window) -> None:
        self.build, self.spec = build, spec
        self.begin, self.end = build.argument(-2, "int64"), build.argument(-1, "int64")
        # One register, so that masks of comparisons have its shape too.
        most = build.target.lanes(spec.dtype)
        self.lanes = max(1, min(most, 1 << (spec.inner.bit_length() - 1))) if spec.inner else 1

    def kernel(self) -> Kernel:
        """The finished kernel."""
        outputs = self.spec.outer * self.spec.inner * math.prod(self.spec.out_spatial)
        return Kernel(self.build.function, 0, self.spec.outer, math.prod(self.spec.window) * outputs)

    @contextmanager
    def outputs(self) -> Iterator[tuple[Value, list[Value], Value, int, Value | None, Value]]:
        """Loop over (outer, position, first inner element): with lanes, their mask and the index into y."""
        b, spec = self.build, self.spec
        with ExitStack() as stack:
            outer = stack.enter_context(b.loop(self.begin, self.end))
            position = [stack.enter_context(b.loop(0, n)) for n in spec.out_spatial]
            place = outer
            for o, size in zip(position, spec.out_spatial, strict=True):
                place = place * size + o
            inner = stack.enter_context(b.loop(0, spec.inner, self.lanes))
            mask = None if spec.inner % self.lanes == 0 else b.first_lanes(spec.inner - inner, self.lanes)
            yield outer, position, inner, self.lanes, mask, place * spec.inner + inner

    def taps(self, outer: Value, position: list[Value], inner: Value, body: Callable[[Value, Value], None]) -> None:
        """Emit `body` for the taps of one window, in order, with (index into x, number of the tap).

        Small windows that lie within x are unrolled.
        """
        b, spec = self.build, self.spec
        starts = [o * s - low for o, s, low in zip(position, spec.stride, spec.low, strict=True)]
        if math.prod(spec.window) > _UNROLL or any(e > 1 for e in spec.base_dilation):
            self._loop_taps(outer, starts, inner, body)
            return
        inside = b.constant(True, bool_)
        for start, size, window, step in zip(starts, spec.in_spatial, spec.window, spec.dilation, strict=True):
            inside = inside & (start >= 0) & (start + (window - 1) * step < size)
        with b.if_else(inside) as (then, otherwise):
            with then:
                first = self._x_index(outer, starts) + inner
                for number, tap in enumerate(itertools.product(*map(range, spec.window))):
                    offset = 0
                    for t, step, size in zip(tap, spec.dilation, spec.in_spatial, strict=True):
                        offset = offset * size + t * step
                    body(first + offset * spec.inner, b.constant(number, int32))
            with otherwise:
                self._loop_taps(outer, starts, inner, body)

    def _loop_taps(self, outer: Value, starts: list[Value], inner: Value, body: Callable[[Value, Value], None]) -> None:
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
            body(self._x_index(outer, element) + inner, b.convert(number, int32))

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
