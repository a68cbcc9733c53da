"""A scan that does several steps in one."""

from collections.abc import Sequence
from typing import Any

from fdl.control.scan import Scan
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.ops.shape import reshape
from fdl.ops.slicing import concatenate, slice_


def scan_unrolled(scan: Scan, factor: int, args: Sequence[Any]) -> list[Any]:
    """The results of ``scan(*args)`` by a loop that does `factor` steps at a time, and one that does those left over.

    Args:
        scan: the operation.
        factor: how many steps to do at a time; no loop is left if it is the length.
        args: constants, first carry, scanned operands.
    """
    factor = min(factor, scan.length)
    if factor <= 1:
        return list(scan(*args))
    constants, carry, scanned = map(list, scan.divide(args))
    whole = scan.length // factor * factor
    parts: list[list[Any]] = [[], []]
    # The steps left over are the last slices, which come first in reverse.
    for number in (1, 0) if scan.reverse else (0, 1):
        start, stop = ((0, whole), (whole, scan.length))[number]
        if start == stop:
            continue
        slices = [_rows(x, start, stop) for x in scanned]
        at_once = factor if number == 0 else stop - start
        outs = _in_groups(scan, at_once, stop - start, constants, carry, slices)
        carry, parts[number] = outs[: scan.carries], outs[scan.carries :]
    stacks = [[s for s in pair if s is not None] for pair in zip(*filter(None, parts), strict=True)]
    return [*carry, *(s[0] if len(s) == 1 else concatenate(s, 0) for s in stacks)]


def _in_groups(
    scan: Scan, factor: int, length: int, constants: list[Any], carry: list[Any], scanned: list[Any]
) -> list[Any]:
    """The results of `length` steps, a multiple of `factor`."""
    if factor == length:
        return _steps(scan, factor, [*constants, *carry, *scanned])
    grouped = [reshape(x, (length // factor, factor, *x.type.shape[1:])) for x in scanned]
    types = [
        *scan.body.input_types[: len(constants) + len(carry)],
        *(g.type.with_shape(g.type.shape[1:]) for g in grouped),
    ]
    body: Program = trace_program(lambda *values: _steps(scan, factor, values), types)[0]
    loop = Scan(body, length // factor, scan.reverse, scan.constants, scan.carries)
    outs = loop(*constants, *carry, *grouped)
    stacks = [reshape(s, (length, *s.type.shape[2:])) for s in outs[scan.carries :]]
    return [*outs[: scan.carries], *stacks]


def _steps(scan: Scan, factor: int, values: Sequence[Any]) -> list[Any]:
    """The carry after `factor` steps on values of the body, where operands are groups of slices; and stacks."""
    constants, carry, groups = scan.divide(values)
    rows: list[Any] = [None] * factor
    for n in range(factor)[:: -1 if scan.reverse else 1]:
        slices = [reshape(_rows(g, n, n + 1), g.type.shape[1:]) for g in groups]
        outs = apply_program(scan.body, [*constants, *carry, *slices])
        carry, rows[n] = outs[: scan.carries], outs[scan.carries :]
    stacks = [concatenate([reshape(r, (1, *r.type.shape)) for r in stack], 0) for stack in zip(*rows, strict=True)]
    return [*carry, *stacks]


def _rows(x: Any, start: int, stop: int) -> Any:
    """Slices [start, stop) along the leading axis."""
    shape = x.type.shape
    if (start, stop) == (0, shape[0]):
        return x
    return slice_(x, (start, *[0] * (len(shape) - 1)), (stop, *shape[1:]))
