"""The register tile: the one inner loop of matrix products and convolutions.

A tile computes C[rows, columns] (+)= sum over k of A[row, k] * B[k, column] with all of C in vector registers, after
Georganas et al., "High-Performance Deep Learning via a Single Building Block" (2019): the sum may run over several
segments of A (the taps of a convolution) before C is stored. Everything but the depth is constant in the code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.pairs import add_products
from fdl.compile.kernels.pairs_of_floats import add_float_products
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I1, I64, POINTER, Value, is_float


@dataclass(frozen=True)
class Tile:
    """The shape of a tile; distances count elements.

    Attributes:
        dtype: of the sums.
        rows, columns: size of the piece of C.
        a_row: distance of two rows of A; None if every row has its own pointer.
        a_step: distance of two elements of A along k.
        b_step: distance of two rows of B.
        b_whole: rows of B may be read up to a whole vector beyond `columns`.
        c_row: distance of two rows of C; None if every row has its own pointer.
        c_column: distance of two columns of C.
        segments: whether the sum runs over segments of A.
        stored: dtypes of A, B and C in memory; None where it is `dtype`.
        pairs: whether elements of A and B are words of two 16-bit integers or bfloat16 (see `pairs`).
        following: distance from the first row of A to the rows of the next tile, if rows follow each other in memory
            without gaps and are read once; else 0.
    """

    dtype: np.dtype
    rows: int
    columns: int
    a_row: int | None
    a_step: int
    b_step: int
    b_whole: bool
    c_row: int | None
    c_column: int = 1
    segments: bool = False
    stored: tuple[np.dtype | None, np.dtype | None, np.dtype | None] = (None, None, None)
    pairs: bool = False
    following: int = 0

    @property
    def name(self) -> str:
        """The name of the tile's function."""
        *parts, stored, pairs, following = vars(self).values()
        return "tile." + ".".join(str(x) for x in (*parts, *stored, pairs, following))

    def call(
        self, build: Build, a: Any, b: Any, c: Any, depth: Any, accumulate: Any, segments: Any = 1, offsets: Any = None
    ) -> None:
        """Emit a call of the tile.

        Args:
            build: where the call goes; the function itself is added to the module once.
            a: pointer to A, or the list of its row pointers.
            b: pointer to B; with segments, the rows of segment s start at s * depth.
            c: pointer to C, or the list of its row pointers.
            depth: length of k (of one segment).
            accumulate: boolean; whether to add to C or to overwrite it.
            segments: how many segments there are.
            offsets: pointer to the int64 offset of each segment from `a`.
        """
        function = build.module.globals.get(self.name) or _emit(build.module, build.target, self)
        arguments = [*(a if isinstance(a, list) else [a]), b, *(c if isinstance(c, list) else [c]), depth]
        arguments.append(accumulate if isinstance(accumulate, Value) else I1(bool(accumulate)))
        if self.segments:
            arguments += [segments, offsets]
        build.call_function(function, arguments)


def _emit(module: ir.Module, target: Target, tile: Tile) -> ir.Function:
    rows_a, rows_c = (1 if row is not None else tile.rows for row in (tile.a_row, tile.c_row))
    types = [POINTER] * (rows_a + 1 + rows_c) + [I64, I1] + ([I64, POINTER] if tile.segments else [])
    function = new_function(module, tile.name, types)
    function.attributes.add("noinline")
    build = Build(module, target, function)
    pointers = function.args[:rows_a]
    b, c = function.args[rows_a], function.args[rows_a + 1 : rows_a + 1 + rows_c]
    depth, accumulate = (
        build.value(v, t) for v, t in zip(function.args[rows_a + 1 + rows_c :], ("int64", "bool"), strict=False)
    )
    lanes, (in_a, in_b, in_c) = target.lanes(tile.dtype), (kind or tile.dtype for kind in tile.stored)
    starts = range(0, tile.columns, lanes)
    masks = [
        None if start + lanes <= tile.columns else build.first_lanes(tile.columns - start, lanes) for start in starts
    ]
    zero = build.constant(0, tile.dtype, lanes)
    sums = [[build.variable(zero) for _ in starts] for _ in range(tile.rows)]

    def spot(i: int, start: int) -> tuple[Any, int]:
        return (
            (c[0], i * tile.c_row + start * tile.c_column) if tile.c_row is not None else (c[i], start * tile.c_column)
        )

    line = 64 // in_c.itemsize if tile.c_column == 1 else tile.columns
    for i in range(tile.rows):
        for start in range(0, tile.columns, line):
            build.prefetch(*_swap(spot(i, start), in_c))
    # Rows of B that are not packed are too far apart for the processor to guess the next one.
    far = not tile.b_whole and tile.b_step * in_b.itemsize >= 1024
    with _steps(build, tile, depth) as (a_offset, b_index):
        panel = [
            build.load(b, in_b, b_index * tile.b_step + start, lanes, mask=None if tile.b_whole else masks[j])
            for j, start in enumerate(starts)
        ]
        panel = [build.convert(part, tile.dtype) for part in panel]
        if tile.following:
            build.prefetch(pointers[0], in_a, tile.following + b_index * (64 // in_a.itemsize), write=False)
        for start in range(0, tile.columns * far, 64 // in_b.itemsize):
            build.prefetch(b, in_b, (b_index + target.tuning.right_rows_ahead) * tile.b_step + start, write=False)
        for i, row in enumerate(sums):
            base = pointers[i] if tile.a_row is None else pointers[0]
            address = build.at(base, a_offset, in_a)
            element = build.load(address, in_a, 0 if tile.a_row is None else i * tile.a_row)
            copies = build.broadcast(build.convert(element, tile.dtype), lanes)
            for j, total in enumerate(row):
                step = Build.fma if not tile.pairs else add_float_products if is_float(tile.dtype) else add_products
                total.set(step(build, copies, panel[j], total.get()))
    # C is added last: loading it first would make all of the sum wait for it.
    with build.if_(accumulate):
        for i, row in enumerate(sums):
            for j, start in enumerate(starts):
                before = build.load(*_swap(spot(i, start), in_c), lanes, tile.c_column, masks[j])
                row[j].set(row[j].get() + build.convert(before, tile.dtype))
    for i, row in enumerate(sums):
        for j, start in enumerate(starts):
            pointer, index = spot(i, start)
            build.store(build.convert(row[j].get(), in_c), pointer, index, tile.c_column, masks[j])
    build.ret()
    return function


def _swap(place: tuple[Any, int], dtype: np.dtype) -> tuple[Any, np.dtype, int]:
    return place[0], dtype, place[1]


@contextmanager
def _steps(build: Build, tile: Tile, depth: Value) -> Iterator[tuple[Value, Value]]:
    """Loop over all of k, giving the offset into A and the row of B."""
    if not tile.segments:
        with build.loop(0, depth) as k:
            yield k * tile.a_step, k
        return
    segments, offsets = build.argument(-2, "int64"), build.argument(-1)
    with build.loop(0, segments) as segment:
        offset = build.load(offsets, "int64", segment)
        first = segment * depth
        with build.loop(0, depth) as k:
            yield offset + k * tile.a_step, first + k
