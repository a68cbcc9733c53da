"""What can be made native code, and what moves it there."""

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.build import Build, new_function
from fdl.compile.fallback import during
from fdl.compile.target import host_target
from fdl.dtypes import bool_, complex64, is_inexact, key, uint64
from fdl.errors import DtypeError

#: How the reductions combine elements (`Build.reduce`).
REDUCTIONS = {
    "Sum": "sum", "Prod": "prod", "ReduceMax": "max", "ReduceMin": "min", "Any_": "or", "All_": "and",
    "ReduceAnd": "and", "ReduceOr": "or", "ReduceXor": "xor",
}  # fmt: skip

#: Families whose operands may be strided windows on stored values.
READS_VIEWS = ("host", "contract", "conv", "gather", "scatter", "cumulative", "move", "reduce", "random", "sort")


def takes_views(equation: Any) -> bool:
    """Whether the operands of an equation may be strided."""
    return equation.operation.family in READS_VIEWS


def carrier(dtype: np.dtype) -> np.dtype | None:
    """The dtype of the register that moves an element of `dtype`; None if there is none that wide."""
    if dtype in (complex64, key):
        return uint64
    return None if dtype.kind in "cV" and dtype.itemsize != 2 else dtype


@lru_cache(maxsize=4096)
def is_lowerable(operation: Any, dtypes: tuple[np.dtype, ...]) -> bool:
    """Whether the ``lower`` rule of an elementwise operation makes code for operands of these dtypes."""
    moves = type(operation).__name__ == "Select" or hasattr(operation, "moves_keys")
    carriers = [carrier(d) for d in dtypes]
    if any(c is None or (c != d and not moves) for c, d in zip(carriers, dtypes, strict=True)):
        return False
    module = ir.Module()
    build = Build(module, host_target(), new_function(module, "probe", []))
    # Only what says so means that there is no code. Anything else is a mistake in the rule.
    with during("loops"):
        try:
            operation.lower(build, *(build.constant(1, c, 8) for c in carriers))
        except (DtypeError, NotImplementedError):
            return False
    return True


def neutral(kind: str, dtype: np.dtype) -> Any:
    """What combines with any element of `dtype` to that element."""
    if kind in ("sum", "or", "xor"):
        # -0.0 is what floating-point addition leaves alone, but the sum of nothing is 0.0, and so is NumPy's start.
        return 0
    if kind == "prod":
        return 1
    if kind == "and":
        return True if dtype == bool_ else -1 if dtype.kind == "i" else np.iinfo(dtype).max
    if is_inexact(dtype):
        return -np.inf if kind == "max" else np.inf
    if dtype == bool_:
        return kind == "min"
    limits = np.iinfo(dtype)
    return limits.min if kind == "max" else limits.max
