"""Matrices in memory for LAPACK: copies between layouts and dtypes, and whether all numbers are finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.values import Value
from fdl.core.types import DType
from fdl.ops.matrix import real_dtype


@dataclass(frozen=True)
class Matrix:
    """Where a matrix begins, the distances of rows and of columns in elements, and its dtype, which may be complex."""

    build: Build
    pointer: ir.Value
    steps: tuple[int, int]
    dtype: DType

    @property
    def real(self) -> DType:
        """The dtype of the parts of an element."""
        return real_dtype(self.dtype)

    @property
    def parts(self) -> int:
        """How many numbers an element consists of."""
        return 2 if self.dtype.kind == "c" else 1

    def turned(self, yes: bool = True) -> "Matrix":
        """The transposed matrix."""
        return Matrix(self.build, self.pointer, self.steps[::-1], self.dtype) if yes else self

    def place(self, i: IndexLike, j: IndexLike, part: int = 0) -> Value:
        """The number of a part of an element."""
        index = self.build.index
        return (index(i) * self.steps[0] + index(j) * self.steps[1]) * self.parts + part

    def at(self, i: IndexLike, j: IndexLike) -> ir.Value:
        """The address of an element."""
        return self.build.at(self.pointer, self.place(i, j), self.real)

    def load(self, i: IndexLike, j: IndexLike, part: int = 0, lanes: int = 1) -> Value:
        """A part of an element, or of several in a row."""
        return self.build.load(self.pointer, self.real, self.place(i, j, part), lanes)

    def store(self, value: Value, i: IndexLike, j: IndexLike, part: int = 0) -> None:
        """Write a part of an element, or of several in a row."""
        self.build.store(self.build.convert(value, self.real), self.pointer, self.place(i, j, part))

    def spread_nan(self, rows: int, columns: int) -> None:
        """Make all elements NaN."""
        build = self.build
        with build.loop(0, rows) as i, build.loop(0, columns) as j:
            for part in range(self.parts):
                self.store(build.constant(0.0 if part else float("nan"), self.real), i, j, part)

    def clear_above(self, rows: int, columns: int, below: bool = False) -> None:
        """Make the elements above (or below) the diagonal zero; rows are contiguous."""
        build, size = self.build, self.dtype.itemsize
        with build.loop(0, rows) as i:
            if below:
                build.clear(self.at(i, 0), build.min(i, columns) * size)
            else:
                build.clear(self.at(i, i + 1), build.max(build.index(columns - 1) - i, 0) * size)


@contextmanager
def or_nan(failed: Value, *results: tuple[Matrix, int, int]) -> Iterator[None]:
    """Emit code that runs unless a factorization failed; else the results, with their rows and columns, become NaN."""
    with results[0][0].build.if_else(failed) as (wrong, right):
        with wrong:
            for result, rows, columns in results:
                result.spread_nan(rows, columns)
        with right:
            yield


def copy(source: Matrix, target: Matrix, rows: int, columns: int) -> None:
    """Copy a matrix to another layout or dtype."""
    build, parts = source.build, source.parts
    if abs(source.steps[0]) < abs(source.steps[1]):
        source, target, rows, columns = source.turned(), target.turned(), columns, rows
    lanes = min(build.target.lanes(m.real) for m in (source, target))
    i_end = j_end = 0
    if source.steps[1] == target.steps[1] == 1:
        i_end, j_end = rows, columns * parts // lanes * lanes
        with build.loop(0, rows) as i, build.loop(0, j_end, lanes) as j:
            from_, to = source.place(i, 0), target.place(i, 0)
            value = build.convert(build.load(source.pointer, source.real, from_ + j, lanes), target.real)
            build.store(value, target.pointer, to + j)
        j_end //= parts
    elif source.steps[1] == target.steps[0] == parts == 1 < lanes:
        i_end, j_end = rows // lanes * lanes, columns // lanes * lanes
        with build.loop(0, i_end, lanes) as i, build.loop(0, j_end, lanes) as j:
            tile = transposed(build, [source.load(i + n, j, lanes=lanes) for n in range(lanes)])
            for n, column in enumerate(tile):
                target.store(column, i, j + n)
    for first, last, start in ((0, i_end, j_end), (i_end, rows, 0)):
        if first < last and start < columns:
            with build.loop(first, last) as i, build.loop(start, columns) as j:
                for part in range(parts):
                    target.store(source.load(i, j, part), i, j, part)


def poison(build: Build, pointer: ir.Value, dtype: DType, count: IndexLike) -> Value:
    """Zero, or NaN if one of `count` numbers in a row is NaN or infinite."""
    lanes, zero = build.target.lanes(dtype), build.constant(0.0, dtype)
    totals = [build.variable(build.constant(0.0, dtype, lanes)) for _ in range(4)]
    count = build.index(count)
    whole = build.and_(count, build.index(-4 * lanes))
    with build.loop(0, whole, 4 * lanes) as i:
        for n, total in enumerate(totals):
            number = build.load(pointer, dtype, i + n * lanes, lanes)
            total.set(build.fma(build.constant(0.0, dtype, lanes), number, total.get()))
    rest = build.variable(zero)
    with build.loop(whole, count) as i:
        rest.set(build.fma(zero, build.load(pointer, dtype, i), rest.get()))
    first, second, third, fourth = (total.get() for total in totals)
    return build.reduce("sum", (first + second) + (third + fourth)) + rest.get()


def leave_in_order(order: Matrix, count: int) -> None:
    """Make the numbers of rows 0, 1, 2, ..."""
    with order.build.loop(0, count) as i:
        order.store(order.build.convert(i, order.dtype), 0, i)


def follow(pivots: Matrix, order: Matrix, count: int) -> None:
    """Exchange numbers of rows as so many pivots say, one after the other."""
    with pivots.build.loop(0, count) as i:
        chosen = pivots.build.index(pivots.load(0, i))
        upper, lower = order.load(0, i), order.load(0, chosen)
        order.store(upper, 0, chosen)
        order.store(lower, 0, i)
