"""Jitted functions of fdl, called from Python that numba compiles."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.inspect import make_program
from fdl.compile import Compiled, compile_program
from fdl.compile.llvm.layout import CONTIGUOUS_ALIGNED, DATA_OFFSET, FLAGS_OFFSET, WRITEABLE
from fdl.compile.runtime.executable import Executable
from fdl.core.types import TensorType
from fdl.errors import CompilerError, TreeError
from fdl.ext._numba import numba, numba_type


def to_numba(fun: Callable[..., Any], *args: Any) -> Any:
    """A function compiled by fdl for arrays like `args`, to be called from functions that numba compiles.

    Args:
        fun: a function of arrays that returns an array, or a tuple or list of them.
        *args: arrays or ShapeDtypeStructs: the shapes and dtypes that it is compiled for.

    Returns:
        A numba function. It takes arrays of these dtypes and shapes, of any memory layout (for an argument without
        axes a number), and returns new arrays. It runs on the calling thread, and releases no lock.

    Raises:
        DtypeError: numba has no numbers of one of the dtypes.
        TreeError: `fun` takes or returns a nest of containers.
        CompilerError: fdl has no machine code for `fun`, because of a fault in its compiler.
        ValueError: in the compiled function, when an array has another shape.

    >>> import fdl, fdl.numpy as fnp, numba, numpy as np
    >>> norm = to_numba(lambda x: fnp.sqrt((x * x).sum()), np.zeros(3))
    >>> @numba.njit
    ... def total(rows):
    ...     found = 0.0
    ...     for row in rows:
    ...         found += norm(row)
    ...     return found
    >>> total(np.array([[3.0, 4.0, 0.0], [0.0, 5.0, 12.0]]))
    18.0
    """
    program, shape = make_program(fun, return_shape=True)(*args)
    name = getattr(fun, "__name__", "function")
    results = list(shape) if isinstance(shape, tuple | list) else [shape]
    if not tree.all_leaves(args) or not tree.all_leaves(results):
        raise TreeError(f"to_numba({name}): arguments and results must be arrays, or one tuple of arrays as the result")
    for type in (*program.input_types, *program.output_types):
        numba_type(f"to_numba({name})", type.dtype)
    compiled = compile_program(program)
    if not isinstance(compiled, Compiled):
        raise CompilerError(
            f"to_numba({name}): fdl's compiler failed, as a CompilerWarning says, and numba can call machine code only"
        )
    # Compiled callers hold the address of the code, which therefore has to stay where it is.
    _kept.append(compiled)
    code = compiled.executable
    arguments = (ctypes.c_size_t,) * (4 if code.parallel else 1)
    scope = {
        "np": np,
        "run": ctypes.CFUNCTYPE(ctypes.c_int32, *arguments)(code.code[0]),
        **{f"input{n}": t.dtype for n, t in enumerate(program.input_types)},
        **{f"output{n}": t.dtype for n, t in enumerate(program.output_types)},
    }
    several = isinstance(shape, tuple | list)
    # numba compiles no loops over arguments of different types: each gets its own lines.
    exec(_source(name, program.input_types, program.output_types, code, several), scope)
    return numba().njit(scope["call"])


_kept: list[Any] = []

#: Room for what the code reads of an array object.
_OBJECT_WORDS = 16


def _source(
    name: str, inputs: Sequence[TensorType], outputs: Sequence[TensorType], code: Executable, several: bool
) -> str:
    """A Python function that lays out what `code` reads, as `fdl.compile.codegen.emit` describes, and calls it."""
    _, callback, constants, scratch = code.code
    lines = [f"def call({', '.join(f'x{n}' for n in range(len(inputs)))}):"]
    for n, type in enumerate(inputs):
        if type.ndim:
            lines += [
                f"    if x{n}.shape != {type.shape}:",
                f"        raise ValueError('{name} was compiled by fdl for argument {n} of shape {list(type.shape)}')",
                f"    a{n} = np.ascontiguousarray(x{n}).astype(input{n})",
            ]
        else:
            lines.append(f"    a{n} = np.full(1, x{n}, input{n})")
    lines += [f"    r{n} = np.empty({type.shape or (1,)}, output{n})" for n, type in enumerate(outputs)]
    arrays = [f"a{n}" for n in range(len(inputs))] + [f"r{n}" for n in range(len(outputs))]
    lines += [
        f"    work = np.empty({scratch + code.scratch_bytes + 64}, np.uint8)",
        f"    objects = np.zeros({_OBJECT_WORDS * max(len(arrays), 1)}, np.uint64)",
        f"    table = np.zeros({4 + len(arrays)}, np.uint64)",
        "    team = np.zeros(32, np.uint64)",
        "    base = (work.ctypes.data + 63) // 64 * 64",
        f"    table[0], table[1] = base, base + {scratch}",
        f"    table[2], table[3] = {callback}, {constants}",
    ]
    for n, array in enumerate(arrays):
        start = _OBJECT_WORDS * n
        lines += [
            f"    objects[{start + DATA_OFFSET // 8}] = {array}.ctypes.data",
            f"    objects[{start + FLAGS_OFFSET // 8}] = {CONTIGUOUS_ALIGNED | WRITEABLE}",
            f"    table[{4 + n}] = objects.ctypes.data + {8 * start}",
        ]
    more = ", team.ctypes.data, 0, 1" if code.parallel else ""
    # The arrays are named once more after the call, so that they live until then.
    alive = " + ".join(f"{a}.size" for a in ("work", "objects", "table", "team", *arrays))
    lines += [
        f"    status = run(table.ctypes.data{more})",
        f"    if status != 0 or {alive} < 0:",
        f"        raise RuntimeError('{name} failed')",
    ]
    found = [f"r{n}" if t.ndim else f"r{n}[0]" for n, t in enumerate(outputs)]
    lines.append(f"    return {', '.join(found)}" + ("," if several and len(found) == 1 else ""))
    return "\n".join(lines)
