"""Remat: a call that forgets what happened inside, but for what a policy keeps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fdl.control.call import Call
from fdl.control.custom import Custom
from fdl.control.higher import ProgramSplit, indices_of, take
from fdl.core.interpret import apply_program
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Program, Var, parameters
from fdl.core.rewrite import live, uses
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.transforms.inline import inline_those
from fdl.transforms.linearize import Split

#: ``policy(operation, *types of its operands, **parameters)`` says whether its results may be kept.
Policy = Callable[..., Any]


class Remat(Call):
    """A call whose inner values are not kept for the backward pass but computed again, unless the policy allows it.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """

    mixed = True
    recomputed = True
    policy: Any = field(default=None, kw_only=True)

    def like(self, program: Program) -> "Remat":
        return Remat(program, self.label, policy=self.policy)

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Split:
        unknown = tuple(k is None for k in known)
        split = ProgramSplit(self.program, unknown, (False,) * len(self.program.outputs))
        if self.policy is not None:
            return self.keep(split, unknown)
        count = len(split.known.outputs) - len(split.residual_types)
        known_half, whole = split.known, self.program
        outputs = tuple(take(whole.outputs, split.out_unknown))
        return Split(
            known=Call(
                Program(known_half.inputs, known_half.equations, known_half.outputs[:count], known_half.constants)
            ),
            known_args=indices_of(unknown, False),
            unknown=Remat(Program(whole.inputs, whole.equations, outputs, whole.constants), self.label),
            unknown_args=list(range(len(known))),
            residuals=0,
            out_unknown=split.out_unknown,
        )

    def keep(self, split: ProgramSplit, unknown: Sequence[bool]) -> Split:
        """The split whose residuals are what the policy allows to keep; what else is needed is computed again."""
        known = inline_those(split.known, lambda operation: type(operation) is Call or isinstance(operation, Custom))
        count = len(known.outputs) - len(split.residual_types)
        kept, again = _kept(known, known.outputs[count:], self.policy)
        redone = Program(known.inputs + kept, tuple(again), known.outputs[count:], known.constants)
        places, missing = indices_of(unknown, False), indices_of(unknown, True)
        forwarded = [places.index(n) for n in split.forwarded]

        def run(*values: Any) -> list[Any]:
            first, second = len(missing), len(missing) + len(places)
            given, rest = values[:first], values[first:]
            residuals = apply_program(redone, rest)
            return apply_program(split.unknown, [*given, *(values[first:second][n] for n in forwarded), *residuals])

        operands = [*take(self.program.input_types, unknown), *known.input_types, *(v.type for v in kept)]
        program, _ = trace_program(run, operands)
        read = set(uses(program.equations)) | set(program.outputs)
        spare = [n for n, v in enumerate(program.inputs[len(missing) :][: len(places)]) if v not in read]
        inputs = tuple(v for n, v in enumerate(program.inputs) if n - len(missing) not in spare)
        return Split(
            known=Call(
                Program(known.inputs, known.equations, known.outputs[:count] + kept, known.constants), self.label
            ),
            known_args=places,
            unknown=Remat(Program(inputs, program.equations, program.outputs, program.constants), self.label),
            unknown_args=missing + [p for n, p in enumerate(places) if n not in spare],
            residuals=len(kept),
            out_unknown=split.out_unknown,
        )


def _kept(program: Program, wanted: Sequence[Atom], policy: Policy) -> tuple[tuple[Var, ...], list[Equation]]:
    """Values to keep from which `wanted` follow, and the equations that are computed again."""
    made = {v: equation for equation in program.equations for v in equation.outputs}
    saved = {v for equation in program.equations if _saves(policy, equation) for v in equation.outputs}
    # A named value is the one that was named, which other equations may read.
    saved |= {a for v in saved if isinstance(made[v].operation, Named) for a in made[v].inputs if a in made}
    saved -= {v for v in saved if isinstance(made[v].operation, Named)}
    kept: dict[Var, None] = {}
    seen: set[Atom] = set()
    waiting = list(wanted)
    while waiting:
        atom = waiting.pop()
        if atom in seen or atom not in made:
            continue
        seen.add(atom)
        if atom in saved:
            kept[atom] = None
        else:
            waiting += made[atom].inputs
    order = [v for equation in program.equations for v in equation.outputs if v in kept]
    return tuple(order), live(program.equations, wanted, kept.__contains__, effects=False)[0]


def _saves(policy: Policy, equation: Equation) -> bool:
    operation = equation.operation
    found = {name: getattr(operation, name) for name in parameters(operation)}
    if isinstance(operation, DotGeneral):
        found["dimension_numbers"] = (operation.contracting, operation.batch_axes)
    if isinstance(operation, Named):
        found["name"] = operation.label
    return bool(policy(operation, *(a.type for a in equation.inputs), **found))


class Named(Call):
    """A value with a name for policies, the call's label; the Program returns what it is given."""

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), tangents

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Any:
        return NotImplemented

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        x = rng.normal(size=3)
        yield Named(trace_program(lambda v: [v], [TensorType((3,), x.dtype)])[0], "x"), x


@dataclass(frozen=True)
class Everything:
    """Keep all results, or none."""

    kept: bool

    def __call__(self, *_: Any, **__: Any) -> bool:
        return self.kept


@dataclass(frozen=True)
class KeptDots:
    """Keep products of matrices and convolutions; or products without batch axes only."""

    batched: bool

    def __call__(self, operation: Operation, *_: Any, **__: Any) -> bool:
        if isinstance(operation, DotGeneral):
            return self.batched or not operation.batch_axes[0]
        return self.batched and isinstance(operation, ConvGeneral)


@dataclass(frozen=True)
class KeptNames:
    """Keep values that have one of the names, or any name but those."""

    names: tuple[str, ...]
    others: bool = False

    def __call__(self, operation: Operation, *_: Any, **__: Any) -> bool:
        return isinstance(operation, Named) and (operation.label in self.names) != self.others


@dataclass(frozen=True)
class Either:
    """Keep what one of two policies keeps."""

    first: Policy
    second: Policy

    def __call__(self, *args: Any, **params: Any) -> bool:
        return bool(self.first(*args, **params)) or bool(self.second(*args, **params))
