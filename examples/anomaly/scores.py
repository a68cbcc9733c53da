"""How unusual each half-hour is: by the error of a forecast, and by the distance from what the slot of the week has."""

from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.models import anomaly_lstm

DAY, WEEK = 48, 7 * 48  # half-hours
MODEL = anomaly_lstm.Config(features=5, length=50, dropout=0.0)


@dataclass(frozen=True)
class Split:
    """Times at which parts end; nothing that is labelled is in the first two.

    Attributes:
      train: the end of what is trained on.
      calm: the end of what the threshold is taken from; what follows is searched for events.
    """

    train: str = "2014-10-01T00:00"
    calm: str = "2014-10-30T15:30"


def steps(batch: Any) -> Any:
    """What the LSTM reads: values, and where in its day and week the half-hour after each is, as points on circles."""
    numbers = batch["step"][:, None] + np.arange(1 - MODEL.length, 1, dtype=np.int32)
    turns = [2 * np.pi * (numbers % period) / period for period in (DAY, WEEK)]
    return fnp.stack([batch["value_past"], *(f(turn) for turn in turns for f in (fnp.sin, fnp.cos))], axis=-1)


def loss(params: Any, batch: Any, key: Any) -> Any:
    """The mean squared error of the next value."""
    given = {"steps": steps(batch), "targets": batch["value_future"][:, 0]}
    return anomaly_lstm.loss(params, given, key, config=MODEL)


def forecast(params: Any, batch: Any) -> Any:
    """The next value."""
    return anomaly_lstm.apply(params, steps(batch), config=MODEL)


def scaled(errors: np.ndarray, hours: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Errors in units of what is usual at their time of the day.

    Args:
      errors: (n,) of all steps.
      hours: (n,) the number of each step's half-hour in its day.
      train: (n,) bool, the steps that say what is usual.
    """
    usual = np.array([np.sqrt(np.mean(errors[train & (hours == hour)] ** 2)) for hour in range(DAY)])
    return np.abs(errors) / usual[hours]


def seasonal(values: np.ndarray, slots: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The z-score of each value among those of the same half-hour of the week: the baseline.

    Args:
      values: (n,).
      slots: (n,) the number of each step's half-hour in its week.
      train: (n,) bool, the steps whose mean and deviation count.
    """
    found = np.empty(len(values))
    for slot in range(WEEK):
        here = slots == slot
        known = values[here & train]
        found[here] = (values[here] - known.mean()) / known.std()
    return np.abs(found)
