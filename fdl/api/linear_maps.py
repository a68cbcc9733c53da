"""What vjp, linearize and linear_transpose return: functions that are pytrees of what they remember of the point."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import difference, float0
from fdl.array import Array, alias, as_weak
from fdl.config import config
from fdl.core.interpret import apply_program
from fdl.core.primitive import Linear
from fdl.core.program import Atom, Literal, Program, Var
from fdl.core.trace import Value, lift
from fdl.core.types import TensorType
from fdl.dtypes import INEXACT
from fdl.errors import ShapeError, TreeError
from fdl.ops.convert import convert
from fdl.ops.shape import zeros_of
from fdl.tracebacks import boundary
from fdl.transforms.transpose import backward


@dataclass(frozen=True)
class LinearMap:
    """A linear Program between trees, a function of residuals and what it is applied to.

    A ``tree.Partial`` of it and the residuals is a pytree, equal to another one if both remember arrays of equal types
    for equal computations; so it goes into and out of jitted functions.

    Attributes:
        program: from (residuals, tangents of the active inputs) to the tangents of the outputs that `has` marks.
        in_structure, in_types: of the primal arguments, as (args, kwargs).
        out_structure, out_types: of the output, as ((output,), {}).
        has: which outputs depend on an active input; those of aux come last.
        weak: which results are weak where all that the map is applied to is; empty if none.
    """

    program: Program
    in_structure: Any
    in_types: tuple[TensorType, ...]
    out_structure: Any
    out_types: tuple[TensorType, ...]
    has: tuple[bool, ...]
    weak: tuple[bool, ...] = ()

    @boundary
    def __call__(self, *args: Any) -> Any:
        raise NotImplementedError

    def weakened(self, given: Any, made: Sequence[Any]) -> list[Any]:
        """The results, by JAX's rule weak where the primal values and all that is `given` are."""
        if not (config.weak_arrays and any(self.weak)):
            return [*made]
        all_weak = all(as_weak(leaf).weak for leaf in tree.leaves(given) if getattr(leaf, "dtype", None) != float0)
        if not all_weak:
            return [*made]
        pairs = zip(made, self.weak, strict=True)
        return [v.weakened(v.type.dtype) if w and isinstance(v, Value) else v for v, w in pairs]  # others are float0


class Pushforward(LinearMap):
    """From tangents of the inputs to tangents of the output."""

    @boundary
    def __call__(self, *args: Any) -> Any:
        split = len(self.program.inputs) - sum(t.dtype in INEXACT for t in self.in_types)
        residuals, tangents = args[:split], args[split:]
        dots = matching(tangents, self.in_structure, self.in_types, "tangents", "primals")
        given = [
            zeros_of(t) if d is None else d for t, d in zip(self.in_types, dots, strict=True) if t.dtype in INEXACT
        ]
        found = iter(apply_program(self.program, [*residuals, *given]))
        made = [next(found) if h else tangent_zeros(t) for t, h in zip(self.out_types, self.has, strict=False)]
        return tree.unflatten(self.out_structure, self.weakened(tangents, [*map(alias, made)]))[0][0]


class Pullback(LinearMap):
    """From a cotangent of the output to a tuple of cotangents of the arguments."""

    @boundary
    def __call__(self, *args: Any) -> Any:
        active = [t for t in self.in_types if t.dtype in INEXACT]
        split = len(self.program.inputs) - len(active)
        residuals, cotangents = args[:split], args[split:]
        _one_cotangent("vjp", cotangents)
        given = matching(cotangents, self.out_structure, self.out_types, "cotangent", "output")
        padded = [*given, *[None] * (len(self.has) - len(given))]
        found = backward(
            self.program,
            [*residuals, *map(Linear, active)],
            [c for c, h in zip(padded, self.has, strict=True) if h],
        )
        made = iter(found[split:])
        results = [_instantiated(next(made), t) if t.dtype in INEXACT else tangent_zeros(t) for t in self.in_types]
        return tree.unflatten(self.in_structure, self.weakened(cotangents, results))[0]


class Transposed(LinearMap):
    """From a cotangent of the output to a tuple of cotangents of the arguments; integers count as well."""

    @boundary
    def __call__(self, *args: Any) -> Any:
        split = len(self.program.inputs) - len(self.in_types)
        residuals, cotangents = args[:split], args[split:]
        _one_cotangent("linear_transpose", cotangents)
        given = matching(cotangents, self.out_structure, self.out_types, "cotangent", "output", integers=True)
        found = backward(self.program, [*residuals, *map(Linear, self.in_types)], given)[split:]
        results = [*map(_instantiated, found, self.in_types)]
        return tree.unflatten(self.in_structure, self.weakened(cotangents, results))[0]


def _one_cotangent(name: str, cotangents: Sequence[Any]) -> None:
    if len(cotangents) != 1:
        raise TypeError(
            f"the function that {name} returns takes one cotangent of the structure of the output, not "
            f"{len(cotangents)} arguments"
        )


def _instantiated(value: Any, type: TensorType) -> Any:
    return zeros_of(type) if value is None else value


def scalars_as_inputs(program: Program, residuals: Sequence[Any]) -> tuple[Program, list[Any]]:
    """A linear Program that takes its numbers after the residuals, so that it is the same one at every point."""
    numbers: dict[int, tuple[Var, Any]] = {}

    def outside(atom: Atom) -> Atom:
        if not isinstance(atom, Literal) or atom.type.dtype not in INEXACT:
            return atom
        return numbers.setdefault(id(atom), (Var(atom.type), lift(atom.value)))[0]

    equations = tuple(replace(e, inputs=tuple(map(outside, e.inputs))) for e in program.equations)
    outputs = tuple(map(outside, program.outputs))
    split = len(residuals)
    inputs = (*program.inputs[:split], *(var for var, _ in numbers.values()), *program.inputs[split:])
    made = Program(inputs, equations, outputs, program.constants)
    return made, [*residuals, *(value for _, value in numbers.values())]


def tangent_zeros(type: TensorType) -> Any:
    """The tangent of a value that does not move, or cannot."""
    return zeros_of(type) if type.dtype in INEXACT else np.zeros(type.shape, float0)


def matching(
    given: Any, structure: Any, types: Sequence[TensorType], name: str, of: str, integers: bool = False
) -> list[Any]:
    """Leaves of `given` after a check that they are like those of `structure`; None for float0, or for all integers."""
    many = name == "tangents"
    found, its_structure = tree.flatten((tuple(given), {}))
    if its_structure != structure:
        expected, got = (s.child(0) for s in (structure, its_structure))
        if not many and expected.num_children == got.num_children == 1:
            expected, got = expected.child(0), got.child(0)
        raise TreeError(
            f"the {name} must have the structure of the {of}, but they part {difference(expected, got, of)}"
        )
    values: list[Any] = []
    for (path, wanted), value in zip(tree.leaves_with_path(tree.unflatten(structure, types)), found, strict=True):
        place = tree.keystr(path[1:] if many else path[2:])
        if getattr(value, "dtype", None) == float0:
            values.append(None)
            continue
        value = as_weak(value, f"{name}{place}")
        if value.type.shape == wanted.shape == () and value.type.dtype != wanted.dtype:
            value = _weakly(value, wanted)
        value = value.strong()
        if value.type != wanted:
            raise ShapeError(
                f"{name}{place} is {value.type}, but {of}{place} is {wanted}; they must have one shape and dtype"
                + (f", so convert it with astype({str(wanted.dtype)!r})" if value.type.shape == wanted.shape else "")
            )
        values.append(value if integers or wanted.dtype in INEXACT else None)
    return values


def _weakly(value: Any, wanted: TensorType) -> Any:
    """A scalar tangent given as a Python number, or as an array that is known, in the dtype of its primal."""
    known = value.weak or type(value) is Array
    return convert(value, wanted.dtype) if known and wanted.dtype in INEXACT else value
