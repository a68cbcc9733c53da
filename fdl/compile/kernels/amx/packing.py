"""The sizes of blocks, and copies of operands and sums between matrices and blocks (see `blocks`)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.amx.blocks import SIDE, rounded, whole, word_size
from fdl.compile.kernels.pairs import PairPanel, joined_all, stored, words_of
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I32, POINTER, Value
from fdl.dtypes import bfloat16, float32, int32


def units(rows: int) -> int:
    """How many registers of rows hold so many."""
    return -(-rows // SIDE)


def block_width(columns: int) -> int:
    """Columns of a block of a product with so many."""
    return SIDE * min(2, units(columns))


def block_rows(width: int, rows: int) -> int:
    """Rows of such a block, as its sums fill four registers, of a product with so many."""
    return SIDE * min(4 * SIDE // width, units(rows))


@dataclass(frozen=True)
class PackedRows:
    """Copies a matrix [rows, k] of bfloat16 or int8 to blocks; rows that do not exist are left as they are.

    Attributes:
        rows: to copy.
        k: their length.
        row, step: strides of the matrix along its rows and along k.
        dtype: of its elements.
    """

    rows: int
    k: int
    row: int
    step: int
    dtype: np.dtype = bfloat16

    @property
    def _size(self) -> int:
        return word_size(self.dtype)

    @property
    def _kind(self) -> np.dtype:
        return stored(self.dtype)

    def call(self, build: Build, source: ir.Value, destination: ir.Value) -> None:
        """Emit the copy."""
        name = f"amx.rows.{self.dtype}.{self.rows}.{self.k}.{self.row}.{self.step}"
        function = build.module.globals.get(name) or self._emit(build.module, build.target, name)
        build.call_function(function, [source, destination])

    def _emit(self, module: ir.Module, target: Target, name: str) -> ir.Function:
        function = new_function(module, name, [POINTER, POINTER])
        function.attributes.add("noinline")
        build = Build(module, target, function)
        full, rest = divmod(self.k, self._size * SIDE)
        with build.loop(0, full) as block:
            self._block(build, block, self._size * SIDE)
        if rest:
            self._block(build, build.index(full), rest)
        build.ret()
        return function

    def _block(self, build: Build, block: Value, count: int) -> None:
        """Copy `count` elements of every row."""
        source, destination = build.function.args
        source = build.at(source, block * (self._size * SIDE * self.step), self._kind)
        destination = build.at(destination, block * (units(self.rows) * SIDE * SIDE), int32)
        if self.step == 1 or self.rows == 1:
            self._along(build, source, destination, count)
        else:
            self._across(build, source, destination, count)

    def _along(self, build: Build, source: Any, destination: Any, count: int) -> None:
        """From rows that are contiguous."""
        size = self._size * SIDE
        mask = None if count == size else build.first_lanes(count, size)
        with build.loop(0, self.rows) as row:
            line = build.load(source, self._kind, row * self.row, size, self.step, mask=mask)
            build.store(line, destination, row * size)

    def _across(self, build: Build, source: Any, destination: Any, count: int) -> None:
        """From columns: pairs of them are joined to words, and blocks of words turned."""
        for start in range(0, self.rows, SIDE):
            rows = min(SIDE, self.rows - start)
            words = [self._word(build, source, start, self._size * word, rows, count) for word in range(SIDE)]
            for i, row in enumerate(transposed(build, words)[:rows]):
                build.store(row, destination, (start + i) * SIDE)

    def _word(self, build: Build, source: Any, start: int, k: int, rows: int, count: int) -> Value:
        """The words of the elements from k on of some rows."""
        if k >= count:
            return build.constant(0, int32, SIDE)
        parts = [
            self._column(build, build.at(source, start * self.row + j * self.step, self._kind), rows)
            if j < count
            else build.constant(0, self._kind, SIDE)
            for j in range(k, k + self._size)
        ]
        return joined_all(build, parts)

    def _column(self, build: Build, source: Any, rows: int) -> Value:
        if self.row == 1:
            mask = None if rows == SIDE else build.first_lanes(rows, SIDE)
            return build.load(source, self._kind, 0, SIDE, mask=mask)
        vector: Any = build.constant(0, self._kind, SIDE).ir
        for i in range(rows):
            vector = build.ir.insert_element(vector, build.load(source, self._kind, i * self.row).ir, I32(i))
        return build.value(vector, self._kind)


def packed_words(k: int, dtype: np.dtype) -> int:
    """Words of a packed row of k elements."""
    return whole(words_of(k, word_size(dtype)))


def pack_columns(build: Build, panel: PairPanel, source: ir.Value, destination: Any, count: int) -> None:
    """Emit the copy of `count` rows of the right operand of `BlockProduct`, with zeros behind them."""
    panel.call(build, source, destination, count)
    words = words_of(count, panel.size)
    rest = whole(words) - words
    if rest:
        build.clear(build.at(destination, words * panel.width, int32), rest * panel.width * int32.itemsize)


def store_block(
    build: Build, sums: Any, columns: int, size: tuple[int, int], to: Any, dtype: np.dtype, strides: tuple[int, int],
    accumulate: Value | None = None,
) -> None:  # fmt: skip
    """Emit the copy of the sums of a block, converted, to a matrix of any strides.

    Args:
        build: where it goes.
        sums: pointer to the sums, rows of `columns`.
        columns: of the sums.
        size: rows and columns to copy.
        to: pointer to the first element of the matrix.
        dtype: of the matrix.
        strides: of the matrix.
        accumulate: whether to add to what is there; None if not.
    """
    (rows, wanted), kept = size, int32 if dtype == int32 else float32
    with build.loop(0, rows) as row:
        for start in range(0, wanted, SIDE):
            left = min(SIDE, wanted - start)
            mask = None if left == SIDE else build.first_lanes(left, SIDE)
            value = build.load(sums, kept, row * columns + start, SIDE)
            where = row * strides[0] + start * strides[1]
            if accumulate is not None:
                before = build.load(to, dtype, where, SIDE, strides[1], mask)
                value = value + build.select(build.broadcast(accumulate, SIDE), before, 0)
            build.store(rounded(build, value, dtype), to, where, strides[1], mask)
