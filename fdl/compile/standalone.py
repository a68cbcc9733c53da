"""A Program as object files that need no Python when they run: the program's code, a C function around it, constants.

The C function takes pointers to elements where the program's own takes NumPy's array objects (see `codegen.emit`), so
it fills structures of its own that look like them, and the table of the call, on the stack.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.codegen.emission import Emission
from fdl.compile.codegen.emit import emit_plan
from fdl.compile.fallback import Skip, with_fewer_passes
from fdl.compile.ir.host import HostOperation
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.layout import CONTIGUOUS_ALIGNED, DATA_OFFSET, ENTRY, FLAGS_OFFSET, OBJECTS, WRITEABLE
from fdl.compile.llvm.target import Target, llvm_binding, process_triple
from fdl.compile.llvm.values import I8, I32, I64, POINTER
from fdl.compile.passes.order import prepared
from fdl.compile.runtime.machine import compile_object
from fdl.compile.schedule.planner import make_plan
from fdl.core.program import Program
from fdl.errors import CompilerError

#: What the C function returns if there is no memory to work in.
NO_MEMORY = 1

_CALL, _CALL_IN = "fdl.call", "fdl.call in"  # until the object file is made
_CONSTANTS = "fdl.constants"
_ALIGNMENT = 64
_OBJECT_WORDS = 16  # of a structure that looks like an array object


@dataclass(frozen=True)
class ObjectCode:
    """Object files, and what a caller of their functions has to know.

    Attributes:
        objects: relocatable object files, to be linked with C's mathematical library.
        workspace_bytes: memory that a call works in.
        outside: operations that run in Python only; the object files are of no use if there are any.
    """

    objects: tuple[bytes, ...]
    workspace_bytes: int
    outside: tuple[HostOperation, ...]


def build_standalone(program: Program, target: Target, name: str) -> ObjectCode:
    """Compile an inlined Program into the C functions `name` and `name_in`, for one thread.

    ``int32 name(inputs..., outputs...)`` takes its working memory from malloc, and gives it back;
    ``int32 name_in(workspace, inputs..., outputs...)`` is given it, aligned to 64 bytes.

    Args:
        program: what to compute.
        target: the processor.
        name: of the function in C.

    Raises:
        CompilerError: the compiler failed.
    """

    def attempt(skip: Skip) -> ObjectCode:
        plan = make_plan(prepared(program, skip), (), skip=skip | {"threads"})
        emission = emit_plan(plan, target)
        scratch = -(-plan.arena_bytes // _ALIGNMENT) * _ALIGNMENT
        module = emission.finish()
        outside = (*emission.hosts, *(host for _, host in emission.foreign), *emission.linked)
        if outside:
            return ObjectCode((), 0, outside)
        bytes_needed = max(_ALIGNMENT, -(-(scratch + emission.scratch_bytes) // _ALIGNMENT) * _ALIGNMENT)
        _add_entries(module, emission, scratch, bytes_needed)
        objects = [compile_object(module, target, {_CALL: name, _CALL_IN: f"{name}_in"})]
        if emission.constants:
            objects.append(_constants_object(emission.constants, target))
        return ObjectCode(tuple(objects), bytes_needed, ())

    def failed() -> ObjectCode:
        raise CompilerError(f"the compiler could not make a library of {name}; the warning above says why")

    return with_fewer_passes(program, attempt, failed)


def _add_entries(module: ir.Module, emission: Emission, scratch: int, workspace: int) -> None:
    count = emission.inputs + emission.outputs
    entry = module.get_global(ENTRY)
    entry.linkage = "internal"
    inner = new_function(module, _CALL_IN, [POINTER] * (count + 1), I32, exported=True)
    function = Build(module, emission.target, inner)
    build = function.ir
    base, *arrays = inner.args
    table = function.stack_slot(POINTER, OBJECTS + count)
    objects = function.stack_slot(I64, _OBJECT_WORDS * count)
    pointers = [base, _at(build, base, scratch), POINTER(None), _constant_table(function, emission.constants)]
    flags = I64(CONTIGUOUS_ALIGNED | WRITEABLE)
    for number, array in enumerate(arrays):
        made = _at(build, objects, 8 * _OBJECT_WORDS * number)
        build.store(array, _at(build, made, DATA_OFFSET))
        build.store(flags, _at(build, made, FLAGS_OFFSET))
        pointers.append(made)
    for number, pointer in enumerate(pointers):
        build.store(pointer, _at(build, table, 8 * number))
    build.ret(build.call(entry, [table]))

    outer = new_function(module, _CALL, [POINTER] * count, I32, exported=True)
    build = Build(module, emission.target, outer).ir
    allocate = ir.Function(module, ir.FunctionType(POINTER, [I64, I64]), "aligned_alloc")
    free = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), "free")
    memory = build.call(allocate, [I64(_ALIGNMENT), I64(workspace)])
    with build.if_then(build.icmp_unsigned("==", memory, POINTER(None)), likely=False):
        build.ret(I32(NO_MEMORY))
    status = build.call(inner, [memory, *outer.args])
    build.call(free, [memory])
    build.ret(status)


def _constant_table(function: Build, constants: Sequence[np.ndarray]) -> ir.Value:
    if not constants:
        return POINTER(None)
    start = ir.GlobalVariable(function.module, I8, _CONSTANTS)
    start.global_constant, start.type = True, POINTER
    table = function.stack_slot(POINTER, len(constants))
    for number, offset in enumerate(_offsets(constants)):
        function.ir.store(_at(function.ir, start, offset), _at(function.ir, table, 8 * number))
    return table


def _at(build: ir.IRBuilder, base: Any, offset: int) -> Any:
    return build.gep(base, [I64(offset)], source_etype=I8)


def _offsets(constants: Sequence[np.ndarray]) -> list[int]:
    """Where each constant begins, all aligned."""
    found, end = [], 0
    for value in constants:
        found.append(end)
        end += -(-max(value.nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
    return found


def _constants_object(constants: Sequence[np.ndarray], target: Target) -> bytes:
    """An object file of the constants, which the assembler reads from a file: LLVM's text of them would be long."""
    llvm = llvm_binding()
    llvm.initialize_native_asmparser()
    apple = sys.platform == "darwin"
    symbol = f"_{_CONSTANTS}" if apple else _CONSTANTS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constants"
        with path.open("wb") as file:
            for value, offset in zip(constants, _offsets(constants), strict=True):
                file.seek(offset)
                file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data if value.nbytes else b"")
            file.truncate(max(file.tell(), 1))
        section = ".section __TEXT,__const" if apple else ".section .rodata"
        hidden = ".private_extern" if apple else ".hidden"
        lines = [
            section, f".p2align {_ALIGNMENT.bit_length() - 1}", f".globl {symbol}", f"{hidden} {symbol}", f"{symbol}:",
            f'.incbin \\22{path}\\22',
        ]  # fmt: skip
        lines += [] if apple else [".section .note.GNU-stack,\\22\\22,@progbits"]
        text = "\n".join([f'target triple = "{process_triple()}"', *(f'module asm "{line}"' for line in lines)])
        return bytes(target.machine.emit_object(llvm.parse_assembly(text)))
