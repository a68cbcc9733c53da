"""Matrix products with few rows or columns whose operands both run along k: dot products of vectors along k."""

from collections.abc import Sequence
from typing import Any

from fdl.compile.kernels.kernel import pieces
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value


def tile(spec: Contraction, target: Target) -> tuple[int, int]:
    """Rows and columns of C whose sums are in registers at once: at most 12 or 24, few along the shorter side."""
    most = 24 if target.vector_bits == 512 else 12
    short, long = min(spec.m, spec.n), max(spec.m, spec.n)
    few = min(short, 4 if short % 4 == 0 or short % 3 == 2 else 3)
    many = min(long, most // few, most // 3 if few > 2 else 4)
    return (many, few) if spec.m >= spec.n else (few, many)


def emit_dots(
    build: Build, spec: Contraction, operands: Sequence[Any], batch: Value, rows: tuple[Value, Value],
    columns: tuple[Value, Value],
) -> None:  # fmt: skip
    """Emit the part [rows, columns) of one product of the batch, the longer side outside: it is read once."""
    step_m, step_n = tile(spec, build.target)
    sides = [(rows, step_m, spec.m), (columns, step_n, spec.n)]
    (far, far_step, far_size), (near, near_step, near_size) = sides if spec.m >= spec.n else sides[::-1]
    with pieces(build, *far, far_step, far_size) as far_pieces:
        for i, far_count in far_pieces():
            with pieces(build, *near, near_step, near_size) as near_pieces:
                for j, near_count in near_pieces():
                    place = ((i, far_count), (j, near_count))
                    (m, height), (n, width) = place if spec.m >= spec.n else place[::-1]
                    _sums(build, spec, operands, (batch, m, n), (height, width))


def _sums(
    build: Build, spec: Contraction, operands: Sequence[Any], index: tuple[Value, Value, Value], size: tuple[int, int]
) -> None:
    """Emit the sums of one tile and store them."""
    a, b, c = operands
    batch, m, n = index
    start_a = build.at(a, batch * spec.a[0] + m * spec.a[1], spec.dtype)
    start_b = build.at(b, batch * spec.b[0] + n * spec.b[2], spec.dtype)
    for (i, j), total in _dots(build, spec, start_a, start_b, *size).items():
        where = batch * spec.c[0] + (m + i) * spec.c[1] + (n + j) * spec.c[2]
        if spec.accumulate:
            total = total + build.convert(build.load(c, spec.dtype, where), spec.sums)
        total = build.convert(total, spec.dtype)
        build.store(total, c, where)


def _dots(build: Build, spec: Contraction, a: Any, b: Any, rows: int, columns: int) -> dict[tuple[int, int], Value]:
    lanes = build.target.lanes(spec.dtype)
    whole = spec.k // lanes * lanes
    pairs = [(i, j) for i in range(rows) for j in range(columns)]
    sums = {pair: build.variable(build.constant(0, spec.sums, lanes)) for pair in pairs}

    def step(k: Any, mask: Value | None) -> None:
        def load(p: Any, stride: int) -> Value:
            return build.convert(build.load(p, spec.dtype, k + stride, lanes, mask=mask), spec.sums)

        # The shorter list stays in registers beside the sums, the other side passes through one.
        if rows < columns:
            kept = [load(a, i * spec.a[1]) for i in range(rows)]
        else:
            kept = [load(b, j * spec.b[2]) for j in range(columns)]
        for other in range(max(rows, columns)):
            passing = load(b, other * spec.b[2]) if rows < columns else load(a, other * spec.a[1])
            for i, value in enumerate(kept):
                total = sums[(i, other) if rows < columns else (other, i)]
                total.set(build.fma(value, passing, total.get()))

    with build.loop(0, whole, lanes) as k:
        step(k, None)
    if whole < spec.k:
        step(build.index(whole), build.first_lanes(spec.k - whole, lanes))
    return {pair: build.reduce("sum", total.get()) for pair, total in sums.items()}


def turn(build: Build, spec: Contraction, b: Any, to: Any) -> None:
    """Copy B, whose rows are contiguous, to columns of k elements one after the other."""
    lanes = build.target.lanes(spec.dtype)
    whole = spec.k // lanes * lanes
    with build.loop(0, whole, lanes) as k:
        for start in range(0, spec.n, lanes):
            left = min(lanes, spec.n - start)
            mask = None if left == lanes else build.first_lanes(left, lanes)
            rows = [build.load(b, spec.dtype, (k + i) * spec.b[1] + start, lanes, mask=mask) for i in range(lanes)]
            for j, column in enumerate(transposed(build, rows)[:left]):
                build.store(column, to, k + (start + j) * spec.k)
    with build.loop(whole, spec.k) as k:
        for j in range(spec.n):
            build.store(build.load(b, spec.dtype, k * spec.b[1] + j), to, k + j * spec.k)
