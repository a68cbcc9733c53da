"""Operands of the functions of this package."""

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes

Array = Any


def operands(*args: Any) -> list[Array]:
    """The operands in one floating (or complex) dtype and one shape."""
    dtype = fnp.result_type(*args)
    dtype = dtype if fnp.issubdtype(dtype, fnp.inexact) else dtypes.default_dtype(float)
    # Python numbers keep their 64 bits until the dtype is known.
    converted = [fnp.asarray(a, dtype) for a in args]
    return list(fnp.broadcast_arrays(*converted))


#: Where the functions of a distribution are defined, by the name of an argument.
_DOMAINS: dict[str, Callable[[Array], Array]] = {
    "scale": lambda scale: scale > 0,
    "a": lambda a: a > 0,
    "b": lambda b: b > 0,
    "df": lambda df: df > 0,
    "mu": lambda mu: mu >= 0,
    "p": lambda p: (p >= 0) & (p <= 1),
    "q": lambda q: (q >= 0) & (q <= 1),
}


def distribution(function: Callable[..., Array]) -> Callable[..., Array]:
    """The function of a distribution made NaN where an argument is NaN or a parameter is outside of its domain.

    Its arguments arrive promoted and broadcast.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Array:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        values = operands(*given.args)
        valid: Any = True
        for name, value, argument in zip(signature.parameters, values, given.args, strict=True):
            if type(argument) not in (int, float) or not _holds(name, argument):
                valid = valid & _DOMAINS.get(name, lambda v: v == v)(value)
        result = function(*values)
        return result if valid is True else fnp.where(valid, result, math.nan)

    return run


def _holds(name: str, number: float) -> bool:
    """Whether a Python number, such as the default of a parameter, needs no test when the function runs."""
    return bool(_DOMAINS.get(name, lambda v: v == v)(number)) if name not in "pq" else 0 <= number <= 1


def log1p_square(z: Array) -> Array:
    """log(1 + z**2), also where the square overflows."""
    size = fnp.abs(z)
    small = size < 1e8
    return fnp.where(
        small, fnp.log1p(fnp.square(fnp.where(small, size, 1.0))), 2 * fnp.log(fnp.where(small, 1.0, size))
    )
