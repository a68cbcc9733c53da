"""Calls of machine code without Python in between: arguments checked, results made and memory given away natively.

What :func:`native_call` returns is a Python builtin. Its machine code is the same for all programs; what differs is in
a record. It relies on the layout of NumPy's array object (part of NumPy's C API), on one function of that API, and on
CPython's C API, whose symbols every process with Python in it has. Where any of these is not as expected,
:func:`native_call` returns None, and callers use `MachineCode.run`.
"""

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fdl.array import Array
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.blocks import Block
from fdl.compile.runtime.executable import MachineCode, has_expected_layout
from fdl.compile.runtime.machine import Library, load_objects, object_code
from fdl.compile.runtime.native.record import BASE, DTYPE, EXTENTS, HEADER, KIND_EXTENTS, NDIM, TYPE
from fdl.core.types import TensorType

if TYPE_CHECKING:  # machine code from the disk needs none of it
    from llvmlite import ir

#: What a native call returns for arguments that it does not take: the caller takes the slow path.
MISMATCH = NotImplemented

#: Numbers of functions in NumPy's C API, which keep their places.
_API_VERSION, _NEW_FROM_DESCR = 0, 94

#: Of a PyMethodDef: the function takes an array of arguments.
_FASTCALL = 0x80


class _Record(np.ndarray):
    """The words that a native call reads, and what has to live as long as they do."""

    kept: tuple[object, ...]


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def native_call(
    executable: MachineCode, types: Sequence[TensorType], donated: Sequence[bool]
) -> Callable[..., Any] | None:
    """A builtin that runs a program: ``call(workspace, enter, pool, threads, leaf, ...)``; see `LEADING`.

    Args:
        executable: the machine code.
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
    stride = KIND_EXTENTS + max((t.ndim for t in (*types, *outputs)), default=0)
    record = np.zeros(HEADER + stride * (len(types) + len(outputs)), np.int64).view(_Record)
    record[:HEADER] = (
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
    rows = record[HEADER:].reshape(-1, stride)
    for row, kind, given in zip(rows, types, donated, strict=False):
        row[: KIND_EXTENTS + kind.ndim] = id(kind.dtype), given, id(kind), kind.ndim, *kind.shape
    for number, (row, kind) in enumerate(zip(rows[len(types) :], outputs, strict=True)):
        maker = 0 if makers[number].func is np.empty else id(makers[number])
        row[: KIND_EXTENTS + kind.ndim] = id(kind.dtype), reused.get(number, -1), maker, kind.ndim, *kind.shape
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
    return _numpy_functions() is not None and _makes_arrays()


@cache
def _method() -> tuple[_Method, Library]:
    """The machine code as a method that builtins can be made of, and what keeps it loaded."""
    code = object_code("native call", host_target().optimized(), _emit)
    library = load_objects([code], ["call"])
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return _Method(b"run", library.addresses["call"], _FASTCALL, None), library


def _emit() -> "ir.Module":
    """The module of the machine code; imported only when it is not on disk."""
    from fdl.compile.runtime.native.stub import StubEmitter

    return StubEmitter().emit()


def _numpy_functions() -> object:
    """The table of NumPy's C API as a capsule; None if it is not where NumPy 2 has it, which is a private name."""
    module = getattr(getattr(np, "_core", None), "_multiarray_umath", None)
    return getattr(module, "_ARRAY_API", None)


def _numpy_function(number: int) -> int:
    """The address of a function of NumPy's C API."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get_pointer(_numpy_functions(), None)
    return int(ctypes.c_void_p.from_address(table + 8 * number).value or 0)


def _makes_arrays() -> bool:
    """Whether NumPy's C API has the expected function at the expected place."""
    version = ctypes.PYFUNCTYPE(ctypes.c_uint)(_numpy_function(_API_VERSION))()
    if version >> 24 not in (1, 2):
        return False
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(np.dtype(np.float32)))
    signature: list[type] = [
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
    extents = ctypes.c_void_p.from_address(at + EXTENTS).value
    return (
        ctypes.c_void_p.from_address(at + TYPE).value == id(np.ndarray)
        and ctypes.c_int32.from_address(at).value == sys.getrefcount(array) - 1
        and ctypes.c_int32.from_address(at + NDIM).value == 2
        and ctypes.c_void_p.from_address(at + BASE).value == id(array.base)
        and ctypes.c_void_p.from_address(at + DTYPE).value == id(array.dtype)
        and bool(extents)
        and list((ctypes.c_ssize_t * 2).from_address(extents or 0)) == [4, 7]
    )


@cache
def _slots() -> dict[str, int]:
    """Where an Array has its fields, for those that are found."""
    marks = {name: object() for name in ("_data", "_type")}
    example = Array.__new__(Array)
    for name, mark in marks.items():
        setattr(example, name, mark)
    words = {ctypes.c_void_p.from_address(id(example) + n).value: n for n in range(16, Array.__basicsize__, 8)}
    return {name: words[id(mark)] for name, mark in marks.items() if id(mark) in words}
