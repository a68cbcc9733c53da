"""A plan: the steps to run, in order, and where in memory their values are."""

from dataclasses import dataclass, field
from typing import Any

from fdl.compile.fallback import Skip
from fdl.compile.ir.loops import Loops
from fdl.compile.ir.steps import View
from fdl.core.program import Program, Var
from fdl.core.types import TensorType


@dataclass(frozen=True)
class Slot:
    """A place in memory.

    Attributes:
        kind: ``input``, ``output``, ``constant``, ``arena`` or ``private`` (to a thread in a group).
        number: which input, output or constant; the offset in bytes for the others.
    """

    kind: str
    number: int


@dataclass(eq=False)
class LoopsStep:
    """A nest to run."""

    loops: Loops
    outputs: list[Var]
    reads: tuple[Var, ...]
    scope: int = 0


@dataclass(eq=False)
class SingleStep:
    """An equation with code of its own.

    Attributes:
        equation: what to compute.
        views: where its operands are.
        epilogue: what is computed on each element of its result.
        plans: of the Programs it holds.
        workspace: offset in the arena of `workspace_bytes` for its own use.
    """

    equation: Any
    outputs: list[Var]
    reads: tuple[Var, ...]
    views: list[View]
    epilogue: Loops | None = None
    plans: list["Plan"] = field(default_factory=list)
    workspace: int = 0
    workspace_bytes: int = 0

    @property
    def scope(self) -> int:
        """The checkpointed block that it belongs to."""
        return getattr(self.equation, "scope", 0)


@dataclass(eq=False)
class Plan:
    """Steps in order, and the memory they work in.

    Attributes:
        program: the simplified Program.
        steps: what to run.
        outputs: the stored variable of each output.
        slots: where the stored variables are.
        arena_bytes: memory for values that are neither inputs nor outputs.
        reused: number of the input in whose memory an output is returned, by number of the output.
        skip: names of the passes that it was made without.
    """

    program: Program
    steps: list[Any]
    outputs: list[Var]
    slots: dict[Var, Slot]
    arena_bytes: int
    reused: dict[int, int]
    skip: Skip = frozenset()


def nbytes(type: TensorType) -> int:
    """Bytes that the elements of a type take."""
    return type.size * type.dtype.itemsize
