"""A scan that does several steps in one, unrolled or as a checkpoint."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from fdl.control.checkpoint import Remat
from fdl.control.scan import Scan
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.trace import lift, trace_program
from fdl.ops.shape import reshape
from fdl.ops.slicing import concatenate, slice_

#: ``group(scan, number of steps, operands)`` does some steps at once; scanned operands are groups of slices.
Group = Callable[[Scan, int, Sequence[Any]], list[Any]]


def scan_unrolled(scan: Scan, factor: int, args: Sequence[Any]) -> list[Any]:
    """The results of ``scan(*args)`` by a loop that does `factor` steps at a time, and one that does those left over.

    Args:
        scan: the operation.
        factor: how many steps to do at a time; no loop is left if it is the length.
        args: constants, first carry, scanned operands.
    """
    factor = min(factor, scan.length)
    return list(scan(*args)) if factor <= 1 else _scan_in_groups(scan, factor, args, _steps)


def scan_checkpointed(scan: Scan, levels: int, args: Sequence[Any]) -> list[Any]:
    """The results of ``scan(*args)``, in whose backward pass most carries are computed again.

    The steps are cut into blocks, of which the first carries are kept; those inside of a block are computed again, when
    it is the block's turn, and may be cut into blocks themselves. Of n steps about ``(levels + 1) * n ** (1 / (levels +
    1))`` carries are kept at a time, and the body runs ``levels + 1`` times more often.

    Args:
        scan: the operation.
        levels: how often blocks are cut.
        args: constants, first carry, scanned operands.

    Source: Griewank and Walther, "Algorithm 799: Revolve", 2000; Chen et al., "Training Deep Nets with Sublinear Memory
    Cost", 2016.
    """
    if levels < 1 or scan.length < 4:
        return list(scan(*args))
    return _scan_in_groups(scan, ceil(scan.length ** (levels / (levels + 1))), args, _checkpoint(levels - 1))


def _checkpoint(levels: int) -> Group:
    def group(scan: Scan, factor: int, values: Sequence[Any]) -> list[Any]:
        inner = Scan(scan.body, factor, scan.reverse, scan.constants, scan.carries)
        types = [lift(v).type for v in values]
        program = trace_program(lambda *rows: scan_checkpointed(inner, levels, rows), types)[0]
        return list(Remat(program, "scan")(*values))

    return group


def _scan_in_groups(scan: Scan, factor: int, args: Sequence[Any], group: Group) -> list[Any]:
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
        outs = _in_groups(scan, at_once, stop - start, constants, carry, slices, group)
        carry, parts[number] = outs[: scan.carries], outs[scan.carries :]
    stacks = [[s for s in pair if s is not None] for pair in zip(*filter(None, parts), strict=True)]
    return [*carry, *(s[0] if len(s) == 1 else concatenate(s, 0) for s in stacks)]


def _in_groups(
    scan: Scan,
    factor: int,
    length: int,
    constants: list[Any],
    carry: list[Any],
    scanned: list[Any],
    group: Group,
) -> list[Any]:
    """The results of `length` steps, a multiple of `factor`."""
    if factor == length:
        return group(scan, factor, [*constants, *carry, *scanned])
    grouped = [reshape(x, (length // factor, factor, *x.type.shape[1:])) for x in scanned]
    types = [
        *scan.body.input_types[: len(constants) + len(carry)],
        *(g.type.with_shape(g.type.shape[1:]) for g in grouped),
    ]
    body: Program = trace_program(lambda *values: group(scan, factor, values), types)[0]
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
