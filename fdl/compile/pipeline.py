"""The compiler: inline, simplify, fuse, place, emit; and the caches in front of it."""

from functools import lru_cache
from typing import Any
from collections.abc import Sequence

import numpy as np

from fdl.compile.buffers import make_plan
from fdl.compile.emit import ENTRY, Emission
from fdl.compile.control import prepared
from fdl.compile.machine import compile_object, load_objects
from fdl.compile.runtime import Executable
from fdl.compile.target import host_target
from fdl.core.program import Program, Var
from fdl.core.types import TensorType


class Compiled:
    """A Program as one native function."""

    def __init__(self, program: Program, donate: tuple[bool, ...] = ()) -> None:
        self.program, self.donate = program, donate
        self._executable = build_executable(program, donate)
        self.run = self._executable.run

    def __reduce__(self) -> Any:
        return compile_program, (self.program, self.donate)


def build_executable(program: Program, donate: tuple[bool, ...]) -> Executable:
    """Compile a Program."""
    plan = make_plan(prepared(program), donate)
    target = host_target()
    emission = Emission(target, len(program.inputs), len(program.outputs))
    emission.plan(
        plan,
        [emission.input(n) for n in range(len(program.inputs))],
        [emission.output(n) for n in range(len(program.outputs))],
        emission.arena,
    )
    library = load_objects([compile_object(emission.finish(), target)], [ENTRY])
    return Executable(
        library,
        library.addresses[ENTRY],
        program.input_types,
        program.output_types,
        emission.constants,
        emission.hosts,
        plan.arena_bytes,
        emission.scratch_bytes,
        plan.reused,
    )


@lru_cache(maxsize=512)
def compile_program(program: Program, donate: tuple[bool, ...] = ()) -> Compiled:
    """The native function of a Program, made once for equal Programs.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten and returned; none by default.
    """
    return Compiled(program, donate)


def run_heavy(operation: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One operation on arrays, compiled."""
    return _single(operation, tuple(TensorType(a.shape, a.dtype) for a in arrays)).run(arrays)


@lru_cache(maxsize=1024)
def _single(operation: Any, types: tuple[TensorType, ...]) -> Compiled:
    from fdl.core.program import Equation

    inputs = tuple(Var(t) for t in types)
    result = operation.result(*types)
    outputs = tuple(Var(t) for t in (result if operation.multiple else (result,)))
    return compile_program(Program(inputs, (Equation(operation, inputs, outputs),), outputs))
