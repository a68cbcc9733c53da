"""Matrices in scratch memory that are worked on together, and copies to them and back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.values import I32, Value, undefined, wide
from fdl.core.types import DType
from fdl.dtypes import float64, int64

#: Elements of a matrix that is copied without loops.
_UNROLLED = 64


@dataclass(frozen=True)
class LaneMatrices:
    """The matrices of an operand or a result that a group works on.

    Attributes:
        build: emits its code.
        pointer: where the array begins.
        offsets: elements before each matrix.
        steps: distances of rows and of columns in elements.
        dtype: of the array.
    """

    build: Build
    pointer: ir.Value
    offsets: Sequence[Value]
    steps: tuple[int, int]
    dtype: DType

    def place(self, i: IndexLike, j: IndexLike) -> Value:
        """Elements of a matrix before one of its elements."""
        index = self.build.index
        return index(i) * self.steps[0] + index(j) * self.steps[1]

    def load(self, lane: int, place: Value, count: int = 1) -> Value:
        """Elements of one of the matrices, as float64."""
        return self.build.convert(self.build.load(self.pointer, self.dtype, self.offsets[lane] + place, count), float64)

    def store(self, lane: int, place: Value, value: Value) -> None:
        """Write elements of one of the matrices."""
        self.build.store(self.build.convert(value, self.dtype), self.pointer, self.offsets[lane] + place)


@dataclass(frozen=True)
class LaneGrid:
    """A matrix for each lane, in rows of float64.

    With several lanes, an element is a vector: that element of all matrices. With one, rows are worked on in
    vectors of their elements, and have room for a whole vector behind their ends, which holds zeros.

    Attributes:
        build: emits its code.
        pointer: where the memory begins.
        width: elements of a row.
        lanes: matrices.
    """

    build: Build
    pointer: ir.Value
    width: int
    lanes: int

    @staticmethod
    def bytes(vector: int, rows: int, width: int, lanes: int) -> int:
        """Memory for so many rows; `vector` is the number of lanes of a register."""
        return 8 * rows * _distance(vector, width, lanes)

    @property
    def vector(self) -> int:
        """Lanes of a register."""
        return self.build.target.lanes(float64)

    @property
    def row(self) -> int:
        """Numbers from one row to the next."""
        return _distance(self.vector, self.width, self.lanes)

    def number(self, value: float, lanes: int | None = None) -> Value:
        """A constant for each matrix."""
        return self.build.constant(value, float64, lanes or self.lanes)

    def place(self, i: IndexLike, j: IndexLike) -> Value:
        """Numbers before an element."""
        index = self.build.index
        return index(i) * self.row + index(j) * self.lanes

    def load(self, i: IndexLike, j: IndexLike) -> Value:
        """An element of each matrix."""
        return self.build.load(self.pointer, float64, self.place(i, j), self.lanes)

    def store(self, value: Value, i: IndexLike, j: IndexLike) -> None:
        """Write an element of each matrix."""
        self.build.store(self.build.broadcast(value, self.lanes), self.pointer, self.place(i, j))

    @contextmanager
    def along(self, start: IndexLike = 0) -> Iterator[Value]:
        """Loop over the vectors of a row from a column on."""
        with self.build.loop(start, self.width, 1 if self.lanes > 1 else self.vector) as j:
            yield j

    def read(self, i: IndexLike, j: IndexLike) -> Value:
        """A vector of a row."""
        return self.build.load(self.pointer, float64, self.place(i, j), max(self.lanes, self.vector))

    def write(self, value: Value, i: IndexLike, j: IndexLike) -> None:
        """Write a vector of a row."""
        self.build.store(value, self.pointer, self.place(i, j))

    def wide(self, value: Value) -> Value:
        """A number for each matrix as a factor of vectors of a row."""
        return self.build.broadcast(value, max(self.lanes, self.vector))

    def sum(self, vector: Value) -> Value:
        """The number for each matrix that the lanes of its vector add up to."""
        return self.build.reduce("sum", vector) if self.lanes == 1 else vector

    def dot(self, i: IndexLike, k: IndexLike, start: IndexLike, other: "LaneGrid | None" = None) -> Value:
        """The inner product of row i and row k (of another grid) from a column on."""
        total = self.build.variable(self.wide(self.number(0.0)))
        with self.along(start) as j:
            total.set(self.build.fma(self.read(i, j), (other or self).read(k, j), total.get()))
        return self.sum(total.get())

    def add(self, i: IndexLike, factor: Value, k: IndexLike, start: IndexLike, other: "LaneGrid | None" = None) -> None:
        """Add `factor` times row k (of another grid) to row i, from a column on."""
        factor = self.wide(factor)
        with self.along(start) as j:
            self.write(self.build.fma(factor, (other or self).read(k, j), self.read(i, j)), i, j)

    def scale(self, i: IndexLike, factor: Value, start: IndexLike) -> None:
        """Multiply row i, from a column on."""
        factor = self.wide(factor)
        with self.along(start) as j:
            self.write(self.read(i, j) * factor, i, j)

    def clear(self, rows: int) -> None:
        """Set all to zero."""
        self.build.clear(self.pointer, LaneGrid.bytes(self.vector, rows, self.width, self.lanes))

    def identity(self, rows: int) -> None:
        """Make it the first rows of the identity."""
        self.clear(rows)
        with self.build.loop(0, min(rows, self.width)) as i:
            self.store(self.number(1.0), i, i)

    def any(self, condition: Value) -> Value:
        """Whether something holds for one of the matrices."""
        if self.lanes == 1:
            return condition
        bits = ir.IntType(self.lanes)
        code = self.build.ir
        return self.build.value(code.icmp_unsigned("!=", code.bitcast(condition.ir, bits), bits(0)), bool)

    def fill(self, stack: LaneMatrices, rows: int, columns: int, turned: bool = False) -> None:
        """Copy matrices (or their transposes) here."""

        def block(place: Value, entries: Sequence[tuple[IndexLike, IndexLike]]) -> None:
            count = len(entries)
            for first in range(0, self.lanes, self.vector if count > 1 else self.lanes):
                if count > 1:
                    loaded = [stack.load(first + n, place, count) for n in range(self.vector)]
                    for value, entry in zip(transposed(self.build, loaded), entries, strict=True):
                        self.build.store(value, self.pointer, self.place(*entry) + first)
                else:
                    self.store(self._gathered(stack, place), *entries[0])

        self._blocks(stack, rows, columns, turned, block)

    def empty(self, stack: LaneMatrices, rows: int, columns: int, turned: bool = False) -> None:
        """Copy the matrices (or their transposes) to their places in a result."""

        def block(place: Value, entries: Sequence[tuple[IndexLike, IndexLike]]) -> None:
            if len(entries) == 1:
                value = self.load(*entries[0])
                for lane in range(self.lanes):
                    stack.store(lane, place, self.build.lane(value, lane))
                return
            for first in range(0, self.lanes, self.vector):
                found = [
                    self.build.load(self.pointer, float64, self.place(*entry) + first, self.vector) for entry in entries
                ]
                for n, value in enumerate(transposed(self.build, found)):
                    stack.store(first + n, place, value)

        self._blocks(stack, rows, columns, turned, block)

    def _gathered(self, stack: LaneMatrices, place: Value) -> Value:
        """An element of each matrix."""
        if self.lanes == 1:
            return stack.load(0, place)
        found = undefined(wide(ir.DoubleType(), self.lanes))
        for lane in range(self.lanes):
            found = self.build.ir.insert_element(found, stack.load(lane, place).ir, I32(lane))
        return self.build.value(found, float64)

    def _blocks(
        self,
        stack: LaneMatrices,
        rows: int,
        columns: int,
        turned: bool,
        block: Callable[[Value, Sequence[tuple[IndexLike, IndexLike]]], None],
    ) -> None:
        """Call `block` for runs of a vector's length in the memory of the matrices, or for single elements."""
        build, vector = self.build, self.vector

        def entries(i: IndexLike, j: IndexLike, count: int) -> Sequence[tuple[IndexLike, IndexLike]]:
            columns = [j + n if n else j for n in range(count)]
            return [(column, i) if turned else (i, column) for column in columns]

        if self.lanes > 1 and stack.steps == (columns, 1) and rows * columns <= _UNROLLED:
            places = [divmod(n, columns) for n in range(rows * columns)]
            whole = len(places) // vector * vector
            for first in [*range(0, whole, vector), *range(whole, len(places))]:
                some = places[first : first + (vector if first < whole else 1)]
                block(build.index(first), [(j, i) if turned else (i, j) for i, j in some])
            return
        whole = columns // vector * vector if self.lanes > 1 and stack.steps[1] == 1 else 0
        with build.loop(0, rows) as i:
            if whole:
                with build.loop(0, whole, vector) as j:
                    block(stack.place(i, j), entries(i, j, vector))
            if whole < columns:
                with build.loop(whole, columns) as j:
                    block(stack.place(i, j), entries(i, j, 1))


def _distance(vector: int, width: int, lanes: int) -> int:
    """Numbers from one row to the next: not a power of two, at which columns would meet in the cache."""
    return (width | 1) * lanes if lanes > 1 else width + vector


def poison(grid: LaneGrid, rows: int) -> Value:
    """Zero for each matrix, or NaN where an element is NaN or infinite; these become matrices of zeros."""
    build = grid.build
    total = build.variable(grid.wide(grid.number(0.0)))
    with build.loop(0, rows) as i, grid.along() as j:
        total.set(build.fma(grid.wide(grid.number(0.0)), grid.read(i, j), total.get()))
    found = grid.sum(total.get())
    wrong = build.ne(found, found)
    with build.if_(grid.any(wrong), likely=False):
        mask = grid.wide(wrong)
        with build.loop(0, rows) as i, grid.along() as j:
            grid.write(build.select(mask, grid.wide(grid.number(0.0)), grid.read(i, j)), i, j)
    return found


def scale_to_one(grid: LaneGrid, start: IndexLike, stop: IndexLike) -> Value:
    """Multiply a range of rows by the power of two that brings their largest element near one; return its inverse."""
    build = grid.build
    largest = build.variable(grid.wide(grid.number(0.0)))
    with build.loop(start, stop) as i, grid.along() as j:
        size = build.abs(grid.read(i, j))
        largest.set(build.select(size > largest.get(), size, largest.get()))
    found = largest.get() if grid.lanes > 1 else build.reduce("max", largest.get())
    exponent = build.bitcast(found, int64) & 0x7FE0000000000000  # an odd exponent is rounded down: at most 2**1022
    power = build.bitcast(build.max(exponent, build.constant(1 << 52, int64)), float64)
    factor = build.div(grid.number(1.0), power)
    with build.loop(start, stop) as i:
        grid.scale(i, factor, 0)
    return power
