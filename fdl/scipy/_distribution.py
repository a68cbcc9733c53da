"""What the functions of all distributions have in common, so that the file of one shows its formulas alone."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, ParamSpec

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.scipy._operands import operands

P = ParamSpec("P")

_SUMMARIES = {
    "logpdf": "The logarithm of the density.",
    "pdf": "The density.",
    "logpmf": "The logarithm of the probability of k.",
    "pmf": "The probability of k.",
    "cdf": "The distribution function.",
    "logcdf": "The logarithm of the distribution function, accurate in the tails.",
    "sf": "One minus the distribution function, without cancellation.",
    "logsf": "The logarithm of :func:`sf`.",
    "ppf": "The quantile at probability q; NaN outside [0, 1].",
    "isf": "The inverse of :func:`sf`.",
}
_ARGUMENTS = {
    "x": "where, a real array.",
    "q": "probability, in [0, 1].",
    "loc": "what is added to the variable; broadcasts.",
    "scale": "by what the variable is multiplied, positive; broadcasts.",
}
Domain = Callable[[Any], Any]


def positive(value: Any) -> Any:
    return value > 0


def not_negative(value: Any) -> Any:
    return value >= 0


def whole(value: Any) -> Any:
    return (value >= 0) & (value == value // 1)


def anywhere(value: Any) -> Any:
    return value == value


#: Where the functions of a distribution are defined, by the name of an argument.
_DOMAINS: dict[str, Domain] = {
    "scale": positive,
    "a": positive,
    "b": positive,
    "df": positive,
    "mu": not_negative,
    "p": lambda p: (p >= 0) & (p <= 1),
    "q": lambda q: (q >= 0) & (q <= 1),
}


class Distribution:
    """Makes the functions of one distribution from formulas, whose arguments arrive promoted and broadcast.

    A function is NaN where an argument is NaN or a parameter is outside of its domain. What its docstring does not say
    is added: the summary by its name, the arguments, the result, and an example.

    Args:
        at: the arguments in the examples; the first is 0.75 where it is a probability.
        domains: where the functions are defined, by the name of an argument, if other than usual.
        **arguments: what an argument is, by name.
    """

    def __init__(self, at: str, domains: Mapping[str, Domain] = MappingProxyType({}), **arguments: str) -> None:
        self._at, self._domains, self._arguments = at, {**_DOMAINS, **domains}, _ARGUMENTS | arguments

    def __call__(self, example: float) -> Callable[[Callable[P, Array]], Callable[P, Array]]:
        """A decorator of a formula; `example` is its value in the example, rounded."""
        return lambda formula: self._documented(self._with_domain(formula), example)

    def exp(self, log: Callable[P, Array], example: float) -> Callable[P, Array]:
        """The function whose logarithm is `log`: pdf for logpdf."""

        @wraps(log)
        def formula(*args: P.args, **kwargs: P.kwargs) -> Array:
            return fnp.exp(log(*args, **kwargs))

        formula.__name__ = formula.__qualname__ = log.__name__.removeprefix("log")
        formula.__doc__ = None
        return self._documented(self._with_domain(formula), example)

    def _documented(self, function: Callable[P, Array], example: float) -> Callable[P, Array]:
        first = next(iter(inspect.signature(function).parameters))
        at = ", ".join(["0.75", *self._at.split(", ")[1:]]) if first == "q" else self._at
        function.__doc__ = function.__doc__ or _SUMMARIES[function.__name__]
        shown = f">>> round({function.__name__}({at}).item(), 3)\n{example}"
        return fill_docstring(self._arguments, "A floating array of the common shape.", example=shown)(function)

    def _with_domain(self, formula: Callable[P, Array]) -> Callable[P, Array]:
        """The formula, NaN where an argument is NaN or a parameter is outside of its domain."""
        signature = inspect.signature(formula)
        name = f"{formula.__module__.rpartition('.')[2]}.{formula.__name__}"

        @wraps(formula)
        def run(*args: P.args, **kwargs: P.kwargs) -> Array:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            values = operands(name, *given.args)
            valid: Any = True
            for key, value, argument in zip(signature.parameters, values, given.args, strict=True):
                if type(argument) not in (int, float) or not self._holds(key, argument):
                    valid = valid & self._domains.get(key, anywhere)(value)
            result = formula(*values)  # type: ignore[call-arg, arg-type]
            return result if valid is True else fnp.where(valid, result, math.nan)

        return run

    def _holds(self, name: str, number: float) -> bool:
        """Whether a Python number, such as the default of a parameter, needs no test when the function runs."""
        return bool(self._domains.get(name, anywhere)(number))
