"""Conditions that are tested while a program runs, which raise an error with the values that broke them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.control import higher
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core import trace
from fdl.core.primitive import Primitive
from fdl.core.program import Atom, Literal, Program, Var, subprograms
from fdl.core.trace import ReplayedLines, lift, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import int32
from fdl.errors import CheckError, DtypeError
from fdl.ops.arithmetic import add
from fdl.ops.bitwise import not_, or_
from fdl.ops.convert import convert
from fdl.ops.reduce import all_
from fdl.ops.shape import broadcast_in_dim, full_like, iota

_INT = TensorType((), int32)


class Check(Primitive):
    """Raises a CheckError at run time unless all elements of its first operand are true.

    The other operands are the values that the message shows, then the numbers of the steps of the loops around it, of
    the outermost first. All fields are data, so that programs with checks are kept on disk like others.

    ``message`` is a format string for the values; ``source`` the user's line; ``names`` the keywords of the last of
    the values; ``levels`` tells of each vmap around it, the outermost first, which operands have an axis for it;
    ``steps`` counts the loops.
    """

    multiple = True
    effect = True
    message: str
    source: str = ""
    names: tuple[str, ...] = ()
    levels: tuple[tuple[bool, ...], ...] = ()
    steps: int = 0

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        if types[0].dtype != np.bool_:
            raise DtypeError(f"a check needs a boolean condition, got {types[0]}")
        return ()

    def reference(self, condition: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
        if not np.all(condition):
            raise CheckError(self.text(condition, values))
        return []

    def text(self, condition: np.ndarray, values: Sequence[np.ndarray]) -> str:
        """The message for the first example that broke the condition, with what tells where that was."""
        text, where = self.first(condition, values)
        at = f" (checked at {self.source})" if self.source else ""
        return f"{text}{', at ' if where else ''}{where}{at}"

    def first(self, condition: np.ndarray, values: Sequence[np.ndarray]) -> tuple[str, str]:
        """The message for the first example that broke the condition, and which one that was, in words."""
        example = np.argwhere(~condition)[0]
        place, shown = [], list(values)
        position = iter(example)
        for flags in self.levels:
            index = int(next(position)) if flags[0] else None
            shown = [v[index or 0] if has else v for v, has in zip(shown, flags[1:], strict=True)]
            place += [] if index is None else [index]
        count = len(shown) - self.steps
        plain = [v[()] for v in shown[:count]]
        by_name = dict(zip(self.names, plain[count - len(self.names) :], strict=True))
        try:
            text = self.message.format(*plain[: count - len(self.names)], **by_name)
        except (IndexError, KeyError, ValueError):  # it asks for other values than there are
            text = self.message
        where = [f"index {', '.join(map(str, place))} of the batch"] if place else []
        where += [f"step {int(step)}" for step in shown[count:]]
        return text, " and ".join(where)

    def branch(self, args: Sequence[Any]) -> None:
        """Apply what the compiler makes of it: a comparison, and a branch that calls Python."""
        types = [lift(a).type for a in args]
        failing = trace_program(lambda *values: list(Failing(*self._fields())(*values)), types)[0]
        passing = Program(tuple(map(Var, types)), (), ())
        holds = all_(args[0], range(types[0].ndim))
        Cond((failing, passing))(convert(holds, int32), *args)

    def _fields(self) -> tuple[Any, ...]:
        return self.message, self.source, self.names, self.levels, self.steps

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), ()

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return replace(self, levels=(tuple(batched), *self.levels))(*args), ()

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield type(self)("{} is not positive"), np.zeros(0, bool), np.arange(3, dtype=np.int32)


class Failing(Check):
    """A check that is run only where it fails."""


class DebugCheck(Check):
    """A check that only `fdl.experimental.checkify` looks at."""

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return []

    def branch(self, args: Sequence[Any]) -> None:
        """Nothing."""


def holds_checks(program: Program) -> bool:
    """Whether a Program, or one inside of it, has checks."""
    return program.effect and any(
        isinstance(e.operation, Check) or any(map(holds_checks, subprograms(e.operation))) for e in program.equations
    )


class _Threading:
    """Runs a Program, handing values to the checks in it, through calls, branches and loops.

    Args:
        count: how many values there are at first.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def check(self, check: Check, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        """What a check becomes."""
        raise NotImplementedError

    def program(self, program: Program, extra: Sequence[TensorType]) -> Program:
        """A Program of the values of the types `extra`, then of its own inputs."""
        count = len(extra)
        types = (*extra, *program.input_types)
        return trace_program(lambda *values: self.run(program, values[:count], values[count:]), types)[0]

    def run(self, program: Program, extra: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """The results of a Program, in the current interpreter."""
        values: dict[Var, Any] = {var: lift(value) for var, value in program.constants}
        values.update(zip(program.inputs, args, strict=True))

        def read(atom: Atom) -> Any:
            return lift(atom.value) if isinstance(atom, Literal) else values[atom]

        with ReplayedLines() as at:
            for equation in program.equations:
                at(equation.source)
                found = self.operation(equation.operation, extra, list(map(read, equation.inputs)))
                values.update(zip(equation.outputs, found, strict=True))
        return [read(atom) for atom in program.outputs]

    def operation(self, operation: Any, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        """The results of one operation."""
        types = [x.type for x in extra]
        if isinstance(operation, Check):
            return self.check(operation, extra, args)
        if any(map(holds_checks, subprograms(operation))):
            if isinstance(operation, Cond):
                branches = tuple(self.program(b, types) for b in operation.branches)
                return Cond(branches)(args[0], *extra, *args[1:])
            if isinstance(operation, Scan):
                return self.scan(operation, extra, args)
            if isinstance(operation, While):
                return self.loop(operation, extra, args)
            if operation.inlined is not None:
                return self.run(operation.inlined, extra, args)
        return trace.current().process(operation, args)

    def scan(self, operation: Scan, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        """The results of a scan."""
        body = self.program(operation.body, [x.type for x in extra])
        return replace(operation, body=body, constants=operation.constants + len(extra))(*extra, *args)

    def loop(self, operation: While, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        """The results of a while."""
        types, mine = [x.type for x in extra], operation.condition_constants
        condition, body = self.program(operation.condition, types), self.program(operation.body, types)
        count = len(extra)
        loop = While(condition, body, mine + count, operation.body_constants + count)
        return loop(*extra, *args[:mine], *extra, *args[mine:])


class _Guard(_Threading):
    """Lets checks hold where the value, a boolean, is false."""

    def check(self, check: Check, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        condition = args[0]
        allowed = broadcast_in_dim(not_(extra[0]), condition.type.shape, ())
        return check(or_(condition, allowed), *args[1:])


class _Number(_Threading):
    """Tells checks the numbers of the steps of the loops around them."""

    def check(self, check: Check, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        levels = tuple((*flags, *[False] * len(extra)) for flags in check.levels)
        replace(check, levels=levels, steps=check.steps + len(extra)).branch([*args, *extra])
        return ()

    def scan(self, operation: Scan, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        constants, carries = operation.constants, operation.carries
        count, own = len(extra), len(operation.body.inputs)

        def body(*values: Any) -> list[Any]:
            return self.run(operation.body, [*values[:count], values[-1]], values[count:-1])

        inner = trace_program(body, [*(x.type for x in extra), *operation.body.input_types, _INT])[0]
        assert len(inner.inputs) == count + own + 1
        loop = Scan(inner, operation.length, operation.reverse, constants + count, carries)
        return loop(*extra, *args, iota(int32, (operation.length,), 0))

    def loop(self, operation: While, extra: Sequence[Any], args: Sequence[Any]) -> Sequence[Any]:
        types, mine = [x.type for x in extra], operation.condition_constants
        count = len(extra)

        def condition(*values: Any) -> list[Any]:
            return self.run(operation.condition, [*values[:count], values[-1]], values[count:-1])

        def body(*values: Any) -> list[Any]:
            found = self.run(operation.body, [*values[:count], values[-1]], values[count:-1])
            return [*found, add(values[-1], full_like(values[-1], 1))]

        loop = While(
            trace_program(condition, [*types, *operation.condition.input_types, _INT])[0],
            trace_program(body, [*types, *operation.body.input_types, _INT])[0],
            mine + count,
            operation.body_constants + count,
        )
        return loop(*extra, *args[:mine], *extra, *args[mine:], np.int32(0))[:-1]


@lru_cache(maxsize=256)
def guarded(program: Program) -> Program:
    """A Program of one more input, the first: a boolean without which its checks hold, whatever their condition."""
    return _Guard(1).program(program, [TensorType((), np.dtype(bool))])


def _guard(program: Program) -> Program | None:
    return guarded(program) if holds_checks(program) else None


higher.guard = _guard


def numbered(program: Program) -> Program:
    """A Program whose checks know the steps of the loops around them, and are what the compiler makes of them."""
    if not holds_checks(program):
        return program
    return _Number(0).program(program, [])
