"""Systems with triangular matrices, in memory as it is or in panels, for a panel of right-hand sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import shared_function
from fdl.compile.kernels.panels.step import PanelStep, block_rows
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.values import Value


@dataclass(frozen=True)
class Triangle:
    """A triangular matrix and how it is stored; the other triangle is not read.

    Attributes:
        dtype: of its elements.
        row, column: distances of two rows and two columns, in elements.
        panel: columns of a panel; 0 if it is not in panels. Panels are filled up to whole blocks of rows, with ones on
            the diagonal.
        upper: which triangle it is.
        unit: whether its diagonal is all ones, whatever is stored there.
    """

    dtype: np.dtype
    row: int
    column: int
    panel: int = 0
    upper: bool = False
    unit: bool = False

    def solve(
        self, build: Build, pointer: ir.Value, x: ir.Value, n: IndexLike, vectors: int, distance: IndexLike = 0
    ) -> None:
        """Emit the solution of one system.

        Args:
            build: where it goes.
            pointer: to the first element of the matrix.
            x: the right-hand sides, which the solution replaces: rows of so many vectors, as many as there are rows
                in whole blocks of them if the matrix is in panels.
            n: the extent of the matrix.
            vectors: of a row of x.
            distance: elements from one panel to the next.
        """
        shape = self.row, self.column, self.panel, int(self.upper), int(self.unit), vectors
        name = f"panels.solve.{self.dtype}.{'.'.join(map(str, shape))}"
        function = shared_function(build, name, 2, 2, lambda *a: self._emit(vectors, *a))
        build.call_function(function, [pointer, x, build.index(n), build.index(distance)])

    def _emit(self, vectors: int, build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value]) -> None:
        (n, _), rows = numbers, block_rows(build.target)
        whole = build.quotient(n + (rows - 1 if self.panel else 0), rows)
        rest = n - whole * rows
        if not self.upper:
            with build.loop(0, whole) as block:
                self._rows(build, pointers, numbers, block * rows, rows, vectors)
            if not self.panel:
                with build.loop(whole * rows, n) as i:
                    self._rows(build, pointers, numbers, i, 1, vectors)
            return
        if not self.panel:
            with build.loop(0, rest) as i:
                self._rows(build, pointers, numbers, n - 1 - i, 1, vectors)
        with build.loop(0, whole) as block:
            self._rows(build, pointers, numbers, (whole - 1 - block) * rows, rows, vectors)

    def _rows(
        self, build: Build, pointers: Sequence[ir.Value], numbers: Sequence[Value], i: Value, rows: int, vectors: int
    ) -> None:
        (pointer, x), (n, distance) = pointers, numbers
        then = "unit" if self.unit else "forward"
        if self.upper:
            then = "backward, unit" if self.unit else "backward"
        step = PanelStep(self.dtype, rows, vectors, self.row, self.column, self.panel, then)
        a, corner = i * self.row, i * self.column
        if self.panel:
            panel = build.quotient(i, self.panel)
            corner = panel * distance + (i - panel * self.panel) * self.column
        terms = (i + rows, n) if self.upper else (0, i)
        a_row = build.at(pointer, a, self.dtype)
        width = vectors * build.target.lanes(self.dtype)
        step.call(
            build, a_row, build.at(x, i * width, self.dtype), x, terms,
            build.at(a_row, corner, self.dtype), distance=distance,
        )  # fmt: skip
