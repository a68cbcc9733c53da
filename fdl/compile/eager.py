"""Eager calls by machine code that takes extents as arguments: compiled for each function, and not for each shape.

Which arrays are computed in this way depends on shapes and dtypes alone, so that a call always has the same bits.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fdl.array import MANY
from fdl.compile.fallback import otherwise
from fdl.compile.ir.rows import RowLayout, RowProgram, is_worth_it, rows_of, stored_values
from fdl.compile.llvm.layout import ENTRY, UNUSABLE
from fdl.compile.llvm.target import Target, host_target
from fdl.compile.runtime.blocks import LARGE, blocks
from fdl.compile.runtime.executable import object_addresses
from fdl.compile.runtime.machine import load_objects, object_code
from fdl.core.operation import Operation
from fdl.core.program import Equation, Program, Var, parameters
from fdl.core.types import TensorType
from fdl.errors import DtypeError

_EMPTY = np.empty(0, np.uint8)


class _Kernel:
    """The machine code of a program over rows."""

    def __init__(self, program: RowProgram) -> None:
        target = host_target()
        code = object_code(_written(program), target, lambda: _emitted(program, target))
        library = load_objects([code], [ENTRY])
        count = 1 + len(program.inputs) + len(program.outputs)
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * count)
        self.function = kind(library.addresses[ENTRY])
        self.function.library = library  # type: ignore[attr-defined]  # which is unloaded with the last reference
        self.scratch_bytes = sum(program.kind(n).dtype.itemsize for n in stored_values(program))


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
def _kernel(program: RowProgram, target_key: str) -> _Kernel | None:
    """The machine code; None if an operation has none."""
    try:
        return _Kernel(program)
    except (DtypeError, NotImplementedError):
        return None


def compiled(program: Program) -> Callable[..., Any] | None:
    """A function of NumPy arrays of the input types; None if machine code would not be faster, or there is none.

    It returns an array, or a tuple of them if the Program has several results.
    """

    def make() -> Callable[..., Any] | None:
        rows = rows_of(program)
        if rows is None or not is_worth_it(rows, MANY):
            return None
        kernel = _kernel(rows.program, host_target().key)
        return None if kernel is None else _bound(kernel, rows, program)

    return otherwise("eager kernels", program, make, None)


def _bound(kernel: _Kernel, rows: RowLayout, program: Program) -> Callable[..., Any]:
    """A kernel for one set of shapes."""
    function, extents = kernel.function, (rows.rows, rows.columns)
    scratch_bytes = kernel.scratch_bytes * rows.columns
    constants, given = rows.constants, rows.given
    every = given == tuple(range(len(program.inputs)))
    makers = [_maker(t) for t in program.output_types]

    def several(*arrays: np.ndarray) -> Any:
        read = arrays if every else tuple([arrays[n] for n in given])
        made = [make() for make in makers]
        scratch = np.empty(scratch_bytes, np.uint8) if scratch_bytes else _EMPTY
        addresses, kept = object_addresses((scratch, *read, *constants, *made))
        if function(*extents, *addresses) == UNUSABLE:
            read = tuple([np.require(a, requirements=["C", "A"]) for a in read])
            addresses, kept = object_addresses((scratch, *read, *constants, *made))
            function(*extents, *addresses)
        del kept
        return made[0] if len(made) == 1 else tuple(made)

    return several


def _maker(kind: TensorType) -> Callable[[], np.ndarray]:
    shape, dtype = kind.shape, kind.dtype
    if prod(shape) * dtype.itemsize >= LARGE:
        return lambda: blocks.empty(shape, dtype)
    return lambda: np.empty(shape, dtype)


@lru_cache(maxsize=4096)
def compiled_single(operation: Operation, *types: TensorType) -> Callable[..., Any] | None:
    """One operation on operands of the given types; None if there is no machine code."""
    inputs = tuple([Var(t) for t in types])
    output = Var(operation.result(*types))
    return compiled(Program(inputs, (Equation(operation, inputs, (output,)),), (output,)))
