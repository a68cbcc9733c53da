"""How kernels call LAPACK: arguments by address, its own threads limited, one unit of work for each matrix."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import strides
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.kernel import call_divided, offset_of_unit
from fdl.compile.kernels.lapack.matrices import Matrix
from fdl.compile.llvm import lapack
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I8, I32, I64, POINTER, Value
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.core.types import DType, TensorType
from fdl.dtypes import float32, float64, int32, int64
from fdl.ops.lapack import DOUBLE_EXTENT
from fdl.ops.matrix import real_dtype

#: The letter before a routine's name.
_LETTERS = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}

#: Names of routines that complex matrices have others for.
_COMPLEX = {"orgqr": "ungqr", "syevd": "heevd"}


def routine_name(name: str, dtype: DType) -> str:
    """The name of the routine for matrices of a dtype."""
    return _LETTERS[dtype.name] + (_COMPLEX.get(name, name) if dtype.kind == "c" else name)


def query(name: str, dtype: DType, *arguments: Any) -> tuple[int, ...]:
    """The lengths of the workspaces that a routine wants, of all with the argument -1.

    Args:
        name: of the routine.
        dtype: of the matrices.
        *arguments: characters and integers. None stands for an array that the routine does not look at; a dtype for a
            workspace, whose first element tells the length.
    """
    real, given, work = real_dtype(dtype), [], []
    for argument in arguments:
        if argument is None or isinstance(argument, np.dtype):
            array = ((ctypes.c_float if real == float32 else ctypes.c_double) * 4)()
            given.append((ctypes.c_int32 * 4)() if argument == int32 else array)
            if argument is not None:
                work.append(given[-1])
        else:
            given.append(argument)
    lapack.call(routine_name(name, dtype), *given, (ctypes.c_int32 * 1)())
    return tuple(int(array[0]) for array in work)


@dataclass(frozen=True)
class Work:
    """What a kernel has for one matrix.

    Attributes:
        build: emits its code.
        dtype: that the routines compute in.
        routines: their addresses, by name.
        places: of its scratch memory, by name.
        info: where a routine writes whether it failed.
    """

    build: Build
    dtype: DType
    routines: Mapping[str, ir.Value]
    places: Mapping[str, ir.Value]
    info: ir.Value

    def call(self, name: str, *arguments: str | int | float | ir.Value) -> None:
        """Call a routine: text is a character, numbers are constants, the rest pointers."""
        self.build.call_pointer(self.routines[name], ir.VoidType(), [self._place(a) for a in arguments])

    def failed(self) -> Value:
        """Whether the last routine that got `info` says so."""
        return self.build.ne(self.build.load(self.info, int32), 0)

    def columns(self, name: str, rows: int) -> Matrix:
        """Scratch memory as a matrix of so many rows, column by column."""
        return Matrix(self.build, self.places[name], (1, rows), self.dtype)

    def _place(self, argument: str | int | float | ir.Value) -> ir.Value:
        if isinstance(argument, str):
            return self._constant(f"lapack.{argument}", I8(ord(argument)))
        if isinstance(argument, int):
            return self._constant(f"lapack.{argument}", I32(argument))
        if isinstance(argument, float):
            kind = ir.FloatType() if real_dtype(self.dtype) == float32 else ir.DoubleType()
            both = ir.ArrayType(kind, 2)([argument, 0.0])  # a complex number, or one that is followed by nothing
            return self._constant(f"lapack.{argument} {kind}", both)
        return argument

    def _constant(self, name: str, value: Any) -> ir.Value:
        known = self.build.module.globals.get(name)
        if known is None:
            known = ir.GlobalVariable(self.build.module, value.type, name)
            known.initializer, known.global_constant, known.linkage = value, True, "internal"
        return known


class LapackLowering(Lowering[Op]):
    """Base: `matrix` emits what is done to one matrix of a stack; `scratch` says how much memory it needs.

    Small matrices are computed in double precision, as NumPy does (`fdl.ops.lapack`).
    """

    reads_views = True
    parallel = True
    #: Names of the routines that are called.
    routines: tuple[str, ...] = ()

    def arithmetic(self, type: TensorType) -> DType:
        """The dtype that matrices of a type are computed in."""
        small = max(type.shape[-2:]) <= DOUBLE_EXTENT
        return np.promote_types(type.dtype, float64) if small else type.dtype

    def scratch(self, operation: Op, types: Types, dtype: DType) -> dict[str, int]:
        """Names of parts of the scratch memory, and their bytes."""
        raise NotImplementedError

    def supports(self, step: KernelStep) -> bool:
        types = [v.type for v in step.views]
        known = all(t.dtype.name in _LETTERS and t.size > 0 and max(t.shape[-2:]) < 2**15 for t in types)
        return known and all(map(lapack.address, self._names(self.arithmetic(types[0]))))

    def _names(self, dtype: DType) -> list[str]:
        return [routine_name(name, dtype) for name in self.routines]

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, emission = self.operation(step), emitter.emission
        types = [v.type for v in step.views]
        arrays: list[tuple[TensorType, Sequence[int]]] = [(v.type, v.strides) for v in step.views]
        arrays += [(v.type, strides(v.type.shape)) for v in step.outputs]
        batch, dtype = types[0].shape[:-2], self.arithmetic(types[0])
        units, offsets, size = prod(batch), {}, 0
        for name, count in self.scratch(operation, types, dtype).items():
            offsets[name], size = size, size + -(-count // 64) * 64
        whole = units == 1 and max(types[0].shape[-2:]) >= emission.target.tuning.threaded_matrix
        pointers = [*map(emitter.first, step.views), *map(emitter.pointer, step.outputs), emission.scratch_for(size)]
        pointers += [emitter.routine(step, name) for name in (lapack.THREADS, *self._names(dtype))]

        def fill(build: Build, team: Team, *given: ir.Value) -> None:
            places, (memory, threads, *routines) = given[: len(arrays)], given[len(arrays) :]
            own = {name: build.at(memory, offset, np.dtype("uint8")) for name, offset in offsets.items()}
            work = Work(build, dtype, dict(zip(self.routines, routines, strict=True)), own, build.stack_slot(I32))
            begin, end = team.share(units)
            with build.if_(begin < end):
                limit = build.ir.trunc(team.count.ir, I32) if whole else I32(1)
                _change_threads(build, threads, limit)
                with build.loop(begin, end) as unit:
                    grids = [_matrix(build, p, *a, unit, batch) for p, a in zip(places, arrays, strict=True)]
                    self.matrix(operation, types, work, grids)
                _change_threads(build, threads, None)

        call_divided(emitter, f"lapack.{operation.name}", (operation, arrays), pointers, fill)

    def matrix(self, operation: Op, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        """Emit the work on one matrix of each operand and each result; vectors are matrices of one row."""
        raise NotImplementedError


def _matrix(
    build: Build, pointer: ir.Value, type: TensorType, steps: Sequence[int], unit: Value, batch: tuple[int, ...]
) -> Matrix:
    """The matrix (or vector, or number) of an operand that belongs to a unit of work."""
    inner = (0, 0, *steps[len(batch) :])
    offset = offset_of_unit(build, unit, batch, steps)
    return Matrix(build, build.at(pointer, offset, type.dtype), (inner[-2], inner[-1]), type.dtype)


def _change_threads(build: Build, table: ir.Value, limit: ir.Value | None) -> None:
    """Let the library use at most so many threads of its own, until the last call that runs is over (None)."""

    def make() -> ir.Function:
        name = "lapack.leave" if limit is None else "lapack.enter"
        known = build.module.globals.get(name)
        if known is None:
            known = new_function(build.module, name, [POINTER] if limit is None else [POINTER, I32])
            known.attributes.add("noinline")
            _emit_change(Build(build.module, build.target, known), limit is None)
        return known

    build.call_function(make(), [table] if limit is None else [table, limit])


def _emit_change(build: Build, leave: bool) -> None:
    """The function of `_change_threads`: it counts the calls that run, under a lock."""
    table, code = build.function.args[0], build.ir

    def word(number: int) -> ir.Value:
        return build.at(table, number, int64)

    setter = code.load(word(lapack.SET), typ=POINTER)
    with code.if_then(code.icmp_unsigned("!=", setter, POINTER(None))):
        with build.while_() as waiting:
            held = code.atomic_rmw("xchg", word(lapack.LOCK), I64(1), "acquire")
            waiting.proceed_if(build.value(code.icmp_unsigned("!=", held, I64(0)), np.dtype(bool)))
        before = code.load(word(lapack.CALLS), typ=I64)
        code.store(code.add(before, I64(-1 if leave else 1)), word(lapack.CALLS))
        with code.if_then(code.icmp_unsigned("==", before, I64(1 if leave else 0))):
            if leave:
                number = code.load(word(lapack.SAVED), typ=I32)
            else:
                number = build.call_pointer(code.load(word(lapack.GET), typ=POINTER), I32, [])
                code.store(number, word(lapack.SAVED))
                limit = build.function.args[1]
                number = code.select(code.icmp_signed("<", limit, number), limit, number)
            build.call_pointer(setter, ir.VoidType(), [number])
        code.atomic_rmw("xchg", word(lapack.LOCK), I64(0), "release")
    build.ret()
