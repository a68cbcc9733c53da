"""Numbers that set how something works (learning rates, decays, rates of dropout), checked where they are given."""

import inspect
import math
import reprlib
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from fdl.array import as_array
from fdl.core.trace import Tracer
from fdl.dtypes import BOOLEAN, REAL
from fdl.errors import DtypeError, LeafError, RangeError, ShapeError

F = TypeVar("F", bound=Callable[..., Any])


class Scalar(NamedTuple):
    """The real numbers that an argument may be; the value of a traced one is not known, and not checked.

    Attributes:
        least: the smallest.
        most: the largest.
        above: whether `least` itself is left out.
        below: whether `most` itself is left out.
        whole: whether it must be a whole number.
        schedule: whether a function of the step count may stand for the number.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    schedule: bool = False

    def check(self, function: str, name: str, value: Any) -> None:
        """Raise unless `value`, which was given to the argument `name` of `function`, is one of them.

        Raises:
            DtypeError: it is no real number.
            ShapeError: it is an array with axes.
            RangeError: it is NaN, or outside of the range.
        """
        if self.schedule and callable(value):
            return
        known = value
        if not isinstance(value, (int, float)):
            found = f"got {reprlib.repr(value)} of type {type(value).__name__}"
            try:
                array = as_array(value)
            except LeafError:
                raise DtypeError(f"{function}: {name} must be {self}, {found}") from None
            if array.type.dtype not in BOOLEAN + REAL:
                raise DtypeError(f"{function}: {name} must be {self}, {found}")
            if array.type.shape:
                raise ShapeError(f"{function}: {name} must be {self}, got an array {array.type}")
            if isinstance(array, Tracer):
                return
            known = array.concrete().item()
        ends = (self.above and known == self.least) or (self.below and known == self.most)
        if ends or not self.least <= known <= self.most or (self.whole and known % 1 != 0):
            raise RangeError(f"{function}: {name} must be {self}, got {known}")

    def __str__(self) -> str:
        where = ""
        if self.most < math.inf:
            where = f" in {'(' if self.above else '['}{self.least:g}, {self.most:g}{')' if self.below else ']'}"
        elif self.least > -math.inf:
            where = f", {'above' if self.above else 'at least'} {self.least:g}"
        also = " (or a schedule, a function of the step count)" if self.schedule else ""
        return f"a {'whole' if self.whole else 'real'} number or an array of no axes{where}{also}"


def checked(**scalars: Scalar) -> Callable[[F], F]:
    """A decorator that checks arguments when the function is called; None passes where it is the default.

    >>> @checked(x=Scalar(0.0))
    ... def root(x):
    ...     return math.sqrt(x)
    >>> root("4")
    Traceback (most recent call last):
    fdl.errors.DtypeError: root: x must be a real number or an array of no axes, at least 0, got '4' of type str
    """

    def decorate(function: F) -> F:
        parameters = inspect.signature(function).parameters
        names = list(parameters)
        optional = {name for name in names if parameters[name].default is None}

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            for name, value in (*zip(names, args, strict=False), *kwargs.items()):
                if name in scalars and not (value is None and name in optional):
                    scalars[name].check(function.__name__, name, value)
            return function(*args, **kwargs)

        return cast(F, run)

    return decorate
