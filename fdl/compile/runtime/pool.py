"""The threads of this process that run compiled functions.

There is one pool a process. Its threads are made when a function first wants them and sleep between calls; a forked
child makes its own. A call that finds them busy (from another Python thread, or from a host call of a running
function) runs on the thread that makes it. The code that hands out work and that waits is generated like all other,
and never holds the GIL.
"""

import atexit
import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING

from fdl.compile.llvm.layout import ENTER, MAILBOX_BYTES, NUMBER, POOL_BYTES, STOP, WORKER
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.machine import load_objects, object_code

if TYPE_CHECKING:  # machine code from the disk needs none of it
    from llvmlite import ir

_ENTER = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, ctypes.c_int64)
_STOP = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)


class Pool:
    """Threads that wait for work."""

    def __init__(self) -> None:
        code = object_code("pool", host_target().optimized(), _emit)
        self._library = load_objects([code], [ENTER, STOP, WORKER])
        self._enter = _ENTER(self._library.addresses[ENTER])
        self._system = ctypes.CDLL(None)
        self._threads: list[ctypes.c_void_p] = []
        self._lock = threading.Lock()
        self._memory = ctypes.create_string_buffer(POOL_BYTES + 64)
        self._address = -(-ctypes.addressof(self._memory) // 64) * 64
        self._most: int | None = None

    def reserve(self, count: int) -> int:
        """Have `count` threads, the calling one included; fewer if the system does not give them.

        Returns:
            How many may be passed to `run`.
        """
        if count > len(self._threads) + 1 and self._most is None:
            with self._lock:
                while count > len(self._threads) + 1 and self._most is None:
                    self._start()
        return min(count, len(self._threads) + 1)

    def _start(self) -> None:
        """Start one more thread, which handles no signals: those are for Python."""
        mailbox = self._address + MAILBOX_BYTES * (1 + len(self._threads))
        if mailbox + MAILBOX_BYTES > self._address + POOL_BYTES:
            self._most = len(self._threads) + 1
            return
        ctypes.c_int64.from_address(mailbox + NUMBER).value = len(self._threads) + 1
        self._system.pthread_mutex_init(ctypes.c_void_p(mailbox + 64), None)
        self._system.pthread_cond_init(ctypes.c_void_p(mailbox + 128), None)
        handle = ctypes.c_void_p()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            worker = ctypes.c_void_p(self._library.addresses[WORKER])
            failure = self._system.pthread_create(ctypes.byref(handle), None, worker, ctypes.c_void_p(mailbox))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if failure:
            self._most = len(self._threads) + 1
        else:
            self._threads.append(handle)

    def run(self, function: int, table: int, count: int) -> int:
        """Run the function at an address on `count` threads, if they are free; its status."""
        return int(self._enter(self._address, function, table, count))

    @property
    def entry(self) -> tuple[int, int]:
        """What native code needs to do the same: the addresses of `ENTER` and of the pool."""
        return self._library.addresses[ENTER], self._address

    def stop(self) -> None:
        """End the threads, unless they are at work."""
        with self._lock:
            self._most = len(self._threads) + 1
            if _STOP(self._library.addresses[STOP])(self._address, len(self._threads)):
                for handle in self._threads:
                    self._system.pthread_join(handle, None)
                self._threads = []
                self._most = 1


def _emit() -> "ir.Module":
    """The module of the generated half; imported only when it is not on disk."""
    from fdl.compile.runtime.native.pool import emit_pool

    return emit_pool(host_target())


_pool: Pool | None = None
_lock = threading.Lock()


def the_pool() -> Pool:
    """The pool of this process."""
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                _pool = Pool()
                atexit.register(_pool.stop)
    return _pool


def _forget() -> None:
    """In a forked child, whose only thread is the one that forked."""
    global _pool, _lock
    if _pool is not None:
        atexit.unregister(_pool.stop)
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
