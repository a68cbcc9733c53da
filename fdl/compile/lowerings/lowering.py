"""What can be made native code, and what moves it there."""

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.fallback import Skip, during
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import HALVES, transport_dtype
from fdl.core.operation import Operation
from fdl.dtypes import float32, float64
from fdl.errors import DtypeError

#: The longest sum of 16-bit floats: panels of that many rows stay in the second level.
DEEPEST = 4096

#: Families whose operands may be strided windows on stored values.
READS_VIEWS = ("host", "contract", "conv", "gather", "scatter", "cumulative", "move", "reduce", "random", "sort")

#: Operations and families that divide their work with `Team.share`; the others run on one thread.
SHARED = {
    "contract", "conv", "window", "copy", "concatenate", "pad", "dynamic_slice", "dynamic_update_slice", "gather",
    "replay", "scatter", "sort",
}  # fmt: skip


#: Names and families of operations with a kernel (`fdl.compile.codegen.singles.KERNELS`).
KERNELS = {
    "copy", "contract", "panel_product", "conv", "window", "concatenate", "pad", "dynamic_slice",
    "dynamic_update_slice", "gather", "scatter", "cumulative", "arg_max", "arg_min", "distinct", "replay", "sort",
    "top_k", "foreign",
}  # fmt: skip


def has_kernel(operation: Operation, skip: Skip = frozenset()) -> bool:
    """Whether an operation has a kernel of its own, if there are to be any; others are computed by Python."""
    found = operation.name in KERNELS or operation.family in KERNELS
    return found and ("kernels" not in skip or operation.family == "copy")


def takes_views(equation: Any) -> bool:
    """Whether the operands of an equation may be strided."""
    return equation.operation.family in READS_VIEWS


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


def has_product_kernel(dtype: Any, depth: int = 0) -> bool:
    """Whether contractions of this dtype have a kernel, for sums of `depth` products.

    Complex numbers, booleans and integers of 8 and 16 bits have none. The sums of 16-bit floats must not leave the
    registers, so that long ones are left to a float32 product of converted operands.
    """
    dtype = np.dtype(dtype)
    if dtype in HALVES:
        return depth <= DEEPEST
    return dtype in (float32, float64) or (dtype.kind in "iu" and dtype.itemsize >= 4)


def has_convolution_kernel(dtype: Any) -> bool:
    """Whether convolutions of this dtype have a kernel."""
    return np.dtype(dtype) in (np.float32, np.float64)
