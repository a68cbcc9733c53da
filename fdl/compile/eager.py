"""Eager calls by machine code that takes extents as arguments: compiled for each function, and not for each shape.

Which arrays are computed in this way depends on shapes and dtypes alone, so that a call always has the same bits.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from fdl.array import LARGE, MANY, Array
from fdl.compile.fallback import otherwise
from fdl.compile.ir.rows import RowLayout, RowProgram, is_worth_it, rows_of, stored_values
from fdl.compile.llvm.layout import ENTRY
from fdl.compile.llvm.target import Target, host_target
from fdl.compile.runtime.executable import MachineCode, workspace
from fdl.compile.runtime.machine import Library, load_objects, object_code
from fdl.compile.runtime.native.call import MISMATCH, native_call
from fdl.core.operation import Operation
from fdl.core.program import Equation, Program, Var, parameters
from fdl.core.types import TensorType
from fdl.errors import DtypeError


class _RowCode(MachineCode):
    """The machine code of a program over rows, for one number and length of them."""

    def __init__(self, library: Library, layout: RowLayout, output_types: Sequence[TensorType]) -> None:
        self._library, self._extents = library, array("q", (layout.rows, layout.columns))
        row = sum(layout.program.kind(n).dtype.itemsize for n in stored_values(layout.program))
        super().__init__(
            library.addresses[ENTRY], output_types, row * layout.columns, 0, self._extents.buffer_info()[0]
        )


def _emitted(program: RowProgram, target: Target) -> Any:
    """The module of the machine code; what emits it is imported only when it is not on disk."""
    from fdl.compile.codegen.rows import emit_rows

    return emit_rows(program, target)


def _written(program: RowProgram) -> str:
    """What tells a program's machine code from others."""

    def step(operation: Operation) -> str:
        values = ", ".join(f"{name}={getattr(operation, name)!r}" for name in parameters(operation))
        return f"{type(operation).__module__}.{type(operation).__qualname__}({values})"

    lines = [f"{k.rows:d}{k.columns:d}{k.dtype}" for k in program.inputs]
    lines += [f"{step(s.operation)} {s.operands}" for s in program.steps]
    return "\n".join(["program over rows", *lines, str(program.outputs)])


@lru_cache(maxsize=1024)
def _library(program: RowProgram, target_key: str) -> Library | None:
    """The machine code; None if an operation has none."""
    target = host_target()
    try:
        return load_objects([object_code(_written(program), target, lambda: _emitted(program, target))], [ENTRY])
    except (DtypeError, NotImplementedError):
        return None


def compiled(program: Program, least: int = MANY) -> Callable[..., tuple[Array, ...]] | None:
    """A function of arrays of the input types, Arrays or NumPy's, that returns a tuple of Arrays.

    It is None if machine code would not be faster, or there is none, or rows have fewer elements than `least`.
    """

    def make() -> Callable[..., tuple[Array, ...]] | None:
        if least < MANY and not host_target().fma:
            return None  # which has other bits than NumPy
        layout = rows_of(program)
        if layout is None or not is_worth_it(layout, least):
            return None
        library = _library(layout.program, host_target().key)
        return None if library is None else _bound(_RowCode(library, layout, program.output_types), layout, program)

    return otherwise("eager kernels", program, make, None)


def _bound(code: _RowCode, layout: RowLayout, program: Program) -> Callable[..., tuple[Array, ...]]:
    """Machine code as a function of the Program's inputs."""
    given, constants, size = layout.given, layout.constants, code.scratch_bytes

    def slow(arrays: Sequence[Any]) -> tuple[Array, ...]:
        read = [a.concrete() if isinstance(a, Array) else a for a in arrays]
        return tuple([Array(made) for made in code.run(read)])

    types = [program.inputs[n].type for n in given] + [TensorType(c.shape, c.dtype) for c in constants]
    run = native_call(code, types, (False,) * len(types))
    every = given == tuple(range(len(program.inputs)))

    def call(*arrays: Any) -> tuple[Array, ...]:
        read = arrays if every else tuple([arrays[n] for n in given])
        made: Any = MISMATCH
        if run is not None and size <= workspace.size and not workspace.busy:
            made = run(workspace.address, 0, 0, 0, *read, *constants)
        elif size < LARGE:
            workspace.reserve(size)  # for the next call
        return slow((*read, *constants)) if made is MISMATCH else made

    return call


@lru_cache(maxsize=4096)
def compiled_single(operation: Operation, *types: TensorType) -> Callable[..., tuple[Array, ...]] | None:
    """The same for one operation on operands of the given types."""
    inputs = tuple([Var(t) for t in types])
    output = Var(operation.result(*types))
    return compiled(Program(inputs, (Equation(operation, inputs, (output,)),), (output,)))
