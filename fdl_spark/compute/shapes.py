"""The types of what a user's functions return, and clear errors of those that do not fit the data."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl_spark.arguments import RESERVED, check_metric_name
from fdl_spark.errors import LossError, MissingColumnError
from fdl_spark.spark.failures import calling

TRAINING = "training"  # the argument of a loss that wants to know


def takes_key(function: Callable[..., Any], given: int = 2) -> bool:
    """Whether a loss has one more argument than the given ones, without a default: its random key."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    more = [p for p in parameters[given:] if p.name != TRAINING]
    return bool(more) and (more[0].default is inspect.Parameter.empty or more[0].name == "key")


def takes_training(function: Callable[..., Any]) -> bool:
    """Whether a loss wants to know if it is called to train or to validate."""
    return TRAINING in inspect.signature(function).parameters


def check_loss(program: Any, batch: Any, more: tuple[Any, ...] | None) -> None:
    """Raise unless the loss of a Program returns what it must; arguments and errors are those of `Program.check`."""
    params, recipe, state = program.params, program.recipe, program.carried.get("state")
    place = (np.uint32(0), np.uint32(0), *((np.uint32(0),) if more is None else more))
    rows = batch
    if more is not None and recipe.augment is not None:
        row = fdl.tree.map(lambda column: fdl.ShapeDtypeStruct(column.shape[1:], column.dtype), batch)
        shape_of("augment", lambda p, one: recipe.augment(fdl.random.key(0), one), params, row)
        rows = fdl.eval_shape(lambda b: recipe.augmented(program.seed, b, place), batch)
    name, training = _called(program.loss, state is not None), more is not None
    loss, metrics, new = shape_of(
        name, lambda p, b: program.called(*p, b, place, training=training), (params, state), rows
    )
    shape, returns = (), "return one floating-point number"
    if recipe.weighting is not None:
        shape = fdl.tree.leaves(batch)[0].shape[:1]
        returns = f"return the loss of each row where rows have weights, floating-point of shape {shape}"
    if getattr(loss, "shape", None) != shape or not fnp.issubdtype(loss.dtype, fnp.floating):
        arrays = hasattr(loss, "shape")
        found = f"shape {loss.shape}, dtype {loss.dtype}" if arrays else f"{type(loss).__name__}: {loss}"
        raise LossError(f"the loss must {returns}; it returned {found}")
    for name, metric in metrics.items():
        check_metric_name("the loss", name, RESERVED)
        if getattr(metric, "shape", None) != ():
            raise LossError(f"metric {name!r} of the loss must be a number; it is {metric}")
        if name in program.metrics:
            raise LossError(f"metric {name!r} is one of the loss and one of metrics=; rename one of them")
    old, new = ({fdl.tree.keystr(path): leaf.shape for path, leaf in _pairs(tree)} for tree in (state, new))
    if old != new:
        raise LossError(f"the loss must return a new state like state=, whose shapes are {old}; it returned {new}")


def _called(loss: Callable[..., Any], stateful: bool) -> str:
    """The loss, and what its arguments are where the name of the last one says something else than a key."""
    roles = ("params", "state", "batch", "key") if stateful else ("params", "batch", "key")
    try:
        wanted = takes_key(loss, len(roles) - 1)
        names = [name for name in inspect.signature(loss).parameters if name != TRAINING][: len(roles)]
    except (TypeError, ValueError):  # a function without a signature, of which its call will complain
        return "the loss"
    if not wanted or names[-1] == "key":
        return "the loss"
    given = (role if name == role else f"{name}={role}" for name, role in zip(names, roles, strict=False))
    return f"the loss, called with ({', '.join(given)})"


def shape_of(asked_by: str, function: Callable[..., Any], params: Any, batch: Any, *rest: Any) -> Any:
    """The types of a user's function's results.

    Args:
      asked_by: what the function is, for messages.
      function: (params, batch, ...) -> pytree of arrays.
      params: pytree of arrays.
      batch: pytree of ShapeDtypeStructs.
      rest: what else the function takes.

    Raises:
      MissingColumnError: it asks for a column that is not there.
      UserFunctionError: it raises anything else.
    """
    columns = {fdl.tree.keystr(path): f"{np.dtype(t.dtype).name}{list(t.shape)}" for path, t in _pairs(batch)}
    with calling(f"{asked_by}, traced on a batch of {columns},"):
        try:
            return fdl.eval_shape(function, params, batch, *rest)
        except KeyError as missing:
            absent = isinstance(batch, Mapping) and missing.args and missing.args[0] not in batch
            if absent and _asked_of_batch(function, params, batch, rest):
                raise MissingColumnError(missing.args[0], list(batch), asked_by) from None
            raise


class _NoColumn(KeyError):
    pass


class _Watched(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise _NoColumn(name)


def _asked_of_batch(function: Callable[..., Any], params: Any, batch: Mapping[str, Any], rest: tuple[Any, ...]) -> bool:
    """Whether a function that raises KeyError asked the batch for what is missing; it may have been the parameters."""
    if type(batch) is not dict:
        return True
    try:
        fdl.eval_shape(lambda p, b, *others: function(p, _Watched(b), *others), params, batch, *rest)
    except _NoColumn:
        return True
    except KeyError:
        pass
    return False


def _pairs(batch: Any) -> list[tuple[Any, Any]]:
    return fdl.tree.flatten_with_path(batch)[0]
