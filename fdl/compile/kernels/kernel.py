"""What every kernel of the library looks like to its caller, and how lowerings call functions of their own.

A kernel is an LLVM function ``void kernel(ptr operand, ..., ptr scratch, i64 begin, i64 end)``. It does the units
[begin, end) of its `work`; units write disjoint parts of the result, so any cut of the range into threads, in any
order, gives the same bits. `scratch` is private to the thread, `scratch_bytes` long, aligned to 64 bytes, with
undefined contents before and after. Operands are pointers to elements; inputs are read only and do not overlap the
output.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.emitter import Emitter


class Epilogue(Protocol):
    """Called on every vector of the output once it is complete."""

    def __call__(
        self, build: Build, value: Value, index: tuple[Value, ...], pointers: Sequence[ir.Value], mask: Value | None,
        axis: int = -1,
    ) -> Value | None:  # fmt: skip
        """Compute and store what depends on `value`.

        Args:
            build: where the code goes.
            value: the vector.
            index: of its first lane, along every axis of the output.
            pointers: the kernel's extra operands.
            mask: lanes that are part of the output; others must be neither loaded nor stored. None if all are.
            axis: the axis along which the lanes follow each other.

        Returns:
            What the output gets instead of `value`, or None to leave it.
        """


@dataclass(frozen=True)
class Kernel:
    """An emitted kernel.

    Attributes:
        function: the LLVM function, private to its module.
        scratch_bytes: size of the scratch memory that each thread passes.
        work: number of units; the caller may run [begin, end) parts of it at once.
    """

    function: ir.Function
    scratch_bytes: int
    work: int

    def run(self, build: Build, operands: Sequence[Any], scratch: ir.Value, begin: Any = 0, end: Any = None) -> None:
        """Emit a call of the kernel for the units [begin, end), by default all of them.

        Args:
            build: where the call goes.
            operands: LLVM pointers, in the order that the emitting function documents.
            scratch: LLVM pointer to this thread's scratch memory (null if `scratch_bytes` is 0).
            begin, end: integers or `Value`.
        """
        build.call_function(self.function, [*operands, scratch, begin, self.work if end is None else end])


def run_kernel(emitter: Emitter, key: str, make: Callable[[], Kernel], pointers: Sequence[ir.Value]) -> None:
    """Call a kernel, whose work the threads divide.

    Args:
        emitter: where the call goes.
        key: equal for equal kernels.
        make: emits the kernel, if there is none of that key in the program yet.
        pointers: to its operands.
    """
    emission = emitter.emission
    kernel = emission.shared(key, make)
    scratch = emission.scratch_for(kernel.scratch_bytes)
    kernel.run(emitter.build, pointers, scratch, *emission.team.share(kernel.work))


def call_function(
    emitter: Emitter, name: str, key: Any, pointers: Sequence[ir.Value], fill: Callable[..., None]
) -> None:
    """Call a private function of pointers.

    Args:
        emitter: where the call goes.
        name: of the function, made unique.
        key: equal for equal functions of that name, of which there is one in a program.
        pointers: its arguments.
        fill: ``fill(build, *pointers)`` emits its body.
    """

    def body(build: Build, team: Team) -> None:
        fill(build, *build.function.args)

    emitter.build.call_function(_function(emitter, name, f"{name} {key}", len(pointers), [], body), pointers)


def call_divided(
    emitter: Emitter, name: str, key: Any, pointers: Sequence[ir.Value], fill: Callable[..., None]
) -> None:
    """Like `call_function` for a function whose work the threads divide; ``fill(build, team, *pointers)``."""
    team, count = emitter.emission.team, len(pointers)

    def body(build: Build, team: Team) -> None:
        fill(build, team, *build.function.args[:count])

    function = _function(emitter, name, f"{name} {key} {team.together}", count, team.types, body)
    emitter.build.call_function(function, [*pointers, *team.arguments])


def _function(
    emitter: Emitter, name: str, key: str, pointers: int, types: Sequence[Any], body: Callable[[Build, Team], None]
) -> ir.Function:
    """A private function of pointers and of arguments of these types, made once a key."""
    emission = emitter.emission

    def make() -> ir.Function:
        function = new_function(
            emission.module, emission.module.get_unique_name(name), [POINTER] * pointers + list(types)
        )
        function.attributes.add("noinline")
        build = Build(emission.module, emission.target, function)
        body(build, emission.team.inside(build) if types else Team(build))
        build.ret()
        return function

    return emission.shared(key, make)


def shared_function(build: Build, name: str, pointers: int, numbers: int, fill: Callable[..., None]) -> ir.Function:
    """The private function of a name, of pointers and 64-bit numbers; ``fill(build, pointers, numbers)`` emits it."""
    known = build.module.globals.get(name)
    if known is None:
        known = new_function(build.module, name, [POINTER] * pointers + [I64] * numbers)
        known.attributes.add("noinline")
        inner = Build(build.module, build.target, known)
        fill(inner, known.args[:pointers], [inner.value(n, "int64") for n in known.args[pointers:]])
        inner.ret()
    return known


def kernel_function(module: ir.Module, target: Target, name: str, operands: int) -> Build:
    """A builder at the start of a new private kernel with `operands` pointers; its name is made unique."""
    function = new_function(module, module.get_unique_name(name), [POINTER] * (operands + 1) + [I64, I64])
    return Build(module, target, function)


@contextmanager
def pieces(
    build: Build, start: Any, stop: Any, step: int, size: int
) -> Iterator[Callable[[], Iterator[tuple[Value, int]]]]:
    """Loop over [start, stop) in steps, for bodies whose code depends on how much is left.

    The context gives a generator of (position, length): the body inside ``for position, length in piece():`` is emitted
    for whole pieces and, if `size` is no multiple of `step`, once more for the last partial one that ends at `size`.
    """
    rest = size % step
    with build.loop(start, stop, step) as position:

        def variants() -> Iterator[tuple[Value, int]]:
            if rest == 0:
                yield position, step
            elif size < step:
                yield position, rest
            else:
                with build.if_else(position + step <= size) as (then, otherwise):
                    with then:
                        yield position, step
                    with otherwise:
                        yield position, rest

        yield variants


def table(build: Build, numbers: Sequence[int]) -> ir.GlobalVariable:
    """A constant array of 64-bit integers; equal ones are shared."""
    text = ".".join(map(str, numbers))
    name = f"table.{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    known = build.module.globals.get(name)
    if known is None:
        kind = ir.ArrayType(I64, len(numbers))
        known = ir.GlobalVariable(build.module, kind, name)
        known.initializer, known.global_constant, known.linkage = ir.Constant(kind, list(numbers)), True, "internal"
        known.type = POINTER
    return known


def offset_of_unit(build: Build, unit: Value, batch: Sequence[int], steps: Sequence[int]) -> Value:
    """Elements before the matrix with a number, in a stack with the extents `batch`, whose axes have those strides."""
    offset = build.index(0)
    for axis in reversed(range(len(batch))):
        if batch[axis] == 1:
            continue
        rest = build.quotient(unit, batch[axis])
        offset = offset + (unit - rest * batch[axis]) * steps[axis]
        unit = rest
    return offset
