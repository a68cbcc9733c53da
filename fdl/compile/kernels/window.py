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
        with nest.taps(position) as (element, _):
            value = b.load(x, spec.dtype, nest.x_index(outer, element) + inner, lanes, mask=mask)
            total.set(combine(total.get(), b.convert(value, dtype)))
        b.store(b.convert(total.get(), spec.dtype), y, place, mask=mask)
    b.ret()
    return nest.kernel()


def emit_select_and_scatter(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the gradient of max or min pooling."""
    nest = _Nest(kernel_function(module, target, f"window.{kind}.scatter", 3), spec)
    b = nest.build
    x, dy, dx = b.function.args[:3]
    size = spec.inner * int(np.prod(spec.in_spatial, dtype=np.int64))
    with b.loop(nest.begin * size, nest.end * size) as i:
        b.store(b.constant(0, spec.dtype), dx, i)
    with nest.outputs() as (outer, position, inner, lanes, mask, place):
        chosen = _choose(nest, x, kind, outer, position, inner, lanes, mask)
        slope = b.load(dy, spec.dtype, place, lanes, mask=mask)
        with nest.taps(position) as (element, tap):
            where = nest.x_index(outer, element) + inner
            before = b.load(dx, spec.dtype, where, lanes, mask=mask)
            b.store(b.select(b.eq(chosen.get(), tap), before + slope, before), dx, where, mask=mask)
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
        with nest.taps(position) as (element, tap):
            value = b.load(dx, spec.dtype, nest.x_index(outer, element) + inner, lanes, mask=mask)
            found.set(b.select(b.eq(chosen.get(), tap), value, found.get()))
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
    with nest.taps(position) as (element, tap):
        value = b.load(x, spec.dtype, nest.x_index(outer, element) + inner, lanes, mask=mask)
        better = (value > best.get()) if kind == "max" else (value < best.get())
        if is_float(spec.dtype):
            better = better | (b.ne(value, value) & b.eq(best.get(), best.get()))
        better = better | (chosen.get() < 0)
        best.set(b.select(better, value, best.get()))
        chosen.set(b.select(better, b.broadcast(tap, lanes), chosen.get()))
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
        most = 4 * build.target.lanes(spec.dtype)
        self.lanes = max(1, min(most, 1 << (spec.inner.bit_length() - 1))) if spec.inner else 1

    def kernel(self) -> Kernel:
        """The finished kernel."""
        taps = int(np.prod(self.spec.window, dtype=np.int64))
        outputs = self.spec.outer * self.spec.inner * int(np.prod(self.spec.out_spatial, dtype=np.int64))
        return Kernel(self.build.function, 0, self.spec.outer, taps * outputs)

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

    @contextmanager
    def taps(self, position: list[Value]) -> Iterator[tuple[list[Value], Value]]:
        """Loop over the taps of one window, in order: (coordinates of the element of x, number of the tap)."""
        b, spec = self.build, self.spec
        with ExitStack() as stack:
            element, number = [], b.index(0)
            for d, o in enumerate(position):
                start = o * spec.stride[d] - spec.low[d]
                first, stop = self._meeting(d, start)
                tap = stack.enter_context(b.loop(first, stop))
                at = start + tap * spec.dilation[d]
                number = number * spec.window[d] + tap
                base = spec.base_dilation[d]
                if base > 1:
                    stack.enter_context(b.if_(b.eq(b.rem(at, base), 0)))
                    at = b.quotient(at, base)
                element.append(at)
            yield element, b.convert(number, int32)

    def _meeting(self, d: int, start: Value) -> tuple[Value, Value]:
        """The taps of dimension d that lie within dilated x, from the first to the one after the last."""
        b, spec = self.build, self.spec
        reach = (spec.in_spatial[d] - 1) * spec.base_dilation[d]
        step = spec.dilation[d]
        first = b.quotient(b.max(-start, 0) + (step - 1), step)
        stop = b.min(b.quotient(b.max(reach + step - start, 0), step), spec.window[d])
        return first, stop

    def x_index(self, outer: Value, element: list[Value]) -> Value:
        """Index of inner element 0 at the coordinates `element` of x."""
        where = outer
        for q, size in zip(element, self.spec.in_spatial, strict=True):
            where = where * size + q
        return where * self.spec.inner
