"""The forecasts: of seasonal naive methods, a linear model, N-BEATS and a TCN; functions of a batch of windows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from examples.forecasting.series import Steps
from fdl import nn
from fdl.models import nbeats, tcn

DAY = 86_400
YEAR = 365.2425 * DAY


@dataclass(frozen=True)
class Method:
    """A model that is trained.

    Attributes:
      name: of the column of its forecasts.
      init: (key) -> parameters.
      forecast: (parameters, batch) -> [rows, future], standardised.
    """

    name: str
    init: Callable[[Any], Any]
    forecast: Callable[[Any, Any], Any]


def filled(batch: Any, season: int) -> Any:
    """The past [rows, past]; what was not measured is as it was one season before, else the mean of the window.

    Only the window's own past is looked at.
    """
    value, there = batch["value_past"], batch["measured_past"] > 0
    rows, past = value.shape
    count = fnp.maximum(fnp.sum(there, axis=1, keepdims=True), 1)
    mean = fnp.sum(fnp.where(there, value, 0), axis=1, keepdims=True) / count
    value, there = value.reshape(rows, -1, season), there.reshape(rows, -1, season)
    seasons, last = [], fnp.broadcast_to(mean, (rows, season))
    for number in range(past // season):
        last = fnp.where(there[:, number], value[:, number], last)
        seasons.append(last)
    return fnp.concatenate(seasons, axis=1)


def naive(batch: Any, asked: Steps) -> dict[str, Any]:
    """What was one season before, for each season, and the mean of these in the whole window for the shortest one."""
    past = filled(batch, asked.seasons[0])
    ahead = np.arange(asked.future)
    found = {f"naive_{season}": past[:, asked.past - season + ahead % season] for season in asked.seasons}
    means = past.reshape(len(past), -1, asked.seasons[0]).mean(axis=1)
    return {**found, f"mean_{asked.seasons[0]}": means[:, ahead % asked.seasons[0]]}


def standardised(batch: Any, asked: Steps, statistics: dict[str, float]) -> Any:
    """The past as models take it."""
    return (filled(batch, asked.seasons[0]) - statistics["mean"]) / statistics["deviation"]


def calendar(steps: Any, asked: Steps) -> Any:
    """Where steps are in their day, week and year, as points on circles: [..., 2 n], known of the future too."""
    found = []
    for length in (DAY, 7 * DAY, YEAR):
        if length > asked.seconds:
            whole = length / asked.seconds  # steps; of days and weeks a whole number, which float32 would not keep
            turn = (steps % int(whole) if whole == int(whole) else fnp.asarray(steps, "float32")) / whole
            found += [fnp.sin(2 * np.pi * turn), fnp.cos(2 * np.pi * turn)]
    return fnp.stack(found, axis=-1)


def methods(asked: Steps, statistics: dict[str, float]) -> list[Method]:
    """The models that are trained.

    Args:
      asked: the steps.
      statistics: of the series.
    """
    past = partial(standardised, asked=asked, statistics=statistics)
    stacks = nbeats.Config(asked.past, asked.future, (nbeats.Stack(width=128),) * 6)
    levels = max(2, int(np.ceil(np.log2(asked.past / 4 + 1))))
    width = calendar(fnp.zeros((1,), "int32"), asked).shape[-1]
    conv = tcn.Config(2 + width, asked.future, (24,) * levels, window=3, dropout=0.0, length=asked.past)

    def linear(params: Any, batch: Any) -> Any:
        return nn.dense(params, fnp.concatenate([past(batch), calendar(batch["step"], asked)], axis=1))

    def series(params: Any, batch: Any) -> Any:
        steps = batch["step"][:, None] + np.arange(asked.past, dtype=np.int32) - asked.past
        known = fnp.stack([past(batch), batch["measured_past"]], axis=-1)
        return tcn.apply(params, fnp.concatenate([known, calendar(steps, asked)], axis=-1), config=conv)[:, -1]

    return [
        Method("linear", lambda key: nn.init_dense(key, asked.past + width, asked.future), linear),
        Method(
            "nbeats",
            partial(nbeats.init, config=stacks),
            lambda params, batch: nbeats.apply(params, past(batch), config=stacks),
        ),
        Method("tcn", partial(tcn.init, config=conv), series),
    ]


def loss(params: Any, batch: Any, *, method: Method, statistics: dict[str, float]) -> Any:
    """The mean absolute error of the steps that were measured, in standard deviations."""
    future = (batch["value_future"] - statistics["mean"]) / statistics["deviation"]
    there = batch["measured_future"]
    errors = fnp.abs(method.forecast(params, batch) - future) * there
    return fnp.sum(errors) / fnp.maximum(fnp.sum(there), 1)


def forecasts(params: Any, batch: Any, *, asked: Steps, statistics: dict[str, float]) -> dict[str, Any]:
    """The forecasts of all methods, in the unit of the series.

    Args:
      params: by the name of the method.
      batch: windows.
    """
    found = naive(batch, asked)
    for method in methods(asked, statistics):
        found[method.name] = method.forecast(params[method.name], batch) * statistics["deviation"] + statistics["mean"]
    return {name: fdl.numpy.asarray(value, "float32") for name, value in found.items()}
