"""Matrix products with few rows or columns whose operands both run along k: dot products of vectors along k."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fdl.compile.build import Build
from fdl.compile.kernels.kernel import Epilogue, pieces
from fdl.compile.values import Value

if TYPE_CHECKING:
    from fdl.compile.kernels.contract import Contraction


def tile(spec: "Contraction") -> tuple[int, int]:
    """Rows and columns of C whose sums are in registers at once, more of them along the longer side."""
    rows, columns = (4, 2) if spec.m >= spec.n else (2, 4)
    return min(rows, spec.m), min(columns, spec.n)


def emit_dots(
    build: Build, spec: "Contraction", operands: Sequence[Any], epilogue: Epilogue | None, batch: Value,
    rows: tuple[Value, Value], columns: tuple[Value, Value],
) -> None:  # fmt: skip
    """Emit the part [rows, columns) of one product of the batch."""
    a, b, c, *extras = operands
    step_m, step_n = tile(spec)
    with pieces(build, *rows, step_m, spec.m) as row_pieces:
        for m, height in row_pieces():
            with pieces(build, *columns, step_n, spec.n) as column_pieces:
                for n, width in column_pieces():
                    start_a = build.at(a, batch * spec.a[0] + m * spec.a[1], spec.dtype)
                    start_b = build.at(b, batch * spec.b[0] + n * spec.b[2], spec.dtype)
                    for (i, j), total in _dots(build, spec, start_a, start_b, height, width).items():
                        where = batch * spec.c[0] + (m + i) * spec.c[1] + (n + j) * spec.c[2]
                        if spec.accumulate:
                            total = total + build.load(c, spec.dtype, where)
                        if epilogue is not None:
                            total = epilogue(build, total, (batch, m + i, n + j), extras, None)
                        build.store(total, c, where)


def _dots(build: Build, spec: "Contraction", a: Any, b: Any, rows: int, columns: int) -> dict[tuple[int, int], Value]:
    lanes = build.target.lanes(spec.dtype)
    whole = spec.k // lanes * lanes
    pairs = [(i, j) for i in range(rows) for j in range(columns)]
    sums = {pair: build.variable(build.constant(0, spec.dtype, lanes)) for pair in pairs}

    def step(k: Any, mask: Value | None) -> None:
        x = [build.load(a, spec.dtype, k + i * spec.a[1], lanes, mask=mask) for i in range(rows)]
        y = [build.load(b, spec.dtype, k + j * spec.b[2], lanes, mask=mask) for j in range(columns)]
        for (i, j), total in sums.items():
            total.set(build.fma(x[i], y[j], total.get()))

    with build.loop(0, whole, lanes) as k:
        step(k, None)
    if whole < spec.k:
        step(build.index(whole), build.first_lanes(spec.k - whole, lanes))
    return {pair: build.reduce("sum", total.get()) for pair, total in sums.items()}
