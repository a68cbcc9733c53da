"""A compiled program as bytes: machine code and what is needed to call it, for the disk cache and for other processes.

The layout is a line of JSON, the bytes of the constants, the object file. Reading it runs no code; host calls are
found again in the Program by their place.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Archive:
    """What is known of a compiled program apart from the Program itself.

    Attributes:
        code: relocatable object file.
        constants: the bytes of the arrays that it reads.
        hosts: for each host call where its equation is in the prepared Program, and the strides of its operands.
        foreign: numbers of constants that stand for addresses of other compilers' code, and where these equations are.
        arena_bytes, scratch_bytes: memory it works in; of scratch memory every thread has its own.
        reused: pairs of an output and the donated input whose memory it takes.
        parallel: whether it is a function for several threads.
        skip: names of the passes that it was compiled without.
    """

    code: bytes
    constants: tuple[bytes, ...]
    hosts: tuple[tuple[Any, Any], ...]
    foreign: tuple[tuple[int, Any], ...]
    arena_bytes: int
    scratch_bytes: int
    reused: tuple[tuple[int, int], ...]
    parallel: bool
    skip: frozenset[str] = frozenset()

    def pack(self) -> bytes:
        """All of it as bytes."""
        header = {
            "constants": [len(c) for c in self.constants],
            "hosts": self.hosts,
            "foreign": self.foreign,
            "arena": self.arena_bytes,
            "scratch": self.scratch_bytes,
            "reused": self.reused,
            "parallel": self.parallel,
            "skip": sorted(self.skip),
        }
        return b"".join([json.dumps(header).encode(), b"\n", *self.constants, self.code])

    @staticmethod
    def unpack(data: bytes) -> "Archive":
        """The inverse of `pack`."""
        line, _, rest = data.partition(b"\n")
        header = json.loads(line)
        constants, start = [], 0
        for size in header["constants"]:
            constants.append(rest[start : start + size])
            start += size
        hosts = tuple((tuple(map(_tuple, path)), tuple(map(tuple, steps))) for path, steps in header["hosts"])
        foreign = tuple((number, tuple(map(_tuple, path))) for number, path in header["foreign"])
        reused = tuple(map(tuple, header["reused"]))
        sizes = header["arena"], header["scratch"]
        skip = frozenset(header["skip"])
        return Archive(rest[start:], tuple(constants), hosts, foreign, *sizes, reused, header["parallel"], skip)


def _tuple(item: Any) -> Any:
    return tuple(item) if isinstance(item, list) else item


def constant_bytes(arrays: Sequence[np.ndarray]) -> tuple[bytes, ...]:
    """The bytes of arrays in row-major order."""
    return tuple(np.ascontiguousarray(a).tobytes() for a in arrays)
