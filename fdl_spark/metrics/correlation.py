"""How far two numbers of each row go along with each other."""

from math import sqrt
from typing import Any

import numpy as np

from fdl_spark.metrics.metric import Metric, Quantity, aligned, flat_weights, taken, weighed
from fdl_spark.metrics.sums import Sum, product


class Pearson(Metric):
    def __init__(self, prediction: Quantity, label: Quantity, weight: Quantity | None):
        self.prediction, self.label, self.weight = prediction, label, weight

    def statistics(self, params: Any, batch: Any) -> Any:
        pair = taken(self.prediction, params, batch), taken(self.label, params, batch)
        prediction, label = aligned("predictions and labels", *pair)
        return prediction, label, weighed(self.weight, params, batch, label)

    def gather(self, statistics: Any) -> tuple[Sum, ...]:
        """The sums of weight w, w x, w y, w x x, w y y and w x y, of which no bit is lost."""
        predictions, labels, weights = statistics
        weights = flat_weights(weights, labels)
        there = weights != 0
        w, x, y = (array.reshape(-1).astype(np.float64)[there] for array in (weights, predictions, labels))
        wx, wy = product(w, x), product(w, y)
        pairs = ((wx, x), (wy, y), (wx, y))
        return (
            Sum.of(w),
            Sum.of(*wx),
            Sum.of(*wy),
            *(Sum.of(*(part for factor in first for part in product(factor, second))) for first, second in pairs),
        )

    def result(self, gathered: tuple[Sum, ...]) -> float:
        if any(total.nonfinite for total in gathered):  # NaN is true
            return float("nan")
        w, x, y, xx, yy, xy = (total.units for total in gathered)
        both = (xx * w - x * x) * (yy * w - y * y)
        if both <= 0:  # one of them is the same in all rows
            return float("nan")
        together = xy * w - x * y
        size = sqrt(together * together / both)
        return -size if together < 0 else size


def pearson(prediction: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """Pearson's correlation coefficient of two numbers of each row, from exact sums; of arrays (rows, ...) that of all
    their numbers. NaN if one of them is the same everywhere.

    Args:
      prediction: a column or a function (params, batch) -> array (rows, ...).
      label: a column or function that gives the other number, of the same shape.
      weight: a column or function that gives the rows' weights; None means that all count alike.

    >>> pearson("p", "y")(None, {"p": [1.0, 2.0, 3.0], "y": [-1.0, 0.0, -2.0]})
    -0.5
    """
    return Pearson(prediction, label, weight)
