"""Run-time errors as values: functions return the first one beside their result, as in ``jax.experimental.checkify``.

>>> import fdl, fdl.numpy as fnp
>>> from fdl.experimental import checkify
>>> def logarithm(x):
...     checkify.check(x > 0, "x is {}", x)
...     return fnp.log(x)
>>> error, y = fdl.jit(checkify.checkify(logarithm))(fnp.float32(-1))
>>> error.get()
'x is -1.0 (`check` failed)'
"""

from fdl.experimental.checkify.errors import (
    DivisionByZeroError,
    Error,
    FailedCheckError,
    JaxException,
    JaxRuntimeError,
    NaNError,
    OOBError,
    init_error,
)
from fdl.experimental.checkify.transform import (
    ErrorCategory,
    all_checks,
    automatic_checks,
    check,
    check_error,
    checkify,
    debug_check,
    div_checks,
    empty_checks,
    float_checks,
    index_checks,
    nan_checks,
    user_checks,
)

__all__ = [
    "DivisionByZeroError",
    "Error",
    "ErrorCategory",
    "FailedCheckError",
    "JaxException",
    "JaxRuntimeError",
    "NaNError",
    "OOBError",
    "all_checks",
    "automatic_checks",
    "check",
    "check_error",
    "checkify",
    "debug_check",
    "div_checks",
    "empty_checks",
    "float_checks",
    "index_checks",
    "init_error",
    "nan_checks",
    "user_checks",
]


def __dir__() -> list[str]:
    return __all__
