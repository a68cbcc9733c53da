"""Eager gradients: what the derivative of an operation computes is found once for operands of the same types.

The rules of an operation run Python: they check shapes and record linear operations, which are then transposed one by
one. Here all of that is done once for each operation and set of types. What is left is a function of NumPy arrays that
computes the result and what its derivative needs, and another one that computes the cotangents of the operands. They
consist of the operations that would run otherwise, so gradients have the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl.array import MANY, Array
from fdl.core.interpret import quiet
from fdl.core.operation import Operation
from fdl.core.program import Equation, Program, Var
from fdl.core.trace import StagedTracer, Value, base, source_line, trace_program, use
from fdl.core.types import TensorType
from fdl.numpy_code import NumPyCode, is_plain
from fdl.ops.arithmetic import add
from fdl.transforms.forward import DualTracer, JVPInterpreter
from fdl.transforms.linearize import PartialEvaluation, linearize_values
from fdl.transforms.transpose import transpose_program

_KEPT = 4096  # rules; with one more all are forgotten


class Pull(Operation):
    """The tangent of a result, linear in tangents of operands; it is only transposed.

    Args:
        name: of the operation that was differentiated.
        pull: from residuals and the cotangent, as NumPy arrays, to the cotangents that are not zero.
        residuals: how many of its operands are residuals; tangents follow.
        nonzero: which tangents have such a cotangent.
    """

    def __init__(self, name: str, pull: Callable[..., Any], residuals: int, nonzero: Sequence[bool]) -> None:
        self._name, self.pull, self.residuals, self.nonzero = name, pull, residuals, nonzero

    @property
    def name(self) -> str:
        return self._name

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return (range(self.residuals, len(types)),)

    def transpose(self, cotangent: Any, *args: Any) -> Sequence[Any]:
        made = iter(self.pull(*[a.concrete() for a in args[: self.residuals]], cotangent.concrete()))
        return [None] * self.residuals + [Array(next(made)) if has else None for has in self.nonzero]


@dataclass(frozen=True)
class PreparedRule:
    """The derivative of an operation, prepared.

    Attributes:
        run: from operands to the result and the residuals, as NumPy arrays.
        types: of what `run` returns.
        passed: for the result None, for each residual the operand that it is, or None.
        pull: the operation on residuals and tangents.
    """

    run: Callable[..., tuple[np.ndarray, ...]]
    types: tuple[TensorType, ...]
    passed: tuple[int | None, ...]
    pull: Pull


class PreparedJVP(JVPInterpreter):
    """Records prepared derivatives of operations on arrays for a `PartialEvaluation`; all others as its base does."""

    parent: PartialEvaluation

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        if operation.multiple or not args:
            return super().process(operation, args)
        key: list[Any] = [operation]
        primals, atoms = [], []
        value: Any
        for value in args:
            tangent = None
            if type(value) is DualTracer and value.interpreter is self:
                value, tangent = value.primal, value.tangent
            if type(value) is not Array or value._data is None:
                return super().process(operation, args)
            primals.append(value)
            key += value._data.shape, value._data.dtype, tangent is not None
            if tangent is not None:
                if not self.parent.is_unknown(tangent):
                    return super().process(operation, args)
                atoms.append(tangent.atom)
        rule = _rule(tuple(key), primals) if atoms else None
        return super().process(operation, args) if rule is None else [self.recorded(rule, primals, atoms)]

    def apply(self, rule: "PreparedRule", args: Sequence[Any]) -> Value:
        """The result of a function for which there is a rule, on arrays and on values with a tangent."""
        primals: list[Any] = [a.primal if type(a) is DualTracer else a for a in args]
        tangents: list[Any] = [a.tangent for a in args if type(a) is DualTracer]
        return self.recorded(rule, primals, [t.atom for t in tangents])

    def has_unknown_tangent(self, value: Any) -> bool:
        """Whether a value is an array with a tangent, as rules take them."""
        known = type(value) is DualTracer and value.interpreter is self and type(value.primal) is Array
        return known and self.parent.is_unknown(value.tangent)

    def recorded(self, rule: "PreparedRule", primals: Sequence[Array], tangents: Sequence[Any]) -> Value:
        """The result of an operation, and one equation for its derivative."""
        parent = self.parent
        arrays, captured = rule.run(*[p._data for p in primals]), parent.captured
        values = [
            _typed(array, kind) if place is None else primals[place]
            for place, array, kind in zip(rule.passed, arrays, rule.types, strict=True)
        ]
        operands = []
        for value in values[1:]:
            known = captured.get(id(value))
            if known is None:
                known = captured[id(value)] = Var(value.type), value
            operands.append(known[0])
        var = Var(rule.types[0])
        parent.equations.append(Equation(rule.pull, (*operands, *tangents), (var,), source_line()))
        return DualTracer(self, values[0], StagedTracer(parent, var))


def _typed(array: np.ndarray, kind: TensorType) -> Array:
    """An Array whose type is known."""
    made = Array(array)
    made._type = kind
    return made


def pulled_back(program: Program, residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any] | None:
    """What `backward` finds for the linear inputs of a Program, which follow residuals; None if not all is prepared."""
    if not all(type(equation.operation) is Pull for equation in program.equations):
        return None
    known = {var: r.concrete() for var, r in zip(program.inputs, residuals, strict=False)}
    found: dict[Any, Array] = {}

    def accumulate(atom: Any, cotangent: Array) -> None:
        if atom not in found:
            found[atom] = cotangent
        else:
            found[atom] = _sum(found[atom], cotangent)

    for atom, cotangent in zip(program.outputs, cotangents, strict=True):
        if cotangent is not None and type(atom) is Var and atom not in known:
            accumulate(atom, cotangent)
    for equation in reversed(program.equations):
        given = found.pop(equation.outputs[0], None)
        if given is not None:
            pull: Pull = equation.operation  # type: ignore[assignment]
            count, inputs = pull.residuals, equation.inputs
            made = iter(pull.pull(*[known[var] for var in inputs[:count]], given._data))  # type: ignore[index]
            for atom, has in zip(inputs[count:], pull.nonzero, strict=True):
                if has:
                    accumulate(atom, Array(next(made)))
    return [found.get(var) for var in program.inputs[len(residuals) :]]


def _sum(x: Array, y: Array) -> Array:
    """The sum of two cotangents of one type; of few elements without what leads to NumPy's."""
    if x._data.size >= MANY:
        return add(x, y)
    return Array(np.asarray(quiet.run(np.add, x._data, y._data)))


_rules: dict[Any, PreparedRule | None] = {}


def _rule(key: tuple[Any, ...], primals: Sequence[Array]) -> PreparedRule | None:
    """The rule of an operation for operands of some types; None if it has to be applied as it is."""
    try:
        return _rules[key]
    except KeyError:
        pass
    except TypeError:  # an operation that holds what has no hash
        return None
    if len(_rules) >= _KEPT:
        _rules.clear()
    with use(base()):
        _rules[key] = rule = prepared(key[0].name, key[0], [p.type for p in primals], key[3::3])
    return rule


def prepared(
    name: str, function: Callable[..., Any], types: Sequence[TensorType], active: Sequence[bool]
) -> PreparedRule | None:
    """The rule of a function that returns one value, for values of some types; None if it cannot be prepared."""
    linear: list[tuple[Program, int]] = []

    def run(*values: Any) -> list[Any]:
        outs, program, residuals, has = linearize_values(lambda *xs: [function(*xs)], values, active)
        if has == [True]:
            linear.append((program, len(residuals)))
        return [*outs, *residuals]

    try:
        known, captured = trace_program(run, types)
        if captured or not linear:
            return None
        program, count = linear[0]
        marks = (False,) * count + (True,) * (len(program.inputs) - count)
        transposed, nonzero = transpose_program(program, marks, (True,))
    except Exception:  # what it is, the ordinary way tells
        return None
    if not all(map(is_plain, (*known.equations, *transposed.equations))):
        return None
    places = {var: number for number, var in enumerate(known.inputs)}
    passed = (None, *[places.get(atom) for atom in known.outputs[1:]])  # type: ignore[arg-type]
    pull = Pull(name, NumPyCode(transposed).of_arrays(), count, nonzero)
    return PreparedRule(NumPyCode(known).of_arrays(), tuple(known.output_types), passed, pull)
