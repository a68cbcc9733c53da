"""The forecasts: of seasonal naive methods, a linear model, N-BEATS and a TCN; functions of a batch of windows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from examples.forecasting.series import Steps
from fdl import nn, tree
from fdl.models import nbeats, tcn

DAY = 86_400
YEAR = 365.2425 * DAY


@dataclass(frozen=True)
class Sizes:
    """Of the models.

    Attributes:
      stacks, width: blocks of N-BEATS, and of their perceptrons.
      channels: of each level of the TCN.
    """

    stacks: int = 4
    width: int = 64
    channels: int = 16


@dataclass(frozen=True)
class Method:
    """A model that is trained.

    Attributes:
      name: of the column of its forecasts.
      init: (key) -> parameters.
      forecast: (parameters, batch) -> [rows, future], what is added to `expected`, in standard deviations; with the
        parameters of the beginning nothing.
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


def level(past: Any, asked: Steps) -> Any:
    """The mean of the last week of each past, or whatever the longest season is: [rows, 1]."""
    return fnp.mean(past[:, asked.past - asked.seasons[-1] :], axis=1, keepdims=True)


def expected(past: Any, asked: Steps) -> Any:
    """What models add to: halfway between the value of one longest season before and the level, [rows, future]."""
    first = asked.past - asked.seasons[-1]
    before = past[:, first + np.arange(asked.future) % asked.seasons[-1]]
    return (before + level(past, asked)) / 2


def naive(batch: Any, asked: Steps) -> dict[str, Any]:
    """The forecasts without a model: by the name of the method, [rows, future].

    What was one season before, for each season; the mean of these in the whole window, for the shortest season; and
    what models add to.
    """
    past = filled(batch, asked.seasons[0])
    ahead = np.arange(asked.future)
    found = {f"naive_{season}": past[:, asked.past - season + ahead % season] for season in asked.seasons}
    means = past.reshape(len(past), -1, asked.seasons[0]).mean(axis=1)
    found[f"mean_{asked.seasons[0]}"] = means[:, ahead % asked.seasons[0]]
    return {**found, "expected": expected(past, asked)}


def standardised(batch: Any, asked: Steps, statistics: dict[str, float]) -> Any:
    """The past as models take it: above the level of the window, in standard deviations of the training.

    So what a model learns of one winter it can say of another year's, whose level is another.
    """
    past = filled(batch, asked.seasons[0])
    return (past - level(past, asked)) / statistics["deviation"]


def calendar(steps: Any, asked: Steps) -> Any:
    """Where steps are in their day, week and year, as points on circles: [..., 2 n], known of the future too."""
    found = []
    for length in (DAY, 7 * DAY, YEAR):
        if length > asked.seconds:
            whole = length / asked.seconds  # steps; of days and weeks a whole number, which float32 would not keep
            turn = (steps % int(whole) if whole == int(whole) else fnp.asarray(steps, "float32")) / whole
            found += [fnp.sin(2 * np.pi * turn), fnp.cos(2 * np.pi * turn)]
    return fnp.stack(found, axis=-1)


def methods(asked: Steps, statistics: dict[str, float], sizes: Sizes) -> list[Method]:
    """The models that are trained.

    Args:
      asked: the steps.
      statistics: of the series.
      sizes: of the models.
    """
    past = partial(standardised, asked=asked, statistics=statistics)
    levels = max(2, int(np.ceil(np.log2(asked.past / 4 + 1))))
    width = calendar(fnp.zeros((1,), "int32"), asked).shape[-1]
    stacks = nbeats.Config(asked.past + width, asked.future, (nbeats.Stack(width=sizes.width),) * sizes.stacks)
    conv = tcn.Config(2 + width, asked.future, (sizes.channels,) * levels, window=3, dropout=0.0, length=asked.past)

    def with_calendar(batch: Any) -> Any:
        return fnp.concatenate([past(batch), calendar(batch["step"], asked)], axis=1)

    def series(params: Any, batch: Any) -> Any:
        steps = batch["step"][:, None] + np.arange(asked.past, dtype=np.int32) - asked.past
        known = fnp.stack([past(batch), batch["measured_past"]], axis=-1)
        return tcn.apply(params, fnp.concatenate([known, calendar(steps, asked)], axis=-1), config=conv)[:, -1]

    def linear(key: Any) -> Any:
        return nn.init_dense(key, asked.past + width, asked.future, w_init=nn.initializers.zeros)

    def blocks(key: Any) -> Any:
        stacks_of = nbeats.init(key, stacks)["stacks"]
        return {"stacks": [[{**one, "future": zeros(one["future"])} for one in stack] for stack in stacks_of]}

    def convolutions(key: Any) -> Any:
        params = tcn.init(key, conv)
        return {**params, "out": zeros(params["out"])}

    return [
        Method("linear", linear, lambda params, batch: nn.dense(params, with_calendar(batch))),
        Method("nbeats", blocks, lambda params, batch: nbeats.apply(params, with_calendar(batch), config=stacks)),
        Method("tcn", convolutions, series),
    ]


def zeros(params: Any) -> Any:
    """Zeros like parameters."""
    return tree.map(fnp.zeros_like, params)


def loss(params: Any, batch: Any, *, method: Method, asked: Steps, statistics: dict[str, float]) -> Any:
    """The mean absolute error of the steps that were measured, in standard deviations."""
    base = expected(filled(batch, asked.seasons[0]), asked)
    future = (batch["value_future"] - base) / statistics["deviation"]
    there = batch["measured_future"]
    errors = fnp.abs(method.forecast(params, batch) - future) * there
    return fnp.sum(errors) / fnp.maximum(fnp.sum(there), 1)


def forecasts(params: Any, batch: Any, *, asked: Steps, statistics: dict[str, float], sizes: Sizes) -> dict[str, Any]:
    """The forecasts of all methods, and the mean of those of the models, in the unit of the series.

    Args:
      params: by the name of the method.
      batch: windows.
      asked: the steps.
      statistics: of the series.
      sizes: of the models.
    """
    found = naive(batch, asked)
    base = found["expected"]
    trained = methods(asked, statistics, sizes)
    for method in trained:
        found[method.name] = method.forecast(params[method.name], batch) * statistics["deviation"] + base
    found["ensemble"] = sum(found[method.name] for method in trained) / len(trained)
    return {name: fdl.numpy.asarray(value, "float32") for name, value in found.items()}
