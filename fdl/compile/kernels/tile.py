"""The register tile: the one inner loop of matrix products and convolutions.

A tile computes C[rows, columns] (+)= sum over k of A[row, k] * B[k, column] with all of C in vector registers, after
Georganas et al., "High-Performance Deep Learning via a Single Building Block" (2019): the sum may run over several
segments of A (the taps of a convolution) before C is stored.

The code of a tile is most of what LLVM has to read of a network, so that products of many sizes share it: the depth is
an argument, and so are distances, but for those that are the same in every program: 1, and rows of packed matrices.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.pairs import add_products
from fdl.compile.kernels.pairs_of_floats import add_float_products
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I1, I64, POINTER, Value, is_float
from fdl.dtypes import bool_, int64


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
        given: names of the distances that are arguments of the function; their numbers do not matter to it.
        far: whether rows of B are too far apart for the processor to guess the next one.
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
    given: tuple[str, ...] = ()
    far: bool = False

    @property
    def name(self) -> str:
        """The name of the tile's function."""
        *parts, stored, pairs, following, given, far = vars(self).values()
        parts = [*parts, *stored, pairs, following, far]
        return "tile." + ".".join([str(int(x) if isinstance(x, bool) else x) for x in parts] + list(given))

    def call(
        self, build: Build, a: Any, b: Any, c: Any, depth: Any, accumulate: Any,
        segments: Any = 1, offsets: Any = None,
        short: bool = False,
    ) -> None:  # fmt: skip
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
            short: whether the sum is so short that the distances had better be constants.
        """
        lanes = build.target.lanes(self.dtype)
        given = () if short else self._to_give(lanes)
        zero: dict[str, Any] = dict.fromkeys(given, 0)
        far = not self.b_whole and self.b_step * (self.stored[1] or self.dtype).itemsize >= 1024
        tile = replace(self, **zero, given=given, far=far)
        function = build.module.globals.get(tile.name) or _emit(build.module, build.target, tile)
        arguments = [*(a if isinstance(a, list) else [a]), b, *(c if isinstance(c, list) else [c]), depth]
        arguments.append(accumulate if isinstance(accumulate, Value) else I1(bool(accumulate)))
        if self.segments:
            arguments += [segments, offsets]
        build.call_function(function, arguments + [getattr(self, name) for name in given])

    def _to_give(self, lanes: int) -> tuple[str, ...]:
        """Names of the distances that are arguments."""
        whole = -(-self.columns // lanes) * lanes
        usual = {
            "a_row": (None, 1),
            "a_step": (1, lanes, self.b_step),
            "b_step": (whole,),
            "c_row": (None,),
            "following": (0,),
        }
        return tuple(name for name, numbers in usual.items() if getattr(self, name) not in numbers)


def _emit(module: ir.Module, target: Target, tile: Tile) -> ir.Function:
    rows_a, rows_c = (1 if row is not None else tile.rows for row in (tile.a_row, tile.c_row))
    types = [POINTER] * (rows_a + 1 + rows_c) + [I64, I1] + ([I64, POINTER] if tile.segments else [])
    function = new_function(module, tile.name, types + [I64] * len(tile.given))
    function.attributes.add("noinline")
    build = Build(module, target, function)
    arguments = iter(function.args)
    a, b, c = list(islice(arguments, rows_a)), next(arguments), list(islice(arguments, rows_c))
    depth, accumulate = build.value(next(arguments), int64), build.value(next(arguments), bool_)
    segments = (build.value(next(arguments), int64), next(arguments)) if tile.segments else None
    given = {name: build.value(argument, int64) for name, argument in zip(tile.given, arguments, strict=True)}
    in_a, in_c = (tile.stored[n] or tile.dtype for n in (0, 2))
    a_row, c_row = given.get("a_row", tile.a_row), given.get("c_row", tile.c_row)

    def rows_of_c() -> list[tuple[ir.Value, int]]:
        return _rows(build, [build.held(c[0])] if isinstance(c_row, Value) else c, c_row, tile.rows, in_c)

    rows_of_a = _rows(build, a, a_row, tile.rows, in_a)
    if isinstance(a_row, Value):  # a register each: sums of pointers would take instructions in the loop
        rows_of_a = [rows_of_a[0], *[(build.held(pointer), 0) for pointer, _ in rows_of_a[1:]]]
    a_step, b_step = (given.get(name, getattr(tile, name)) for name in ("a_step", "b_step"))
    ahead = given.get("following", tile.following)
    following = build.at(a[0], ahead, in_a) if isinstance(ahead, Value) or ahead else None
    operands = Operands(rows_of_a, b, rows_of_c, a_step, b_step, following)
    emit_tile(build, tile, operands, depth, accumulate, segments)
    build.ret()
    return function


class Operands(NamedTuple):
    """Where a tile finds its matrices.

    Attributes:
        a: for each row of A a pointer, and the number of elements behind it at which the row starts.
        b: pointer to B.
        c: gives the same of C. It is called twice, so that nothing needs registers in the loop.
        a_step, b_step: distances, see `Tile`.
        following: pointer to the row behind those of A, to be read ahead.
    """

    a: Sequence[tuple[ir.Value, int]]
    b: ir.Value
    c: Callable[[], Sequence[tuple[ir.Value, int]]]
    a_step: Value | int
    b_step: Value | int
    following: ir.Value | None = None


def emit_tile(
    build: Build, tile: Tile, operands: Operands, depth: Value, accumulate: Value | None,
    segments: tuple[Value, ir.Value] | None,
) -> None:  # fmt: skip
    """Emit the code of a tile, whose arguments are those of `Tile.call`; C is overwritten if `accumulate` is None."""
    lanes, (in_a, in_b, in_c) = build.target.lanes(tile.dtype), (kind or tile.dtype for kind in tile.stored)
    starts = range(0, tile.columns, lanes)
    masks = [
        None if start + lanes <= tile.columns else build.first_lanes(tile.columns - start, lanes) for start in starts
    ]
    zero = build.constant(0, tile.dtype, lanes)
    sums = [[build.variable(zero) for _ in starts] for _ in range(tile.rows)]

    line = 64 // in_c.itemsize if tile.c_column == 1 else tile.columns
    for pointer, number in operands.c():
        for start in range(0, tile.columns, line):
            build.prefetch(pointer, in_c, number + start * tile.c_column)
    with _steps(build, operands.a_step, depth, segments) as (a_offset, b_index):
        row_of_b = build.at(operands.b, b_index * operands.b_step, in_b)
        panel = [
            build.load(row_of_b, in_b, start, lanes, mask=None if tile.b_whole else masks[j])
            for j, start in enumerate(starts)
        ]
        panel = [build.convert(part, tile.dtype) for part in panel]
        if operands.following is not None:
            build.prefetch(operands.following, in_a, b_index * (64 // in_a.itemsize), write=False)
        if tile.far:
            ahead = build.at(row_of_b, build.target.tuning.right_rows_ahead * build.index(operands.b_step), in_b)
            for start in range(0, tile.columns, 64 // in_b.itemsize):
                build.prefetch(ahead, in_b, start, write=False)
        for (base, number), row in zip(operands.a, sums, strict=True):
            element = build.load(build.at(base, a_offset, in_a), in_a, number)
            copies = build.broadcast(build.convert(element, tile.dtype), lanes)
            for j, total in enumerate(row):
                step = Build.fma if not tile.pairs else add_float_products if is_float(tile.dtype) else add_products
                total.set(step(build, copies, panel[j], total.get()))
    rows_of_c = operands.c()
    # C is added last: loading it first would make all of the sum wait for it.
    if accumulate is not None:
        with build.if_(accumulate):
            for (pointer, number), row in zip(rows_of_c, sums, strict=True):
                for start, mask, total in zip(starts, masks, row, strict=True):
                    at = number + start * tile.c_column
                    before = build.load(pointer, in_c, at, lanes, tile.c_column, mask)
                    total.set(total.get() + build.convert(before, tile.dtype))
    for (pointer, number), row in zip(rows_of_c, sums, strict=True):
        for start, mask, total in zip(starts, masks, row, strict=True):
            at = number + start * tile.c_column
            build.store(build.convert(total.get(), in_c), pointer, at, tile.c_column, mask)


def _rows(
    build: Build, pointers: Sequence[ir.Value], distance: Value | int | None, rows: int, dtype: np.dtype
) -> list[tuple[ir.Value, int]]:
    """A pointer for each row of a matrix, and the number of elements behind it at which the row starts."""
    if distance is None:
        return [(pointer, 0) for pointer in pointers]
    if isinstance(distance, int):
        return [(pointers[0], i * distance) for i in range(rows)]
    found = [pointers[0]]
    while len(found) < rows:
        found.append(build.at(found[-1], distance, dtype))
    return [(pointer, 0) for pointer in found]


@contextmanager
def _steps(
    build: Build, a_step: Value | int, depth: Value, segments: tuple[Value, ir.Value] | None
) -> Iterator[tuple[Value, Value]]:
    """Loop over all of k, giving the offset into A and the row of B."""
    if segments is None:
        with build.loop(0, depth) as k:
            yield k * a_step, k
        return
    count, offsets = segments
    with build.loop(0, count) as segment:
        offset = build.load(offsets, int64, segment)
        first = segment * depth
        if isinstance(a_step, int) and a_step == 1:  # one register less to count
            with build.loop(offset, offset + depth) as k:
                yield k, first + (k - offset)
        else:
            with build.loop(0, depth) as k:
                yield offset + k * a_step, first + k
