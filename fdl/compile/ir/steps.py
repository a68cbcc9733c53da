"""What a schedule consists of: loop nests, single equations, and windows on what they store."""

from dataclasses import dataclass, field
from typing import Any

from fdl.core.program import Atom, Var
from fdl.core.types import TensorType


@dataclass(eq=False)
class Nest:
    """Equations computed in the same loops.

    Attributes:
        extents: of the loops.
        equations: elementwise ones, copies and reductions.
        reduced: which loops are reduced by the reductions; None if there are none.
        scope: of the checkpointed block.
        shapes: that the extents refine.
        operands: stored values read.
    """

    extents: tuple[int, ...]
    scope: int
    equations: list[Any] = field(default_factory=list)
    reduced: tuple[bool, ...] | None = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    operands: set[Var] = field(default_factory=set)

    @property
    def outputs(self) -> list[Var]:
        """What it makes."""
        return [v for e in self.equations for v in e.outputs]


@dataclass(eq=False)
class Single:
    """An equation that has a kernel, or a call of the host, of its own.

    Attributes:
        equation: what to compute.
        epilogue: elementwise equations over the elements of its result; None if it takes none.
    """

    equation: Any
    epilogue: Nest | None = None

    @property
    def outputs(self) -> list[Var]:
        """What it makes."""
        return [*self.equation.outputs, *(self.epilogue.outputs if self.epilogue else ())]


@dataclass(frozen=True)
class View:
    """A strided window on a stored value; strides and offset count elements."""

    root: Atom
    offset: int
    strides: tuple[int, ...]
    type: TensorType


@dataclass(frozen=True)
class Copy:
    """The operation that stores a value a second time, as an output of its own."""

    family = "copy"
    multiple = False
    effect = False
    name = "copy"

    def source(self, position: Any, x: TensorType) -> Any:
        """Every element stays where it is."""
        return position


@dataclass(frozen=True, eq=False)
class CopyEquation:
    """A `Copy` of one atom."""

    inputs: tuple[Atom, ...]
    outputs: tuple[Var, ...]
    operation: Copy = Copy()
    source: str = ""
    scope: int = 0
