"""A mode in which compiled programs run between pages that must not be touched.

With ``FDL_TEST_GUARD=1 python -m pytest`` every operand, every result and the memory that a program works in lie in
mappings of their own, right before a page without access in one run, right behind one in a second run. A load or store
outside of them ends the process. All memory is filled before, with another byte in each run: results that depend on
memory never written differ between the two, or from what the test expects.
"""

import ctypes
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.compile.runtime.native.call
from fdl.compile.runtime import executable as runtime
from fdl.compile.runtime.executable import Executable
from fdl.compile.runtime.pool import the_pool
from fdl.threads import get_num_threads

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


def place(size: int, before: bool, fill: int, alignment: int = 1) -> tuple[Any, int]:
    """A mapping and where in it are `size` bytes that end at, or begin behind (`before`), a page without access."""
    pages = max(1, -(-size // PAGE))
    mapping = mmap.mmap(-1, (pages + 2) * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    ctypes.memset(address + PAGE, fill, pages * PAGE)
    for guard in (0, pages + 1):
        if _libc.mprotect(ctypes.c_void_p(address + guard * PAGE), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    return mapping, PAGE if before else PAGE + (pages * PAGE - size) // alignment * alignment


def empty(shape: tuple[int, ...], dtype: np.dtype, before: bool, fill: int) -> np.ndarray:
    """An array between guards."""
    mapping, offset = place(int(np.prod(shape)) * dtype.itemsize, before, fill)
    return np.ndarray(shape, dtype, mapping, offset)


def run_guarded(executable: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    """What `Executable.run` returns, computed between guards; twice if the program calls no Python."""
    arrays = [np.asarray(a) for a in arrays]
    found = _run_once(executable, arrays, False, 0xFF)
    if not executable._hosts:
        again = _run_once(executable, arrays, True, 0x55)
        for a, b in zip(found, again, strict=True):
            assert a.tobytes() == b.tobytes(), "the result depends on memory that was not written"
    for number, given in executable.reused.items():
        if arrays[given].flags.carray:
            arrays[given][...] = found[number]
            found[number] = arrays[given]
    return found


def _run_once(executable: Any, arrays: Sequence[np.ndarray], before: bool, fill: int) -> list[np.ndarray]:
    operands = []
    for array in arrays:
        operands.append(empty(array.shape, array.dtype, before, fill))
        operands[-1][...] = array
    results = [empty(t.shape, t.dtype, before, fill) for t in executable.output_types]
    for number, given in executable.reused.items():
        results[number] = operands[given]
    threads = the_pool().reserve(get_num_threads()) if executable.parallel else 1
    sizes = executable.scratch_offset, threads * executable.scratch_bytes
    spaces = [place(size, before, fill, 64) for size in sizes]
    work = [ctypes.addressof(ctypes.c_char.from_buffer(mapping)) + offset for mapping, offset in spaces]
    objects = runtime.object_addresses((*operands, *results))
    _, callback, constants, _ = executable.code
    table = (ctypes.c_uint64 * (4 + len(operands) + len(results)))(*work, callback, constants, *objects[0])
    address = ctypes.addressof(table)
    if executable.parallel:
        status = the_pool().run(executable.code[0], address, threads)
    else:
        status = executable._function(address)
    assert spaces and objects
    if status:
        raise executable.error()
    return [r.copy() for r in results]


def install() -> None:
    """Let all compiled programs of this process run between guards."""
    Executable.run = run_guarded  # type: ignore[method-assign]
    fdl.compile.runtime.native.call.native_call = lambda *_: None
