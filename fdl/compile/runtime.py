"""Calling machine code: pointers in, arrays out, and Python called back for what has no native code."""

import ctypes
import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.compile.affine import strides
from fdl.compile.archive import Archive
from fdl.compile.emit import ENTRY
from fdl.compile.machine import load_objects
from fdl.core.interpret import evaluate
from fdl.core.types import TensorType

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_HOST = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p))

#: What a host call returns when Python raised.
RAISED = 1


class Workspace(threading.local):
    """Memory that calls work in, kept from call to call; every thread has its own."""

    memory: np.ndarray = np.empty(0, np.uint8)
    busy = False

    def borrow(self, size: int) -> np.ndarray:
        """At least `size` bytes, aligned to 64; a call that runs inside another one gets memory of its own."""
        size += 64
        memory = self.memory if not self.busy and self.memory.nbytes >= size else np.empty(size, np.uint8)
        if not self.busy:
            self.memory, self.busy = memory, True
        start = -memory.ctypes.data % 64
        return memory[start:]

    def give_back(self, borrowed: np.ndarray) -> None:
        """Return what `borrow` gave."""
        if borrowed.base is self.memory:
            self.busy = False


_workspace = Workspace()


class HostCall:
    """A call of Python from native code: an equation, whose operands have the given strides."""

    def __init__(self, equation: Any, operand_strides: Sequence[tuple[int, ...]]) -> None:
        self.operation = equation.operation
        types = [a.type for a in equation.inputs]
        self.operands = [(t.shape, t.dtype, s) for t, s in zip(types, operand_strides, strict=True)]
        self.results = [(v.type.shape, v.type.dtype, strides(v.type.shape)) for v in equation.outputs]


class Executable:
    """Machine code with what it needs to be called.

    Args:
        archive: the code.
        output_types: of the Program.
        hosts: host calls by number.
    """

    def __init__(self, archive: Archive, output_types: Sequence[TensorType], hosts: Sequence[HostCall]) -> None:
        self._library = load_objects([archive.code], [ENTRY])
        self._function = _RUN(self._library.addresses[ENTRY])
        self._output_types, self._hosts = tuple(output_types), hosts
        self._constants = [_aligned(c) for c in archive.constants]
        self._constant_pointers = [c.ctypes.data for c in self._constants]
        self._arena_bytes, self._scratch_bytes = archive.arena_bytes, archive.scratch_bytes
        self._reused = dict(archive.reused)
        self._callback = _HOST(self._call_host)
        self._callback_pointer = ctypes.cast(self._callback, ctypes.c_void_p).value if hosts else 0
        self._raised = threading.local()

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results for arrays of the input types."""
        inputs = [self._usable(n, a) for n, a in enumerate(arrays)]
        outputs = [
            inputs[self._reused[n]] if n in self._reused else np.empty(t.shape, t.dtype)
            for n, t in enumerate(self._output_types)
        ]
        space = _workspace.borrow(self._arena_bytes + self._scratch_bytes + 64)
        try:
            base = space.ctypes.data
            pointers = [base, base + -(-self._arena_bytes // 64) * 64, self._callback_pointer]
            pointers += [a.ctypes.data for a in (*inputs, *outputs)]
            pointers += self._constant_pointers
            table = (ctypes.c_void_p * len(pointers))(*pointers)
            if self._function(ctypes.addressof(table)):
                error = self._raised.error
                del self._raised.error
                raise error
        finally:
            _workspace.give_back(space)
        return outputs

    def _usable(self, number: int, array: np.ndarray) -> np.ndarray:
        """`array` if native code can read it (and write it, if it is donated), else a copy."""
        if not array.flags.c_contiguous or not array.flags.aligned:
            return array.copy(order="C")
        return array.copy() if not array.flags.writeable and number in self._reused.values() else array

    def _call_host(self, number: int, pointers: Any) -> int:
        call = self._hosts[number]
        try:
            count = len(call.operands)
            arrays = [_view(pointers[n], *call.operands[n]) for n in range(count)]
            results = evaluate(call.operation, arrays)
            for n, (spec, result) in enumerate(zip(call.results, results, strict=True)):
                _view(pointers[count + n], *spec)[...] = result
        except BaseException as error:
            self._raised.error = error
            return RAISED
        return 0


def _aligned(data: bytes) -> np.ndarray:
    """A copy of `data` at a multiple of 64."""
    memory = np.empty(len(data) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    found = memory[start : start + len(data)]
    found[:] = np.frombuffer(data, np.uint8)
    return found


def _view(address: int, shape: tuple[int, ...], dtype: np.dtype, steps: tuple[int, ...]) -> np.ndarray:
    """Memory as an array; `steps` count elements."""
    if prod(shape) == 0:
        return np.empty(shape, dtype)
    size = dtype.itemsize
    low = sum(s * (n - 1) for s, n in zip(steps, shape, strict=True) if s < 0) * size
    high = sum(s * (n - 1) for s, n in zip(steps, shape, strict=True) if s > 0) * size + size
    memory = (ctypes.c_char * (high - low)).from_address(address + low)
    return np.ndarray(shape, dtype, memory, -low, tuple(s * size for s in steps))
