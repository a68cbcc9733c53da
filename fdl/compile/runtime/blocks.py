"""Memory of large results and of calls that work in much of it, used again.

Fresh pages cost more than many kernels: the operating system clears them one by one when they are first written. A
large result is made on a block of the pool, and the block goes back when the last array that shows it is gone.
"""

import contextlib
import ctypes
import mmap
import os
import sys
import threading
import weakref
from math import prod

import numpy as np

#: Blocks that were not used while so many others were asked for are given back to the operating system.
_RECENT = 256

_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


class Block(mmap.mmap):
    """Pages of the pool; the base of the arrays made on them.

    Attributes:
        address: of the first page.
    """

    address: int


class BlockPool:
    """Blocks that were in use and are free now, by size.

    What is free is never more than was in use at once lately. Threads may share it, and a child process gets a pool of
    its own; a block may come back at any moment, also while another one is taken.
    """

    def __init__(self) -> None:
        self._renew_lock()
        self._free: dict[int, list[tuple[int, Block]]] = {}
        self._lent: dict[int, tuple[weakref.ref[np.ndarray], Block]] = {}
        self._asked = 0
        self._free_bytes = self._lent_bytes = self._peak = self._former_peak = 0

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    @property
    def free_bytes(self) -> int:
        """Bytes that wait to be used again."""
        return self._free_bytes

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of undefined elements."""
        size = _rounded(prod(shape) * dtype.itemsize)
        block = self._take(size, size)
        array: np.ndarray = np.ndarray(shape, dtype, block)
        reference = weakref.ref(array, self._returned)
        self._lent[id(reference)] = reference, block
        return array

    def take(self, size: int) -> Block:
        """A block of at least `size` bytes, to be brought back by `give` soon: calls work in the blocks of others."""
        return self._take(_rounded(size), sys.maxsize)

    def _take(self, least: int, most: int) -> Block:
        """The smallest free block of so many bytes, or a new one."""
        with self._lock:
            self._asked += 1
            if self._asked % _RECENT == 0:
                self._age()
            found = self._pop(min((n for n in list(self._free) if least <= n <= most and self._free[n]), default=0), -1)
            self._lent_bytes += least if found is None else len(found)
            self._peak = max(self._peak, self._lent_bytes)
        return _new_block(least) if found is None else found

    def give(self, block: Block) -> None:
        """Bring a block back; those that were not used for the longest time make room for it."""
        size = len(block)
        with self._lock:
            self._lent_bytes -= size
            self._free.setdefault(size, []).append((self._asked, block))
            self._free_bytes += size
            while self._free_bytes > max(self._peak, self._former_peak):
                oldest = min(((entries[0][0], n) for n, entries in list(self._free.items()) if entries), default=(0, 0))
                if self._pop(oldest[1], 0) is None:
                    return

    def _pop(self, size: int, place: int) -> Block | None:
        """Take a block out of the list of the free ones of its size; None if there is none."""
        try:
            _, block = self._free[size].pop(place)
        except LookupError:
            return None
        self._free_bytes -= size
        return block

    def clear(self) -> None:
        """Give all that is free back to the operating system."""
        with self._lock:
            self._free.clear()
            self._free_bytes = 0
            self._peak, self._former_peak = self._lent_bytes, 0

    def _returned(self, reference: weakref.ref[np.ndarray]) -> None:
        _, block = self._lent.pop(id(reference))
        # The dying array, `block` and the argument of getrefcount: whoever else holds it may still read it.
        if sys.getrefcount(block) <= 3:
            self.give(block)
        else:
            with self._lock:
                self._lent_bytes -= len(block)

    def _age(self) -> None:
        """Drop what was not used lately."""
        for size, entries in list(self._free.items()):
            kept = [entry for entry in entries if entry[0] > self._asked - _RECENT]
            self._free_bytes -= size * (len(entries) - len(kept))
            if kept:
                self._free[size] = kept
            else:
                del self._free[size]
        self._peak, self._former_peak = self._lent_bytes, self._peak


def _rounded(size: int) -> int:
    """`size` or up to an eighth more, so that similar sizes share blocks."""
    step = max(mmap.PAGESIZE, 1 << max(size.bit_length() - 4, 0))
    return -(-max(size, 1) // step) * step


def _new_block(size: int) -> Block:
    block = Block(-1, size, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            block.madvise(mmap.MADV_HUGEPAGE)
    block.address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    return block


blocks = BlockPool()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=blocks._renew_lock)
