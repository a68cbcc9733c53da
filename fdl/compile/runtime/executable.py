"""Calling machine code: pointers in, arrays out, and Python called back for what has no native code."""

import ctypes
import sys
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import numpy as np

from fdl.array import LARGE
from fdl.compile.ir.affine import strides
from fdl.compile.ir.host import HostOperation
from fdl.compile.llvm.lapack import address
from fdl.compile.llvm.layout import DATA_OFFSET, ENTRY, FLAGS_OFFSET, UNUSABLE, WRITEABLE
from fdl.compile.runtime.archive import Archive
from fdl.compile.runtime.blocks import blocks
from fdl.compile.runtime.machine import load_objects
from fdl.compile.runtime.native.signals import host_address, poll_address
from fdl.compile.runtime.pool import the_pool
from fdl.core.interpret import evaluate
from fdl.core.types import TensorType
from fdl.errors import CompilerError
from fdl.threads import get_num_threads

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_HOST = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)

#: Bytes of a result from which on it comes from the pool if the call's results are large together: one by one, NumPy's
#: memory is used again, but the pages of many that die at once go back to the operating system.
_PART = 1 << 15

#: What a host call returns when Python raised.
RAISED = 1

_ALL_ARRAYS = {np.ndarray}


class Workspace(threading.local):
    """Memory that calls work in if they need little of it, kept from call to call; every thread has its own."""

    memory: np.ndarray | None = None
    size = 0
    address = 0
    busy = False

    def reserve(self, size: int) -> None:
        """Have at least `size` bytes, aligned to 64."""
        if self.size < size:
            self.memory, self.address = _aligned(size)
            self.size = size


workspace = Workspace()


@contextmanager
def working_memory(size: int) -> Iterator[int]:
    """Lend `size` bytes to a call; gives their address."""
    if size >= LARGE:
        block = blocks.take(size)
        try:
            yield block.address
        finally:
            blocks.give(block)
        return
    # A host call of a running program runs a program: the outer one's memory is in use.
    space = Workspace() if workspace.busy else workspace
    space.reserve(size)
    space.busy = True
    try:
        yield space.address
    finally:
        space.busy = False


def _aligned(size: int) -> tuple[np.ndarray, int]:
    """Memory, and an address in it that is a multiple of 64 and has `size` bytes after it."""
    memory = np.empty(size + 64, np.uint8)
    return memory, -(-memory.ctypes.data // 64) * 64


class HostSignature:
    """What native code calls Python for: an operation, and what the arrays behind its pointers are."""

    def __init__(self, host: HostOperation) -> None:
        self.operation = host.operation
        self.operands = [(t.shape, t.dtype, s) for t, s in zip(host.operands, host.strides, strict=True)]
        self.results = [(t.shape, t.dtype, strides(t.shape)) for t in host.results]


def _entry(host: HostOperation) -> tuple[Any, Any]:
    """An operation that another compiler made code for, and that code."""
    operation: Any = host.operation
    return operation, operation.entry(*host.operands)


def _routine(name: str) -> int:
    """The address of a routine of LAPACK."""
    found = address(name)
    if not found:
        raise CompilerError(f"the SciPy that is installed has no routine {name}, which compiled code calls")
    return found


class MachineCode:
    """A function in this process, and what its calls take and make.

    Attributes:
        output_types: of its results.
        makers: what makes the arrays of the results.
        reused: results and the arguments whose memory they take.
        parallel: whether a team of threads runs it.
        scratch_offset, scratch_bytes: of the memory that it works in; each thread has so many bytes from there on.
    """

    parallel = False
    scratch_offset = 0

    def __init__(
        self, address: int, output_types: Sequence[TensorType], scratch_bytes: int, callbacks: int, constants: int
    ) -> None:
        self._address, self._function, self._fixed = address, _RUN(address), (callbacks, constants)
        self.output_types, self.scratch_bytes = tuple(output_types), scratch_bytes
        self.makers = _makers(output_types)
        self.reused: dict[int, int] = {}

    @property
    def code(self) -> tuple[int, int, int, int]:
        """What a call needs: addresses of function, callbacks and constants, and where scratch memory starts."""
        return (self._address, *self._fixed, self.scratch_offset)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results for arrays of the input types."""
        if not _ALL_ARRAYS.issuperset(map(type, arrays)):
            arrays = list(map(np.asarray, arrays))
        outputs = [arrays[self.reused[n]] if n in self.reused else make() for n, make in enumerate(self.makers)]
        threads = the_pool().reserve(get_num_threads()) if self.parallel else 1
        with working_memory(self.scratch_offset + threads * self.scratch_bytes) as base:
            objects = object_addresses((*arrays, *outputs))
            table = array("Q", (base, base + self.scratch_offset, *self._fixed, *objects[0]))
            place = table.buffer_info()[0]
            raised: BaseException | None = None
            try:
                status = the_pool().run(self._address, place, threads) if self.parallel else self._function(place)
            except SystemError as error:
                raised = error.__cause__ or error  # what a handler of a signal raised
            if raised is not None:
                raise raised  # out here, where it keeps the cause and the context that it has
        if status == 0:
            return outputs
        if status == UNUSABLE:
            return self.run([np.require(a, requirements=["C", "A", "W"]) if a.ndim else a.copy() for a in arrays])
        raise self.error()

    def error(self) -> BaseException:
        """What is raised after a call that failed."""
        return CompilerError("machine code returned an unknown status")


class Executable(MachineCode):
    """The machine code of a Program with what it needs to be called.

    Args:
        archive: the code.
        output_types: of the Program.
        exports: symbols of the code, besides the function, whose `addresses` are wanted.
    """

    def __init__(
        self,
        archive: Archive,
        output_types: Sequence[TensorType],
        exports: Sequence[str] = (),
    ) -> None:
        self._library = load_objects([archive.code], [ENTRY, *exports])
        self.addresses = self._library.addresses
        self._hosts = list(map(HostSignature, archive.hosts))
        #: The operations that another compiler made code for, and these codes, by the number of the constant in whose
        #: place the address is.
        self._foreign = {n: _entry(host) for n, host in archive.foreign}
        addresses = {number: entry.address for number, (_, entry) in self._foreign.items()}
        addresses |= {number: _routine(name) for name, number in archive.routines}
        self._constants, table = _constant_table(archive.constants, addresses)
        self._called = self._call_host
        callback = host_address() if self._hosts else 0
        if self._hosts and not callback:
            self._callback = _HOST(lambda _, number, table: self._called(number, table))
            callback = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        main = threading.main_thread().ident or 0
        self._callbacks = array("Q", (callback, poll_address(), main, id(self._called)))
        super().__init__(
            self.addresses[ENTRY], output_types, archive.scratch_bytes, self._callbacks.buffer_info()[0], table
        )
        self.parallel = archive.parallel
        self.scratch_offset = -(-archive.arena_bytes // 64) * 64
        self.reused = dict(archive.reused)
        self._raised = threading.local()

    def error(self) -> BaseException:
        """What the last host call of this thread raised, or that other compilers' code failed."""
        error: BaseException | None = self._raised.__dict__.pop("error", None)
        if error is not None:
            return error
        names = sorted({operation.label for operation, _ in self._foreign.values()})
        return RuntimeError(
            "a compiled function raised an exception, or returned an array of another shape than was declared: "
            f"{' or '.join(names)}. Call it by itself, or under fdl.disable_jit(), to see what happened"
        )

    def _call_host(self, number: int, table: int) -> int:
        """Evaluate an operation on the memory that the pointers at an address point to; a status."""
        call = self._hosts[number]
        try:
            count = len(call.operands)
            pointers = array("Q", ctypes.string_at(table, 8 * (count + len(call.results))))
            arrays = [_view(pointers[n], *call.operands[n]) for n in range(count)]
            results = evaluate(call.operation, arrays)
            for n, (spec, result) in enumerate(zip(call.results, results, strict=True)):
                _view(pointers[count + n], *spec)[...] = result
        except BaseException as error:
            self._raised.error = error
            return RAISED
        return 0


def _makers(kinds: Sequence[TensorType]) -> list[partial[np.ndarray]]:
    """What makes the arrays of a call's results; where they are large together, most are on memory of the pool."""
    sizes = [kind.size * kind.dtype.itemsize for kind in kinds]
    least = _PART if sum(sizes) >= LARGE else LARGE
    return [
        partial(blocks.empty if size >= least else np.empty, kind.shape, kind.dtype)
        for kind, size in zip(kinds, sizes, strict=True)
    ]


def _constant_table(constants: Sequence[bytes], addresses: dict[int, int]) -> tuple[list[object], int]:
    """What has to be kept alive, and the address of a table of pointers to copies of the constants.

    Some entries are the given `addresses` instead.
    """
    kept: list[object] = []
    pointers = []
    for number, data in enumerate(constants):
        memory, address = _aligned(len(data))
        ctypes.memmove(address, data, len(data))
        kept.append(memory)
        pointers.append(addresses.get(number, address))
    table = array("Q", pointers)
    return [*kept, table], table.buffer_info()[0]


def has_expected_layout() -> bool:
    """Whether NumPy's array objects are where, and look like what, the generated code expects."""
    for example in (np.arange(6.0), np.arange(6.0)[::2]):
        address = id(example)
        data = ctypes.c_void_p.from_address(address + DATA_OFFSET).value
        flags = ctypes.c_int32.from_address(address + FLAGS_OFFSET).value
        if data != example.ctypes.data or bool(flags & 1) != example.flags.c_contiguous or flags & WRITEABLE == 0:
            return False
    return True


def _imitations(arrays: Sequence[np.ndarray]) -> tuple[Iterable[int], object]:
    """Addresses of structures that look like NumPy's array objects, and what keeps them alive."""
    made = (ctypes.c_uint64 * (16 * len(arrays)))()
    start = ctypes.addressof(made)
    for number, a in enumerate(arrays):
        made[16 * number + DATA_OFFSET // 8] = a.ctypes.data
        flags = a.flags
        made[16 * number + FLAGS_OFFSET // 8] = flags.c_contiguous | flags.aligned << 8 | flags.writeable << 10
    return [start + 128 * n for n in range(len(arrays))], made


def _addresses(arrays: Sequence[np.ndarray]) -> tuple[Iterable[int], object]:
    return map(id, arrays), None


#: Addresses of array objects as the generated code reads them, and what has to be kept alive meanwhile.
object_addresses = _addresses if sys.implementation.name == "cpython" and has_expected_layout() else _imitations


def _view(address: int, shape: tuple[int, ...], dtype: np.dtype, steps: tuple[int, ...]) -> np.ndarray:
    """Memory as an array; `steps` count elements."""
    if prod(shape) == 0:
        return np.empty(shape, dtype)
    size = dtype.itemsize
    low = sum(s * (n - 1) for s, n in zip(steps, shape, strict=True) if s < 0) * size
    high = sum(s * (n - 1) for s, n in zip(steps, shape, strict=True) if s > 0) * size + size
    memory = memoryview((ctypes.c_char * (high - low)).from_address(address + low))
    return np.ndarray(shape, dtype, memory, -low, tuple(s * size for s in steps))
