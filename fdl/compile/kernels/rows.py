"""Rows of tables: numbering those that are named, and making up for steps that they missed."""

import functools
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.copies import copy_operand
from fdl.compile.kernels.kernel import call_function
from fdl.compile.kernels.zero_invariance import is_zero_invariant
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.compile.lowerings.elementwise import is_lowerable
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering
from fdl.core.program import Literal, Program
from fdl.dtypes import int32, int64, is_inexact
from fdl.sparse.distinct import Distinct
from fdl.sparse.replay import Replay

#: 2**64 over the golden ratio: spreads neighbouring numbers evenly (Knuth, "The Art of Computer Programming", 6.4).
_SPREAD = 0x9E3779B97F4A7C15


class DistinctLowering(Lowering[Distinct]):
    """A hash table of places of first appearance, probed linearly."""

    operations = (Distinct,)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        (ids,), (out,) = step.views, step.outputs
        (*lines, count), dtype = ids.type.shape, ids.type.dtype
        bits = max(4, (2 * count - 1).bit_length())

        def fill(build: Build, source: ir.Value, target: ir.Value, table: ir.Value) -> None:
            with build.loop(0, prod(lines)) as line:
                build.clear(table, 4 << bits)
                x, y = build.at(source, line * count, dtype), build.at(target, line * count, int32)
                found = build.variable(build.constant(0, int32))
                with build.loop(0, count) as i:
                    number, is_new = _numbered(build, x, y, table, i, dtype, bits, found)
                    build.store(number, y, i)
                    found.set(build.add(found.get(), build.convert(is_new, int32)))

        scratch = emitter.emission.scratch_for(4 << bits)
        call_function(emitter, "distinct", ids.type, [emitter.first(ids), emitter.pointer(out), scratch], fill)


def _numbered(
    build: Build, ids: ir.Value, numbers: Any, table: ir.Value, i: Value, dtype: np.dtype, bits: int, found: Any
) -> tuple[Value, Value]:
    """The number of entry i, and whether it is a new one, which is then put into the table."""
    entry = build.load(ids, dtype, i)
    key = build.mul(build.convert(entry, int64), build.constant(_SPREAD - 2**64, int64))
    place = build.variable(build.shift_right_logical(key, build.constant(64 - bits, int64)))

    def first() -> Value:
        """One more than the place of the entry that is here, 0 if there is none."""
        return build.load(table, int32, place.get())

    def before(one_more: Value) -> Value:
        return build.max(build.convert(one_more, int64) - 1, 0)

    with build.while_() as loop:
        here = first()
        other = build.ne(build.load(ids, dtype, before(here)), entry)
        loop.proceed_if(build.and_(build.ne(here, build.constant(0, int32)), other))
        place.set(build.and_(place.get() + 1, build.constant((1 << bits) - 1, int64)))
    here = first()
    is_new = build.eq(here, build.constant(0, int32))
    with build.if_(is_new):
        build.store(build.convert(i + 1, int32), table, place.get())
    return build.select(is_new, found.get(), build.load(numbers, int32, before(here))), is_new


class ReplayLowering(Lowering[Replay]):
    """Each row that is named and late runs through its missed steps with its elements in registers."""

    operations = (Replay,)
    parallel = True

    def overwritten(self, operation: Replay, result: int, operands: int) -> int:
        return operation.overwritten(result, operands)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, emission, team = self.operation(step), emitter.emission, emitter.emission.team
        rows, seen, count, numbers, tables = operation.divide(step.views)
        body = emitter.prepared(operation.body)
        if not all(_is_elementwise(e) for e in body.equations):
            emitter.host(step)
            return
        replayer = _Replayer(body, rows.type, [v.type for v in numbers], [v.type for v in tables])
        outs = [emitter.pointer(v) for v in step.outputs]
        for view, out in zip([seen, *tables], step.outputs, strict=True):
            copy_operand(emitter, view, out)

        def make() -> Any:
            name = emission.module.get_unique_name("replay")
            function = new_function(emission.module, name, [POINTER] * (3 + len(numbers) + len(tables)) + [I64, I64])
            function.attributes.add("noinline")
            replayer.emit(Build(emission.module, emission.target, function))
            return function

        function = emission.shared(f"replay {body.digest.hex()} {[v.type for v in step.views]}", make)
        pointers = [emitter.first(rows), outs[0], emitter.first(count), *map(emitter.first, numbers), *outs[1:]]
        emitter.build.call_function(function, [*pointers, *team.share(emission.target.tuning.place_classes)])


def _is_elementwise(equation: Any) -> bool:
    operation = equation.operation
    return operation.lowering_kind == "elementwise" and is_lowerable(
        operation, tuple(a.type.dtype for a in equation.inputs)
    )


class _Replayer:
    """Emits the function of a replay: ``(rows, seen, count, numbers..., tables..., first part, last part)``."""

    def __init__(self, body: Program, rows: Any, numbers: Sequence[Any], tables: Sequence[Any]) -> None:
        self.body, self.rows, self.numbers, self.tables = body, rows, numbers, tables
        self.length = prod(tables[0].shape[1:])
        self.kept = numbers[0].shape[0] if numbers else None
        #: Whether nothing happens to elements as long as all states before the last table are zero.
        self.zero_invariant = is_zero_invariant(body, len(tables))

    def emit(self, build: Build) -> None:
        """The whole function."""
        rows, seen, count, *rest = build.function.args[:-2]
        begin, end = build.argument(-2, int64), build.argument(-1, int64)
        self.of_steps, self.of_tables = rest[: len(self.numbers)], rest[len(self.numbers) :]
        extent = self.tables[0].shape[0]
        now = build.load(count, int32)
        with build.loop(0, self.rows.shape[0]) as i:
            row = build.convert(build.load(rows, self.rows.dtype, i), int64)
            self.fetch(build, rows, seen, i)
            part = build.and_(row, build.constant(build.target.tuning.place_classes - 1, int64))
            inside = build.and_(build.ge(row, 0), build.lt(row, extent))
            mine = build.and_(build.ge(part, begin), build.lt(part, end))
            with build.if_(build.and_(inside, mine)):
                first = build.load(seen, int32, row)
                with build.if_(build.lt(first, now)):
                    build.store(now, seen, row)
                    self.late(build, row, build.convert(first, int64), build.convert(now, int64))
        build.ret()

    def fetch(self, build: Build, rows: Any, seen: ir.Value, i: Value) -> None:
        """Ask for the memory of a later row."""
        tuning, extent = build.target.tuning, self.tables[0].shape[0]
        ahead = build.min(i + tuning.rows_ahead, self.rows.shape[0] - 1)
        row = build.convert(build.load(rows, self.rows.dtype, ahead), int64)
        row = build.min(build.max(row, 0), extent - 1)
        build.prefetch(seen, int32, row)
        for table, type in zip(self.of_tables, self.tables, strict=True):
            most = tuning.row_fetched_bytes // type.dtype.itemsize
            for place in range(0, min(self.length, most), 64 // type.dtype.itemsize):
                build.prefetch(table, type.dtype, row * self.length + place)

    def late(self, build: Build, row: Value, first: Value, now: Value) -> None:
        """The steps from `first` to `now` for a row."""
        begins = [build.at(t, row * self.length, x.dtype) for t, x in zip(self.of_tables, self.tables, strict=True)]
        if self.kept is None:
            self.steps(build, begins, first, now)
            return
        with build.if_else(build.gt(now - first, self.kept)) as (then, otherwise):
            with then:
                self.forget(build, begins)
            with otherwise:
                self.steps(build, begins, first, now)

    def forget(self, build: Build, begins: Sequence[ir.Value]) -> None:
        """NaN all over the row."""
        for begin, table in zip(begins, self.tables, strict=True):
            if is_inexact(table.dtype):
                with build.loop(0, self.length) as j:
                    build.store(build.constant(np.nan, table.dtype), begin, j)

    def spans(self, build: Build) -> Iterator[tuple[Value, int, int, Value | None]]:
        """The row in pieces, as loops: (first element, lanes, vectors, mask)."""
        types = [v.type.dtype for e in self.body.equations for v in e.outputs] + [t.dtype for t in self.tables]
        lanes = min(build.target.lanes(d) for d in types if d.kind != "b")
        place = 0
        for step in (lanes * build.target.tuning.row_vectors, lanes):
            stop = place + (self.length - place) // step * step
            if stop > place:
                with build.loop(place, stop, step) as j:
                    yield j, lanes, step // lanes, None
            place = stop
        if place < self.length:
            yield build.index(place), lanes, 1, build.first_lanes(self.length - place, lanes)

    def steps(self, build: Build, begins: Sequence[ir.Value], first: Value, now: Value) -> None:
        """Loads, all steps, and stores for one piece of the row after the other."""
        for j, lanes, vectors, mask in self.spans(build):
            places = [
                (b, t.dtype, j + v * lanes) for v in range(vectors) for b, t in zip(begins, self.tables, strict=True)
            ]
            held = [build.variable(build.load(b, d, at, lanes, mask=mask)) for b, d, at in places]
            with build.loop(self.start(build, held, first, now), now) as step:
                numbers = self.numbers_of(build, step, lanes)
                for v in range(vectors):
                    mine = held[v * len(begins) : (v + 1) * len(begins)]
                    made = self.run(build, [*(x.get() for x in mine), *numbers], lanes)
                    for variable, value in zip(mine, made, strict=True):
                        variable.set(value)
            for variable, (b, _, at) in zip(held, places, strict=True):
                build.store(variable.get(), b, at, mask=mask)

    def start(self, build: Build, held: Sequence[Any], first: Value, now: Value) -> Value:
        """The first step that may change what is held."""
        if not self.zero_invariant:
            return first
        count = len(self.tables)
        states = [x.get() for n, x in enumerate(held) if n % count < count - 1]
        if not states:
            return now
        moves = [build.reduce("or", build.ne(x, build.constant(0, x.dtype, x.lanes))) for x in states]
        return build.select(functools.reduce(build.or_, moves), first, now)

    def numbers_of(self, build: Build, step: Value, lanes: int) -> list[Value]:
        """What the body needs of a step, in every lane."""
        if self.kept is None:
            return []
        place = step - build.quotient(step, self.kept) * self.kept
        pairs = zip(self.of_steps, self.numbers, strict=True)
        return [build.broadcast(build.load(p, t.dtype, place), lanes) for p, t in pairs]

    def run(self, build: Build, values: Sequence[Value], lanes: int) -> list[Value]:
        """The body on vectors."""
        known = dict(zip(self.body.inputs, values, strict=True))

        def read(atom: Any) -> Value:
            if isinstance(atom, Literal):
                return build.constant(atom.value, atom.value.dtype, lanes)
            return known[atom]

        for equation in self.body.equations:
            known[equation.outputs[0]] = equation.operation.lower(build, *map(read, equation.inputs))
        return [read(a) for a in self.body.outputs]
