"""Products of packed blocks of bfloat16, with sums in float32, and of int8, with sums in int32.

AMX (Advanced Matrix Extensions) has eight registers of 16 rows of 64 bytes. One instruction, `tdpbf16ps`, adds the
product of 16 rows of A, each of 16 words, with 16 rows of B, each of 16 words, to 16 x 16 sums; a word is a pair of
neighbours along k (see `pairs`). It takes denormal numbers for zero. `tdpbssd` does the same for words of four
int8. Rows that cross cache lines are read several times more slowly, so that A and B are packed to whole lines:

* A in blocks of 16 rows and 16 words, those of the same words one behind the other: [words / 16, rows / 16, 16, 16];
* B in rows of `columns` words, which is how `PairPanel` packs it.

Words beyond the end of the sum are zero in both. Without such a unit, vectors multiply the same blocks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.pairs import add_products_of_four
from fdl.compile.kernels.pairs_of_floats import BFloat, add_float_products
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I1, I8, I16, I64, POINTER, Value
from fdl.dtypes import bfloat16, float32, int8, int32

#: Rows and words of a register.
SIDE = 16
#: Bytes of a register.
_BYTES = 1024
#: Registers of sums, which come first; operands use the others.
_SUMS, _REGISTERS = 4, 8


def word_size(dtype: np.dtype) -> int:
    """Elements of a word."""
    return 4 // dtype.itemsize


def whole(words: int) -> int:
    """So many words and the zeros behind them."""
    return -(-words // SIDE) * SIDE


def configure(build: Build) -> None:
    """Make the registers ready, at the start of a kernel."""
    if not build.target.matrix_unit:
        return
    row_bytes = [64, 0] * _REGISTERS
    content = [1, 0, *[0] * 14, *row_bytes, *[0] * 16, *[SIDE] * _REGISTERS, *[0] * 8]
    known = build.module.globals.get("amx.configuration")
    if known is None:
        kind = ir.ArrayType(I8, len(content))
        known = ir.GlobalVariable(build.module, kind, "amx.configuration")
        known.initializer, known.global_constant, known.linkage = ir.Constant(kind, content), True, "internal"
    _instruction(build, "ldtilecfg", known)


def release(build: Build) -> None:
    """Give the registers back, so that nobody saves them; at the end of a kernel."""
    if build.target.matrix_unit:
        _instruction(build, "tilerelease")


def _instruction(build: Build, name: str, *arguments: Any) -> None:
    values = [I8(a) if isinstance(a, int) else a for a in arguments]
    build.ir.call(build.declare(f"llvm.x86.{name}", ir.VoidType(), [v.type for v in values]), values)


def rounded(build: Build, sums: Value, dtype: np.dtype) -> Value:
    """`SIDE` sums of a block as another dtype.

    No sum is a denormal number, so that the processor's conversion to bfloat16, which takes those for zero, is exact.
    """
    if dtype != bfloat16 or not build.target.matrix_unit:
        return build.convert(sums, dtype)
    halves = ir.VectorType(BFloat(), SIDE)
    function = build.declare("llvm.x86.avx512bf16.cvtneps2bf16.512", halves, [sums.ir.type])
    bits = build.ir.bitcast(build.ir.call(function, [sums.ir]), ir.VectorType(I16, SIDE))
    return build.unpack(bits, bfloat16)


@dataclass(frozen=True)
class BlockProduct:
    """A product of packed blocks.

    Attributes:
        rows: of A, in units of `SIDE`.
        columns: of B, in units of `SIDE`; ``rows * columns`` is at most 4.
        dtype: of A and B.
        row: distance of two rows of sums in memory; None is ``columns * SIDE``.
    """

    rows: int
    columns: int
    dtype: np.dtype = bfloat16
    row: int | None = None

    @property
    def sums(self) -> np.dtype:
        """The dtype of sums."""
        return int32 if self.dtype == int8 else float32

    @property
    def width(self) -> int:
        """Columns of B."""
        return self.columns * SIDE

    def call(self, build: Build, a: Any, b: Any, c: Any, words: Any, accumulate: Any = False) -> None:
        """Emit the product.

        Args:
            build: where it goes.
            a, b: pointers to packed A and B, aligned to 64 bytes.
            c: pointer to where the sums are stored.
            words: length of the sum, a multiple of `SIDE`.
            accumulate: whether to add to what is there.
        """
        name = f"amx.{self.dtype}.{self.rows}.{self.columns}.{self.row}"
        function = build.module.globals.get(name) or self._emit(build.module, build.target, name)
        add = accumulate if isinstance(accumulate, Value) else I1(bool(accumulate))
        build.call_function(function, [a, b, c, words, add])

    def _emit(self, module: ir.Module, target: Target, name: str) -> ir.Function:
        function = new_function(module, name, [POINTER, POINTER, POINTER, I64, I1])
        function.attributes.add("noinline")
        build = Build(module, target, function)
        if target.matrix_unit:
            self._by_unit(build)
        else:
            self._by_vectors(build)
        build.ret()
        return function

    def _by_unit(self, build: Build) -> None:
        a, b, c = build.function.args[:3]
        words, accumulate = build.argument(3, "int64"), build.argument(4, "bool")
        grid = [(i, j) for i in range(self.rows) for j in range(self.columns)]
        right = [_SUMS + j for j in range(self.columns)]
        left = list(range(_SUMS + self.columns, _REGISTERS))
        row, step = self.row or self.width, "tdpbssd" if self.dtype == int8 else "tdpbf16ps"
        sums = [(i * self.columns + j, build.at(c, i * SIDE * row + j * SIDE, float32), I64(4 * row)) for i, j in grid]
        with build.if_else(accumulate) as (then, otherwise):
            with then:
                for total in sums:
                    _instruction(build, "tileloadd64", *total)
            with otherwise:
                for number, *_ in sums:
                    _instruction(build, "tilezero", number)
        with build.loop(0, words, SIDE) as word:
            from_a = build.at(a, word * (SIDE * self.rows), float32)
            from_b = build.at(b, word * self.width, float32)
            for i, j in grid:
                if i == 0:
                    source = build.at(from_b, j * SIDE, float32)
                    _instruction(build, "tileloadd64", right[j], source, I64(4 * self.width))
                if j == 0:
                    source = build.at(from_a, i * SIDE * SIDE, float32)
                    _instruction(build, "tileloadd64", left[i % len(left)], source, I64(4 * SIDE))
                _instruction(build, step, i * self.columns + j, left[i % len(left)], right[j])
        for total in sums:
            _instruction(build, "tilestored64", *total)

    def _by_vectors(self, build: Build) -> None:
        a, b, c = build.function.args[:3]
        words, accumulate = build.argument(3, "int64"), build.argument(4, "bool")
        again = build.broadcast(accumulate, SIDE)
        for i in range(self.rows):
            with build.loop(0, SIDE) as row:
                sums = [build.variable(build.constant(0, self.sums, SIDE)) for _ in range(self.columns)]
                add = add_products_of_four if self.dtype == int8 else add_float_products
                with build.loop(0, words) as word:
                    block = build.quotient(word, SIDE)
                    where = (block * self.rows + i) * (SIDE * SIDE) + row * SIDE + (word - block * SIDE)
                    left = build.broadcast(build.load(a, self.sums, where), SIDE)
                    for j, total in enumerate(sums):
                        right = build.load(b, self.sums, word * self.width + j * SIDE, SIDE)
                        total.set(add(build, left, right, total.get()))
                for j, total in enumerate(sums):
                    where = (row + i * SIDE) * (self.row or self.width) + j * SIDE
                    before = build.select(again, build.load(c, self.sums, where, SIDE), 0)
                    build.store(before + total.get(), c, where)
