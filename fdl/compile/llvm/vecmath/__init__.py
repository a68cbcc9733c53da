"""Elementwise mathematical functions on vectors of any size, as polynomials in generated code.

Every function is emitted once a module and number of lanes, as an internal LLVM function. Bounds of the errors over the
whole range, in units in the last place of the result, for float32 and float64 alike; zeros, infinities, NaN and
subnormal numbers give what C's library gives:

| function | ulp | function | ulp | function | ulp |
|---|---|---|---|---|---|
| exp, exp2 | 1.1 | sinh, cosh | 3 | sin, cos | 1 |
| expm1 | 2 | asinh | 2 | tan | 2.5 |
| log, log1p | 1.5 | acosh, atanh | 2.5 | acos | 1.5 |
| log2 | 2 | erf | 1.5 | atan, atan2, asin | 2.5 |
| log10, tanh, tanh_derivative | 3 | erfc, ndtr | 5 | cbrt | 1 |
| logistic, logistic_density | 3 | gaussian | 1.5 | hypot, pow | 1 |
| lgamma, digamma | 4 | erf_inv | 3.5 | trigamma | 5 |

exp2 of whole numbers, log2 and log10 of powers of their base, cbrt of cubes, and pow and hypot whose result the format
holds, are exact. Between the poles of lgamma and digamma errors are absolute: of lgamma in units of 1.

float16 and bfloat16 compute in float32. Processors without fused multiply-add may lose one more ulp.
"""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.function import FunctionBuilder, new_function
from fdl.compile.llvm.values import HALVES, Value, register_type, wide
from fdl.compile.llvm.vecmath import exponential, gamma, special, trigonometric
from fdl.core.types import DType, DTypeLike
from fdl.dtypes import float32, float64

_FUNCTIONS = {**exponential.FUNCTIONS, **special.FUNCTIONS, **trigonometric.FUNCTIONS, **gamma.FUNCTIONS}

#: So short that a call, which has to save all vector registers, takes as long.
_SHORT = ("exp", "logistic", "logistic_density", "tanh", "tanh_derivative")


def supports(name: str, dtype: DTypeLike) -> bool:
    """Whether `call` offers the function `name` for `dtype`."""
    dtype = np.dtype(dtype)
    return name in _FUNCTIONS and (dtype in (float32, float64) or dtype in HALVES)


def call(build: FunctionBuilder, name: str, operands: Sequence[Value]) -> Value:
    """Emit a call of the function `name` on operands of one dtype and number of lanes; see `Build.call`."""
    dtype, lanes = operands[0].dtype, operands[0].lanes
    computing = float32 if dtype in HALVES else dtype
    symbol = f"math.{name}.{computing}x{lanes}"
    function = build.module.globals.get(symbol) or _emit(build, name, symbol, computing, lanes, len(operands))
    return build.round_to(build.ir.call(function, [v.ir for v in operands]), dtype)


def _emit(build: FunctionBuilder, name: str, symbol: str, dtype: DType, lanes: int, arity: int) -> ir.Function:
    kind = wide(register_type(dtype), lanes)
    function = new_function(build.module, symbol, [kind] * arity, kind)
    function.attributes.add("alwaysinline" if name in _SHORT else "noinline")
    inner = FunctionBuilder(build.module, build.target, function)
    inner.ret(_FUNCTIONS[name](inner, *(inner.argument(i, dtype) for i in range(arity))))
    return function
