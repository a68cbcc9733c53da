"""Matrices in panels: some columns after the other, each panel row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import shared_function
from fdl.compile.kernels.lapack.matrices import Matrix, copy
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.values import Value


@dataclass(frozen=True)
class Panels:
    """A matrix in scratch memory.

    Attributes:
        build: emits the code.
        pointer: where it starts.
        dtype: of its elements.
        width: columns of a panel.
        distance: elements from one panel to the next.
    """

    build: Build
    pointer: ir.Value
    dtype: np.dtype
    width: int
    distance: IndexLike

    def at(self, i: IndexLike, j: IndexLike) -> ir.Value:
        """The address of an element."""
        build = self.build
        column = build.index(j)
        panel = build.quotient(column, self.width)
        place = panel * build.index(self.distance) + build.index(i) * self.width + (column - panel * self.width)
        return build.at(self.pointer, place, self.dtype)

    def panel(self, number: IndexLike, row: IndexLike = 0) -> ir.Value:
        """The address of a row of a panel."""
        build = self.build
        place = build.index(number) * build.index(self.distance) + build.index(row) * self.width
        return build.at(self.pointer, place, self.dtype)

    def load(self, i: IndexLike, j: IndexLike) -> Value:
        """An element."""
        return self.build.load(self.at(i, j), self.dtype)


def padded(extent: int, multiple: int) -> int:
    """The extent, rounded up to a multiple."""
    return -(-extent // multiple) * multiple


def fill(target: Panels, source: Matrix, rows: int, columns: int) -> None:
    """Copy a matrix into panels, with zeros in rows and columns that it does not have."""
    build, width, size = target.build, target.width, target.dtype.itemsize
    whole, rest = columns // width, columns % width
    if rest:
        build.clear(target.panel(whole), build.index(target.distance) * size)
    with build.loop(0, whole) as panel:
        _panel(target, panel, source, width, rows, False)
        build.clear(target.panel(panel, rows), (build.index(target.distance) - rows * width) * size)
    if rest:
        _panel(target, build.index(whole), source, rest, rows, False)


def empty(target: Matrix, source: Panels, rows: int, columns: int) -> None:
    """Copy a matrix out of panels."""
    build, width = source.build, source.width
    whole, rest = columns // width, columns % width
    if target.steps[1] == 1 and target.dtype == source.dtype and whole:
        # Row by row: memory that is written in order does not wait.
        with build.loop(0, rows) as i, build.loop(0, whole) as panel:
            place, lanes = source.panel(panel, i), build.target.lanes(source.dtype)
            for start in range(0, width, lanes):
                part = build.load(place, source.dtype, start, lanes)
                build.store(part, target.at(i, panel * width), start)
    else:
        with build.loop(0, whole) as panel:
            _panel(source, panel, target, width, rows, True)
    if rest:
        _panel(source, build.index(whole), target, rest, rows, True)


def _panel(panels: Panels, number: Value, matrix: Matrix, columns: int, rows: int, back: bool) -> None:
    build = panels.build
    inside = Matrix(build, panels.panel(number), (panels.width, 1), panels.dtype)
    outside = Matrix(build, matrix.at(0, number * panels.width), matrix.steps, matrix.dtype)
    source, target = (inside, outside) if back else (outside, inside)
    if matrix.steps[0] == matrix.parts == 1 < matrix.steps[1] and matrix.dtype == panels.dtype:
        source, target = (source, target.turned()) if back else (source.turned(), target)
        _turn(source, target, *((rows, columns) if back else (columns, rows)))
    else:
        copy(source, target, rows, columns)


def _turn(source: Matrix, target: Matrix, rows: int, columns: int) -> None:
    """Transpose a matrix by squares of registers; one function for all extents. The rows of both are contiguous."""
    dtype = source.dtype

    def fill(build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value]) -> None:
        (read, written), (step, other, rows, columns) = pointers, numbers
        lanes = build.target.lanes(dtype)
        i_end, j_end = (build.quotient(count, lanes) * lanes for count in (rows, columns))
        with build.loop(0, i_end, lanes) as i, build.loop(0, j_end, lanes) as j:
            square = [build.load(read, dtype, (i + n) * step + j, lanes) for n in range(lanes)]
            for n, row in enumerate(transposed(build, square)):
                build.store(row, written, (j + n) * other + i)
        for first, last, start in ((build.index(0), i_end, j_end), (i_end, rows, build.index(0))):
            with build.loop(first, last) as i, build.loop(start, columns) as j:
                build.store(build.load(read, dtype, i * step + j), written, j * other + i)

    function = shared_function(source.build, f"panels.turn.{dtype}", 2, 4, fill)
    arguments = [source.pointer, target.pointer, source.steps[0], target.steps[0], rows, columns]
    source.build.call_function(function, arguments)


def unit_diagonal(panels: Panels, first: int, last: int) -> None:
    """Put ones on the diagonal behind the matrix, so that systems can be solved in whole blocks of rows."""
    build = panels.build
    for i in range(first, last):
        build.store(build.constant(1, panels.dtype), panels.at(i, i))
