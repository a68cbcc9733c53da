"""Inlining: operations that compute a Program are replaced by its equations."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var, parameters


def inline(program: Program) -> Program:
    """`program` with calls, custom derivative rules and checkpoints replaced by what they compute, on all levels."""
    return _Inliner().run(program)


def inline_those(program: Program, wanted: Callable[[Operation], bool]) -> Program:
    """`program` with `wanted` operations replaced by what they compute, but not inside of loops and branches."""
    return _Inliner(wanted).run(program)


class _Inliner:
    def __init__(self, wanted: Callable[[Operation], bool] | None = None) -> None:
        self.wanted = wanted
        self.scopes = count(1)
        self.constants: list[tuple[Var, object]] = []

    def run(self, program: Program) -> Program:
        names: dict[Var, Atom] = {v: v for v in program.inputs}
        equations = list(self.expand(program, names, 0))
        outputs = tuple(names.get(a, a) if isinstance(a, Var) else a for a in program.outputs)
        return Program(program.inputs, tuple(equations), outputs, tuple(self.constants))  # type: ignore[arg-type]

    def expand(self, program: Program, names: dict[Var, Atom], scope: int) -> Iterator[Equation]:
        for var, value in program.constants:
            # The same Program may be inlined many times: every copy gets its own variables.
            fresh = Var(var.type)
            names[var] = fresh
            self.constants.append((fresh, value))
        for equation in program.equations:
            inputs = tuple(a if isinstance(a, Literal) else names[a] for a in equation.inputs)
            inner = equation.operation.inlined
            if inner is None or (self.wanted and not self.wanted(equation.operation)):
                outputs = tuple(Var(v.type) for v in equation.outputs)
                names.update(zip(equation.outputs, outputs, strict=True))
                yield Equation(
                    equation.operation if self.wanted else _inside(equation.operation),
                    inputs,
                    outputs,
                    equation.source,
                    scope or equation.scope,
                )
                continue
            inner_names: dict[Var, Atom] = dict(zip(inner.inputs, inputs, strict=True))
            inner_scope = next(self.scopes) if equation.operation.recomputed else scope
            yield from self.expand(inner, inner_names, inner_scope)
            found = (a if isinstance(a, Literal) else inner_names[a] for a in inner.outputs)
            names.update(zip(equation.outputs, found, strict=True))


def _inside(operation: Operation) -> Operation:
    """`operation` with the Programs that it holds inlined."""
    changed: dict[str, Any] = {}
    for name in parameters(operation):
        value = getattr(operation, name)
        if isinstance(value, Program):
            changed[name] = inline(value)
        elif isinstance(value, tuple) and value and all(isinstance(v, Program) for v in value):
            changed[name] = tuple(map(inline, value))
    return replace(operation, **changed) if changed else operation  # type: ignore[type-var]  # a dataclass
