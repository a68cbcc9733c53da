"""How complex numbers lie in memory: interleaved, as NumPy has them, or as pairs of vectors.

A pair is a vector of real parts followed by one of imaginary parts. Its numbers are those that follow each other in
interleaved memory, in another order: the one that needs no shuffle across 128 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.butterfly import Complex
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.memory import IndexLike
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.values import I32, Value


@dataclass(frozen=True)
class PairLayout:
    """Vectors of complex numbers.

    Attributes:
        dtype: of their parts.
        lanes: numbers in a pair.
    """

    dtype: np.dtype
    lanes: int

    @cached_property
    def order(self) -> list[int]:
        """Which of the numbers that follow each other in memory is in each lane of a pair."""
        part = max(1, min(self.lanes, 16 // self.dtype.itemsize) // 2)  # of a 128-bit block, from each half
        if self.lanes == 1:
            return [0]
        return [
            half + block + i
            for block in range(0, self.lanes // 2, part)
            for half in (0, self.lanes // 2)
            for i in range(part)
        ]

    @property
    def bytes(self) -> int:
        """Bytes of a pair."""
        return 2 * self.lanes * self.dtype.itemsize

    def load_pair(self, build: Build, pointer: ir.Value, index: IndexLike) -> Complex:
        """Pair number `index`."""
        place = build.index(index) * (2 * self.lanes)
        real = build.load(pointer, self.dtype, place, self.lanes)
        return real, build.load(pointer, self.dtype, place + self.lanes, self.lanes)

    def store_pair(self, build: Build, z: Complex, pointer: ir.Value, index: IndexLike) -> None:
        """Write pair number `index`."""
        place = build.index(index) * (2 * self.lanes)
        build.store(z[0], pointer, place)
        build.store(z[1], pointer, place + self.lanes)

    def load(self, build: Build, pointer: ir.Value, index: IndexLike, count: int | None = None) -> Complex:
        """The first `count` interleaved numbers from number `index` on; the other lanes are 0."""
        lanes, place = self.lanes, build.index(index) * 2
        count = lanes if count is None else count
        parts = []
        for start in (0, lanes):
            kept = min(max(2 * count - start, 0), lanes)
            mask = None if kept == lanes else build.first_lanes(kept, lanes)
            parts.append(
                build.load(pointer, self.dtype, place + start, lanes, mask=mask)
                if kept
                else build.constant(0.0, self.dtype, lanes)
            )
        real, imaginary = (_shuffled(build, parts, [2 * n + i for n in self.order]) for i in (0, 1))
        return real, imaginary

    def store(self, build: Build, z: Complex, pointer: ir.Value, index: IndexLike) -> None:
        """Write numbers, interleaved, from number `index` on."""
        lanes, place = self.lanes, build.index(index) * 2
        where = {n: lane for lane, n in enumerate(self.order)}
        mixed = [where[n] + i * lanes for n in range(lanes) for i in (0, 1)]
        for start in (0, lanes):
            build.store(_shuffled(build, z, mixed[start : start + lanes]), pointer, place + start)

    def reverse(self, build: Build, z: Complex) -> Complex:
        """The numbers in the opposite order."""
        where = {n: lane for lane, n in enumerate(self.order)}
        order = [where[self.lanes - 1 - n] for n in self.order]
        return _shuffled(build, (z[0], z[0]), order), _shuffled(build, (z[1], z[1]), order)

    def load_one(self, build: Build, pointer: ir.Value, index: IndexLike) -> Complex:
        """One interleaved number in all lanes."""
        place = build.index(index) * 2
        real = build.load(pointer, self.dtype, place, self.lanes, 0)
        return real, build.load(pointer, self.dtype, place + 1, self.lanes, 0)


def square(build: Build, layout: PairLayout, row: Callable[[int], Complex]) -> list[Complex]:
    """As many pairs as a pair has lanes, transposed: pair i has the i-th number of each row, in the order of lanes."""
    rows = [row(n) for n in layout.order]
    real, imaginary = (transposed(build, [z[part] for z in rows]) for part in (0, 1))
    where = {n: lane for lane, n in enumerate(layout.order)}
    return [(real[where[n]], imaginary[where[n]]) for n in range(layout.lanes)]


def _shuffled(build: Build, pair: list[Value] | Complex, order: list[int]) -> Value:
    """Lanes of two vectors, numbered through."""
    a, b = pair
    mask = ir.Constant(ir.VectorType(I32, len(order)), order)
    return build.value(build.ir.shuffle_vector(a.ir, b.ir, mask), a.dtype)
