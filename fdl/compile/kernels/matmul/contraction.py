"""Batched matrix products on the register tile.

``emit(module, target, spec, epilogue, extras)`` emits a kernel (see `kernel`) with operands (A, B, C, *extras):
C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n], for sizes known now and any element strides, negative ones and 0
(broadcast) included. Each element of C is summed over k in an order that depends on the sizes only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.amx.blocks import configure, release
from fdl.compile.kernels.finish import finish
from fdl.compile.kernels.kernel import Epilogue, Kernel, kernel_function, pieces
from fdl.compile.kernels.matmul import dots, streams
from fdl.compile.kernels.matmul.by_blocks import ProductPlan, emit_blocks
from fdl.compile.kernels.matmul.spec import LEAST, Contraction, Strides
from fdl.compile.kernels.pairs import PairPanel, words_of
from fdl.compile.kernels.panel import Panel
from fdl.compile.kernels.tile import Tile
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value

#: Sums so short that passing distances to their tiles would cost some percent.
SHORT = 16


def emit(
    module: ir.Module, target: Target, spec: Contraction, epilogue: Epilogue | None = None, extras: int = 0
) -> Kernel:
    """Emit the kernel of `spec`.

    Args:
        module: where it goes.
        target: the processor.
        spec: the product.
        epilogue: applied to complete elements of C before they are stored for the last time; its indices are
            (batch, m, n).
        extras: number of pointer operands after C that are passed through to the epilogue.
    """
    if 0 in (spec.batch, spec.m, spec.n):
        return Kernel(_nothing(module, target, 3 + extras), 0, 0)
    swap = _better_swapped(spec, target)
    if swap:
        spec, epilogue = _swapped(spec), _swapped_epilogue(epilogue)
    plan = _Plan(spec, target, epilogue is not None)
    build = kernel_function(module, target, f"contract.{spec.batch}x{spec.m}x{spec.n}x{spec.k}", 3 + extras)
    a, b, c, *others = build.function.args[: 3 + extras]
    operands = [b, a, c, *others] if swap else [a, b, c, *others]
    _Emitter(build, spec, plan, epilogue, operands).emit()
    return Kernel(build.function, plan.scratch_bytes, spec.batch * plan.parts)


def _nothing(module: ir.Module, target: Target, operands: int) -> ir.Function:
    build = kernel_function(module, target, "nothing", operands)
    build.ret()
    return build.function


def _better_swapped(spec: Contraction, target: Target) -> bool:
    """Whether C transposed = B transposed * A transposed is the better product for row vectors of C."""
    if spec.n == 1 or spec.m == 1:
        rows_ready, columns_ready = spec.c[1] == 1 or spec.m == 1, spec.c[2] == 1 or spec.n == 1
        long = spec.n == 1 and spec.m > 1
        return long and rows_ready and (spec.a[2] != 1 or not columns_ready or spec.k < target.lanes(spec.sums))
    return spec.c[2] != 1 and spec.c[1] == 1


def _swapped(spec: Contraction) -> Contraction:
    def turn(strides: Strides) -> Strides:
        return strides[0], strides[2], strides[1]

    return replace(spec, m=spec.n, n=spec.m, a=turn(spec.b), b=turn(spec.a), c=turn(spec.c))


def _swapped_epilogue(epilogue: Epilogue | None) -> Epilogue | None:
    """An epilogue for the transposed product: its lanes run along m."""
    if epilogue is None:
        return None

    def swapped(
        build: Build, value: Value, index: Any, pointers: Sequence[ir.Value], mask: Value | None, axis: int = -1
    ) -> Value | None:
        batch, n, m = index
        return epilogue(build, value, (batch, m, n), pointers, mask, axis=1)

    return swapped


@dataclass(frozen=True)
class _Plan:
    """The block sizes for one product, with an epilogue or not, on one processor."""

    spec: Contraction
    target: Target
    has_epilogue: bool = False

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(self.spec.sums)

    @cached_property
    def itemsize(self) -> int:
        """Bytes of an element in the scratch memory."""
        return self.spec.sums.itemsize

    @cached_property
    def halves(self) -> bool:
        """Whether operands are converted when they are packed, and C is complete after one pass."""
        return self.spec.sums != self.spec.result

    @property
    def unpacked(self) -> int:
        """Tiles of rows that read B as it lies in memory: packing it would take as long, unless it is converted."""
        return 1 if self.halves else 3

    @cached_property
    def width(self) -> int:
        """Columns of a tile, whole vectors."""
        most = -(-self.spec.n // self.lanes)
        vectors = self.target.tile()[1]
        if self.spec.m <= self.target.tile_rows(2):
            vectors = self.target.tile_vectors(self.spec.m)
        elif vectors > 3 and self.target.tile_rows(vectors) < -(-self.spec.m // self.unpacked) <= self.target.tile_rows(
            3
        ):
            vectors = 3
        return min(vectors, most) * self.lanes

    @cached_property
    def rows(self) -> int:
        """Rows of a tile: as many as the registers allow, divided evenly.

        Small products take fewer, down to half, if tiles of one size are enough then: their code takes less time to
        compile, and as long to run.
        """
        spec, most = self.spec, self.target.tile_rows(self.width // self.lanes)
        small = spec.batch * spec.m * spec.n * spec.k <= self.target.tuning.small_product
        equal = (n for n in range(most, most // 2, -1) if small and spec.m % n == 0)
        return next(equal, -(-spec.m // -(-spec.m // most)))

    @cached_property
    def streams(self) -> bool:
        """Whether A is read once, from the first element to the last: B is a single panel that stays in the cache."""
        spec, size = self.spec, self.width * self.spec.k * self.itemsize
        whole = spec.n <= self.width and spec.a[1:] == (spec.k, 1) and not spec.pairs
        return whole and size <= self.target.tuning.left_bytes

    @cached_property
    def panel_bytes(self) -> int:
        """Bytes of a tile of B.

        Fewer where A is read along columns whose elements are on pages of their own: so many pages are known at once.
        """
        spec, tuning = self.spec, self.target.tuning
        pages = spec.a[1] == 1 and spec.a[2] * spec.dtype.itemsize >= tuning.alias_bytes and not self.pack_a
        return tuning.panel_bytes[self.target.vector_bits == 512 and not pages]

    @cached_property
    def steps(self) -> int:
        """Steps of the tile in one pass over k."""
        k = words_of(self.spec.k) if self.spec.pairs else self.spec.k
        most = k if self.halves or self.streams else max(64, self.panel_bytes // (self.width * self.itemsize))
        passes = max(1, -(-k // max(1, most)))
        return max(1, -(-k // passes))

    @cached_property
    def depth(self) -> int:
        """How much of k one pass takes."""
        return self.steps * (2 if self.spec.pairs else 1)

    @cached_property
    def columns(self) -> int:
        """Columns of the block of B that is packed at once."""
        most = max(1, self.target.tuning.right_bytes // (self.steps * self.itemsize * self.width))
        return min(most, -(-self.spec.n // self.width)) * self.width

    @cached_property
    def height(self) -> int:
        """Rows of the block of A that is used while it stays in the cache."""
        most = max(4, self.target.tuning.left_bytes // (self.steps * self.itemsize * self.rows))
        if self.has_epilogue:
            most = min(
                most,
                max(4, self.target.tuning.epilogue_bytes // (self.columns * self.spec.result.itemsize * self.rows)),
            )
        return min(most, -(-self.spec.m // self.rows)) * self.rows

    @cached_property
    def rows_outside(self) -> bool:
        """Whether all columns of B stay in the cache while rows of A come and go; short sums: in the second level."""
        size, tuning = self.columns * self.steps * self.itemsize, self.target.tuning
        return size <= self.panel_bytes or (self.steps <= tuning.short_sum and size <= tuning.right_bytes // 2)

    @cached_property
    def pack_b(self) -> bool:
        if self.spec.pairs:
            return True
        if self.spec.b[2] == 1 and self.spec.n <= self.width >= self.spec.b[1]:
            return False  # B is a packed panel already.
        return (self.spec.n > 1 and self.spec.b[2] != 1) or self.spec.m > self.unpacked * self.rows

    @cached_property
    def pack_a(self) -> bool:
        """Whether blocks of A are copied: to convert them, or when k is not the unit stride or rows displace others."""
        if self.spec.pairs:
            return True
        if self.spec.n <= 2 * self.width or self.spec.m == 1:
            return False
        aliased = (
            self.spec.a[1] * self.spec.dtype.itemsize % self.target.tuning.alias_bytes == 0
            and self.spec.n > 4 * self.width
        )
        return self.spec.a[2] != 1 or aliased or self.halves

    @cached_property
    def a_step(self) -> int:
        """Elements of packed A for one step of k."""
        return -(-self.rows // self.lanes) * self.lanes

    @cached_property
    def by_dots(self) -> bool:
        """Whether both operands run along k, or can cheaply, and one has so few rows that packing would not pay."""
        spec, short = self.spec, min(self.spec.m, self.spec.n)
        few = short <= 4 or (short <= 48 and 3 * spec.k >= 2 * short * self.lanes)
        if spec.a[2] != 1 or not few or spec.k < self.lanes or spec.pairs:
            return False
        return self.turn_b or (spec.b[1] == 1 and (spec.b[2] != 1 or spec.n == 1))

    @cached_property
    def turn_b(self) -> bool:
        """Whether dot products copy B so that it runs along k: it has few columns, and many rows of A meet them."""
        spec = self.spec
        return spec.b[1] != 1 and spec.b[2] == 1 and 1 < spec.n <= 12 and spec.m >= 32 and spec.k >= 4 * self.lanes

    @cached_property
    def by_streams(self) -> bool:
        """Whether A has so few rows that rows of B are best read as they lie in memory."""
        return not self.by_dots and streams.fits(self.spec, self.lanes)

    @cached_property
    def blocks(self) -> ProductPlan | None:
        """How low precision is multiplied by blocks, if it is."""
        large = self.spec.paired or min(self.spec.m, self.spec.n, self.spec.k) >= LEAST
        by_blocks = self.spec.pairs and large and self.target.low_products == "blocks" and not self.spec.accumulate
        return ProductPlan(self.spec, self.target) if by_blocks else None

    @cached_property
    def by_columns(self) -> bool:
        """Whether the work is cut along n; every thread then packs only its own columns of B, but all of A."""
        return self.spec.n >= self.spec.m or (not self.pack_a and self.spec.n >= 8 * self.width)

    @cached_property
    def finishes_vectors(self) -> bool:
        """Whether blocks of C for an epilogue are whole vectors wide, but for those at the end of its rows."""
        block = self.spec.n if self.by_dots or self.by_streams else (self.blocks or self).columns
        steps = [block, self.part] if self.by_columns else [block]
        return all(step % self.target.lanes(self.spec.result) == 0 or step >= self.spec.n for step in steps)

    @cached_property
    def part(self) -> int:
        """Rows or columns of a unit of work."""
        if self.by_streams:
            return streams.width(self.lanes)
        rows, columns = dots.tile(self.spec, self.target) if self.by_dots else (self.rows, self.width)
        if self.blocks:
            rows, columns = self.blocks.rows, self.blocks.width
        return columns if self.by_columns else rows

    @cached_property
    def parts(self) -> int:
        """Units of work of one product of the batch."""
        return -(-(self.spec.n if self.by_columns else self.spec.m) // self.part)

    @cached_property
    def scratch_bytes(self) -> int:
        if self.by_streams:
            return 0
        if self.by_dots:
            return self.turn_b * self.spec.n * self.spec.k * self.spec.dtype.itemsize
        if self.blocks:
            return self.blocks.scratch_bytes
        a_block = -(-self.height // self.rows) * self.a_step * self.steps
        elements = self.columns * self.steps * self.pack_b + a_block * self.pack_a
        return elements * self.itemsize


class _Emitter:
    """Emits the loops around the tile, outermost first: batch, passes over k, blocks of columns, blocks of rows."""

    def __init__(
        self, build: Build, spec: Contraction, plan: _Plan, epilogue: Epilogue | None, operands: list[Any]
    ) -> None:
        self.build, self.spec, self.plan, self.epilogue = build, spec, plan, epilogue
        self.a, self.b, self.c, *self.extras = operands
        self.scratch = build.function.args[-3]
        self.begin, self.end = build.argument(-2, "int64"), build.argument(-1, "int64")

    def emit(self) -> None:
        """The whole function."""
        b, plan, spec = self.build, self.plan, self.spec
        last = b.quotient(self.end + (plan.parts - 1), plan.parts, seldom=True)
        if plan.blocks:
            configure(b)
        with b.loop(b.quotient(self.begin, plan.parts, seldom=True), last) as batch:
            first = b.max(self.begin - batch * plan.parts, 0) * plan.part
            stop = b.min(self.end - batch * plan.parts, plan.parts) * plan.part
            rows = (b.index(0), b.index(spec.m)) if plan.by_columns else (first, b.min(stop, spec.m))
            columns = (first, b.min(stop, spec.n)) if plan.by_columns else (b.index(0), b.index(spec.n))
            if plan.by_dots:
                self._dots(batch, rows, columns)
            elif plan.by_streams:
                streams.emit_streams(b, spec, (self.a, self.b, self.c), batch, columns)
            elif plan.blocks:
                self._blocks(plan.blocks, batch, rows, columns)
            else:
                self._product(batch, rows, columns)
            if self.epilogue is not None and (plan.by_dots or plan.by_streams):
                self._finish(batch, rows, columns)
        if plan.blocks:
            release(b)
        b.ret()

    def _blocks(
        self, blocks: ProductPlan, batch: Value, rows: tuple[Value, Value], columns: tuple[Value, Value]
    ) -> None:
        def finish_block(rows: tuple[Value, Value], columns: tuple[Value, Value]) -> None:
            if self.epilogue is not None:
                self._finish(batch, rows, columns)

        emit_blocks(self.build, blocks, self._of_batch(batch), rows, columns, finish_block)

    def _dots(self, batch: Value, rows: tuple[Value, Value], columns: tuple[Value, Value]) -> None:
        b, spec, bb = self.build, self.spec, self.b
        if self.plan.turn_b:
            dots.turn(b, spec, b.at(bb, batch * spec.b[0], spec.dtype), self.scratch)
            spec, bb = replace(spec, b=(0, 1, spec.k)), self.scratch
        dots.emit_dots(b, spec, (self.a, bb, self.c), batch, rows, columns)

    def _product(self, batch: Value, rows: tuple[Value, Value], columns: tuple[Value, Value]) -> None:
        b, plan, spec = self.build, self.plan, self.spec
        a, bb, c = self._of_batch(batch)
        with b.loop(0, max(spec.k, 1), plan.depth) as k, b.loop(columns[0], columns[1], plan.columns) as n:
            depth = b.min(spec.k - k, plan.depth)
            steps = b.quotient(depth + 1, 2) if spec.pairs else depth
            n_stop = b.min(n + plan.columns, columns[1])
            if plan.pack_b:
                self._pack_b(b.at(bb, k * spec.b[1], spec.dtype), n, n_stop, depth, steps)
            with b.loop(rows[0], rows[1], plan.height) as m:
                m_stop = b.min(m + plan.height, rows[1])
                if plan.pack_a:
                    self._pack_a(b.at(a, k * spec.a[2], spec.dtype), m, m_stop, depth, steps)
                self._block((a, bb, c), batch, k, (depth, steps), (m, m_stop), (n, n_stop))

    def _of_batch(self, batch: Value) -> tuple[Any, Any, Any]:
        """The pointers to A, B and C of one product."""
        b, spec = self.build, self.spec
        a, bb = b.at(self.a, batch * spec.a[0], spec.dtype), b.at(self.b, batch * spec.b[0], spec.dtype)
        return a, bb, b.at(self.c, batch * spec.c[0], spec.result)

    @property
    def _packed_a(self) -> Any:
        """Where packed A starts in the scratch memory: behind packed B."""
        return self.build.at(self.scratch, self.plan.columns * self.plan.steps * self.plan.pack_b, self.spec.sums)

    def _pack_b(self, source: ir.Value, start: Value, stop: Value, depth: Value, steps: Value) -> None:
        b, spec, plan = self.build, self.spec, self.plan
        with self._packed_rows(spec.b[2], depth) as (k, count), pieces(b, start, stop, plan.width, spec.n) as piece:
            for n, columns in piece():
                whole = -(-columns // plan.lanes) * plan.lanes
                panel = self._panel(columns, whole, spec.b[1], spec.b[2])
                to = b.at(self.scratch, (n - start) * steps + k * whole, spec.sums)
                panel.call(b, b.at(source, k * spec.b[1] + n * spec.b[2], spec.dtype), to, count)

    def _pack_a(self, source: ir.Value, start: Value, stop: Value, depth: Value, steps: Value) -> None:
        b, spec, plan = self.build, self.spec, self.plan
        with self._packed_rows(spec.a[1], depth) as (k, count), pieces(b, start, stop, plan.rows, spec.m) as piece:
            for m, rows in piece():
                panel = self._panel(rows, plan.a_step, spec.a[2], spec.a[1])
                to = b.at(self._a_block(m - start, steps), k * plan.a_step, spec.sums)
                panel.call(b, b.at(source, k * spec.a[2] + m * spec.a[1], spec.dtype), to, count)

    @contextmanager
    def _packed_rows(self, step: int, depth: Value) -> Iterator[tuple[Value, Value]]:
        """Loop over the rows of k that are packed together, a few where the other axis has stride 1."""
        b = self.build
        few = self.plan.target.tuning.packed_rows if step == 1 and not self.spec.pairs else self.plan.depth
        with b.loop(0, depth, few) as k:
            yield k, b.min(depth - k, few)

    def _panel(self, columns: int, width: int, row: int, column: int) -> Panel | PairPanel:
        """How a part of A or B is packed."""
        if self.spec.pairs:
            return PairPanel(self.spec.dtype, columns, width, row, column)
        return Panel(self.spec.dtype, columns, width, row, column, self.spec.sums)

    def _a_block(self, m: Value, steps: Value) -> Any:
        """Where the rows from `m` of the block on are in packed A."""
        b, plan = self.build, self.plan
        return b.at(self._packed_a, b.quotient(m, plan.rows) * plan.a_step * steps, self.spec.sums)

    def _block(
        self, pointers: tuple[Any, Any, Any], batch: Value, k: Value, run: tuple[Value, Value],
        rows: tuple[Value, Value], columns: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """The tiles of one block: panels of columns outside, so that a panel of B stays in the first-level cache.

        If all of B fits there, rows are outside, and C is written row by row.
        """
        plan = self.plan
        sides = [(columns, plan.width, self.spec.n), (rows, plan.rows, self.spec.m)]
        (far, far_step, far_size), (near, near_step, near_size) = sides[::-1] if plan.rows_outside else sides
        with pieces(self.build, *far, far_step, far_size) as far_pieces:
            for i, far_count in far_pieces():
                with pieces(self.build, *near, near_step, near_size) as near_pieces:
                    for j, near_count in near_pieces():
                        place = ((i, far_count), (j, near_count))
                        (m, height), (n, width) = place if plan.rows_outside else place[::-1]
                        self._tile(pointers, (m, n, k), run[1], (rows[0], columns[0]), height, width)
        if self.epilogue is not None:
            with self.build.if_(k + run[0] >= self.spec.k):
                self._finish(batch, rows, columns)

    def _finish(self, batch: Value, rows: tuple[Value, Value], columns: tuple[Value, Value]) -> None:
        """Apply the epilogue to a block of C."""
        assert self.epilogue is not None
        starts, counts = (batch, rows[0], columns[0]), (1, rows[1] - rows[0], columns[1] - columns[0])
        spec, pointers = self.spec, (self.c, *self.extras)
        size = spec.n if self.plan.finishes_vectors else None
        finish(self.build, self.epilogue, spec.result, pointers, spec.c, starts, counts, size)

    def _tile(
        self, pointers: tuple[Any, Any, Any], index: tuple[Value, ...], steps: Value,
        origin: tuple[Value, Value], rows: int, columns: int,
    ) -> None:  # fmt: skip
        b, spec, plan = self.build, self.spec, self.plan
        m, n, k = index
        whole = -(-columns // plan.lanes) * plan.lanes
        along = (1, plan.a_step) if plan.pack_a else spec.a[1:]
        b_step = whole if plan.pack_b else spec.b[1]
        c_column = spec.c[2] if spec.n > 1 else 1
        stored = (None if plan.pack_a else spec.dtype, None if plan.pack_b else spec.dtype, spec.dtype)
        tile = Tile(
            spec.sums, rows, columns, *along, b_step, plan.pack_b, spec.c[1], c_column,
            stored=tuple(kind if plan.halves else None for kind in stored),  # type: ignore[arg-type]  # three
            pairs=spec.pairs, following=rows * spec.k if plan.streams else 0,
        )  # fmt: skip
        if plan.pack_a:
            a = self._a_block(m - origin[0], steps)
        else:
            a = b.at(pointers[0], m * spec.a[1] + k * spec.a[2], spec.dtype)
        if plan.pack_b:
            bb = b.at(self.scratch, (n - origin[1]) * steps, spec.sums)
        else:
            bb = b.at(pointers[1], n * spec.b[2] + k * spec.b[1], spec.dtype)
        c = b.at(pointers[2], m * spec.c[1] + n * spec.c[2], spec.result)
        tile.call(b, a, bb, c, steps, True if spec.accumulate else k > 0, short=spec.k < SHORT)
