"""The threads that run one function together, as the code that they run sees them."""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.layout import BARRIER, STATUS
from fdl.compile.llvm.values import I8, I32, I64, POINTER, Value
from fdl.dtypes import int64


class Team:
    """The threads that execute a plan: all of them run the same code, each with its own `number`.

    Args:
        build: the function that they run.
        shared: pointer to the memory that they share (see `native.pool`); none for a function that one thread runs.
        number, count: of the threads, LLVM values.

    Attributes:
        number: of this thread, from 0.
        count: how many there are; known when the code runs.
        barriers: how many barriers have been emitted.
    """

    def __init__(
        self,
        build: Build,
        shared: ir.Value | None = None,
        number: ir.Value | None = None,
        count: ir.Value | None = None,
    ) -> None:
        self.build, self.shared = build, shared
        self.number = build.index(0) if shared is None else build.value(number, int64)
        self.count = build.index(1) if shared is None else build.value(count, int64)
        self.barriers = 0
        self._parts: dict[int, tuple[Value, Value]] = {}
        self._private = shared is None
        self._after: ir.Block | None = None
        self._fallible = False

    @property
    def together(self) -> bool:
        """Whether there may be other threads at this place of the code."""
        return not self._private

    @property
    def types(self) -> list[ir.Type]:
        """LLVM types of the arguments that a function takes for `inside`."""
        return [POINTER, I64, I64] if self.together else []

    @property
    def arguments(self) -> list[ir.Value]:
        """Those arguments."""
        return [self.shared, self.number.ir, self.count.ir] if self.together else []

    def inside(self, build: Build) -> "Team":
        """The same threads in a function that all of them call, with `arguments` as its last ones."""
        return Team(build, *build.function.args[-3:]) if self.together else Team(build)

    def share(self, units: int) -> tuple[Value, Value]:
        """This thread's part [begin, end) of so many units of work, which write disjoint memory."""
        build = self.build
        if self._private:
            return build.index(0), build.index(units)
        if units not in self._parts:
            with build.ir.goto_entry_block():
                begin, end = (build.mul(n, units).ir for n in (self.number, build.add(self.number, 1)))
                self._parts[units] = (
                    build.value(build.ir.udiv(begin, self.count.ir), int64),
                    build.value(build.ir.udiv(end, self.count.ir), int64),
                )
        return self._parts[units]

    def barrier(self) -> None:
        """Wait until all threads are here; what each wrote before is then seen by all."""
        if self._private:
            return
        build = self.build
        self.barriers += 1
        with build.ir.if_then(build.ir.icmp_signed(">", self.count.ir, I64(1))):
            function = build.ir.load(build.ir.gep(self.shared, [I64(BARRIER)], source_etype=I8), typ=POINTER)
            build.call_pointer(function, ir.VoidType(), [self.shared, self.count.ir])

    @contextmanager
    def solo(self) -> Iterator[None]:
        """A body that is private to the thread: `share` gives all units and `barrier` does nothing."""
        before, self._private = self._private, True
        try:
            yield
        finally:
            self._private = before

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A body that thread 0 runs alone; the others go past it. It may `fail`: then all threads return."""
        if self._private:
            yield
            return
        build = self.build
        body, self._after = (build.function.append_basic_block(n) for n in ("alone", "after"))
        self._fallible = False
        build.ir.cbranch(build.ir.icmp_signed("==", self.number.ir, I64(0)), body, self._after)
        build.ir.position_at_end(body)
        with self.solo():
            yield
        build.ir.branch(self._after)
        build.ir.position_at_end(self._after)
        self._after = None
        if self._fallible:
            self.barrier()
            status = build.ir.load(self._status(), typ=I32)
            with build.ir.if_then(build.ir.icmp_signed("!=", status, I32(0)), likely=False):
                build.ir.ret(status)

    def fail(self, status: ir.Value) -> None:
        """Return a status from the function in all threads; the code from here on is not reached."""
        if self._after is None:
            self.build.ir.ret(status)
            return
        self._fallible = True
        self.build.ir.store(status, self._status())
        self.build.ir.branch(self._after)

    def _status(self) -> ir.Value:
        return self.build.ir.gep(self.shared, [I64(STATUS)], source_etype=I8)
