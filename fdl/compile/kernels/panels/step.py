"""A step of all algorithms here: some rows of a panel less a product, and what a small triangle makes of them.

The rows that are computed stay in vector registers, and the product has all terms at once, so that hardly anything but
the product is read. Extents are arguments: one function serves matrices of all sizes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import Variable, new_function
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I64, POINTER, Value

#: Vectors of a row of a panel that holds a matrix.
VECTORS = 2


def panel_width(target: Target, dtype: np.dtype) -> int:
    """Columns of a panel that holds a matrix."""
    return VECTORS * target.lanes(dtype)


def block_rows(target: Target) -> int:
    """Rows of a step: their sums and what they are computed from fill the registers. They divide `panel_width`."""
    return 8 if target.vector_bits == 512 else 4


@dataclass(frozen=True)
class PanelStep:
    """x - A y, and the solution of a system of these rows with a triangle.

    Attributes:
        dtype: of all numbers.
        rows, vectors: size of x.
        row, column: distances of two rows and of two columns of A and of the triangle, in elements.
        panel: columns of a panel of A, if A is stored in panels; 0 if it is not.
        then: what is made of the rows: "" leaves them; "forward" and "backward" solve with the lower or upper triangle,
            "unit" and "backward, unit" with ones on the diagonal, "scaled" forward with the reciprocals of the diagonal
            that `call` is given; "factor" makes them rows of a Cholesky factor and writes these reciprocals.
    """

    dtype: np.dtype
    rows: int
    vectors: int
    row: int
    column: int
    panel: int = 0
    then: str = ""

    @property
    def name(self) -> str:
        """The name of the step's function."""
        shape = self.rows, self.vectors, self.row, self.column, self.panel
        return f"panels.step.{self.dtype}.{'.'.join(map(str, shape))}.{self.then}"

    def call(
        self, build: Build, a: ir.Value, x: ir.Value, y: ir.Value, terms: tuple[IndexLike, IndexLike],
        triangle: ir.Value | None = None, reciprocals: ir.Value | None = None, distance: IndexLike = 0,
    ) -> None:  # fmt: skip
        """Emit a call.

        Args:
            build: where the call goes; the function itself is added to the module once.
            a: the first of the rows of A, at column 0.
            x: the rows; the distance of two is what `vectors` hold.
            y: row 0 of what A is multiplied by, with the same distance.
            terms: the columns of A (rows of y) that are multiplied.
            triangle: its upper left corner, unless the rows are to be factored.
            reciprocals: of the diagonal.
            distance: elements from one panel of A to the next; of "factor", the column of the first pivot in x.
        """
        function = build.module.globals.get(self.name) or self._emit(build.module, build.target)
        null, first, last = POINTER(None), build.index(terms[0]), build.index(terms[1])
        build.call_function(
            function, [a, x, y, triangle or null, reciprocals or null, first, last, build.index(distance)]
        )

    def _emit(self, module: ir.Module, target: Target) -> ir.Function:
        function = new_function(module, self.name, [POINTER] * 5 + [I64] * 3)
        function.attributes.add("noinline")
        build = Build(module, target, function)
        _, x, y, *_ = function.args
        lanes = target.lanes(self.dtype)
        width, starts = self.vectors * lanes, range(0, self.vectors * lanes, lanes)
        zero = build.constant(0, self.dtype, lanes)
        sums = [[build.variable(zero) for _ in starts] for _ in range(self.rows)]
        for i in range(self.rows):
            build.prefetch(x, self.dtype, i * width)
        with self._terms(build) as (a, k):
            line = [build.load(y, self.dtype, k * width + start, lanes) for start in starts]
            for i, own in enumerate(sums):
                factor = build.broadcast(build.load(a, self.dtype, i * self.row), lanes)
                for part, total in zip(line, own, strict=True):
                    total.set(build.fma(factor, part, total.get()))
        for i, own in enumerate(sums):
            for start, total in zip(starts, own, strict=True):
                total.set(build.load(x, self.dtype, i * width + start, lanes) - total.get())
        if self.then == "factor":
            self._factor(build, sums, width)
        elif self.then:
            self._solve(build, sums)
        if self.then != "factor":
            for i, own in enumerate(sums):
                self._store(build, own, i * width)
        build.ret()
        return function

    @contextmanager
    def _terms(self, build: Build) -> Iterator[tuple[ir.Value, Value]]:
        """Loop over the terms, giving the address of the first element of that column of A, and the row of y."""
        a = build.function.args[0]
        start, stop, distance = (build.argument(n, "int64") for n in (-3, -2, -1))
        if not self.panel:
            with build.loop(start, stop) as k:
                yield build.at(a, k * self.column, self.dtype), k
            return
        with build.loop(
            build.quotient(start, self.panel), build.quotient(stop + (self.panel - 1), self.panel)
        ) as panel:
            before = panel * self.panel
            base = build.at(a, panel * distance - before * self.column, self.dtype)
            with build.loop(build.max(start, before), build.min(stop, before + self.panel)) as k:
                yield build.at(base, k * self.column, self.dtype), k

    def _solve(self, build: Build, rows: Sequence[Sequence[Variable]]) -> None:
        """Substitution among the rows."""
        triangle, reciprocals = build.function.args[3:5]
        order = list(range(self.rows))
        if self.then.startswith("backward"):
            order.reverse()
        for number, known in enumerate(order):
            if self.then == "scaled":
                for part in rows[known]:
                    part.set(part.get() * build.load(reciprocals, self.dtype, known))
            elif not self.then.endswith("unit"):
                pivot = build.load(triangle, self.dtype, known * (self.row + self.column))
                for part in rows[known]:
                    part.set(build.div(part.get(), pivot))
            for i in order[number + 1 :]:
                factor = build.neg(build.load(triangle, self.dtype, i * self.row + known * self.column))
                _add(build, rows[i], factor, rows[known])

    def _factor(self, build: Build, rows: Sequence[Sequence[Variable]], width: int) -> None:
        """A row of the upper Cholesky factor after the other."""
        reciprocals = build.function.args[4]
        pivots = build.at(build.function.args[1], build.argument(-1, "int64"), self.dtype)
        for k, row in enumerate(rows):
            self._store(build, row, k * width)
            root = build.sqrt(build.load(pivots, self.dtype, k * width + k))
            build.store(build.div(build.constant(1, self.dtype), root), reciprocals, k)
            for part in row:
                part.set(build.div(part.get(), root))
            self._store(build, row, k * width)
            for i in range(k + 1, self.rows):
                _add(build, rows[i], build.neg(build.load(pivots, self.dtype, k * width + i)), row)

    def _store(self, build: Build, row: Sequence[Variable], place: int) -> None:
        lanes = build.target.lanes(self.dtype)
        for number, part in enumerate(row):
            build.store(part.get(), build.function.args[1], place + number * lanes)


def _add(build: Build, row: Sequence[Variable], factor: Value, other: Sequence[Variable]) -> None:
    """Add a multiple of a row to another."""
    for part, more in zip(row, other, strict=True):
        part.set(build.fma(build.broadcast(factor, more.get().lanes), more.get(), part.get()))
