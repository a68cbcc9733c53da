"""Rows of tables: numbering those that are named, making up for steps that they missed, and updating them."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.copies import copy_operand
from fdl.compile.kernels.kernel import call_divided, call_function
from fdl.compile.kernels.zero_invariance import is_zero_invariant
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.elementwise import is_lowerable
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering
from fdl.core.program import Literal, Program
from fdl.dtypes import int32, int64, is_inexact
from fdl.sparse.distinct import Distinct
from fdl.sparse.replay import Replay
from fdl.sparse.update import UpdateRows

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
        operation = self.operation(step)
        rows, seen, count, numbers, tables = operation.divide(step.views)
        body = emitter.prepared(operation.body)
        if not _is_elementwise(body):
            emitter.host(step)
            return
        replayer = _Replayer(body, rows.type, [v.type for v in numbers], [v.type for v in tables])
        outs = [emitter.pointer(v) for v in step.outputs]
        for view, out in zip([seen, *tables], step.outputs, strict=True):
            copy_operand(emitter, view, out)

        key = (body.digest.hex(), [v.type for v in step.views])
        pointers = [emitter.first(rows), outs[0], emitter.first(count), *map(emitter.first, numbers), *outs[1:]]
        call_divided(emitter, "replay", key, pointers, replayer.emit)


class UpdateRowsLowering(Lowering[UpdateRows]):
    """Each row that is named is read, computed and written piece by piece."""

    operations = (UpdateRows,)
    parallel = True

    def overwritten(self, operation: UpdateRows, result: int, operands: int) -> int:
        return operation.overwritten(result, operands)

    def bytes(self, operation: UpdateRows, operands: Sequence[Any], results: Sequence[Any]) -> int:
        rows, numbers, arrays, tables = operation.divide(operands)
        of_tables = sum(2 * rows.size * prod(t.shape[1:]) * t.dtype.itemsize for t in tables)
        return of_tables + sum(map(nbytes, (rows, *numbers, *arrays, *results[operation.tables :])))

    def flops(self, operation: UpdateRows, operands: Sequence[Any], results: Sequence[Any]) -> int:
        elements = operation.divide(operands)[2][0].size
        return elements * sum(len(e.outputs) for e in operation.body.equations if e.outputs[0].type.dtype.kind == "f")

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation = self.operation(step)
        rows, numbers, arrays, tables = operation.divide(step.views)
        body = emitter.prepared(operation.body)
        if not _is_elementwise(body):
            emitter.host(step)
            return
        updater = _Updater(body, rows.type, *([v.type for v in views] for views in (numbers, arrays, tables)))
        outs = [emitter.pointer(v) for v in step.outputs]
        for view, out in zip(tables, step.outputs, strict=False):
            copy_operand(emitter, view, out)

        key = (body.digest.hex(), [v.type for v in step.views])
        pointers = [*map(emitter.first, (rows, *numbers, *arrays)), *outs]
        call_divided(emitter, "update_rows", key, pointers, updater.emit)


def _is_elementwise(body: Program) -> bool:
    """Whether there is code for a Program of scalars on vectors."""
    return all(
        e.operation.lowering_kind == "elementwise" and is_lowerable(e.operation, tuple(a.type.dtype for a in e.inputs))
        for e in body.equations
    )


class _RowLoop:
    """Code that takes the rows that are named one after the other, each in pieces of some vectors."""

    def __init__(self, body: Program, rows: Any, tables: Sequence[Any]) -> None:
        self.body, self.rows, self.tables = body, rows, tables
        self.length, self.extent = prod(tables[0].shape[1:]), tables[0].shape[0]

    @contextmanager
    def named(
        self, build: Build, team: Team, rows: ir.Value, fetched: Sequence[tuple[ir.Value, np.dtype, int]]
    ) -> Iterator[tuple[Value, Value, Value, Value]]:
        """Loop over the rows: (place among those that are named, number, whether it lies in the table, whether it is of
        the part of this thread); memory of later ones is fetched."""
        begin, end = team.share(build.target.tuning.place_classes)
        with build.loop(0, self.rows.shape[0]) as i:
            row = build.convert(build.load(rows, self.rows.dtype, i), int64)
            self.fetch(build, rows, i, fetched)
            part = build.and_(row, build.constant(build.target.tuning.place_classes - 1, int64))
            inside = build.and_(build.ge(row, 0), build.lt(row, self.extent))
            yield i, row, inside, build.and_(build.ge(part, begin), build.lt(part, end))

    def fetch(self, build: Build, rows: Any, i: Value, parts: Sequence[tuple[ir.Value, np.dtype, int]]) -> None:
        """Ask for the memory of a later row, of parts given as (pointer, dtype, elements of a row)."""
        tuning = build.target.tuning
        ahead = build.min(i + tuning.rows_ahead, self.rows.shape[0] - 1)
        row = build.convert(build.load(rows, self.rows.dtype, ahead), int64)
        row = build.min(build.max(row, 0), self.extent - 1)
        for pointer, dtype, length in parts:
            most = tuning.row_fetched_bytes // dtype.itemsize
            for place in range(0, min(length, most), 64 // dtype.itemsize):
                build.prefetch(pointer, dtype, row * length + place)

    def of_tables(self, pointers: Sequence[ir.Value]) -> list[tuple[ir.Value, np.dtype, int]]:
        """What `fetch` wants to know of the tables."""
        return [(p, t.dtype, self.length) for p, t in zip(pointers, self.tables, strict=True)]

    def begins(self, build: Build, pointers: Sequence[ir.Value], row: Value) -> list[ir.Value]:
        """Where a row begins in each table."""
        return [build.at(p, row * self.length, t.dtype) for p, t in zip(pointers, self.tables, strict=True)]

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


class _Replayer(_RowLoop):
    """Emits the function of a replay: ``(rows, seen, count, numbers..., tables...)``."""

    def __init__(self, body: Program, rows: Any, numbers: Sequence[Any], tables: Sequence[Any]) -> None:
        super().__init__(body, rows, tables)
        self.numbers = numbers
        self.kept = numbers[0].shape[0] if numbers else None
        #: Whether nothing happens to elements as long as all states before the last table are zero.
        self.zero_invariant = is_zero_invariant(body, len(tables))

    def emit(self, build: Build, team: Team, rows: ir.Value, seen: ir.Value, count: ir.Value, *rest: ir.Value) -> None:
        """The whole function."""
        self.of_steps, pointers = rest[: len(self.numbers)], rest[len(self.numbers) :]
        now = build.load(count, int32)
        fetched = [(seen, int32, 1), *self.of_tables(pointers)]
        with self.named(build, team, rows, fetched) as (_, row, inside, mine), build.if_(build.and_(inside, mine)):
            first = build.load(seen, int32, row)
            with build.if_(build.lt(first, now)):
                build.store(now, seen, row)
                begins = self.begins(build, pointers, row)
                self.late(build, begins, build.convert(first, int64), build.convert(now, int64))

    def late(self, build: Build, begins: Sequence[ir.Value], first: Value, now: Value) -> None:
        """The steps from `first` to `now` for a row."""
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


class _Updater(_RowLoop):
    """Emits the function of an update: ``(rows, numbers..., arrays..., tables..., others...)``; others are the results
    that are no tables."""

    def __init__(
        self, body: Program, rows: Any, numbers: Sequence[Any], arrays: Sequence[Any], tables: Sequence[Any]
    ) -> None:
        super().__init__(body, rows, tables)
        self.numbers, self.arrays = numbers, arrays
        self.others = [a.type.dtype for a in body.outputs[len(tables) :]]

    def emit(self, build: Build, team: Team, rows: ir.Value, *rest: ir.Value) -> None:
        """The whole function."""
        pointers = iter(rest)
        numbers, arrays, tables = (
            [next(pointers) for _ in types] for types in (self.numbers, self.arrays, self.tables)
        )
        others = list(pointers)
        with self.named(build, team, rows, self.of_tables(tables)) as (i, row, inside, mine), build.if_(mine):
            given = [build.at(p, i * self.length, t.dtype) for p, t in zip(arrays, self.arrays, strict=True)]
            made = [build.at(p, i * self.length, d) for p, d in zip(others, self.others, strict=True)]
            with build.if_else(inside) as (then, otherwise):
                with then:
                    self.update(build, i, self.begins(build, tables, row), given, made, numbers)
                with otherwise:
                    for place, dtype in zip(made, self.others, strict=True):
                        build.clear(place, self.length * dtype.itemsize)

    def update(
        self, build: Build, i: Value, begins: Sequence[ir.Value], given: Sequence[ir.Value], made: Sequence[ir.Value],
        numbers: Sequence[ir.Value],
    ) -> None:  # fmt: skip
        """The row with a number, whose parts of tables, arrays and other results begin at these places."""
        parts = [*zip(begins, self.tables, strict=True), *zip(given, self.arrays, strict=True)]
        held = [build.load(p, t.dtype, i if t.shape else 0) for p, t in zip(numbers, self.numbers, strict=True)]
        for j, lanes, vectors, mask in self.spans(build):
            known = [build.broadcast(x, lanes) for x in held]
            for v in range(vectors):
                at = j + v * lanes
                values = [build.load(p, t.dtype, at, lanes, mask=mask) for p, t in parts]
                for value, place in zip(self.run(build, [*values, *known], lanes), (*begins, *made), strict=True):
                    build.store(value, place, at, mask=mask)
