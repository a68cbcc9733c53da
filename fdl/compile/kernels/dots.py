"""Matrix products with few rows or columns whose operands both run along k: dot products of vectors along k."""

from typing import TYPE_CHECKING, Any

from fdl.compile.build import Build
from fdl.compile.kernels.kernel import Epilogue
from fdl.compile.values import Value

if TYPE_CHECKING:
    from fdl.compile.kernels.contract import Contraction


def emit_dots(build: Build, spec: "Contraction", epilogue: Epilogue | None, operands: list[Any]) -> None:
    """Fill a contraction kernel whose units of work are the batch."""
    a, b, c, *extras = operands
    tall = spec.m >= spec.n
    rows, columns = (4 if tall else min(spec.m, 4)), (min(spec.n, 4) if tall else 4)
    if rows * columns > 8:
        rows, columns = (2, columns) if tall else (rows, 2)
    rows, columns = min(rows, spec.m), min(columns, spec.n)
    with build.loop(build.argument(-2, "int64"), build.argument(-1, "int64")) as batch:
        for m0, m1, height in _cuts(spec.m, rows):
            with build.loop(m0, m1, height) as m:
                for n0, n1, width in _cuts(spec.n, columns):
                    with build.loop(n0, n1, width) as n:
                        starts = [
                            build.at(p, batch * s[0] + x * s[y], spec.dtype)
                            for p, s, x, y in ((a, spec.a, m, 1), (b, spec.b, n, 2))
                        ]
                        sums = _dots(build, spec, starts[0], starts[1], height, width)
                        for (i, j), total in sums.items():
                            where = batch * spec.c[0] + (m + i) * spec.c[1] + (n + j) * spec.c[2]
                            if spec.accumulate:
                                total = total + build.load(c, spec.dtype, where)
                            if epilogue is not None:
                                total = epilogue(build, total, (batch, m + i, n + j), extras, None)
                            build.store(total, c, where)
    build.ret()


def _cuts(size: int, step: int) -> list[tuple[int, int, int]]:
    """[start, stop, step] of the whole pieces and of the rest."""
    whole = size // step * step
    cuts = [(0, whole, step)] if whole else []
    return [*cuts, (whole, size, size - whole)] if size > whole else cuts


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
