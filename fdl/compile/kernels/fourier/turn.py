"""Copies of rows to columns and back."""

from llvmlite import ir

from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.shuffles import transposed
from fdl.dtypes import float64, uint64


def turn(build: Build, layout: PairLayout, rows: list[ir.Value], columns: ir.Value, count: int, gather: bool) -> None:
    """Copy rows of complex numbers to the columns of an array (or back), of which there are as many as lanes."""
    lanes = layout.lanes
    if layout.dtype == float64:
        with build.loop(0, count) as j:
            for n, row in enumerate(rows):
                ends = (row, j * 2), (columns, (j * lanes + n) * 2)
                (a, place), (b, other) = ends if gather else ends[::-1]
                build.store(build.load(a, float64, place, 2), b, other)
        return
    size = min(build.target.lanes(uint64), lanes)
    whole = count // size * size
    if whole:
        with build.loop(0, whole, size) as j:
            for first in range(0, lanes, size):
                if gather:
                    block = [build.load(rows[first + i], uint64, j, size) for i in range(size)]
                    for i, value in enumerate(transposed(build, block)):
                        build.store(value, columns, (j + i) * lanes + first)
                else:
                    block = [build.load(columns, uint64, (j + i) * lanes + first, size) for i in range(size)]
                    for i, value in enumerate(transposed(build, block)):
                        build.store(value, rows[first + i], j)
    if whole < count:
        with build.loop(whole, count) as j:
            for n, row in enumerate(rows):
                ends = (row, j), (columns, j * lanes + n)
                (a, place), (b, other) = ends if gather else ends[::-1]
                build.store(build.load(a, uint64, place), b, other)


def copy_real(
    build: Build, layout: PairLayout, rows: list[ir.Value], columns: ir.Value, count: int, gather: bool
) -> None:
    """Copy rows of real numbers to the columns of an array of complex ones, or back."""
    zero = build.constant(0.0, layout.dtype)
    with build.loop(0, count) as j:
        for n, row in enumerate(rows):
            place = (j * layout.lanes + n) * 2
            if gather:
                build.store(build.load(row, layout.dtype, j), columns, place)
                build.store(zero, columns, place + 1)
            else:
                build.store(build.load(columns, layout.dtype, place), row, j)
