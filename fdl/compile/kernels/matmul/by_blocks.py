"""Matrix products of bfloat16 and int8 by packed blocks (see `fdl.compile.kernels.amx`)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fdl.compile.kernels.amx.blocks import SIDE, BlockProduct, word_size
from fdl.compile.kernels.amx.packing import (
    PackedRows,
    block_rows,
    block_width,
    pack_columns,
    packed_words,
    store_block,
    units,
)
from fdl.compile.kernels.kernel import pieces
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.kernels.pairs import PairPanel
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.dtypes import float32

Range = tuple[Value, Value]


@dataclass(frozen=True)
class ProductPlan:
    """Sizes for one product on one processor."""

    spec: Contraction
    target: Target

    @cached_property
    def width(self) -> int:
        """Columns of a block."""
        return block_width(self.spec.n)

    @cached_property
    def rows(self) -> int:
        """PackedRows of a block: four registers hold its sums."""
        return block_rows(self.width, self.spec.m)

    @cached_property
    def words(self) -> int:
        """Words of a packed row."""
        return packed_words(self.spec.k, self.spec.dtype)

    @cached_property
    def columns(self) -> int:
        """Columns of B that are packed at once."""
        most = max(1, self.target.tuning.right_bytes // (self.words * self.width * float32.itemsize))
        return min(most, -(-self.spec.n // self.width)) * self.width

    @property
    def scratch_bytes(self) -> int:
        """Sums, packed A, and packed B."""
        return (self.rows * self.width + (self.rows + self.columns) * self.words) * float32.itemsize


def emit_blocks(
    build: Build, plan: ProductPlan, operands: tuple[Any, Any, Any], rows: Range, columns: Range,
    finish: Callable[[Range, Range], None],
) -> None:  # fmt: skip
    """Emit a part of one product of the batch.

    Args:
        build: where it goes; `configure` was called.
        plan: sizes.
        operands: pointers to A, B and C of this product.
        rows, columns: the part.
        finish: called on every block of C that is complete.
    """
    b, spec = build, plan.spec
    a, bb, c = operands
    sums = build.function.args[-3]
    left = b.at(sums, plan.rows * plan.width, float32)
    right = b.at(left, plan.rows * plan.words, float32)
    with b.loop(columns[0], columns[1], plan.columns) as n:
        n_stop = b.min(n + plan.columns, columns[1])
        _pack_right(b, plan, bb, right, (n, n_stop))
        with pieces(b, rows[0], rows[1], plan.rows, spec.m) as down:
            for m, height in down():
                source = b.at(a, m * spec.a[1], spec.dtype)
                PackedRows(height, spec.k, spec.a[1], spec.a[2], spec.dtype).call(b, source, left)
                with pieces(b, n, n_stop, plan.width, spec.n) as across:
                    for j, width in across():
                        block = BlockProduct(units(height), units(width), spec.dtype)
                        block.call(b, left, b.at(right, (j - n) * plan.words, float32), sums, plan.words)
                        to = b.at(c, m * spec.c[1] + j * spec.c[2], spec.result)
                        store_block(
                            b, sums, block.columns * SIDE, (height, width), to, spec.result, (spec.c[1], spec.c[2])
                        )
                finish((m, m + height), (n, n_stop))


def _pack_right(b: Build, plan: ProductPlan, source: Any, right: Any, columns: Range) -> None:
    """Pack some columns of B, in panels."""
    spec = plan.spec
    with pieces(b, columns[0], columns[1], plan.width, spec.n) as piece:
        for n, count in piece():
            width, size = SIDE * units(count), word_size(spec.dtype)
            to = b.at(right, (n - columns[0]) * plan.words, float32)
            panel = PairPanel(spec.dtype, count, width, spec.b[1], spec.b[2], size)
            pack_columns(b, panel, b.at(source, n * spec.b[2], spec.dtype), to, spec.k)
