"""How loops of compiled functions let Python handle signals: machine code that asks for them, now and then.

A signal, Ctrl-C say, sets a flag of Python's, which its main thread sees between two lines of Python. Code that runs
for long calls `poll`, which takes Python's lock and runs the handlers, whoever set them. If one raises, the error stays
with the thread, as after any function of Python's C API, and the code ends with `INTERRUPTED`.
"""

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

from fdl.compile.llvm.layout import POLL_SYMBOL
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.machine import Library, load_objects, object_code

if TYPE_CHECKING:  # machine code from the disk needs none of it
    from llvmlite import ir


def poll_address() -> int:
    """The address of ``i32 poll(ptr callbacks)``; 0 where signals cannot be asked for."""
    return _library().addresses[POLL_SYMBOL] if sys.implementation.name == "cpython" and os.name == "posix" else 0


@cache
def _library() -> Library:
    return load_objects([object_code(POLL_SYMBOL, host_target().optimized(), _emit)], [POLL_SYMBOL])


def _emit() -> "ir.Module":
    """The module of the machine code; imported only when it is not on disk."""
    from fdl.compile.runtime.native.poll import emit_poll

    return emit_poll()
