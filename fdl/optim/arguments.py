"""The arguments of optimizers, transformations and schedules: what each is, and which numbers it may be.

A decorator checks the arguments of a function by this table, and completes its docstring from it.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from itertools import zip_longest
from typing import Any, TypeVar, cast

from fdl.docstrings import fill_docstring
from fdl.scalars import Scalar, checked

F = TypeVar("F", bound=Callable[..., Any])

REAL = Scalar()
NOT_NEGATIVE = Scalar(0.0)
POSITIVE = Scalar(0.0, above=True)
FRACTION = Scalar(0.0, 1.0)
DECAY = Scalar(0.0, 1.0, below=True)
RATE = Scalar(0.0, schedule=True)

_NUMBERS: dict[str, tuple[str, Scalar]] = {
    "learning_rate": ("number, array of no axes, or schedule; not negative.", RATE),
    "weight_decay": ("factor of the parameters, before the learning rate; a number or a schedule.", RATE),
    "momentum": ("decay of the sum of gradients.", NOT_NEGATIVE),
    "decay": ("decay of the mean of squares.", FRACTION),
    "b1": ("decay of the first moment.", DECAY),
    "b2": ("decay of the second moment.", DECAY),
    "rho": ("decay of both means of squares.", FRACTION),
    "eps": ("added to the divisor, against zero.", NOT_NEGATIVE),
    "eps_root": ("added under the root.", NOT_NEGATIVE),
    "threshold": ("length of the average from which the second moment is used, at least 4.", Scalar(4.0)),
    "initial_accumulator_value": ("first value of the sum of squares.", NOT_NEGATIVE),
    "initial_scale": ("first value of the mean of squares.", NOT_NEGATIVE),
    "trust_coefficient": ("factor of the ratio of norms.", NOT_NEGATIVE),
    "min_norm": ("the smallest norm that counts.", NOT_NEGATIVE),
    "step_size": ("the number.", REAL),
    "max_delta": ("the bound, not negative.", NOT_NEGATIVE),
    "max_norm": ("the largest norm, not negative.", NOT_NEGATIVE),
}

_TEXTS = {name: text for name, (text, _) in _NUMBERS.items()} | {
    "nesterov": "whether to look one step ahead.",
    "accumulator_dtype": "of the sum or mean of gradients; None is that of the parameters, at least float32.",
    "mu_dtype": "of the first moment; None is that of the parameters, at least float32.",
    "mask": "which leaves decay, as in :func:`masked`; None is all.",
    "weight_decay_mask": "which leaves decay, as in :func:`masked`; None or True is all.",
    "eps_in_sqrt": "whether `eps` is added under the root.",
    "bias_correction": "whether the means are corrected for their first values.",
}

_SCHEDULES: dict[str, tuple[str, Scalar]] = {
    "value": ("the value.", REAL),
    "init_value": ("first value.", REAL),
    "end_value": ("last value.", REAL),
    "peak_value": ("the largest value.", REAL),
    "power": ("1 is a straight line.", REAL),
    "alpha": ("last value as a fraction of the first.", REAL),
    "exponent": ("of the cosine term.", REAL),
    "decay_rate": ("the factor.", NOT_NEGATIVE),
    "transition_steps": ("length of the way, in steps; zero keeps `init_value`.", REAL),
    "transition_begin": ("steps before it.", REAL),
    "warmup_steps": ("length of the straight line, in steps.", REAL),
    "decay_steps": ("length, in steps.", REAL),
    "pct_start": ("fraction of the steps up to the peak.", FRACTION),
    "pct_final": ("fraction of the steps up to the first value again.", FRACTION),
    "div_factor": ("the peak over the first value.", POSITIVE),
    "final_div_factor": ("the first value over the last.", POSITIVE),
}

_SCHEDULE_TEXTS = {name: text for name, (text, _) in _SCHEDULES.items()} | {
    "boundaries_and_scales": "step count, and the factor from there on.",
    "staircase": "whether the value changes only every `transition_steps` steps.",
}

#: The most characters of arguments in a repr.
_LONGEST = 300

_REFUSED = {"RangeError": "a number is NaN or outside of its range; DtypeError, ShapeError if it is none."}


def makes_transformation(
    call: str = "", first: list[float] | None = None, params: str = "fnp.zeros(2)", **scalars: Scalar
) -> Callable[[F], F]:
    """A decorator of functions that make optimizers and transformations.

    Args:
        call: for the example in the docstring: how to make one.
        first: the first update that it makes of the gradients 1 and -4, rounded.
        params: the parameters there.
        **scalars: which numbers an argument may be, where the table says something else.

    Returns:
        The decorator.
    """
    name = "transformation" if call.startswith(("scale", "clip", "add", "ema", "identity", "set")) else "optimizer"
    example = f""">>> params, {name} = {params}, {call}
>>> updates, state = {name}.update(fnp.array([1.0, -4.0]), {name}.init(params), params)
>>> [round(u, 3) for u in updates.tolist()]
{first}"""
    return _argued(_NUMBERS, scalars, _TEXTS, "A pair of pure functions.", example if call else "", "called")


def makes_schedule(**scalars: Scalar) -> Callable[[F], F]:
    """A decorator of functions that make schedules.

    Args:
        **scalars: which numbers an argument may be, where the table says something else.

    Returns:
        The decorator.
    """
    returns = "A function from the step count, an integer or integer array, to the value."
    return _argued(_SCHEDULES, scalars, _SCHEDULE_TEXTS, returns, "", "__qualname__")


def _argued(
    table: dict[str, tuple[str, Scalar]],
    scalars: dict[str, Scalar],
    texts: dict[str, str],
    returns: str,
    example: str,
    told: str,
) -> Callable[[F], F]:
    rules = {name: scalar for name, (_, scalar) in table.items()} | scalars

    def decorate(function: F) -> F:
        takes = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
        chosen = {name: rules[name] for name in takes if name in rules}
        documented = fill_docstring(texts, returns, _REFUSED if chosen else None, example)(function)
        run = checked(**chosen)(documented) if chosen else documented

        return _telling(run, told, ())

    return decorate


def tells_call(*secret: str) -> Callable[[F], F]:
    """A decorator of functions that make optimizers and transformations, whose repr then is the call.

    Args:
        *secret: arguments that are not told.

    Returns:
        The decorator.
    """
    return lambda function: _telling(function, "called", secret)


def _telling(function: F, told: str, secret: tuple[str, ...]) -> F:
    names = tuple(inspect.signature(function).parameters) if secret else ()

    @wraps(function)
    def tell(*args: Any, **kwargs: Any) -> Any:
        made = function(*args, **kwargs)
        shown = [_Hidden() if name in secret else arg for name, arg in zip_longest(names[: len(args)], args)]
        named = {name: _Hidden() if name in secret else value for name, value in kwargs.items()}
        setattr(made, told, as_called(function.__name__, *shown, **named))
        return made

    return cast(F, tell)


class _Hidden:
    """Stands for the value of an argument that is secret."""

    def __repr__(self) -> str:
        return "…"


def as_called(name: str, *args: Any, **kwargs: Any) -> str:
    """The call that made something, as its repr tells it.

    >>> as_called("sgd", 0.1, momentum=0.9)
    'sgd(0.1, momentum=0.9)'
    """
    text = ", ".join([*map(_value, args), *(f"{name}={_value(value)}" for name, value in kwargs.items())])
    return f"{name}({text})" if len(text) <= _LONGEST else f"{name}({text[:_LONGEST]}…)"


def _value(value: Any) -> str:
    if hasattr(value, "dtype") and getattr(value, "shape", ()) != ():
        return f"{value.dtype}{list(value.shape)}"
    if hasattr(value, "dtype") and hasattr(value, "item") and not hasattr(value, "interpreter"):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_value, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_value(inner)}" for key, inner in value.items()) + "}"
    return getattr(value, "__qualname__", None) or repr(value)
