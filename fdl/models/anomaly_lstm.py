"""An LSTM that forecasts the next value of a series: what it gets most wrong is an anomaly.

Source: Malhotra, Vig, Shroff, Agarwal, "Long short term memory networks for anomaly detection in time series", ESANN
2015; the layers are those of the anomaly detector of Analytics Zoo: LSTMs of 8, 32 and 15, dropout of 0.2.

Expected: no accuracy is published for New York's taxi rides, the data of its example; its holidays, a marathon and a
snow storm are among the largest errors.

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import anomaly_lstm
>>> params = anomaly_lstm.init(random.key(0))
>>> anomaly_lstm.apply(params, fnp.zeros((2, 50, 3))).shape
(2,)
>>> anomaly_lstm.anomalies(fnp.array([1.0, 9.0, 2.0]), fnp.array([1.2, 1.0, 2.0]), 1).tolist()
[False, True, False]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import lax, nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What the model is made of.

    Attributes:
        features: of each step.
        hidden: features of each LSTM.
        dropout: its rate, after each LSTM.
        length: how many steps the forecast is made of.
    """

    features: int = 3
    hidden: tuple[int, ...] = (8, 32, 15)
    dropout: float = 0.2
    length: int = 50


VARIANTS = {"anomaly_lstm": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: steps.

    >>> inputs(batch=2)[0].shape
    (2, 50, 3)
    """
    return (ShapeDtypeStruct((batch, config.length, config.features), fnp.float32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: LSTMs, and the dense layer out.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> [layer["wh"].shape for layer in init(random.key(0))["layers"]]
    [(8, 32), (32, 128), (15, 60)]
    """
    first, *keys = random.split(key, 1 + len(config.hidden))
    widths = (config.features, *config.hidden)
    return {
        "layers": [nn.init_lstm(k, a, b) for k, a, b in zip(keys, widths[:-1], widths[1:], strict=True)],
        "out": nn.init_dense(first, widths[-1], 1),
    }


def apply(params: Params, steps: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The value after the last step.

    Args:
        params: from :func:`init`.
        steps: [batch, time, features], standardized.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch].

    >>> apply(init(random.key(0)), fnp.zeros((1, 50, 3))).shape
    (1,)
    """
    keys = None if key is None else random.split(key, len(config.hidden))

    def dropped(number: int, x: Array) -> Array:
        return x if keys is None else nn.dropout(keys[number], config.dropout, x)

    _, ys = nn.stacked_rnn(nn.lstm_cell, params["layers"], steps, between=dropped)
    return nn.dense(params["out"], dropped(len(config.hidden) - 1, ys[:, -1]))[:, 0]


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean squared error of a batch.

    Args:
        params: from :func:`init`.
        batch: "steps" as for :func:`apply`, and "targets" [batch], the values after them.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> loss(init(random.key(0)), {"steps": fnp.zeros((1, 50, 3)), "targets": fnp.array([0.5])}).shape
    ()
    """
    return nn.squared_error(apply(params, batch["steps"], config=config, key=key), batch["targets"], reduction="mean")


def anomalies(values: Any, forecasts: Any, count: int) -> Array:
    """The values that are farthest from what was forecast.

    Args:
        values: [steps].
        forecasts: [steps], from :func:`apply`.
        count: how many values are anomalies; of equal distances the first are.

    Returns:
        bool [steps].

    Raises:
        ShapeError: the values are no vector, or fewer than the count.

    >>> anomalies(fnp.array([0.0, 5.0]), fnp.array([0.1, 0.0]), 1).tolist()
    [False, True]
    """
    distances = fnp.abs(fnp.asarray(values) - fnp.asarray(forecasts))
    if distances.ndim != 1 or not 0 <= count <= distances.size:
        raise ShapeError(f"anomalies needs values [steps], of which {count} can be chosen, got {distances.type}")
    _, places = lax.top_k(distances, count)
    return fnp.zeros(distances.shape, bool).at[places].set(True)
