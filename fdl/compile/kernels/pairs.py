"""Sums of products of pairs: two neighbours along k, 8-bit integers or bfloat16, are one word of two 16-bit halves.

One instruction multiplies the halves of two words and adds the two products, so that a tile of words takes two steps of
k at once. No sum of integers overflows before the 32 bits do. Processors with VNNI add to the sums in the same
instruction; LLVM chooses it. For bfloat16 see `pairs_of_floats`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I16, I32, I64, POINTER, Value
from fdl.dtypes import bfloat16, int8, int16, int32, uint16

#: LLVM's names of the instruction, by the number of words.
_INSTRUCTIONS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


def words_of(count: int, size: int = 2) -> int:
    """How many words of `size` elements hold `count` of them."""
    return -(-count // size)


def add_products(build: Build, x: Value, y: Value, total: Value) -> Value:
    """`total` and the products of the halves of the words `x` and `y`."""
    lanes = min(x.lanes, build.target.pair_lanes)
    if lanes in _INSTRUCTIONS:
        parts = [_multiplied(build, *(_part(build, v, i, lanes) for v in (x, y))) for i in range(0, x.lanes, lanes)]
        while len(parts) > 1:  # wider than a register: LLVM takes apart what is put together here
            parts = [_together(build, *pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        return total + build.value(parts[0], int32)
    for shift in (16, 0):
        low, other = (build.shift_right_arithmetic(build.shift_left(v, shift), 16) for v in (x, y))
        total = total + low * other
    return total


def add_products_of_four(build: Build, x: Value, y: Value, total: Value) -> Value:
    """`total` and the products of the bytes of the words `x` and `y`, which are signed."""
    for shift in (24, 16, 8, 0):
        part, other = (build.shift_right_arithmetic(build.shift_left(v, shift), 24) for v in (x, y))
        total = total + part * other
    return total


def _multiplied(build: Build, x: ir.Value, y: ir.Value) -> ir.Value:
    halves = ir.VectorType(I16, 2 * x.type.count)
    function = build.declare(_INSTRUCTIONS[x.type.count], x.type, [halves, halves])
    return build.ir.call(function, [build.ir.bitcast(v, halves) for v in (x, y)])


def _part(build: Build, x: Value, start: int, lanes: int) -> ir.Value:
    order = ir.Constant(ir.VectorType(I32, lanes), list(range(start, start + lanes)))
    return x.ir if x.lanes == lanes else build.ir.shuffle_vector(x.ir, x.ir, order)


def _together(build: Build, low: ir.Value, high: ir.Value) -> ir.Value:
    count = 2 * low.type.count
    return build.ir.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, count), list(range(count))))


def joined(build: Build, low: Value, high: Value) -> Value:
    """Words of two vectors, of which the first becomes the lower half."""
    low, high = (build.convert(v, int32) for v in (low, high))
    return (low & 0xFFFF) | build.shift_left(high, 16)


def stored(dtype: np.dtype) -> np.dtype:
    """As what elements are loaded: floats as their bits."""
    return uint16 if dtype == bfloat16 else dtype


def joined_all(build: Build, parts: Sequence[Value]) -> Value:
    """Words of two vectors of 16 bits each, or of four of 8 bits, of which the first becomes the lowest part."""
    if len(parts) == 2:
        return joined(build, *parts)
    bytes_ = [build.convert(v, int32) & 0xFF for v in parts]
    low, high = (bytes_[i] | build.shift_left(bytes_[i + 1], 8) for i in (0, 2))
    return low | build.shift_left(high, 16)


def neighbours(build: Build, dtype: np.dtype, source: ir.Value, start: Any, lanes: int, size: int = 2) -> Value:
    """Words of `size * lanes` elements that follow each other in memory."""
    read = build.load(source, stored(dtype), start, size * lanes)
    wide = build.convert(read, int16) if size == 2 and dtype == int8 else read
    return build.value(build.ir.bitcast(wide.ir, ir.VectorType(I32, lanes)), int32)


@dataclass(frozen=True)
class PairPanel:
    """Copies a matrix [count, columns] into rows of words: `Panel`, of two (or four) rows at a time.

    What is beyond the last row, or the last column, is 0.

    Attributes:
        dtype: of the matrix: int8 or bfloat16.
        columns: columns to copy.
        width: words of a row of the copy, a multiple of the lanes.
        row, column: strides of the matrix that is read.
        size: elements of a word: 2, which integers are widened for, or 4 of 8 bits.
    """

    dtype: np.dtype
    columns: int
    width: int
    row: int
    column: int
    size: int = 2

    def call(self, build: Build, source: ir.Value, destination: ir.Value, count: Any) -> None:
        """Emit the copy of `count` rows from `source` to a half or a fourth as many at `destination`."""
        name = f"pairs.{self.dtype}.{self.columns}.{self.width}.{self.row}.{self.column}.{self.size}"
        function = build.module.globals.get(name) or self._emit(build.module, build.target, name)
        build.call_function(function, [source, destination, count])

    def _emit(self, module: ir.Module, target: Target, name: str) -> ir.Function:
        function = new_function(module, name, [POINTER, POINTER, I64])
        function.attributes.add("noinline")
        build = Build(module, target, function)
        lanes, count = target.lanes(int32), build.argument(2, "int64")
        words, turned = build.quotient(count, self.size), build.index(0)
        if self.row == 1 and self.column != 1:
            turned = build.quotient(words, lanes) * lanes
            with build.loop(0, turned, lanes) as k:
                self._turn(build, k, lanes)
        with build.loop(turned, words) as k:
            self._copy(build, k, lanes, self.size)
        for rest in range(1, self.size):
            with build.if_(build.eq(count - words * self.size, rest)):
                self._copy(build, words, lanes, rest)
        build.ret()
        return function

    def _copy(self, build: Build, k: Value, lanes: int, rows: int) -> None:
        """Copy so many rows to the row `k` of words."""
        source, destination = build.function.args[:2]
        first = build.at(source, self.size * k * self.row, self.dtype)
        lines = [build.at(first, i * self.row, self.dtype) if i < rows else None for i in range(self.size)]
        for start in range(0, self.width, lanes):
            parts = [self._read(build, line, start, lanes) for line in lines]
            build.store(joined_all(build, parts), destination, k * self.width + start)

    def _read(self, build: Build, line: Any, start: int, lanes: int) -> Value:
        """`lanes` integers of a row from `start` on; those that do not exist are 0."""
        left, dtype = self.columns - start, stored(self.dtype)
        if left <= 0 or line is None:
            return build.constant(0, dtype, lanes)
        if self.column == 1 and left >= lanes:
            return build.load(line, dtype, start, lanes)
        vector: Any = build.constant(0, dtype, lanes).ir
        for i in range(min(left, lanes)):
            element = build.load(line, dtype, (start + i) * self.column)
            vector = build.ir.insert_element(vector, element.ir, I32(i))
        return build.value(vector, dtype)

    def _turn(self, build: Build, k: Value, lanes: int) -> None:
        """Copy as many rows of words as a vector has lanes, from row `k` on, where columns are contiguous."""
        source, destination = build.function.args[:2]
        for start in range(0, self.width, lanes):
            read = [
                neighbours(build, self.dtype, source, self.size * k + c * self.column, lanes, self.size)
                if c < self.columns
                else build.constant(0, int32, lanes)
                for c in range(start, start + lanes)
            ]
            for i, row in enumerate(transposed(build, read)):
                build.store(row, destination, (k + i) * self.width + start)


def copy_pairs(
    b: Build, dtype: np.dtype, source: ir.Value, read: Value, stride: int, target: ir.Value, write: Value, count: int,
    size: int = 2,
) -> None:  # fmt: skip
    """Copy `count` elements, `stride` apart, to words of `size` that follow each other from word `write` on."""
    lanes, words = b.target.lanes(int32), count // size
    whole = words // lanes * lanes if stride == 1 else 0
    if whole:
        with b.loop(0, whole, lanes) as i:
            b.store(neighbours(b, dtype, source, read + size * i, lanes, size), target, write + i)

    def one(i: Any, there: int) -> None:
        kind, first = stored(dtype), read + size * i * stride
        parts = [b.load(source, kind, first + j * stride) if j < there else b.constant(0, kind) for j in range(size)]
        b.store(joined_all(b, parts), target, write + i)

    if whole < words:
        with b.loop(whole, words) as i:
            one(i, size)
    if count % size:
        one(b.index(words), count % size)
