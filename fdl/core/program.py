"""Program: a typed, immutable list of equations in static single assignment form."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any

import numpy as np

from fdl.core.listing import Listing
from fdl.core.operation import Operation
from fdl.core.types import TensorType
from fdl.dtypes import short_name


class Var:
    """A value made by an input or an equation; two are the same only if they are the same object."""

    __slots__ = ("type",)

    def __init__(self, type: TensorType) -> None:
        self.type = type

    def __getstate__(self) -> TensorType:
        return self.type

    def __setstate__(self, state: TensorType) -> None:
        self.type = state


class Literal:
    """A scalar written in the program itself."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    @property
    def type(self) -> TensorType:
        """Its type; the shape is ``()``."""
        return TensorType((), self.value.dtype)

    def __str__(self) -> str:
        return f"{self.value.item()!r}:{short_name(self.value.dtype)}"


Atom = Var | Literal


@dataclass(frozen=True, eq=False)
class Equation:
    """One application of an operation: ``outputs = operation(*inputs)``.

    Attributes:
        operation: a primitive with its parameters.
        inputs: what it reads.
        outputs: what it makes.
        source: the user's line, as ``file.py:12 (function)``.
        scope: the number of the checkpointed block that it came from when this was inlined, or 0. Equal equations of
            different scopes are not merged, which would keep alive what a checkpoint wants forgotten.
    """

    operation: Operation
    inputs: tuple[Atom, ...]
    outputs: tuple[Var, ...]
    source: str = ""
    scope: int = 0


@dataclass(frozen=True, eq=False)
class Program:
    """Inputs, constants, equations, outputs.

    Programs compare and hash by structure, pickle, and print with types and source lines.
    """

    inputs: tuple[Var, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Atom, ...]
    constants: tuple[tuple[Var, np.ndarray], ...] = field(default=())

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """Types of the inputs."""
        return tuple(v.type for v in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        """Types of the outputs."""
        return tuple(v.type for v in self.outputs)

    @cached_property
    def effect(self) -> bool:
        """Whether it does something besides computing its outputs."""
        return any(equation.operation.effect for equation in self.equations)

    @cached_property
    def digest(self) -> bytes:
        """A hash of the structure: equal for programs that compute the same by the same equations."""
        numbers: dict[Var, int] = {}
        text = [f"{number}:{var.type}" for number, var in enumerate(self.inputs)]
        for var in (*self.inputs, *(var for var, _ in self.constants)):
            numbers[var] = len(numbers)
        inner: list[bytes] = []

        def name(atom: Atom) -> str:
            return str(atom) if isinstance(atom, Literal) else str(numbers[atom])

        # The types of results follow from operands and operations, but for functions of users.
        for equation in self.equations:
            text.append(f"{equation.operation!r} {' '.join([name(a) for a in equation.inputs])}")
            if equation.operation.lowering_kind == "host":
                text.append(" ".join([str(var.type) for var in equation.outputs]))
            for var in equation.outputs:
                numbers[var] = len(numbers)
            inner += [program.digest for program in subprograms(equation.operation)]
        text.append(" ".join([name(a) for a in self.outputs]))
        found = hashlib.blake2b("\n".join(text).encode(), digest_size=16)
        for var, value in self.constants:
            found.update(str(var.type).encode() + np.ascontiguousarray(value).tobytes())
        found.update(b"".join(inner))
        return found.digest()

    def __hash__(self) -> int:
        return int.from_bytes(self.digest[:8], "little", signed=True)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Program) and self.digest == other.digest)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k in self.__dataclass_fields__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __str__(self) -> str:
        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        return Listing(self)._repr_html_()

    def __repr__(self) -> str:
        ins, outs = (", ".join(map(str, types)) for types in (self.input_types, self.output_types))
        return f"<Program ({ins}) -> ({outs}), {len(self.equations)} equations, {self.digest.hex()[:8]}>"


def parameters(operation: Operation) -> tuple[str, ...]:
    """Names of the parameters of an operation, in the order of its fields."""
    return _names(type(operation))  # type: ignore[arg-type]  # classes are hashable


@cache
def _names(kind: type[Operation]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))  # type: ignore[arg-type]  # all that are not abstract are dataclasses


def subprograms(operation: Operation) -> Iterator[Program]:
    """The programs among the parameters of an operation (and of one among them), in the order of its fields."""
    for name in parameters(operation):
        value = getattr(operation, name)
        if isinstance(value, Program):
            yield value
        elif isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, Program))
        elif isinstance(value, Operation):
            yield from subprograms(value)


def _letters(number: int) -> str:
    name = ""
    while True:
        number, letter = divmod(number, 26)
        name = chr(ord("a") + letter) + name
        if not number:
            return name
        number -= 1


class Names:
    """Names of variables in a text: letters, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._known: dict[Var, str] = {}

    def __call__(self, atom: Atom) -> str:
        return str(atom) if isinstance(atom, Literal) else self._known.setdefault(atom, _letters(len(self._known)))

    def typed(self, variables: Iterable[Var]) -> str:
        """Names with types."""
        return " ".join(f"{self(v)}:{v.type}" for v in variables)


def lines(
    program: Program, sources: bool = True, indent: str = "", nested: bool = True, names: Names | None = None
) -> list[str]:
    """`program` as lines of text, inner programs indented below the equation that holds them.

    Args:
        program: what to print.
        sources: whether lines of the user follow equations.
        indent: what each line begins with.
        nested: whether inner programs are printed.
        names: of variables; new ones by default.
    """
    name = Names() if names is None else names
    typed = name.typed
    text = [f"{indent}program({typed(program.inputs)}) {{"]
    text += [f"{indent}  {typed([var])} = constant" for var, _ in program.constants]
    for equation in program.equations:
        line = f"{indent}  {typed(equation.outputs)} = {equation.operation!r}"
        line += "".join(f" {name(atom)}" for atom in equation.inputs)
        text.append(f"{line}  # {equation.source}" if sources and equation.source else line)
        for inner in subprograms(equation.operation) if nested else ():
            text += lines(inner, sources, indent + "    ")
    text.append(f"{indent}  return {' '.join(name(atom) for atom in program.outputs)}")
    return [*text, indent + "}"]
