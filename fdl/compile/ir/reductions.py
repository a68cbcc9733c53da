"""How reductions combine elements."""

import numpy as np

from fdl.core.operation import Operation
from fdl.core.types import DType
from fdl.dtypes import bool_, is_inexact
from fdl.ops.reduce import All_, Any_, Prod, ReduceAnd, ReduceMax, ReduceMin, ReduceOr, ReduceXor
from fdl.ops.shape import Sum

#: How the reductions combine elements (`Build.reduce`).
REDUCTIONS: dict[type[Operation], str] = {
    Sum: "sum", Prod: "prod", ReduceMax: "max", ReduceMin: "min", Any_: "or", All_: "and",
    ReduceAnd: "and", ReduceOr: "or", ReduceXor: "xor",
}  # fmt: skip


def identity_element(kind: str, dtype: DType) -> float:
    """What combines with any element of `dtype` to that element."""
    if kind in ("sum", "or", "xor"):
        # -0.0 is what floating-point addition leaves alone, but the sum of nothing is 0.0, and so is NumPy's start.
        return 0
    if kind == "prod":
        return 1
    if kind == "and":
        return True if dtype == bool_ else -1 if dtype.kind == "i" else np.iinfo(dtype.name).max
    if is_inexact(dtype):
        return -np.inf if kind == "max" else np.inf
    if dtype == bool_:
        return kind == "min"
    limits = np.iinfo(dtype.name)
    return limits.min if kind == "max" else limits.max
