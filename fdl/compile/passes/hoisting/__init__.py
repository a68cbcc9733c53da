"""Work that a loop would repeat, or do in small parts, moved out of it; and less that one loop keeps for another."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from fdl.compile.passes.hoisting.accumulators import move_accumulators
from fdl.compile.passes.hoisting.invariants import move_invariants, without_invariants
from fdl.compile.passes.hoisting.prepacking import prepack
from fdl.compile.passes.hoisting.products import distributed
from fdl.compile.passes.hoisting.residuals import share
from fdl.compile.passes.hoisting.scan import MutableScan
from fdl.compile.passes.simplify import simplify
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.program import Atom, Equation, Program
from fdl.core.rewrite import eliminate_dead


def hoist(program: Program) -> Program:
    """A simplified Program whose loops, on all levels, do only what has to be done in every step."""
    program = _with_fewer_stacks(_each_body(program))
    equations: list[Equation] = []
    constants = list(program.constants)
    needed = set(_reads(program))
    for equation in program.equations:
        match equation.operation:
            case Scan() as operation:
                for loop in _loops(equation, operation, needed):
                    equations += loop.equations_now()
                    constants += loop.before.constants + loop.after.constants
            case While() as operation:
                found, more = without_invariants(equation, operation)
                equations += found
                constants += more
            case _:
                equations.append(equation)
    return Program(program.inputs, tuple(equations), program.outputs, tuple(constants))


def _each_body(program: Program) -> Program:
    """`program` with its loops' bodies done."""
    equations = []
    for equation in program.equations:
        operation = equation.operation
        if isinstance(operation, (Scan, While)):
            body = simplify(hoist(simplify(operation.body)))
            equation = replace(equation, operation=replace(operation, body=body))
        equations.append(equation)
    return Program(program.inputs, tuple(equations), program.outputs, program.constants)


def _reads(program: Program) -> Counter[Atom]:
    """How often equations and results read each value."""
    return Counter[Atom]([a for e in program.equations for a in e.inputs] + list(program.outputs))


def _with_fewer_stacks(program: Program) -> Program:
    """`program` whose scans stack little for others that read it."""
    loops = {e: MutableScan(e, e.operation) for e in program.equations if isinstance(e.operation, Scan)}
    if len(loops) < 2:
        return program
    reads = _reads(program)
    constants = list(program.constants)
    for loop in loops.values():
        loop.prune(reads)
        constants += loop.before.constants
    scans = list(loops.values())
    writers: dict[Atom, int] = {v: number for number, scan in enumerate(loops) for v in scan.outputs}
    plain = {*program.outputs, *(a for e in program.equations if e not in loops for a in e.inputs)}
    for reader in scans:
        for number in sorted({writers[r] for r in reader.scanned.values() if r in writers}):
            # Counted anew: what is shared with one loop may make it read the stacks of others.
            counts = Counter(a for loop in scans for a in loop.reads())
            elsewhere = plain | {a for a in reader.scanned.values() if counts[a] > 1}
            share(scans[number], reader, elsewhere)
    equations: list[Equation] = []
    for equation in program.equations:
        equations += loops[equation].equations_now() if equation in loops else [equation]
    shared = Program(program.inputs, tuple(equations), program.outputs, tuple(constants))
    return _each_body(eliminate_dead(shared))


def _loops(equation: Equation, operation: Scan, needed: Collection[Atom]) -> list[MutableScan]:
    """What a scan is replaced by."""
    loop = MutableScan(equation, operation)
    loop.prune(needed)
    move_invariants(loop)
    if loop.length < 2 or any(e.operation.effect for e in loop.equations):
        return [loop]
    move_accumulators(loop)
    parts = distributed(loop)
    for part in parts:
        prepack(part)
    return parts
