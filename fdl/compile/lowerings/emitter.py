"""What a lowering may ask of the code generator: pointers to operands, memory to work in, functions made once."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from llvmlite import ir

from fdl.compile.ir.plan import Plan
from fdl.compile.ir.steps import KernelStep, View
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import Value
from fdl.compile.loopnest.epilogue import EpilogueEmitter
from fdl.compile.loopnest.team import Team
from fdl.core.program import Atom, Program, Var

T = TypeVar("T")


class Emission(Protocol):
    """What all parts of one program's code share."""

    @property
    def module(self) -> ir.Module:
        """The module; functions that a kernel needs go there."""

    @property
    def target(self) -> Target:
        """The processor."""

    @property
    def team(self) -> Team:
        """The threads that run the code."""

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """What `make` returns, made once a key, so that equal steps share a function."""

    def constant(self, value: np.ndarray) -> ir.Value:
        """The pointer to an array that is known now, in the function of the program."""

    def scratch_for(self, size: int) -> ir.Value:
        """The pointer to at least `size` bytes that are this thread's own, until the step ends."""

    def plan(self, plan: Plan, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], arena: ir.Value) -> None:
        """Emit the steps of an inner plan, given pointers to its inputs, its outputs and the memory of its values."""


class Emitter(Protocol):
    """The function that is being emitted, and where the values of the plan are in it."""

    @property
    def build(self) -> Build:
        """Emits the code of the present function."""

    @property
    def emission(self) -> Emission:
        """What all of the program shares."""

    def first(self, view: View) -> ir.Value:
        """The pointer to the first element of an operand."""

    def pointer(self, atom: Atom) -> ir.Value:
        """The pointer to the first element of a result, or of another stored value."""

    def in_place(self, view: View, var: Var) -> bool:
        """Whether a result was given the memory of an operand (see `Lowering.overwritten`)."""

    def workspace(self, offset: int) -> ir.Value:
        """The pointer to an offset in the arena, where the step's `workspace` is; all threads see the same memory."""

    def epilogue(self, step: KernelStep, axes: int) -> EpilogueEmitter | None:
        """The epilogue of a step for a kernel that runs through the last `axes` axes of the result, if there is one."""

    def poll(self, plans: Sequence[Plan], number: Value, last: int | None = None) -> None:
        """In a loop around plans, look for signals every so many iterations; `last` is how many there are, if known."""

    def load_scalar(self, view: View) -> Value:
        """The value of a scalar operand."""

    def copy(self, source: ir.Value, target: ir.Value, size: int | Value) -> None:
        """Copy bytes between places that do not overlap."""

    def prepared(self, program: Program) -> Program:
        """A Program that the operation holds, after all passes."""

    def host(self, step: KernelStep) -> None:
        """Leave the step to Python: call the operation's reference."""

    def foreign(self, step: KernelStep) -> None:
        """Call machine code of another compiler for the step."""

    def routine(self, step: KernelStep, name: str) -> ir.Value:
        """The address of a routine of LAPACK that the kernel of the step calls; see `fdl.compile.llvm.lapack`."""
