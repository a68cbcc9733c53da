"""A plan: the steps to run, in order, and where in memory their values are."""

from dataclasses import dataclass, field

from fdl.compile.fallback import Skip
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest
from fdl.compile.ir.tiles import TileGroup
from fdl.core.program import Program, Var
from fdl.core.types import TensorType

#: What the places of values in the arena are multiples of, in bytes: a cache line.
ALIGNMENT = 64


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
class ControlStep(EquationStep):
    """A branch or a loop of native code.

    Attributes:
        plans: of the Programs that its operation holds.
    """

    plans: list["Plan"] = field(default_factory=list)


#: What a plan consists of.
Step = LoopNest | KernelStep | HostCall | ControlStep | TileGroup


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
    steps: list[Step]
    outputs: list[Var]
    slots: dict[Var, Slot]
    arena_bytes: int
    reused: dict[int, int]
    skip: Skip = frozenset()


def nbytes(type: TensorType) -> int:
    """Bytes that the elements of a type take."""
    return type.size * type.dtype.itemsize


def aligned(size: int) -> int:
    """`size` rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT
