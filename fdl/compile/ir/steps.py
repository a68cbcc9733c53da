"""Steps of one loop nest or one equation, and the windows on stored values that they read."""

from dataclasses import dataclass

from fdl.compile.ir.loops import Loops
from fdl.core.program import Atom, Equation, Var
from fdl.core.types import TensorType


@dataclass(frozen=True)
class View:
    """A strided window on a stored value; strides and offset count elements.

    Attributes:
        base: the stored value, or a literal.
        offset: of the first element of the window.
        strides: along its axes.
        type: of the window.
    """

    base: Atom
    offset: int
    strides: tuple[int, ...]
    type: TensorType


@dataclass(eq=False)
class LoopNest:
    """Loops over elementwise operations and reductions.

    Attributes:
        loops: what to run.
        outputs: the values that it stores.
        reads: the stored values that it loads.
        scope: of the equations that it computes.
    """

    loops: Loops
    outputs: list[Var]
    reads: tuple[Var, ...]
    scope: int = 0


@dataclass(eq=False)
class EquationStep:
    """Base of the steps that are one equation.

    Attributes:
        equation: what to compute.
        outputs: the values that it stores.
        reads: the stored values that it reads.
        views: where its operands are.
        workspace: offset in the arena of `workspace_bytes` for its own use.
    """

    equation: Equation
    outputs: list[Var]
    reads: tuple[Var, ...]
    views: list[View]
    workspace: int = 0
    workspace_bytes: int = 0

    @property
    def scope(self) -> int:
        """That of the equation."""
        return self.equation.scope


@dataclass(eq=False)
class KernelStep(EquationStep):
    """An equation that a kernel of its own computes.

    Attributes:
        epilogue: what is computed on each element of its result.
    """

    epilogue: Loops | None = None


@dataclass(eq=False)
class HostCall(EquationStep):
    """An equation that Python computes, by the reference of its operation."""
