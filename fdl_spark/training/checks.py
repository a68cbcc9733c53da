"""What the arguments of `train` must be, one line each, and which go together."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import fdl
from fdl_spark.arguments import (
    check_callbacks,
    check_choice,
    check_features,
    check_function,
    check_metrics,
    check_names,
    check_optimizer,
    check_params,
    check_read,
    check_whole,
)
from fdl_spark.errors import ArgumentError
from fdl_spark.training.engine_choice import ENGINES
from fdl_spark.training.triggers import Every, Trigger

Check = Callable[[str, Any], None]


def _whole(least: int | None = None, other: Any = None) -> Check:
    return lambda name, value: check_whole(name, None if value == other else value, least)


def _choice(*choices: str) -> Check:
    return partial(_check_choice, choices)


def _check_choice(choices: tuple[str, ...], name: str, value: Any) -> None:
    check_choice(name, value, choices)


def _check_sync(name: str, value: Any) -> None:
    if not isinstance(value, Trigger):
        check_choice(name, value, ["auto", *ENGINES])
    elif not isinstance(value, Every) or value.steps is None:
        raise ArgumentError(f"{name}={value} must count steps: fdl_spark.every(k)")


#: In the order in which they are checked.
CHECKS: dict[str, Check] = {
    "sync": _check_sync,
    "wire": _choice("float32", "bfloat16"),
    "nonfinite": _choice("stop", "skip"),
    "batch_size": _whole(1),
    "shards": _whole(1),
    "partitions": _whole(1),
    "checkpoint_steps": _whole(1),
    "keep": _whole(1),
    "group": _whole(1, other="auto"),
    "epochs": _whole(0),
    "steps": _whole(0),
    "seed": _whole(),
    "columns": check_names,
    "frozen": lambda name, value: check_names(name, value or None),
    "features": lambda _, value: check_features(value),
    "loss": partial(check_function, takes="(params, batch) or (params, batch, key)"),
    "metrics": partial(check_metrics, reserved=("loss", "rows")),
    "optimizer": lambda _, value: check_optimizer(value),
    "params": lambda _, value: check_params(value),
    "callbacks": lambda _, value: check_callbacks(value),
}

#: Arguments that nothing reads without another one, and what to do.
READ = {
    "metrics": ("validation", "or let the loss return them: (mean loss, dict of means)"),
    "validate": ("validation", "or leave it out"),
    "checkpoint_steps": ("checkpoint", "or leave it out"),
    "save": ("checkpoint", "or leave it out"),
    "keep": ("checkpoint", "or leave it out"),
}


def check_arguments(given: Mapping[str, Any]) -> None:
    """Raise an ArgumentError unless the arguments of `train`, by name, are what they must be."""
    for name, check in CHECKS.items():
        check(name, given[name])
    _check_wire(given["wire"], given["params"])
    _check_rounds(given["sync"], given["checkpoint_steps"])
    for name, (other, otherwise) in READ.items():
        check_read(name, given[name], other, given[other], otherwise)


def _check_wire(wire: str, params: Any) -> None:
    if wire == "bfloat16":
        for path, leaf in fdl.tree.flatten_with_path(params)[0]:
            if (dtype := np.asarray(leaf).dtype) != np.float32:
                where = f"params{fdl.tree.keystr(path)}"
                raise ArgumentError(f'wire="bfloat16" rounds gradients of float32 parameters; {where} is {dtype}')


def _check_rounds(sync: str | Every, checkpoint_steps: int | None) -> None:
    if isinstance(sync, Every) and sync.steps and checkpoint_steps and checkpoint_steps % sync.steps:
        raise ArgumentError(
            f"checkpoint_steps={checkpoint_steps} must be a multiple of the {sync.steps} steps of a round: "
            f"between rounds there are no common parameters to save"
        )
