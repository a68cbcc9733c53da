"""What fusion makes of equations: nests of several, and single ones, before it is known what has to be stored."""

from dataclasses import dataclass, field

from fdl.core.operation import Operation
from fdl.core.program import Equation, Var


@dataclass(eq=False)
class Fusion:
    """Equations computed in the same loops.

    Attributes:
        extents: of the loops.
        scope: of the equations.
        equations: elementwise ones, copies and reductions.
        reduced: which loops are reduced by the reductions; None if there are none.
        shapes: that the extents refine.
        operands: stored values read.
    """

    extents: tuple[int, ...]
    scope: int
    equations: list[Equation] = field(default_factory=list)
    reduced: tuple[bool, ...] | None = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    operands: set[Var] = field(default_factory=set)

    @property
    def outputs(self) -> list[Var]:
        """What it makes."""
        return [v for e in self.equations for v in e.outputs]


@dataclass(eq=False)
class Standalone:
    """An equation that is a step by itself.

    Attributes:
        equation: what to compute.
        epilogue: elementwise equations over the elements of its result; None if it takes none.
    """

    equation: Equation
    epilogue: Fusion | None = None

    @property
    def outputs(self) -> list[Var]:
        """What it makes."""
        return [*self.equation.outputs, *(self.epilogue.outputs if self.epilogue else ())]


@dataclass(frozen=True)
class Copy(Operation):
    """Store a value a second time, as an output of its own."""

    lowering_kind = "copy"
