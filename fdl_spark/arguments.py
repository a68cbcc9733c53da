"""What the arguments of `train`, `evaluate` and `predict` must be, found out before anything is computed."""

from collections.abc import Callable, Mapping, Sequence
from inspect import isfunction
from numbers import Integral
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl_spark.errors import ArgumentError

CALLBACK_METHODS = ("start", "step", "epoch", "end")
# Entries of a step's record.
RESERVED = (
    *("loss", "rows", "step", "seconds", "phases", "tasks", "epoch", "validation"),
    *("loss_weight", "loss_scale", "good_steps", "overflow"),
)


def check_whole(name: str, value: Any, least: int | None = None) -> None:
    """Raise unless an argument is a whole number that is not too small; None passes as "not given"."""
    if value is None:
        return
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ArgumentError(f"{name} must be a whole number, not {value!r}")
    if least is not None and value < least:
        raise ArgumentError(f"{name} must be at least {least}, not {value}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise unless an argument is one of a few words."""
    if value not in choices:
        raise ArgumentError(f"{name} must be one of {sorted(choices)}, not {value!r}")


def check_read(name: str, value: Any, of: str, given: Any, otherwise: str) -> None:
    """Raise if an argument is given that nothing reads, as another one is not given."""
    if value and given is None:
        raise ArgumentError(f"{name} is for {of}=, which is not given: give it, {otherwise}")


def check_names(name: str, value: Any) -> None:
    """Raise unless an argument is a list of columns' names, or None."""
    if isinstance(value, str) or not (value is None or (isinstance(value, Sequence) and all_strings(value))):
        raise ArgumentError(f"{name} must be a list of names, such as {name}=['x', 'y'], not {value!r}")
    if value is not None and not value:
        raise ArgumentError(f"{name} is empty; name the columns to use, or leave it out to use all")


def check_features(value: Any) -> None:
    """Raise unless an argument is a fitted set of encoders, or None."""
    if value is not None and not all(hasattr(value, name) for name in ("inputs", "outputs", "encode")):
        fit = "; fit it first" if hasattr(value, "fit") else ""
        raise ArgumentError(
            f"features must be encoders that were fitted, of fdl_spark.features, not {value!r:.100}{fit}"
        )


def all_strings(values: Sequence[Any]) -> bool:
    """Whether all values are strings."""
    return all(isinstance(value, str) for value in values)


def check_function(name: str, value: Any, takes: str) -> None:
    """Raise unless an argument can be called."""
    if not isinstance(value, Callable):  # type: ignore[arg-type]
        raise ArgumentError(f"{name} must be a function of {takes}, not {value!r}")


def check_metrics(name: str, value: Any, reserved: Sequence[str]) -> None:
    """Raise unless an argument is a dict of functions by names that are free, or None."""
    if value is None:
        return
    if not isinstance(value, Mapping) or not all_strings(list(value)):
        raise ArgumentError(f"{name} must be a dict of functions (params, batch) -> mean by name, not {value!r}")
    for key, function in value.items():
        check_metric_name(name, key, reserved)
        check_function(f"{name}[{key!r}]", function, "(params, batch)")


def check_metric_name(what: str, name: Any, reserved: Sequence[str]) -> None:
    """Raise if a metric's name is no string or has another meaning."""
    if not isinstance(name, str) or name in reserved:
        raise ArgumentError(
            f"{what}: a metric cannot be called {name!r}; the history uses {', '.join(reserved)} itself"
        )


def check_params(params: Any, name: str = "params") -> None:
    """Raise unless the parameters, or what a name is of, are arrays of floating-point numbers."""
    try:
        leaves, _ = fdl.tree.flatten_with_path(params)
    except Exception as error:
        raise ArgumentError(f"{name} is no pytree of arrays: {error}") from error
    if not leaves and name == "params":  # a state may be empty, as that of a model without batch norms is
        raise ArgumentError(f"{name} must have at least one array; it is {params!r}")
    for path, leaf in leaves:
        where = f"{name}{fdl.tree.keystr(path)}"
        try:
            dtype = np.asarray(leaf).dtype
        except Exception as error:
            raise ArgumentError(f"{where} cannot become an array: {error}") from error
        if not fnp.issubdtype(dtype, fnp.floating):
            why = "follow a gradient" if name == "params" else "be a mean over shards"
            raise ArgumentError(f"{where} must be floating-point, to {why}; it is {dtype} ({leaf!r:.60})")


def check_optimizer(optimizer: Any) -> None:
    """Raise unless an optimizer is a pair of functions."""
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        call = f": call it, as in {optimizer.__name__}(1e-3)" if isfunction(optimizer) else ""
        found = f"{optimizer!r:.100}{call}"
        raise ArgumentError(
            f"optimizer must have functions init and update, as fdl.optim.adam(1e-3) has; it is {found}"
        )


def check_callbacks(callbacks: Any) -> None:
    """Raise unless the callbacks are a sequence of objects with a Callback's methods."""
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise ArgumentError(f"callbacks must be a list, such as callbacks=[fdl_spark.Progress()], not {callbacks!r}")
    for callback in callbacks:
        if isinstance(callback, type) or not all(hasattr(callback, name) for name in CALLBACK_METHODS):
            raise ArgumentError(f"callbacks must be objects of a subclass of fdl_spark.Callback; one is {callback!r}")
