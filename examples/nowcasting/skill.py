"""How good forecasts are by lead time: MSE, CSI and SSIM, as means of a batch that Spark puts together."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.models import conv_lstm

THRESHOLDS = (0.2, 0.5)  # of light and of heavy rain
METHODS = {"conv_lstm": "ConvLSTM", "flow": "optical flow", "persistence": "persistence"}


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


def forecasts(params: Any, batch: Any, *, config: conv_lstm.Config) -> dict[str, Any]:
    """What each method expects, [rows, future, size, size]; "flow" is a column of the batch."""
    last = batch["frames"][:, -1:]
    return {
        "conv_lstm": nn.sigmoid(conv_lstm.apply(params, batch["frames"], config=config)),
        "flow": batch["flow"],
        "persistence": fnp.broadcast_to(last, batch["next"].shape),
    }


def sums(params: Any, batch: Any, *, config: conv_lstm.Config) -> tuple[Any, dict[str, Any]]:
    """The ConvLSTM's squared error, and by method, measure and lead time what skill is made of.

    For `fdl_spark.evaluate`, whose means over all rows `skill` takes.
    """
    truth = batch["next"]
    found: dict[str, Any] = {}
    for name, forecast in forecasts(params, batch, config=config).items():
        stacked = ssim(*(pictures.reshape(-1, *truth.shape[2:]) for pictures in (forecast, truth)))
        parts = {
            "mse": fnp.mean((forecast - truth) ** 2, axis=(0, 2, 3)),
            "ssim": fnp.mean(stacked.reshape(truth.shape[:2]), axis=0),
        }
        for threshold in THRESHOLDS:
            said, seen = forecast >= threshold, truth >= threshold
            parts[f"hits {threshold}"] = fnp.mean(said & seen, axis=(0, 2, 3), dtype="float32")
            parts[f"any {threshold}"] = fnp.mean(said | seen, axis=(0, 2, 3), dtype="float32")
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
