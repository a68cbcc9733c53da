"""Which elementwise operations have native code: their rules `lower` are tried."""

from functools import lru_cache

import numpy as np
from llvmlite import ir

from fdl.compile.fallback import during
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import transport_dtype
from fdl.core.operation import Operation
from fdl.errors import DtypeError


@lru_cache(maxsize=4096)
def is_lowerable(operation: Operation, dtypes: tuple[np.dtype, ...]) -> bool:
    """Whether the ``lower`` rule of an elementwise operation makes code for operands of these dtypes."""
    transports = [transport_dtype(d) for d in dtypes]
    if any(t is None or (t != d and not operation.transports) for t, d in zip(transports, dtypes, strict=True)):
        return False
    module = ir.Module()
    build = Build(module, host_target(), new_function(module, "probe", []))
    # Only what says so means that there is no code. Anything else is a mistake in the rule.
    with during("loops"):
        try:
            operation.lower(build, *(build.constant(1, t, 8) for t in transports))
        except (DtypeError, NotImplementedError):
            return False
    return True
