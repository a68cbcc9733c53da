"""Tiles whose rows are positions: of all convolutions with equal tiles there is one function.

The rows of a tile are positions of an image in row-major order. Where they are follows from the extents and strides of
the convolution, which the function reads from a table: it divides once to find the first row, and from row to row it
moves, at the end of a line to the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.kernel import table
from fdl.compile.kernels.tile import Operands, Tile, emit_tile
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.core.types import DType
from fdl.dtypes import int64

#: Where the table holds the counts of the axes: behind depth, number of segments, and distances of B's rows and the
#: next tile.
_COUNTS = 4


@dataclass(frozen=True)
class Walk:
    """The positions that rows of a tile go through, with distances in elements.

    Attributes:
        counts: how many positions there are along each axis.
        read, written: distances of two positions along each axis, in A and in C.
        depth: length of a segment.
        offsets: of the segments, from where a row of A is.
    """

    counts: tuple[int, ...]
    read: tuple[int, ...]
    written: tuple[int, ...]
    depth: int
    offsets: tuple[int, ...]

    def call(self, build: Build, tile: Tile, a: ir.Value, b: ir.Value, c: ir.Value, first: Value) -> None:
        """Emit a tile that starts with position number `first`; the pointers to A and C are those of position 0."""
        walk = self._joined()
        axes = len(walk.counts)
        lanes = build.target.lanes(tile.dtype)
        whole = tile.b_step == -(-tile.columns // lanes) * lanes
        general = replace(tile, following=int(tile.following > 0))
        if not whole:
            general = replace(general, b_step=0, given=("b_step",))
        name = f"walk.{axes}.{general.name}"
        function = build.module.globals.get(name) or _emit(build, name, general, axes)
        steps = (*walk.read, *_moves(walk.counts, walk.read), *walk.written, *_moves(walk.counts, walk.written))
        numbers = (self.depth, len(self.offsets), tile.b_step, tile.following, *walk.counts, *steps, *self.offsets)
        build.call_function(function, [a, b, c, first, table(build, numbers)])

    def _joined(self) -> "Walk":
        """The same with axes that are one in memory made one."""
        axes = [*zip(self.counts, self.read, self.written, strict=True)]
        found = axes[:1]
        for count, read, written in axes[1:]:
            above = found[-1]
            if above[1:] == (count * read, count * written):
                found[-1] = above[0] * count, read, written
            else:
                found.append((count, read, written))
        counts, reads, writes = zip(*found, strict=True)
        return replace(self, counts=counts, read=reads, written=writes)


def _moves(counts: Sequence[int], steps: Sequence[int]) -> list[int]:
    """The distances to the next position by the axis whose coordinate grows; those of all later axes start again."""
    ends = [(count - 1) * step for count, step in zip(counts, steps, strict=True)]
    return [step - sum(ends[axis + 1 :]) for axis, step in enumerate(steps)]


def _emit(outside: Build, name: str, tile: Tile, axes: int) -> ir.Function:
    function = new_function(outside.module, name, [POINTER, POINTER, POINTER, I64, POINTER])
    function.attributes.add("noinline")
    build = Build(outside.module, outside.target, function)
    a, b, c, _, numbers = function.args
    depth, segments, b_step, ahead, *rest = (build.load(numbers, int64, n) for n in range(_COUNTS + 5 * axes))
    counts, *moves = (rest[n : n + axes] for n in range(0, len(rest), axes))
    where = coordinates(build, build.argument(3, int64), counts)
    in_a, in_c = (tile.stored[n] or tile.dtype for n in (0, 2))
    # A register each: sums of pointers would take instructions in the loop.
    read = _positions(build, a, in_a, tile.rows, where, counts, moves[:2])
    read = [read[0], *[(build.held(pointer), 0) for pointer, _ in read[1:]]]
    written = partial(_positions, build, dtype=in_c, rows=tile.rows, where=where, counts=counts, distances=moves[2:])
    once = [] if axes == 1 else written(pointer=c)  # what is found by division is not found twice
    operands = Operands(
        read,
        b,
        lambda: once or written(pointer=build.held(c)),
        1,
        b_step if tile.given else tile.b_step,
        build.at(read[0][0], ahead, in_a) if tile.following else None,
    )
    offsets = build.at(numbers, _COUNTS + 5 * axes, int64)
    emit_tile(build, tile, operands, depth, None, (segments, offsets))
    build.ret()
    return function


def coordinates(build: Build, position: Value, counts: Sequence[int | Value]) -> list[Value]:
    """The row-major number `position` as one index for each axis."""
    result: list[Value] = []
    for count in reversed(counts[1:]):
        above = build.quotient(position, count)
        result.insert(0, position - above * count)
        position = above
    return [position, *result]


def _positions(
    build: Build, pointer: Any, dtype: DType, rows: int, where: Sequence[Value], counts: Sequence[Value],
    distances: Sequence[Sequence[Value]],
) -> list[tuple[Any, int]]:  # fmt: skip
    """Pointers to `rows` positions that follow each other, from that on whose coordinates are `where`."""
    steps, moves = distances
    index, where = build.index(0), list(where)
    for coordinate, step in zip(where, steps, strict=True):
        index = index + coordinate * step
    found = [build.at(pointer, index, dtype)]
    while len(found) < rows:
        move, moving = moves[-1], None
        for axis in reversed(range(1, len(where))):
            following = where[axis] + 1 if moving is None else build.select(moving, where[axis] + 1, where[axis])
            moving = build.eq(following, counts[axis])
            where[axis] = build.select(moving, 0, following)
            move = build.select(moving, moves[axis - 1], move)
        found.append(build.at(found[-1], move, dtype))
    return [(place, 0) for place in found]
