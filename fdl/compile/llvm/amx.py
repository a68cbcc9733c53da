"""Permission to use AMX: Linux gives the large registers only to processes that ask for them."""

import ctypes
import platform
import sys
from functools import cache

#: The system call `arch_prctl` of x86-64, what it is asked for, and the component of the state that the registers are.
_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18


@cache
def permit_matrix_unit() -> bool:
    """Ask for the registers of AMX for all threads of this process; whether they may be used now."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0)
