"""The compiler: all stages in their order, and the caches in front of them.

    traced      a Program, as tracing recorded it
    optimized   passes.order: inline, simplify, hoist (work out of loops), narrow (sink slices), simplify,
                columns of indices, canonical forms, transposes (sink them)
    schedule    schedule.planner: fuse equations into steps, group steps by rows of tiles, join narrow rows, split long
                sums; then plan the Programs that steps hold, and place all values in memory
    loops       what the steps consist of: loop nests (loopnest), or the kernel that the operation's lowering emits
                (kernels)
    llvm        codegen.emit: one function that runs the steps, on one thread or on all
    machine     runtime: functions that are alike become one (llvm.sharing), LLVM's passes, an object file, a callable

A pass that fails is left out (`fallback`).

What a compiled Program computes is what the references of its operations compute, but for

* vector functions (exp, log, tanh, ...), which are within a few ulp of the correct result,
* sums, also those that a loop adds up from step to step, which run in another order: one that depends on shapes and
  processor only, so that bits repeat on any number of threads; the sum of nothing but negative zeros may be a zero of
  either sign,
* products summed by matrix kernels and convolutions, where multiplication and addition are one rounding if the
  processor has the instruction; elementwise code is never contracted or reassociated, and NaN, infinities and the sign
  of zero are kept everywhere,
* 16-bit floats, which are rounded after every operation but summed in float32.
"""

import hashlib
import inspect
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fdl.compile.fallback import Skip, otherwise, with_fewer_passes
from fdl.compile.llvm.target import EFFORTS, Target, host_target
from fdl.compile.lowerings.registry import registry
from fdl.compile.runtime.archive import Archive, constant_bytes
from fdl.compile.runtime.cache import default_cache
from fdl.compile.runtime.executable import Executable
from fdl.compile.runtime.machine import compile_object, content_key
from fdl.compile.runtime.operations import operations_of
from fdl.config import config
from fdl.control.check import numbered
from fdl.core.interpret import interpret
from fdl.core.operation import Operation
from fdl.core.program import Equation, Program, Var
from fdl.core.types import TensorType
from fdl.transforms.inline import inline


def build_archive(
    program: Program,
    donate: tuple[bool, ...],
    skip: Skip = frozenset(),
    watch: Callable[[Any, Any], None] | None = None,
    target: Target | None = None,
) -> Archive:
    """Compile a Program: all stages, one after the other.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten.
        skip: names of the passes to do without.
        watch: is shown the emission and the plan before any code is emitted.
        target: the processor, and how much to optimize; by default as the settings say.
    """
    # Machine code that is on disk already needs none of these, and importing them takes longer than loading it.
    from fdl.compile.codegen.emit import emit_plan
    from fdl.compile.passes.order import prepared
    from fdl.compile.schedule.planner import make_plan

    optimized = prepared(program, skip)
    plan = make_plan(optimized, donate, skip=skip)
    emission = emit_plan(plan, target or host_target(), watch)
    code = compile_object(emission.finish(), emission.target)
    return Archive(
        code,
        constant_bytes(emission.constants),
        tuple(emission.hosts),
        tuple(emission.foreign),
        tuple(emission.routines.items()),
        plan.arena_bytes,
        emission.scratch_bytes,
        tuple(plan.reused.items()),
        emission.team.together,
        skip,
    )


def compile_program(
    program: Program, donate: tuple[bool, ...] = (), effort: str | None = None
) -> "Compiled | Interpreted":
    """The native function of a Program, made once for equal Programs, with machine code kept on disk.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten and returned; none by default.
        effort: of LLVM, see `host_target`.
    """
    if config.dump:
        from fdl.compile.listing import dump

        dump(program, donate, config.dump)
    inlined = otherwise("inline", program, lambda: inline(numbered(program)), None)
    # One target for the code and its name on disk, whatever another thread does to the settings meanwhile.
    return Interpreted(program, donate) if inlined is None else _compile(inlined, donate, host_target(effort=effort))


@lru_cache(maxsize=512)
def _compile(program: Program, donate: tuple[bool, ...], target: Target) -> "Compiled | Interpreted":
    def attempt(skip: Skip) -> Compiled | Interpreted:
        key = cache_key(program, donate, skip, target)
        found = _shipped(program, donate, skip, target) or default_cache().get(key)
        archive = Archive.unpack(found, program) if found else None
        if archive is not None:
            return Compiled(program, donate, archive)
        archive = build_archive(program, donate, skip, None, target)
        made = Compiled(program, donate, archive)
        packed = archive.pack(program)
        if packed is not None:
            default_cache().put(key, packed)
        return made

    return with_fewer_passes(program, attempt, lambda: Interpreted(program, donate))


class Compiled:
    """A Program as one native function.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten.
        archive: the machine code.
        exports: symbols of it, besides the function, whose addresses are wanted.
    """

    def __init__(
        self, program: Program, donate: tuple[bool, ...], archive: Archive, exports: Sequence[str] = ()
    ) -> None:
        self.program, self.donate, self.archive = program, donate, archive
        self.executable = Executable(archive, program.output_types, exports)
        #: ``run(arrays) -> results``: NumPy arrays of the input types, any strides; results are new arrays, except that
        #: donated inputs' memory may be returned.
        self.run = self.executable.run

    def __reduce__(self) -> Any:
        inlined = inline(numbered(self.program))
        key = cache_key(inlined, self.donate, self.archive.skip)
        return restore, (self.program, self.donate, key, self.archive.pack(inlined))


class Interpreted:
    """A Program that could not be compiled, run by the references of its operations; used like a `Compiled`."""

    executable = None

    def __init__(self, program: Program, donate: tuple[bool, ...]) -> None:
        self.program, self.donate = program, donate

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results for arrays of the input types; new arrays."""
        return [np.array(result) for result in interpret(self.program, [np.asarray(a) for a in arrays])]

    def __reduce__(self) -> Any:
        return compile_program, (self.program, self.donate)


#: Machine code that came with what is being unpickled, by the name that it would have on disk.
_arrived: dict[str, bytes] = {}


def restore(program: Program, donate: tuple[bool, ...], key: str, data: bytes | None) -> Compiled | Interpreted:
    """What was pickled; compiled anew if this processor or version is another one, or there was no machine code."""
    if data is not None:
        _arrived[key] = data
    try:
        return compile_program(program, donate)
    finally:
        _arrived.pop(key, None)


def _shipped(program: Program, donate: tuple[bool, ...], skip: Skip, target: Target) -> bytes | None:
    """Machine code that came with a Program for this processor, however much it was optimized."""
    if not _arrived:
        return None
    targets = target, *(replace(target, effort=effort) for effort in EFFORTS)
    found = (_arrived.get(cache_key(program, donate, skip, t)) for t in targets)
    return next((code for code in found if code), None)


def cache_key(
    inlined: Program, donate: tuple[bool, ...], skip: Skip = frozenset(), target: Target | None = None
) -> str:
    """The name on disk of an inlined Program's machine code, compiled without the passes to `skip`."""
    # Custom derivative rules, which hold Python functions, are gone once they are inlined: the hash is the same in
    # every process.
    parts = [inlined.digest.hex(), str(donate), *sorted(skip), *sorted(_outside_sources(inlined))]
    return content_key(" ".join(parts), target or host_target())


def _outside_sources(program: Program) -> set[str]:
    """Hashes of the files of operations and lowerings that are not fdl's own, so that changes are seen."""
    kinds: set[Any] = {type(operation) for operation in operations_of(program)}
    # Passes may still make operations of fdl, whose lowering somebody may have replaced, but none of others.
    kinds |= {type(lowering) for kind, lowering in registry.items() if kind in kinds or _is_own(kind)}
    return {_source_hash(kind) for kind in kinds if not _is_own(kind)}


def _is_own(kind: type) -> bool:
    return kind.__module__.startswith("fdl.")


@cache
def _source_hash(kind: type) -> str:
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        # Without a file, as in a notebook, nobody can tell what another process has under the name.
        return secrets.token_hex(16)


def run_compiled(operation: Operation, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One operation on arrays, compiled."""
    types = tuple(TensorType(a.shape, a.dtype) for a in arrays)
    return _single(operation, types, (config.disable_most_optimizations, config.effort)).run(arrays)


@lru_cache(maxsize=1024)
def _single(operation: Operation, types: tuple[TensorType, ...], effort: tuple[bool, str]) -> Compiled | Interpreted:
    inputs = tuple(Var(t) for t in types)
    result = operation.result(*types)
    outputs = tuple(Var(t) for t in (result if operation.multiple else (result,)))
    return compile_program(Program(inputs, (Equation(operation, inputs, outputs),), outputs))
