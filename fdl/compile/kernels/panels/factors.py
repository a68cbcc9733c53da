"""Cholesky and LU factors of matrices in panels, from left to right: a panel is complete before the next is begun."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import shared_function
from fdl.compile.kernels.panels.step import VECTORS, PanelStep, block_rows, panel_width
from fdl.compile.kernels.panels.store import Panels
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.values import Value
from fdl.dtypes import int32, int64

#: Rows that go through all panels together: what they are multiplied by stays in the second-level cache.
_GROUP = 128


def cholesky(
    build: Build, dtype: np.dtype, pointer: ir.Value, reciprocals: ir.Value, n: int, distance: IndexLike
) -> None:
    """Emit the factorization of a matrix into u^T u, of which u replaces its upper triangle.

    Args:
        build: where it goes.
        dtype: of the matrix.
        pointer: to its panels.
        reciprocals: room for those of the diagonal, as many as there are rows in a panel.
        n: its extent.
        distance: elements from one panel to the next: rows up to a multiple of their width.
    """
    function = shared_function(build, f"panels.cholesky.{dtype}", 2, 2, lambda *a: _cholesky(dtype, *a))
    build.call_function(function, [pointer, reciprocals, n, distance])


def _cholesky(dtype: np.dtype, build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value]) -> None:
    (pointer, reciprocals), (n, distance) = pointers, numbers
    width, rows = panel_width(build.target, dtype), block_rows(build.target)
    u = Panels(build, pointer, dtype, width, distance)
    last = build.quotient(n + (width - 1), width)
    factor, solve = (PanelStep(dtype, rows, VECTORS, 1, width, then=then) for then in ("factor", "scaled"))
    with build.loop(0, n, _GROUP) as first, build.loop(build.quotient(first, width), last) as panel:
        stop = build.min(build.min(first + _GROUP, n), (panel + 1) * width)
        with build.loop(first, stop, rows) as i:
            own = build.quotient(i, width)
            a, x, y, scale = u.at(0, i), u.panel(panel, i), u.panel(panel), build.at(reciprocals, i, dtype)
            with build.if_else(build.eq(own, panel)) as (diagonal, beside):
                with diagonal:
                    factor.call(build, a, x, y, (0, i), None, scale, i - own * width)
                with beside:
                    solve.call(build, a, x, y, (0, i), u.at(i, i), scale)


def lu(
    build: Build,
    dtype: np.dtype,
    pointer: ir.Value,
    pivots: ir.Value,
    column: ir.Value,
    m: int,
    n: int,
    distance: IndexLike,
) -> None:
    """Emit the factorization of a matrix, in its place, with partial pivoting.

    Args:
        build: where it goes.
        dtype: of the matrix.
        pointer: to its panels.
        pivots: room for the rows that are exchanged, 32-bit integers.
        column: room for a column of `distance` and two vectors.
        m, n: its extents.
        distance: elements from one panel to the next.
    """
    function = shared_function(build, f"panels.lu.{dtype}", 3, 3, lambda *a: _lu(dtype, *a))
    build.call_function(function, [pointer, pivots, column, m, n, distance])


def _lu(dtype: np.dtype, build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value]) -> None:
    (pointer, pivots, column), (m, n, distance) = pointers, numbers
    width, rows = panel_width(build.target, dtype), block_rows(build.target)
    a = Panels(build, pointer, dtype, width, distance)
    above, below = (PanelStep(dtype, rows, VECTORS, width, 1, width, then) for then in ("unit", ""))
    with build.loop(0, build.quotient(n + (width - 1), width)) as panel:
        start, y = panel * width, a.panel(panel)
        done = build.min(start, m)
        exchange(build, dtype, y, pivots, 0, done)
        with build.loop(0, done, rows) as i:
            above.call(build, a.panel(0, i), a.panel(panel, i), y, (0, i), a.at(i, i), distance=distance)
        with build.loop(start, m, rows) as i:
            below.call(build, a.panel(0, i), a.panel(panel, i), y, (0, start), distance=distance)
        count = build.min(build.min(n, m) - start, width)
        with build.if_(count > 0):
            _panel(build, dtype, y, pivots, column, start, m, count)
            with build.loop(0, panel) as before:
                exchange(build, dtype, a.panel(before), pivots, start, start + count)


def exchange(
    build: Build, dtype: np.dtype, panel: ir.Value, pivots: ir.Value, first: IndexLike, last: IndexLike,
    vectors: int = VECTORS,
) -> None:  # fmt: skip
    """Exchange rows of a panel as the pivots from `first` to `last` say."""

    def fill(build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value]) -> None:
        (panel, pivots), (first, last) = pointers, numbers
        lanes = build.target.lanes(dtype)
        with build.loop(first, last) as i:
            other = build.index(build.load(pivots, int32, i))
            with build.if_(build.ne(i, other)):
                _swap(build, dtype, panel, (i, other), vectors * lanes)

    function = shared_function(build, f"panels.exchange.{dtype}.{vectors}", 2, 2, fill)
    build.call_function(function, [panel, pivots, build.index(first), build.index(last)])


def _swap(build: Build, dtype: np.dtype, panel: ir.Value, places: tuple[Value, Value], width: int) -> None:
    lanes = build.target.lanes(dtype)
    for start in range(0, width, lanes):
        upper, lower = (build.load(panel, dtype, i * width + start, lanes) for i in places)
        build.store(lower, panel, places[0] * width + start)
        build.store(upper, panel, places[1] * width + start)


def _panel(build: Build, dtype: np.dtype, *arguments: Any) -> None:
    """Factor the rows of a panel from one on: its columns one after the other.

    The column whose pivot is sought is kept as a vector beside the panel.
    """
    function = shared_function(build, f"panels.lu_panel.{dtype}", 3, 3, lambda *a: _emit_panel(dtype, *a))
    build.call_function(function, list(arguments))


def _emit_panel(dtype: np.dtype, build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value]) -> None:
    (panel, pivots, column), (start, m, count) = pointers, numbers
    lanes, width = build.target.lanes(dtype), panel_width(build.target, dtype)
    with build.loop(start, m) as i:
        build.store(build.load(panel, dtype, i * width), column, i)
    build.clear(build.at(column, m, dtype), lanes * dtype.itemsize)
    with build.loop(0, count) as k:
        row = start + k
        chosen = _largest(build, dtype, column, row, m)
        build.store(build.convert(chosen, int32), pivots, row)
        with build.if_(build.ne(chosen, row)):
            _swap(build, dtype, panel, (row, chosen), width)
            build.store(build.load(column, dtype, row), column, chosen)
        pivot = build.load(panel, dtype, row * width + k)
        with build.loop(row + 1, m, lanes) as i:
            part = build.load(column, dtype, i, lanes)
            part = build.select(build.eq(pivot, 0.0), part, build.div(part, pivot))
            build.store(part, column, i)
        numbers_ = [build.iota(int64, lanes) + start for start in range(0, width, lanes)]
        behind = [number > k for number in numbers_]
        here = [build.eq(number, build.broadcast(k, lanes)) for number in numbers_]
        zero, following = build.constant(0, dtype, lanes), build.min(k + 1, width - 1)
        upper = [
            build.select(more, build.load(panel, dtype, row * width + number * lanes, lanes), zero)
            for number, more in enumerate(behind)
        ]
        with build.loop(row + 1, m) as i:
            factor = build.broadcast(build.load(column, dtype, i), lanes)
            for number, part in enumerate(upper):
                place = i * width + number * lanes
                new = build.fma(build.neg(factor), part, build.load(panel, dtype, place, lanes))
                build.store(build.select(here[number], factor, new), panel, place)
            build.store(build.load(panel, dtype, i * width + following), column, i)


def _largest(build: Build, dtype: np.dtype, column: ir.Value, first: Value, last: Value) -> Value:
    """The number of the first element of the largest modulus; behind the last one there are zeros."""
    lanes = build.target.lanes(dtype)
    most = build.variable(build.constant(0, dtype, lanes))
    with build.loop(first, last, lanes) as i:
        size = build.abs(build.load(column, dtype, i, lanes))
        most.set(build.select(size > most.get(), size, most.get()))
    largest = build.broadcast(build.reduce("max", most.get()), lanes)
    place, bits = build.variable(first), ir.IntType(lanes)
    equal = build.stack_slot(bits)
    build.ir.store(bits(1), equal)
    with build.while_() as search:
        same = build.eq(build.abs(build.load(column, dtype, place.get(), lanes)), largest)
        found = build.ir.bitcast(same.ir, bits)
        build.ir.store(found, equal)
        none = build.value(build.ir.icmp_unsigned("==", found, bits(0)), np.dtype(bool))
        search.proceed_if(build.and_(none, place.get() + lanes < last))
        place.set(place.get() + lanes)
    first_bit = build.ir.cttz(build.ir.load(equal, typ=bits), ir.IntType(1)(0))
    where = place.get() + build.value(build.ir.zext(first_bit, ir.IntType(64)), int64)
    return build.select(where < last, where, first)
