"""Sums of products of pairs of bfloat16: words of 32 bits, whose lower half is the first of two neighbours along k.

Processors with AVX512_BF16 multiply both halves of two words and add the products to a float32 by one instruction,
`vdpbf16ps`. It takes denormal numbers for zero and rounds to nearest, whatever the mode; the sum of a pair is added in
two roundings. Where there is no such instruction, the same words are multiplied in float32.
"""

from typing import Any

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.dtypes import float32, uint32


class BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


def add_float_products(build: Build, x: Value, y: Value, total: Value) -> Value:
    """`total` and the products of the halves of the words `x` and `y`, which are typed as float32."""
    if build.target.dot_bfloat16 and x.lanes in (4, 8, 16):
        return _dot(build, x, y, total)
    bits = [build.bitcast(v, uint32) for v in (x, y)]
    low = [build.bitcast(build.shift_left(v, 16), float32) for v in bits]
    high = [build.bitcast(v & 0xFFFF0000, float32) for v in bits]
    return build.fma(low[0], low[1], build.fma(high[0], high[1], total))


def _dot(build: Build, x: Value, y: Value, total: Value) -> Value:
    halves = ir.VectorType(BFloat(), 2 * x.lanes)
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * x.lanes}"
    function = build.declare(name, total.ir.type, [total.ir.type, halves, halves])
    words: list[Any] = [build.ir.bitcast(v.ir, halves) for v in (x, y)]
    return build.value(build.ir.call(function, [total.ir, *words]), float32)
