"""Addresses of the routines of LAPACK and BLAS that SciPy is linked with, looked up in each process."""

import ctypes
from collections.abc import Mapping
from functools import cache

#: What a routine is given the address of.
Argument = str | int | ctypes.Array[ctypes.c_float] | ctypes.Array[ctypes.c_double] | ctypes.Array[ctypes.c_int32]

#: The name of the table that `threads_table` makes, where a routine's is expected.
THREADS = "threads"

#: Words of that table: a lock, how many calls run, the number of threads before the first one, and the functions of the
#: library that set and tell the number, or 0.
LOCK, CALLS, SAVED, SET, GET = range(5)

#: Names that builds of OpenBLAS give to those functions.
_NAMES = ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


@cache
def address(name: str) -> int:
    """The address of a routine, such as "spotrf", that takes 32-bit integers; or of the table `THREADS`; 0 if none."""
    if name == THREADS:
        return ctypes.addressof(_threads_table())
    for capsules in _libraries()[1:]:
        if name in capsules:
            signature = _signature(capsules[name])
            return _pointer(capsules[name], signature) if b"int *" in signature else 0
    return 0


@cache
def _libraries() -> tuple[str, Mapping[str, object], Mapping[str, object]]:
    """The file that is linked with LAPACK, and what Cython knows of the routines of LAPACK and BLAS."""
    from scipy.linalg import cython_blas, cython_lapack

    return cython_lapack.__file__, cython_lapack.__pyx_capi__, cython_blas.__pyx_capi__


def _signature(capsule: object) -> bytes:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    found: bytes = name(capsule)
    return found


def _pointer(capsule: object, signature: bytes) -> int:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = pointer(capsule, signature)
    return found


@cache
def _threads_table() -> ctypes.Array[ctypes.c_uint64]:
    """What native code needs to limit the library's own threads, for all programs of the process."""
    table = (ctypes.c_uint64 * 5)()
    # The system looks for a name in the libraries that this one is linked with, too.
    library = ctypes.CDLL(_libraries()[0])
    for name in _NAMES:
        if hasattr(library, name.format("set")) and hasattr(library, name.format("get")):
            table[SET], table[GET] = (
                ctypes.cast(library[name.format(verb)], ctypes.c_void_p).value or 0 for verb in ("set", "get")
            )
            break
    return table


def call(name: str, *arguments: Argument) -> None:
    """Call a routine with characters, integers and arrays."""
    kept = [
        ctypes.c_char(a.encode()) if isinstance(a, str) else ctypes.c_int32(a) if isinstance(a, int) else a
        for a in arguments
    ]
    ctypes.CFUNCTYPE(None)(address(name))(*map(ctypes.byref, kept))
