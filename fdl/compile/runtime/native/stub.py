"""The machine code of native calls; see `fdl.compile.runtime.native.call`."""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from fdl.compile.llvm.function import call_external, new_function
from fdl.compile.llvm.layout import DATA_OFFSET, OBJECTS, UNUSABLE
from fdl.compile.llvm.values import I8, I32, I64, POINTER
from fdl.compile.runtime.native.record import (
    ARRAY,
    BASE,
    CALLBACK,
    CODE,
    CONSTANTS,
    DONATES,
    DTYPE,
    EXTENTS,
    HEADER,
    INPUTS,
    KIND_DTYPE,
    KIND_EXTENTS,
    KIND_FIRST,
    KIND_NDIM,
    KIND_SECOND,
    LEADING,
    NDIM,
    NEW,
    NUMPY,
    OUTPUTS,
    POOLED,
    SCRATCH,
    SLOT,
    STRIDE,
    TYPE,
    TYPE_SLOT,
)

#: The exported function.
STUB = "call"


class StubEmitter:
    """Emits ``PyObject *call(PyObject *record, PyObject **arguments, Py_ssize_t count)``."""

    def __init__(self) -> None:
        self.module = ir.Module("native_call")
        self.function = new_function(self.module, STUB, [POINTER, POINTER, I64], POINTER, exported=True)
        self.ir = ir.IRBuilder(self.function.append_basic_block())
        self.cleanup = self.function.append_basic_block("cleanup")

    def emit(self) -> ir.Module:
        """The module."""
        build, (record_array, self.arguments, _) = self.ir, self.function.args
        self.record = self.load(record_array, DATA_OFFSET)
        self.inputs, self.outputs = self.header(INPUTS, I64), self.header(OUTPUTS, I64)
        objects = build.add(self.inputs, self.outputs)
        self.table = build.alloca(POINTER, build.add(objects, I64(OBJECTS)))
        self.held, self.result, self.data = build.alloca(I64), build.alloca(POINTER), build.alloca(POINTER)
        build.store(I64(0), self.held)
        build.store(self.external("_Py_NotImplementedStruct"), self.result)
        self.check()
        results = self.make()
        self.run(results)
        build.branch(self.cleanup)
        build.position_at_end(self.cleanup)
        with self.loop(build.load(self.held, typ=I64)) as number:
            self.python("Py_DecRef", self.array(number))
        found = build.load(self.result, typ=POINTER)
        with build.if_then(self.same(found, self.external("_Py_NotImplementedStruct"))):
            self.python("Py_IncRef", found)
        build.ret(found)
        return self.module

    def check(self) -> None:
        """Put the arrays of the arguments into the table, each with a reference, unless one is not as recorded."""
        build = self.ir
        with self.loop(self.inputs) as number:
            argument, kind = self.argument(number), self.kind(number)
            build.store(argument, self.data)
            with build.if_then(self.is_wrapped(argument)):
                build.store(self.load_at(argument, self.header(SLOT, I64)), self.data)
                self.require(self.differs(build.load(self.data, typ=POINTER), POINTER(None)))
            data = build.load(self.data, typ=POINTER)
            self.require(self.same(self.load(data, TYPE), self.header(NUMPY)))
            self.require(self.same(self.load(data, DTYPE), self.word(kind, KIND_DTYPE)))
            ndim = build.sext(self.load(data, NDIM, I32), I64)
            self.require(self.same(ndim, self.word(kind, KIND_NDIM, I64)))
            extents = self.load(data, EXTENTS)
            with self.loop(ndim) as axis:
                wanted = self.word(kind, build.add(axis, I64(KIND_EXTENTS)), I64)
                self.require(self.same(self.word(extents, axis, I64), wanted))
            self.python("Py_IncRef", data)
            self.put(number, data)
            build.store(build.add(number, I64(1)), self.held)
        with build.if_then(self.differs(self.header(DONATES, I64), I64(0))), self.donated() as (argument, data, _):
            # One reference is the argument's, one is ours; with any other somebody could see the memory.
            self.require(self.is_wrapped(argument))
            self.require(self.same(self.load(data, 0, I32), I32(2)))
            base = self.load(data, BASE)
            with build.if_then(self.differs(base, POINTER(None))):
                self.require(self.same(self.load(base, TYPE), self.header(POOLED)))

    @contextmanager
    def donated(self) -> Iterator[tuple[ir.Value, ir.Value, ir.Value]]:
        """For every donated argument: it, its array and its record."""
        with self.loop(self.inputs) as number:
            kind = self.kind(number)
            with self.ir.if_then(self.differs(self.word(kind, KIND_FIRST, I64), I64(0))):
                yield self.argument(number), self.array(number), kind

    def make(self) -> ir.Value:
        """A tuple of arrays for the results, which are in the table too."""
        build = self.ir
        results = self.python("PyTuple_New", self.outputs)
        self.require_made(results)
        with self.loop(self.outputs) as number:
            place = build.add(self.inputs, number)
            kind = self.kind(place)
            given, maker = self.word(kind, KIND_FIRST, I64), self.word(kind, KIND_SECOND)
            with build.if_else(build.icmp_signed(">=", given, I64(0))) as (reuse, otherwise):
                with reuse:
                    build.store(self.array(given), self.data)
                    self.python("Py_IncRef", self.array(given))
                with otherwise, build.if_else(self.differs(maker, POINTER(None))) as (call, new):
                    with call:
                        build.store(self.python("PyObject_CallNoArgs", maker), self.data)
                    with new:
                        build.store(self.new_array(kind), self.data)
            array = build.load(self.data, typ=POINTER)
            self.require_made(array, results)
            self.put(place, array)
            wrapped = self.python("PyType_GenericAlloc", self.header(ARRAY), I64(0))
            self.require_made(wrapped, results)
            build.store(array, self.at(wrapped, self.header(SLOT, I64)))
            self.python("PyTuple_SetItem", results, number, wrapped, returns=I32)
        return results

    def new_array(self, kind: ir.Value) -> ir.Value:
        """An array as recorded, with memory of its own."""
        dtype, ndim = self.word(kind, KIND_DTYPE), self.word(kind, KIND_NDIM, I32)
        self.python("Py_IncRef", dtype)
        extents, none = self.at(kind, I64(8 * KIND_EXTENTS)), POINTER(None)
        arguments = [self.header(NUMPY), dtype, ndim, extents, none, none, I32(0), none]
        return self.call(self.header(NEW), POINTER, *arguments)

    def run(self, results: ir.Value) -> None:
        """Run the program, without Python's lock."""
        build = self.ir
        workspace = self.python("PyLong_AsVoidPtr", self.word(self.arguments, 0))
        scratch = self.at(workspace, self.header(SCRATCH, I64))
        for number, pointer in enumerate((workspace, scratch, self.header(CALLBACK), self.header(CONSTANTS))):
            build.store(pointer, build.gep(self.table, [I64(number)], source_etype=POINTER))
        enter, pool, count = (self.python("PyLong_AsVoidPtr", self.word(self.arguments, n)) for n in (1, 2, 3))
        code = self.header(CODE)
        thread = self.python("PyEval_SaveThread")
        with build.if_else(self.same(enter, POINTER(None))) as (single, together):
            with single:
                alone = self.call(code, I32, self.table)
                single_block = build.block
            with together:
                joint = self.call(enter, I32, pool, code, self.table, build.ptrtoint(count, I64))
                joint_block = build.block
        status = build.phi(I32)
        status.add_incoming(alone, single_block)
        status.add_incoming(joint, joint_block)
        self.python("PyEval_RestoreThread", thread, returns=ir.VoidType())
        with build.if_else(self.same(status, I32(0))) as (done, failed):
            with done:
                build.store(results, self.result)
                with build.if_then(self.differs(self.header(DONATES, I64), I64(0))):
                    self.take()
            with failed:
                self.python("Py_DecRef", results)
                with build.if_then(self.differs(status, I32(UNUSABLE))):
                    with build.if_then(self.differs(self.header(DONATES, I64), I64(0))):
                        self.take()  # who knows what is in them
                    interrupted = self.differs(self.python("PyErr_Occurred"), POINTER(None))
                    with build.if_else(interrupted) as (has_error, has_none):
                        with has_error:
                            build.store(POINTER(None), self.result)
                        with has_none:
                            self.python("Py_IncRef", self.external("_Py_NoneStruct"))
                            build.store(self.external("_Py_NoneStruct"), self.result)

    def take(self) -> None:
        """Leave the donated arguments without their arrays, but with their types."""
        build, none = self.ir, self.external("_Py_NoneStruct")
        with self.donated() as (argument, data, kind):
            slot = self.at(argument, self.header(TYPE_SLOT, I64))
            with build.if_then(self.same(build.load(slot, typ=POINTER), POINTER(None))):
                self.python("Py_IncRef", self.word(kind, KIND_SECOND))
                build.store(self.word(kind, KIND_SECOND), slot)
            self.python("Py_IncRef", none)
            build.store(none, self.at(argument, self.header(SLOT, I64)))
            self.python("Py_DecRef", data)

    def require(self, condition: ir.Value) -> None:
        """Go on only if `condition` holds."""
        after = self.function.append_basic_block()
        self.ir.cbranch(condition, after, self.cleanup)
        self.ir.position_at_end(after)

    def require_made(self, made: ir.Value, results: ir.Value = None) -> None:
        """Go on only if an object could be made; else Python has an error set."""
        with self.ir.if_then(self.same(made, POINTER(None)), likely=False):
            if results is not None:
                self.python("Py_DecRef", results)
            self.ir.store(POINTER(None), self.result)
            self.ir.branch(self.cleanup)

    @contextmanager
    def loop(self, count: ir.Value) -> Iterator[ir.Value]:
        """Repeat the body for 0, 1, ... below `count`."""
        build, before = self.ir, self.ir.block
        head, body, after = (self.function.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        number = build.phi(I64)
        number.add_incoming(I64(0), before)
        build.cbranch(build.icmp_signed("<", number, count), body, after)
        build.position_at_end(body)
        yield number
        number.add_incoming(build.add(number, I64(1)), build.block)
        build.branch(head)
        build.position_at_end(after)

    def at(self, base: ir.Value, offset: ir.Value) -> ir.Value:
        """The address `offset` bytes after `base`."""
        return self.ir.gep(base, [offset], source_etype=I8)

    def load_at(self, base: ir.Value, offset: ir.Value, kind: ir.Type = POINTER) -> ir.Value:
        """What is stored `offset` bytes after `base`."""
        return self.ir.load(self.at(base, offset), typ=kind)

    def load(self, base: ir.Value, offset: int, kind: ir.Type = POINTER) -> ir.Value:
        """What is stored a known number of bytes after `base`."""
        return self.load_at(base, I64(offset), kind)

    def word(self, base: ir.Value, number: ir.Value, kind: ir.Type = POINTER) -> ir.Value:
        """Word `number` of an array of words."""
        number = I64(number) if isinstance(number, int) else number
        return self.ir.load(self.ir.gep(base, [number], source_etype=I64), typ=kind)

    def header(self, number: int, kind: ir.Type = POINTER) -> ir.Value:
        """A word of the record."""
        return self.word(self.record, number, kind)

    def kind(self, number: ir.Value) -> ir.Value:
        """The address of what is recorded of an input, or (counted after them) an output."""
        words = self.ir.add(self.ir.mul(number, self.header(STRIDE, I64)), I64(HEADER))
        return self.ir.gep(self.record, [words], source_etype=I64)

    def argument(self, number: ir.Value) -> ir.Value:
        """A leaf among the arguments."""
        return self.word(self.arguments, self.ir.add(number, I64(LEADING)))

    def array(self, number: ir.Value) -> ir.Value:
        """An array of the table."""
        return self.word(self.table, self.ir.add(number, I64(OBJECTS)))

    def put(self, number: ir.Value, array: ir.Value) -> None:
        """Put an array into the table."""
        place = self.ir.add(number, I64(OBJECTS))
        self.ir.store(array, self.ir.gep(self.table, [place], source_etype=POINTER))

    def is_wrapped(self, argument: ir.Value) -> ir.Value:
        """Whether an argument is an `Array`, rather than NumPy's."""
        return self.same(self.load(argument, TYPE), self.header(ARRAY))

    def same(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Whether two words are equal."""
        return self.ir.icmp_unsigned("==", x, y)

    def differs(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Whether two words are not equal."""
        return self.ir.icmp_unsigned("!=", x, y)

    def python(self, name: str, *arguments: ir.Value, returns: ir.Type | None = None) -> ir.Value:
        """Call a function of Python's C API."""
        returns = returns or (ir.VoidType() if name in ("Py_IncRef", "Py_DecRef") else POINTER)
        return call_external(self.ir, name, returns, *arguments)

    def call(self, function: ir.Value, returns: ir.Type, *arguments: ir.Value) -> ir.Value:
        """Call a pointer."""
        return self.ir.call(_Callee(function, ir.FunctionType(returns, [a.type for a in arguments])), arguments)

    def external(self, name: str) -> ir.Value:
        """The address of an object that is part of Python."""
        found = self.module.globals.get(name)
        return found if found is not None else ir.GlobalVariable(self.module, I8, name)


class _Callee:
    """A pointer that is called as a function of a known type."""

    def __init__(self, pointer: ir.Value, function_type: ir.FunctionType) -> None:
        self.function_type, self.get_reference = function_type, pointer.get_reference
