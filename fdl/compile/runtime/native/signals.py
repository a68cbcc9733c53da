"""How compiled functions call Python, and how their loops let it handle signals: machine code over Python's C API.

A signal, Ctrl-C say, sets a flag of Python's, which its main thread sees between two lines of Python. Code that runs
for long calls `poll`, which takes Python's lock and runs the handlers, whoever set them. If one raises, the error stays
with the thread, as after any function of Python's C API, and the code ends with `INTERRUPTED`.

A handler may also run, and raise, at the first line of a function of Python's that compiled code has called, before any
`try` of it. ctypes would print that error and go on. What `host` calls ends the code in the same way.
"""

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

from fdl.compile.llvm.layout import HOST_SYMBOL, POLL_SYMBOL
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.machine import Library, load_objects, object_code

if TYPE_CHECKING:  # machine code from the disk needs none of it
    from llvmlite import ir


def poll_address() -> int:
    """The address of ``i32 poll(ptr callbacks)``; 0 where signals cannot be asked for."""
    return _address(POLL_SYMBOL)


def host_address() -> int:
    """The address of ``i32 host(ptr callbacks, i64 number, ptr pointers)``; 0 where ctypes has to do it."""
    return _address(HOST_SYMBOL)


def _address(symbol: str) -> int:
    return _library().addresses[symbol] if sys.implementation.name == "cpython" and os.name == "posix" else 0


@cache
def _library() -> Library:
    symbols = [POLL_SYMBOL, HOST_SYMBOL]
    return load_objects([object_code("python", host_target().optimized(), _emit)], symbols)


def _emit() -> "ir.Module":
    """The module of the machine code; imported only when it is not on disk."""
    from fdl.compile.runtime.native.python import emit_python

    return emit_python()
