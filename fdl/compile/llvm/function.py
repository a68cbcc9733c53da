"""Control flow and calls of one LLVM function."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import overload

from llvmlite import ir

from fdl.compile.llvm.memory import IndexLike, Memory
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I64, POINTER, Value, register_type, wide
from fdl.core.types import DTypeLike
from fdl.dtypes import int64


class Variable:
    """A register that can be assigned to, so that loops can carry it."""

    def __init__(self, build: "FunctionBuilder", initial: Value) -> None:
        self._build, self._dtype = build, initial.dtype
        self._type = wide(register_type(initial.dtype), initial.lanes)
        self._slot = build.stack_slot(self._type)
        self.set(initial)

    def get(self) -> Value:
        """The value now."""
        return self._build.value(self._build.ir.load(self._slot, typ=self._type), self._dtype)

    def set(self, value: Value) -> None:
        """Assign `value`, which has the dtype and lanes of the first one."""
        self._build.ir.store(value.ir, self._slot)


class FunctionBuilder(Memory):
    """Adds control flow and calls to loads, stores and arithmetic.

    Args:
        module: where functions that the code needs are put.
        target: the processor.
        function: the function to fill; an entry block is made if it has none.
    """

    def __init__(self, module: ir.Module, target: Target, function: ir.Function) -> None:
        self.module, self.target, self.function = module, target, function
        block = function.append_basic_block("entry") if not function.blocks else function.blocks[-1]
        self.ir = Builder(block)

    @overload
    def argument(self, number: int) -> ir.Value: ...

    @overload
    def argument(self, number: int, dtype: DTypeLike) -> Value: ...

    def argument(self, number: int, dtype: DTypeLike = None) -> ir.Value | Value:
        """Argument `number` of the function: a `Value` of `dtype`, or the plain pointer without one."""
        register = self.function.args[number]
        return register if dtype is None else self.value(register, dtype)

    def variable(self, initial: Value) -> Variable:
        """A new variable that starts as `initial`."""
        return Variable(self, initial)

    @contextmanager
    def loop(self, start: IndexLike, stop: IndexLike, step: IndexLike = 1) -> Iterator[Value]:
        """Repeat the body for the 64-bit index start, start + step, ... below `stop`; `step` is positive."""
        first, last, increment = (self.index(v) for v in (start, stop, step))
        before = self.ir.block
        head, body, after = (self.function.append_basic_block(n) for n in ("loop", "body", "done"))
        self.ir.branch(head)
        self.ir.position_at_end(head)
        counter = self.ir.phi(I64)
        counter.add_incoming(first.ir, before)
        self.ir.cbranch(self.ir.icmp_signed("<", counter, last.ir), body, after)
        self.ir.position_at_end(body)
        yield self.value(counter, int64)
        following = self.ir.add(counter, increment.ir, flags=("nsw",))
        counter.add_incoming(following, self.ir.block)
        self.ir.branch(head)
        self.ir.position_at_end(after)

    @contextmanager
    def while_(self) -> Iterator["While"]:
        """Repeat the body until `While.proceed_if`, called once in it, is given a false condition."""
        head, after = (self.function.append_basic_block(n) for n in ("while", "done"))
        self.ir.branch(head)
        self.ir.position_at_end(head)
        yield While(self, after)
        self.ir.branch(head)
        self.ir.position_at_end(after)

    @contextmanager
    def if_(self, condition: Value, likely: bool | None = None) -> Iterator[None]:
        """Run the body only if `condition` (one boolean) holds."""
        with self.ir.if_then(condition.ir, likely):
            yield

    @contextmanager
    def if_else(self, condition: Value) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two context managers: ``with build.if_else(c) as (then, otherwise): with then: ...; with otherwise: ...``."""
        with self.ir.if_else(condition.ir) as branches:
            yield branches

    def quotient(self, x: Value, y: int | Value, seldom: bool = False) -> Value:
        """Floor of an index that is not negative, by a positive number.

        If that is needed `seldom`, functions that are alike but for the constant may be shared (see `sharing`).
        """
        return self.value(self.ir.udiv(x.ir, self.index(y).ir, name="seldom" if seldom else ""), int64)

    def call_function(self, function: ir.Function, arguments: Sequence[Value | int | ir.Value]) -> ir.Value:
        """Call an LLVM function with values, integers (64-bit) or plain LLVM values; returns the LLVM result."""
        return self.ir.call(function, [self._plain(a) for a in arguments])

    def call_pointer(self, pointer: ir.Value, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
        """Call the function at an LLVM pointer with plain LLVM values; `result` is the LLVM type that it returns."""
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.ir.call(_Callee(pointer, kind), arguments)

    def _plain(self, argument: Value | int | ir.Value) -> ir.Value:
        if isinstance(argument, Value):
            return argument.ir
        return I64(argument) if isinstance(argument, int) else argument

    def import_function(self, text: str, symbol: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """The function `symbol` of another LLVM module, whose `text` is linked to this one; see `compile_object`."""
        self.module.__dict__.setdefault("imported", {})[symbol] = text
        return self.declare(symbol, result, arguments)

    def ret(self, value: Value | None = None) -> None:
        """Return from the function."""
        if value is None:
            self.ir.ret_void()
        else:
            self.ir.ret(value.ir)


class Builder(ir.IRBuilder):
    """llvmlite's builder, which does not search for its place: a block holds thousands of instructions."""

    @contextmanager
    def goto_block(self, block: ir.Block) -> Iterator[None]:
        """Insert at the end of `block`, before its terminator (which is its last instruction), for a while."""
        before = self.block
        self.position_at_end(block)
        if block.is_terminated:
            self._anchor -= 1
        try:
            yield
        finally:
            self.position_at_end(before)


class _Callee:
    """A pointer that is called as a function of a known type."""

    def __init__(self, pointer: ir.Value, function_type: ir.FunctionType) -> None:
        self.function_type, self.get_reference = function_type, pointer.get_reference


class While:
    """The handle that `Build.while_` gives to its body."""

    def __init__(self, build: FunctionBuilder, after: ir.Block) -> None:
        self._build, self._after = build, after

    def proceed_if(self, condition: Value) -> None:
        """Leave the loop unless `condition` (one boolean) holds."""
        body = self._build.function.append_basic_block("body")
        self._build.ir.cbranch(condition.ir, body, self._after)
        self._build.ir.position_at_end(body)


def new_function(
    module: ir.Module, name: str, arguments: Sequence[ir.Type], result: ir.Type | None = None, exported: bool = False
) -> ir.Function:
    """A function of `module` that is private to it unless `exported`; `arguments` are LLVM types.

    Pointer arguments of private functions are declared not to overlap (``noalias``), the caller's promise.
    """
    function = ir.Function(module, ir.FunctionType(result or ir.VoidType(), list(arguments)), name)
    function.attributes.add("nounwind")
    if not exported:
        function.linkage = "internal"
        for argument in function.args:
            if argument.type == POINTER:
                argument.add_attribute("noalias")
    return function


def call_external(build: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Call a function of the process, of Python's C API or the system say, which a module declares once."""
    known = build.module.globals.get(name)
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return build.call(known or ir.Function(build.module, kind, name), arguments)
