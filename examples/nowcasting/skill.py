"""How good forecasts are by lead time: MSE, CSI and SSIM, as means of a batch that Spark puts together."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.models import conv_lstm

THRESHOLDS = (0.2, 0.5)  # of light and of heavy rain
LEVELS = np.linspace(0.02, 0.6, 30).astype(np.float32)  # above which a forecast may be said to be rain
METHODS = {"conv_lstm": "ConvLSTM on flow", "flow": "optical flow", "persistence": "persistence"}


def ssim(x: Any, y: Any) -> Any:
    """Structural similarity of pictures from 0 to 1 (Wang et al., 2004): [n, height, width] twice to [n].

    Windows are Gaussian, of 11 pixels and a deviation of 1.5; only those inside of the picture count.
    """
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    line = (line / line.sum()).astype(np.float32)

    def mean(z: Any) -> Any:
        for shape in ((11, 1, 1, 1), (1, 11, 1, 1)):
            z = nn.conv({"w": fnp.asarray(line.reshape(shape))}, z, padding="VALID")
        return z

    x, y = x[..., None], y[..., None]
    of_x, of_y = mean(x), mean(y)
    xx, yy, xy = mean(x * x) - of_x**2, mean(y * y) - of_y**2, mean(x * y) - of_x * of_y
    same = (2 * of_x * of_y + 0.01**2) * (2 * xy + 0.03**2)
    return fnp.mean(same / ((of_x**2 + of_y**2 + 0.01**2) * (xx + yy + 0.03**2)), axis=(1, 2, 3))


def start(key: Any, config: conv_lstm.Config) -> Any:
    """Parameters whose forecast is the optical flow's."""
    params = conv_lstm.init(key, config)
    return {**params, "out": {name: fnp.zeros_like(value) for name, value in params["out"].items()}}


def corrected(params: Any, batch: Any, *, config: conv_lstm.Config) -> Any:
    """What the ConvLSTM makes of the frames and of the optical flow's forecast, to which it adds."""
    return batch["flow"] + conv_lstm.apply(params, batch["frames"], batch["flow"], config=config)


def loss(params: Any, batch: Any, *, config: conv_lstm.Config) -> Any:
    """The squared error, in which rain counts up to twice as much as dry places.

    As in Shi et al., "Deep learning for precipitation nowcasting: a benchmark and a new model" (2017), the weight grows
    with what fell: most pixels are dry.
    """
    truth = batch["next"]
    return fnp.mean((1 + truth) * (corrected(params, batch, config=config) - truth) ** 2)


def forecasts(params: Any, batch: Any, *, config: conv_lstm.Config) -> dict[str, Any]:
    """What each method expects, [rows, future, size, size]; "flow" is a column of the batch."""
    last = batch["frames"][:, -1:]
    return {
        "conv_lstm": fnp.clip(corrected(params, batch, config=config), 0, 1),
        "flow": batch["flow"],
        "persistence": fnp.broadcast_to(last, batch["next"].shape),
    }


def hits(forecast: Any, truth: Any, threshold: float, level: Any) -> tuple[Any, Any]:
    """Shares of pixels by lead time: rain forecast and fallen, and rain forecast or fallen."""
    said, seen = forecast >= fnp.reshape(level, (-1, 1, 1)), truth >= threshold
    both, either = (fnp.mean(where, axis=(0, 2, 3), dtype="float32") for where in (said & seen, said | seen))
    return both, either


def calibrate(params: Any, batch: Any, *, config: conv_lstm.Config) -> dict[str, Any]:
    """By method the levels from which on its forecasts are best said to be rain: [thresholds, future].

    A forecast that is a mean is smoother than rain, the more so the farther it looks ahead: few of its pixels reach a
    high threshold. The level with the highest CSI on sequences that are not of the test is as fair to all methods.
    """
    found = {}
    for name, forecast in forecasts(params, batch, config=config).items():
        best = []
        for threshold in THRESHOLDS:
            both, either = fdl.vmap(partial(hits, forecast, batch["next"], threshold))(LEVELS)
            best.append(fnp.asarray(LEVELS)[fnp.argmax(both / fnp.maximum(either, 1e-9), axis=0)])
        found[name] = fnp.stack(best)
    return found


def sums(params: Any, batch: Any, *, config: conv_lstm.Config, levels: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The ConvLSTM's squared error, and by method, measure and lead time what skill is made of.

    For `fdl_spark.evaluate`, whose means over all rows `skill` takes.

    Args:
      params: of the ConvLSTM.
      batch: "frames", "next" and "flow".
      config: of the ConvLSTM.
      levels: as `calibrate` gives them.
    """
    truth = batch["next"]
    found: dict[str, Any] = {}
    for name, forecast in forecasts(params, batch, config=config).items():
        stacked = ssim(*(pictures.reshape(-1, *truth.shape[2:]) for pictures in (forecast, truth)))
        parts = {
            "mse": fnp.mean((forecast - truth) ** 2, axis=(0, 2, 3)),
            "ssim": fnp.mean(stacked.reshape(truth.shape[:2]), axis=0),
        }
        for number, threshold in enumerate(THRESHOLDS):
            both, either = hits(forecast, truth, threshold, levels[name][number])
            parts |= {f"hits {threshold}": both, f"any {threshold}": either}
        found |= {f"{name}/{part}/{lead}": one[lead] for part, one in parts.items() for lead in range(truth.shape[1])}
    return found["conv_lstm/mse/0"], found


def skill(means: Mapping[str, float], leads: int) -> dict[str, dict[str, list[float]]]:
    """By method and measure the values of each lead time, from the means of `sums` over all rows.

    CSI is hits / (hits + misses + false alarms), of the pixels of all rows together.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for name in METHODS:

        def of(part: str, name: str = name) -> list[float]:
            return [means[f"{name}/{part}/{lead}"] for lead in range(leads)]

        found[name] = {"MSE": of("mse"), "SSIM": of("ssim")}
        for threshold in THRESHOLDS:
            pairs = zip(of(f"hits {threshold}"), of(f"any {threshold}"), strict=True)
            found[name][f"CSI of {threshold}"] = [hits / either if either else 1.0 for hits, either in pairs]
    return found
