"""A compiled program as bytes: machine code and what is needed to call it, for the disk cache and for other processes.

The layout is a line of JSON, the bytes of the constants, the object file. Reading it runs no code.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdl.compile.ir.host import HostOperation
from fdl.compile.runtime.operations import NoDataError, Operations
from fdl.core.program import Program


@dataclass(frozen=True)
class Archive:
    """What is known of a compiled program apart from the Program itself.

    Attributes:
        code: relocatable object file.
        constants: the bytes of the arrays that it reads.
        hosts: operations that Python is called for, by number.
        foreign: numbers of constants that stand for addresses of other compilers' code, and the operations.
        routines: names of LAPACK's routines, and the numbers of the constants that stand for their addresses.
        arena_bytes, scratch_bytes: memory it works in; of scratch memory every thread has its own.
        reused: pairs of an output and the donated input whose memory it takes.
        parallel: whether it is a function for several threads.
        skip: names of the passes that it was compiled without.
    """

    code: bytes
    constants: tuple[bytes, ...]
    hosts: tuple[HostOperation, ...]
    foreign: tuple[tuple[int, HostOperation], ...]
    routines: tuple[tuple[str, int], ...]
    arena_bytes: int
    scratch_bytes: int
    reused: tuple[tuple[int, int], ...]
    parallel: bool
    skip: frozenset[str] = frozenset()

    def pack(self, program: Program) -> bytes | None:
        """All of it as bytes, for who has the Program; None if Python is called for what cannot be written as data."""
        operations = Operations(program)
        try:
            hosts = [operations.write(host) for host in self.hosts]
            foreign = [(number, operations.write(host)) for number, host in self.foreign]
        except (NoDataError, TypeError):  # or what cannot be hashed
            return None
        header = {
            "constants": [len(c) for c in self.constants],
            "hosts": hosts,
            "foreign": foreign,
            "routines": self.routines,
            "arena": self.arena_bytes,
            "scratch": self.scratch_bytes,
            "reused": self.reused,
            "parallel": self.parallel,
            "skip": sorted(self.skip),
        }
        return b"".join([json.dumps(header).encode(), b"\n", *self.constants, self.code])

    @staticmethod
    def unpack(data: bytes, program: Program) -> "Archive | None":
        """The inverse of `pack`; None if a class of operations is not known here, or data are damaged."""
        line, _, rest = data.partition(b"\n")
        constants, start = [], 0
        operations = Operations(program)
        try:
            header = json.loads(line)
            for size in header["constants"]:
                constants.append(rest[start : start + size])
                start += size
            hosts = tuple(map(operations.read, header["hosts"]))
            foreign = tuple((number, operations.read(host)) for number, host in header["foreign"])
            routines = tuple((str(name), int(number)) for name, number in header["routines"])
            reused = tuple(map(tuple, header["reused"]))
            sizes = header["arena"], header["scratch"]
            parallel, skip = header["parallel"], frozenset(header["skip"])
        except (NoDataError, ValueError, LookupError, TypeError):
            return None
        return Archive(rest[start:], tuple(constants), hosts, foreign, routines, *sizes, reused, parallel, skip)


def constant_bytes(arrays: Sequence[np.ndarray]) -> tuple[bytes, ...]:
    """The bytes of arrays in row-major order."""
    return tuple(np.ascontiguousarray(a).tobytes() for a in arrays)
