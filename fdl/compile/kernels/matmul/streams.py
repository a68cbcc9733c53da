"""Matrix products with few rows of A: rows of B stream by once while C stays in the first-level cache."""

from collections.abc import Sequence
from typing import Any

from fdl.compile.kernels.kernel import pieces
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value

#: Rows of B that meet one visit of C, by the rows of A.
_TOGETHER = {1: 8, 2: 4, 3: 4, 4: 2}
#: Vectors a turn.
_VECTORS = 2


def fits(spec: Contraction, lanes: int) -> bool:
    """Whether this algorithm can serve `spec` and is the right one."""
    if spec.sums != spec.dtype:
        return False
    return spec.m in _TOGETHER and spec.b[2] == spec.c[2] == 1 and spec.n >= 16 * lanes and spec.k > 1


def width(lanes: int) -> int:
    """Columns of a turn; parts of the work are cut between turns."""
    return _VECTORS * lanes


def emit_streams(
    build: Build, spec: Contraction, operands: Sequence[Any], batch: Value, columns: tuple[Value, Value]
) -> None:
    """Emit the part `columns` of one product of the batch."""
    moves = (spec.a[0], spec.b[0], spec.c[0])
    a, b, c = (build.at(p, batch * s, spec.dtype) for p, s in zip(operands, moves, strict=True))
    together = _TOGETHER[spec.m]
    last = spec.k // together * together
    block = build.target.tuning.stream_elements >> (spec.m - 1).bit_length()
    with build.loop(*columns, block) as start:
        part = start, build.min(start + block, columns[1])
        with build.loop(0, last, together) as k:
            _visit(build, spec, (a, b, c), part, k, together)
        if last < spec.k:
            _visit(build, spec, (a, b, c), part, build.index(last), spec.k - last)


def _visit(
    build: Build, spec: Contraction, operands: tuple[Any, Any, Any], columns: tuple[Value, Value], k: Value,
    count: int,
) -> None:  # fmt: skip
    """Add `count` rows of B from `k` on, times their elements of A, to C."""
    (a, b, c), lanes, dtype = operands, build.target.lanes(spec.dtype), spec.dtype
    factors = [
        [build.broadcast(build.load(a, dtype, i * spec.a[1] + (k + j) * spec.a[2]), lanes) for j in range(count)]
        for i in range(spec.m)
    ]
    again = build.broadcast(build.or_(k > 0, build.constant(spec.accumulate, "bool")), lanes)
    with pieces(build, *columns, width(lanes), spec.n) as piece:
        for n, some in piece():
            for start in range(0, some, lanes):
                mask = None if start + lanes <= some else build.first_lanes(some - start, lanes)
                read = [build.load(b, dtype, (k + j) * spec.b[1] + n + start, lanes, mask=mask) for j in range(count)]
                for i, own in enumerate(factors):
                    where = n + (i * spec.c[1] + start)
                    total = build.select(again, build.load(c, dtype, where, lanes, mask=mask), 0)
                    for factor, row in zip(own, read, strict=True):
                        total = build.fma(factor, row, total)
                    build.store(total, c, where, mask=mask)
