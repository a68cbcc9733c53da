"""Packing the left operand of `BlockProduct`: rows along k become words, in blocks of whole lines."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.amx.blocks import SIDE, rounded, whole
from fdl.compile.kernels.pairs import joined, words_of
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I32, POINTER, Value
from fdl.dtypes import float32, int32, uint16


def units(rows: int) -> int:
    """How many registers of rows hold so many."""
    return -(-rows // SIDE)


@dataclass(frozen=True)
class PackedRows:
    """Copies a matrix [rows, k] of bfloat16 to blocks; rows that do not exist are left as they are.

    Attributes:
        rows: to copy.
        k: their length.
        row, step: strides of the matrix along its rows and along k.
    """

    rows: int
    k: int
    row: int
    step: int

    def call(self, build: Build, source: ir.Value, destination: ir.Value) -> None:
        """Emit the copy."""
        name = f"amx.rows.{self.rows}.{self.k}.{self.row}.{self.step}"
        function = build.module.globals.get(name) or self._emit(build.module, build.target, name)
        build.call_function(function, [source, destination])

    def _emit(self, module: ir.Module, target: Target, name: str) -> ir.Function:
        function = new_function(module, name, [POINTER, POINTER])
        function.attributes.add("noinline")
        build = Build(module, target, function)
        full = self.k // (2 * SIDE)
        with build.loop(0, full) as block:
            self._block(build, block, 2 * SIDE)
        if self.k % (2 * SIDE):
            self._block(build, build.index(full), self.k % (2 * SIDE))
        build.ret()
        return function

    def _block(self, build: Build, block: Value, count: int) -> None:
        """Copy `count` elements of every row."""
        source, destination = build.function.args
        source = build.at(source, block * (2 * SIDE * self.step), uint16)
        destination = build.at(destination, block * (units(self.rows) * SIDE * SIDE), int32)
        if self.step == 1 or self.rows == 1:
            self._along(build, source, destination, count)
        else:
            self._across(build, source, destination, count)

    def _along(self, build: Build, source: Any, destination: Any, count: int) -> None:
        """From rows that are contiguous."""
        mask = None if count == 2 * SIDE else build.first_lanes(count, 2 * SIDE)
        with build.loop(0, self.rows) as row:
            if self.step == 1:
                line = build.load(source, uint16, row * self.row, 2 * SIDE, mask=mask)
            else:
                line = build.load(source, uint16, row * self.row, 2 * SIDE, self.step, mask=mask)
            build.store(line, destination, row * (2 * SIDE))

    def _across(self, build: Build, source: Any, destination: Any, count: int) -> None:
        """From columns: pairs of them are joined to words, and blocks of words turned."""
        for start in range(0, self.rows, SIDE):
            rows = min(SIDE, self.rows - start)
            words = [self._word(build, source, start, 2 * word, rows, count) for word in range(SIDE)]
            for i, row in enumerate(transposed(build, words)[:rows]):
                build.store(row, destination, (start + i) * SIDE)

    def _word(self, build: Build, source: Any, start: int, k: int, rows: int, count: int) -> Value:
        """The words of elements k and k + 1 of some rows."""
        if k >= count:
            return build.constant(0, int32, SIDE)
        pair = [
            self._column(build, build.at(source, start * self.row + j * self.step, uint16), rows)
            if j < count
            else build.constant(0, uint16, SIDE)
            for j in (k, k + 1)
        ]
        return joined(build, *pair)

    def _column(self, build: Build, source: Any, rows: int) -> Value:
        if self.row == 1:
            mask = None if rows == SIDE else build.first_lanes(rows, SIDE)
            return build.load(source, uint16, 0, SIDE, mask=mask)
        vector: Any = build.constant(0, uint16, SIDE).ir
        for i in range(rows):
            vector = build.ir.insert_element(vector, build.load(source, uint16, i * self.row).ir, I32(i))
        return build.value(vector, uint16)


def packed_words(k: int) -> int:
    """Words of a packed row of k elements."""
    return whole(words_of(k))


def store_block(
    build: Build, sums: Any, columns: int, size: tuple[int, int], to: Any, dtype: np.dtype, strides: tuple[int, int],
    accumulate: Value | None = None,
) -> None:  # fmt: skip
    """Emit the copy of the sums of a block, converted, to a matrix of any strides.

    Args:
        build: where it goes.
        sums: pointer to float32 sums, rows of `columns`.
        columns: of the sums.
        size: rows and columns to copy.
        to: pointer to the first element of the matrix.
        dtype: of the matrix.
        strides: of the matrix.
        accumulate: whether to add to what is there; None if not.
    """
    rows, wanted = size
    with build.loop(0, rows) as row:
        for start in range(0, wanted, SIDE):
            left = min(SIDE, wanted - start)
            mask = None if left == SIDE else build.first_lanes(left, SIDE)
            value = build.load(sums, float32, row * columns + start, SIDE)
            where = row * strides[0] + start * strides[1]
            if accumulate is not None:
                before = build.load(to, dtype, where, SIDE, strides[1], mask)
                value = value + build.select(build.broadcast(accumulate, SIDE), before, 0.0)
            build.store(rounded(build, value, dtype), to, where, strides[1], mask)
