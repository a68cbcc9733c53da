"""Areas under curves over all thresholds: ROC, and precision by recall."""

from abc import abstractmethod
from math import fsum
from typing import Any

import numpy as np

from fdl_spark.metrics.metric import Metric, Quantity, aligned, flat_weights, taken, weighed
from fdl_spark.metrics.rows import Rows, starts


class Curve(Metric):
    """A metric of which label goes with which score, in all rows."""

    def __init__(self, scores: Quantity, label: Quantity, weight: Quantity | None):
        self.scores, self.label, self.weight = scores, label, weight

    def statistics(self, params: Any, batch: Any) -> Any:
        pair = taken(self.scores, params, batch), taken(self.label, params, batch)
        scores, label = aligned("scores and labels, one number a row each,", *pair)
        return scores, label > 0, weighed(self.weight, params, batch, scores)

    def gather(self, statistics: Any) -> Rows:
        scores, label, weights = statistics
        scores, label = scores.reshape(-1) + 0, label.reshape(-1)  # -0 is 0
        if weights is None:
            return Rows.of(scores, label)
        weights = flat_weights(weights, scores)
        there = weights != 0
        return Rows.of(scores[there], label[there], weights[there])

    def result(self, gathered: Rows) -> float:
        scores, label, *weights, counts = gathered.columns
        if not scores.size or (scores.dtype.kind == "f" and np.isnan(scores[-1])):
            return float("nan")
        mass = counts * weights[0] if weights else counts
        first = starts(scores)
        positives, negatives = (np.add.reduceat(np.where(chosen, mass, 0), first) for chosen in (label, ~label))
        if not positives.any():
            return float("nan")
        return self.area(positives[::-1], negatives[::-1])

    @abstractmethod
    def area(self, positives: np.ndarray, negatives: np.ndarray) -> float:
        """The area, from the mass of either kind at each score, the highest score first."""


class Roc(Curve):
    def area(self, positives: np.ndarray, negatives: np.ndarray) -> float:
        if not negatives.any():
            return float("nan")
        above = np.cumsum(positives) * 2 - positives  # a tie counts half
        total = 2 * positives.sum() * negatives.sum(dtype=float)
        if positives.dtype.kind == "i":
            exact = above.astype(object) if total > 2.0**62 else above
            return int((exact * negatives).sum()) / (2 * int(positives.sum()) * int(negatives.sum()))
        return float((above * negatives).sum() / total)


class AveragePrecision(Curve):
    def area(self, positives: np.ndarray, negatives: np.ndarray) -> float:
        hits = np.cumsum(positives)
        return fsum(positives * (hits / (hits + np.cumsum(negatives)))) / float(hits[-1])


def auc(scores: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The area under the ROC curve: the probability that a positive row has a higher score than a negative one, ties
    counting half. NaN if there are rows of one kind only.

    It is exact: no thresholds are chosen. What is kept of each distinct pair of score and label is 13 bytes for scores
    of float32 (21 with weights), which come to the driver: ten million rows with scores of their own take 130 MB.

    Args:
      scores: a column or function that gives a score a row, (rows,); any increasing function of them gives the same.
      label: a column or function that gives a number a row, above zero for the positive ones.
      weight: a column or function that gives the rows' weights; None means that all count alike.

    >>> auc("s", "y")(None, {"s": [0.1, 0.4, 0.35, 0.8], "y": [0, 0, 1, 1]})
    0.75
    """
    return Roc(scores, label, weight)


def pr_auc(scores: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The average precision: the mean of the precisions at all thresholds, weighted by the growth of recall there.

    This is the sum that scikit-learn's `average_precision_score` has, not an integral with trapezoids, which would be
    too high (Davis and Goadrich, ICML 2006). NaN if no row is positive. Arguments and memory as of `auc`.

    >>> round(pr_auc("s", "y")(None, {"s": [0.1, 0.4, 0.35, 0.8], "y": [0, 0, 1, 1]}), 6)
    0.833333
    """
    return AveragePrecision(scores, label, weight)
