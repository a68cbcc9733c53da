"""Calls of machine code without Python in between: arguments checked, results made and memory given away natively.

What :func:`native_call` returns is a Python builtin. Its machine code is the same for all programs; what differs is in
a record. It relies on the layout of NumPy's array object (part of NumPy's C API), on one function of that API, and on
CPython's C API, whose symbols every process with Python in it has. Where any of these is not as expected,
:func:`native_call` returns None, and callers use `Executable.run`.
"""

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.array import Array
from fdl.compile.blocks import LARGE, Block
from fdl.compile.build import new_function
from fdl.compile.emit import DATA_OFFSET, UNUSABLE
from fdl.compile.machine import load_objects, object_code
from fdl.compile.runtime import has_expected_layout
from fdl.compile.target import host_target
from fdl.compile.values import I8, I32, I64, POINTER
from fdl.core.types import TensorType

#: What a native call returns for arguments that it does not take: the caller goes the general way.
MISMATCH = NotImplemented

_ENTRY = "call"

# Places in Python's objects, and in NumPy's arrays: number of axes, extents, base, dtype.
_TYPE, _NDIM, _EXTENTS, _BASE, _DTYPE = 8, 24, 32, 48, 56

# Words at the start of a record.
(_CODE, _CALLBACK, _CONSTANTS, _SCRATCH, _INPUTS, _OUTPUTS, _STRIDE, _DONATES) = range(8)
(_ARRAY, _NUMPY, _POOLED, _SLOT, _TYPE_SLOT, _NEW) = range(8, 14)
_HEADER = 14

# Words of an input or an output in a record: dtype, number of axes, extents. What comes between is for inputs whether
# it is donated, and its TensorType; for outputs the number of the input whose memory it takes (or -1), and a function
# that makes the array (or 0).
_KIND_DTYPE, _KIND_FIRST, _KIND_SECOND, _KIND_NDIM, _KIND_EXTENTS = range(5)

#: Words of the table before the arrays; see `fdl.compile.emit`.
_OBJECTS = 4

#: Arguments before the leaves: the addresses of the workspace, of the function that enters the pool of threads (0 for
#: programs that run on one) and of the pool, and the number of threads.
_LEADING = 4

#: Numbers of functions in NumPy's C API, which keep their places.
_API_VERSION, _NEW_FROM_DESCR = 0, 94

#: Of a PyMethodDef: the function takes an array of arguments.
_FASTCALL = 0x80


class _Emitter:
    """Emits ``PyObject *call(PyObject *record, PyObject **arguments, Py_ssize_t count)``."""

    def __init__(self) -> None:
        self.module = ir.Module("native_call")
        self.function = new_function(self.module, _ENTRY, [POINTER, POINTER, I64], POINTER, exported=True)
        self.ir = ir.IRBuilder(self.function.append_basic_block())
        self.cleanup = self.function.append_basic_block("cleanup")

    def emit(self) -> ir.Module:
        """The module."""
        build, (record_array, self.arguments, _) = self.ir, self.function.args
        self.record = self.load(record_array, DATA_OFFSET)
        self.inputs, self.outputs = self.header(_INPUTS, I64), self.header(_OUTPUTS, I64)
        objects = build.add(self.inputs, self.outputs)
        self.table = build.alloca(POINTER, build.add(objects, I64(_OBJECTS)))
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
                build.store(self.load_at(argument, self.header(_SLOT, I64)), self.data)
                self.require(self.differs(build.load(self.data, typ=POINTER), POINTER(None)))
            data = build.load(self.data, typ=POINTER)
            self.require(self.same(self.load(data, _TYPE), self.header(_NUMPY)))
            self.require(self.same(self.load(data, _DTYPE), self.word(kind, _KIND_DTYPE)))
            ndim = build.sext(self.load(data, _NDIM, I32), I64)
            self.require(self.same(ndim, self.word(kind, _KIND_NDIM, I64)))
            extents = self.load(data, _EXTENTS)
            with self.loop(ndim) as axis:
                wanted = self.word(kind, build.add(axis, I64(_KIND_EXTENTS)), I64)
                self.require(self.same(self.word(extents, axis, I64), wanted))
            self.python("Py_IncRef", data)
            self.put(number, data)
            build.store(build.add(number, I64(1)), self.held)
        with build.if_then(self.differs(self.header(_DONATES, I64), I64(0))), self.donated() as (argument, data, _):
            # One reference is the argument's, one is ours; with any other somebody could see the memory.
            self.require(self.is_wrapped(argument))
            self.require(self.same(self.load(data, 0, I32), I32(2)))
            base = self.load(data, _BASE)
            with build.if_then(self.differs(base, POINTER(None))):
                self.require(self.same(self.load(base, _TYPE), self.header(_POOLED)))

    @contextmanager
    def donated(self) -> Iterator[tuple[Any, Any, Any]]:
        """For every donated argument: it, its array and its record."""
        with self.loop(self.inputs) as number:
            kind = self.kind(number)
            with self.ir.if_then(self.differs(self.word(kind, _KIND_FIRST, I64), I64(0))):
                yield self.argument(number), self.array(number), kind

    def make(self) -> Any:
        """A tuple of arrays for the results, which are in the table too."""
        build = self.ir
        results = self.python("PyTuple_New", self.outputs)
        self.require_made(results)
        with self.loop(self.outputs) as number:
            place = build.add(self.inputs, number)
            kind = self.kind(place)
            given, maker = self.word(kind, _KIND_FIRST, I64), self.word(kind, _KIND_SECOND)
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
            wrapped = self.python("PyType_GenericAlloc", self.header(_ARRAY), I64(0))
            self.require_made(wrapped, results)
            build.store(array, self.at(wrapped, self.header(_SLOT, I64)))
            self.python("PyTuple_SetItem", results, number, wrapped, returns=I32)
        return results

    def new_array(self, kind: Any) -> Any:
        """An array as recorded, with memory of its own."""
        dtype, ndim = self.word(kind, _KIND_DTYPE), self.word(kind, _KIND_NDIM, I32)
        self.python("Py_IncRef", dtype)
        extents, none = self.at(kind, I64(8 * _KIND_EXTENTS)), POINTER(None)
        arguments = [self.header(_NUMPY), dtype, ndim, extents, none, none, I32(0), none]
        return self.call(self.header(_NEW), POINTER, *arguments)

    def run(self, results: Any) -> None:
        """Run the program, without Python's lock."""
        build = self.ir
        workspace = self.python("PyLong_AsVoidPtr", self.word(self.arguments, 0))
        scratch = self.at(workspace, self.header(_SCRATCH, I64))
        for number, pointer in enumerate((workspace, scratch, self.header(_CALLBACK), self.header(_CONSTANTS))):
            build.store(pointer, build.gep(self.table, [I64(number)], source_etype=POINTER))
        enter, pool, count = (self.python("PyLong_AsVoidPtr", self.word(self.arguments, n)) for n in (1, 2, 3))
        code = self.header(_CODE)
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
                with build.if_then(self.differs(self.header(_DONATES, I64), I64(0))):
                    self.take()
            with failed:
                self.python("Py_DecRef", results)
                with build.if_then(self.differs(status, I32(UNUSABLE))):
                    self.python("Py_IncRef", self.external("_Py_NoneStruct"))
                    build.store(self.external("_Py_NoneStruct"), self.result)

    def take(self) -> None:
        """Leave the donated arguments without their arrays, but with their types."""
        build, none = self.ir, self.external("_Py_NoneStruct")
        with self.donated() as (argument, data, kind):
            slot = self.at(argument, self.header(_TYPE_SLOT, I64))
            with build.if_then(self.same(build.load(slot, typ=POINTER), POINTER(None))):
                self.python("Py_IncRef", self.word(kind, _KIND_SECOND))
                build.store(self.word(kind, _KIND_SECOND), slot)
            self.python("Py_IncRef", none)
            build.store(none, self.at(argument, self.header(_SLOT, I64)))
            self.python("Py_DecRef", data)

    def require(self, condition: Any) -> None:
        """Go on only if `condition` holds."""
        after = self.function.append_basic_block()
        self.ir.cbranch(condition, after, self.cleanup)
        self.ir.position_at_end(after)

    def require_made(self, made: Any, results: Any = None) -> None:
        """Go on only if an object could be made; else Python has an error set."""
        with self.ir.if_then(self.same(made, POINTER(None)), likely=False):
            if results is not None:
                self.python("Py_DecRef", results)
            self.ir.store(POINTER(None), self.result)
            self.ir.branch(self.cleanup)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
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

    def at(self, base: Any, offset: Any) -> Any:
        """The address `offset` bytes after `base`."""
        return self.ir.gep(base, [offset], source_etype=I8)

    def load_at(self, base: Any, offset: Any, kind: Any = POINTER) -> Any:
        """What is stored `offset` bytes after `base`."""
        return self.ir.load(self.at(base, offset), typ=kind)

    def load(self, base: Any, offset: int, kind: Any = POINTER) -> Any:
        """What is stored a known number of bytes after `base`."""
        return self.load_at(base, I64(offset), kind)

    def word(self, base: Any, number: Any, kind: Any = POINTER) -> Any:
        """Word `number` of an array of words."""
        number = I64(number) if isinstance(number, int) else number
        return self.ir.load(self.ir.gep(base, [number], source_etype=I64), typ=kind)

    def header(self, number: int, kind: Any = POINTER) -> Any:
        """A word of the record."""
        return self.word(self.record, number, kind)

    def kind(self, number: Any) -> Any:
        """The address of what is recorded of an input, or (counted after them) an output."""
        words = self.ir.add(self.ir.mul(number, self.header(_STRIDE, I64)), I64(_HEADER))
        return self.ir.gep(self.record, [words], source_etype=I64)

    def argument(self, number: Any) -> Any:
        """A leaf among the arguments."""
        return self.word(self.arguments, self.ir.add(number, I64(_LEADING)))

    def array(self, number: Any) -> Any:
        """An array of the table."""
        return self.word(self.table, self.ir.add(number, I64(_OBJECTS)))

    def put(self, number: Any, array: Any) -> None:
        """Put an array into the table."""
        place = self.ir.add(number, I64(_OBJECTS))
        self.ir.store(array, self.ir.gep(self.table, [place], source_etype=POINTER))

    def is_wrapped(self, argument: Any) -> Any:
        """Whether an argument is an `Array`, rather than NumPy's."""
        return self.same(self.load(argument, _TYPE), self.header(_ARRAY))

    def same(self, x: Any, y: Any) -> Any:
        """Whether two words are equal."""
        return self.ir.icmp_unsigned("==", x, y)

    def differs(self, x: Any, y: Any) -> Any:
        """Whether two words are not equal."""
        return self.ir.icmp_unsigned("!=", x, y)

    def python(self, name: str, *arguments: Any, returns: Any = None) -> Any:
        """Call a function of Python's C API."""
        returns = returns or (ir.VoidType() if name in ("Py_IncRef", "Py_DecRef") else POINTER)
        function = self.module.globals.get(name)
        if function is None:
            function_type = ir.FunctionType(returns, [a.type for a in arguments])
            function = ir.Function(self.module, function_type, name)
        return self.ir.call(function, arguments)

    def call(self, function: Any, returns: Any, *arguments: Any) -> Any:
        """Call a pointer."""
        return self.ir.call(_Callee(function, ir.FunctionType(returns, [a.type for a in arguments])), arguments)

    def external(self, name: str) -> Any:
        """The address of an object that is part of Python."""
        found = self.module.globals.get(name)
        return found if found is not None else ir.GlobalVariable(self.module, I8, name)


class _Callee:
    """A pointer that is called as a function of a known type."""

    def __init__(self, pointer: Any, function_type: ir.FunctionType) -> None:
        self.function_type, self.get_reference = function_type, pointer.get_reference


class _Record(np.ndarray):
    """The words that a native call reads, and what has to live as long as they do."""

    kept: Any


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def native_call(executable: Any, types: Sequence[TensorType], donated: Sequence[bool]) -> Callable[..., Any] | None:
    """A builtin that runs a program: ``call(workspace, enter, pool, threads, leaf, ...)``; see `_LEADING`.

    Args:
        executable: the `Executable`.
        types: of its inputs.
        donated: which of them lose their memory by a call.

    Returns:
        None where native calls are not possible, otherwise the function. Its arguments are Arrays or NumPy arrays. It
        returns a tuple of Arrays; or `MISMATCH` if an argument has another type, is laid out in another way, or is
        donated though its memory is seen by others; or None if a host call raised.
    """
    if not is_supported():
        return None
    slots, outputs = _slots(), executable.output_types
    stride = _KIND_EXTENTS + max((t.ndim for t in (*types, *outputs)), default=0)
    record = np.zeros(_HEADER + stride * (len(types) + len(outputs)), np.int64).view(_Record)
    record[:_HEADER] = (
        *executable.code,
        len(types),
        len(outputs),
        stride,
        any(donated),
        id(Array),
        id(np.ndarray),
        id(Block),
        slots["_data"],
        slots["_type"],
        _numpy_function(_NEW_FROM_DESCR),
    )
    reused, makers = dict(executable.reused), executable.makers
    rows = record[_HEADER:].reshape(-1, stride)
    for row, kind, given in zip(rows, types, donated, strict=False):
        row[: _KIND_EXTENTS + kind.ndim] = id(kind.dtype), given, id(kind), kind.ndim, *kind.shape
    for number, (row, kind) in enumerate(zip(rows[len(types) :], outputs, strict=True)):
        maker = id(makers[number]) if kind.size * kind.dtype.itemsize >= LARGE else 0
        row[: _KIND_EXTENTS + kind.ndim] = id(kind.dtype), reused.get(number, -1), maker, kind.ndim, *kind.shape
    method, library = _method()
    record.kept = executable, tuple(types), library
    made: Callable[..., Any] = ctypes.pythonapi.PyCFunction_NewEx(ctypes.byref(method), record, None)
    return made


@cache
def is_supported() -> bool:
    """Whether Python and NumPy are such that native calls work."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if not has_expected_layout() or not _has_expected_fields() or not {"_data", "_type"} <= _slots().keys():
        return False
    try:
        _method()
        return _makes_arrays()
    except (AttributeError, RuntimeError):
        return False


@cache
def _method() -> tuple[_Method, Any]:
    """The machine code as a method that builtins can be made of, and what keeps it loaded."""
    target = host_target()
    code = object_code("native call", target, lambda: _Emitter().emit())
    library = load_objects([code], [_ENTRY])
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return _Method(b"run", library.addresses[_ENTRY], _FASTCALL, None), library


def _numpy_function(number: int) -> int:
    """The address of a function of NumPy's C API."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get_pointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    return int(ctypes.c_void_p.from_address(table + 8 * number).value or 0)


def _makes_arrays() -> bool:
    """Whether NumPy's C API has the expected function at the expected place."""
    version = ctypes.PYFUNCTYPE(ctypes.c_uint)(_numpy_function(_API_VERSION))()
    if version >> 24 not in (1, 2):
        return False
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(np.dtype(np.float32)))
    signature = [
        ctypes.py_object,
        ctypes.py_object,
        ctypes.c_int,
        *[ctypes.c_void_p] * 3,
        ctypes.c_int,
        ctypes.c_void_p,
    ]
    make = ctypes.PYFUNCTYPE(ctypes.py_object, *signature)(_numpy_function(_NEW_FROM_DESCR))
    extents = (ctypes.c_ssize_t * 2)(2, 3)
    made = make(np.ndarray, np.dtype(np.float32), 2, ctypes.addressof(extents), None, None, 0, None)
    return type(made) is np.ndarray and (made.shape, made.dtype) == ((2, 3), np.float32) and made.flags.carray


def _has_expected_fields() -> bool:
    """Whether objects and arrays have their fields where the emitted code reads them."""
    array = np.zeros((5, 7))[1:]
    at = id(array)
    extents = ctypes.c_void_p.from_address(at + _EXTENTS).value
    return (
        ctypes.c_void_p.from_address(at + _TYPE).value == id(np.ndarray)
        and ctypes.c_int32.from_address(at).value == sys.getrefcount(array) - 1
        and ctypes.c_int32.from_address(at + _NDIM).value == 2
        and ctypes.c_void_p.from_address(at + _BASE).value == id(array.base)
        and ctypes.c_void_p.from_address(at + _DTYPE).value == id(array.dtype)
        and bool(extents)
        and list((ctypes.c_ssize_t * 2).from_address(extents or 0)) == [4, 7]
    )


@cache
def _slots() -> dict[str, int]:
    """Where an Array has its fields, for those that are found."""
    marks = {name: object() for name in ("_data", "_type")}
    example: Any = Array.__new__(Array)
    for name, mark in marks.items():
        setattr(example, name, mark)
    words = {ctypes.c_void_p.from_address(id(example) + n).value: n for n in range(16, Array.__basicsize__, 8)}
    return {name: words[id(mark)] for name, mark in marks.items() if id(mark) in words}
