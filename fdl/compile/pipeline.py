"""The compiler, and the caches in front of it.

From Program to Program (`passes.order`): inline, simplify, hoist, narrow, simplify, canonical, transposes. From there
to steps (`schedule.planner`): fuse, group, widen, split; then place values in memory. Then emit. A pass that fails is
left out (`fallback`).

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

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.compile.fallback import Skip, during, otherwise, with_fewer_passes
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.archive import Archive, constant_bytes
from fdl.compile.runtime.cache import default_cache
from fdl.compile.runtime.executable import Executable, HostCall
from fdl.compile.runtime.machine import compile_object, content_key
from fdl.config import config
from fdl.core.interpret import interpret
from fdl.core.program import Equation, Program, Var
from fdl.core.types import TensorType
from fdl.transforms.inline import inline


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
        hosts, foreign = [], {}
        if archive.hosts or archive.foreign:
            from fdl.compile.codegen.control import find_equation
            from fdl.compile.passes.order import prepared

            whole = prepared(program, archive.skip)
            hosts = [HostCall(find_equation(whole, path, archive.skip), steps) for path, steps in archive.hosts]
            foreign = {number: find_equation(whole, path, archive.skip) for number, path in archive.foreign}
        self.executable = Executable(archive, program.output_types, hosts, foreign, exports)
        #: ``run(arrays) -> results``: NumPy arrays of the input types, any strides; results are new arrays, except that
        #: donated inputs' memory may be returned.
        self.run = self.executable.run

    def __reduce__(self) -> Any:
        key = cache_key(inline(self.program), self.donate, self.archive.skip)
        return restore, (self.program, self.donate, key, self.archive.pack())


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


def restore(program: Program, donate: tuple[bool, ...], key: str, data: bytes) -> Compiled | Interpreted:
    """What was pickled; compiled anew if this processor or version is another one."""
    _arrived[key] = data
    try:
        return compile_program(program, donate)
    finally:
        _arrived.pop(key, None)


def cache_key(inlined: Program, donate: tuple[bool, ...], skip: Skip = frozenset()) -> str:
    """The name on disk of an inlined Program's machine code, compiled without the passes to `skip`."""
    # Custom derivative rules, which hold Python functions, are gone once they are inlined: the hash is the same in
    # every process.
    parts = [inlined.digest.hex(), str(donate), *sorted(skip)]
    return content_key(" ".join(parts), host_target())


def build_archive(
    program: Program,
    donate: tuple[bool, ...],
    skip: Skip = frozenset(),
    watch: Callable[[Any, Any], None] | None = None,
) -> Archive:
    """Compile a Program without the passes to `skip`.

    `watch` is shown the emission and the plan before any code is emitted.
    """
    # Machine code that is on disk already needs none of these, and importing them takes longer than loading it.
    from fdl.compile.codegen.emit import ProgramEmission
    from fdl.compile.passes.order import prepared
    from fdl.compile.schedule.cost import worth_threads
    from fdl.compile.schedule.planner import make_plan

    plan = make_plan(prepared(program, skip), donate, skip=skip)
    with during("threads"):
        target, parallel = host_target(), "threads" not in skip and worth_threads(plan)
    emission = ProgramEmission(target, len(program.inputs), len(program.outputs), plan.reused.values(), parallel)
    if watch is not None:
        watch(emission, plan)
    emission.program(plan)
    return Archive(
        compile_object(emission.finish(), target),
        constant_bytes(emission.constants),
        tuple(emission.hosts),
        tuple(emission.foreign),
        plan.arena_bytes,
        emission.scratch_bytes,
        tuple(plan.reused.items()),
        parallel,
        skip,
    )


def compile_program(program: Program, donate: tuple[bool, ...] = ()) -> Compiled | Interpreted:
    """The native function of a Program, made once for equal Programs, with machine code kept on disk.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten and returned; none by default.
    """
    if config.dump:
        from fdl.compile.listing import dump

        dump(program, donate, config.dump)
    inlined = otherwise("inline", program, lambda: inline(program), None)
    return Interpreted(program, donate) if inlined is None else _compile(inlined, donate)


@lru_cache(maxsize=512)
def _compile(program: Program, donate: tuple[bool, ...]) -> Compiled | Interpreted:
    def attempt(skip: Skip) -> Compiled | Interpreted:
        key = cache_key(program, donate, skip)
        found = _arrived.get(key) or default_cache().get(key)
        if found is not None:
            return Compiled(program, donate, Archive.unpack(found))
        archive = build_archive(program, donate, skip)
        made = Compiled(program, donate, archive)
        default_cache().put(key, archive.pack())
        return made

    return with_fewer_passes(program, attempt, lambda: Interpreted(program, donate))


def run_heavy(operation: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One operation on arrays, compiled."""
    return _single(operation, tuple(TensorType(a.shape, a.dtype) for a in arrays)).run(arrays)


@lru_cache(maxsize=1024)
def _single(operation: Any, types: tuple[TensorType, ...]) -> Compiled | Interpreted:
    inputs = tuple(Var(t) for t in types)
    result = operation.result(*types)
    outputs = tuple(Var(t) for t in (result if operation.multiple else (result,)))
    return compile_program(Program(inputs, (Equation(operation, inputs, outputs),), outputs))
