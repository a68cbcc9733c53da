"""Metrics that are means over rows, or made of them: accuracy, top k, errors of regression, the logarithmic loss."""

from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl_spark.arguments import check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric, Quantity, aligned, flat_weights, taken, weighed
from fdl_spark.metrics.predicted import predicted_classes
from fdl_spark.metrics.sums import Sum, product, ratio


class Mean(Metric):
    """The mean over all rows of a value of each row."""

    def __init__(self, values: Quantity, weight: Quantity | None = None):
        self.values, self.weight = values, weight

    def statistics(self, params: Any, batch: Any) -> Any:
        values = self.of_rows(params, batch)
        return values, weighed(self.weight, params, batch, values)

    def of_rows(self, params: Any, batch: Any) -> Any:
        """The values: an array with rows first."""
        values = taken(self.values, params, batch)
        if not values.ndim:
            raise ArgumentError("metrics.mean: the values must be an array with rows first; they are one number")
        return values

    def finished(self, values: np.ndarray) -> np.ndarray:
        """The float64 values to be averaged."""
        return values

    def gather(self, statistics: Any) -> tuple[Sum, Sum]:
        values, weights = statistics
        weights, values = flat_weights(weights, values), values.reshape(-1).astype(np.float64)
        there = weights != 0
        weights, values = weights[there], self.finished(values[there])
        return Sum.of(values * weights), Sum.of(weights)

    def result(self, gathered: tuple[Sum, Sum]) -> float:
        return ratio(*gathered)


def mean(values: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The mean over all rows of a value of each row, rounded once.

    Args:
      values: a column, or a function (params, batch) -> array (rows, ...).
      weight: a column or a function that gives the rows' weights, (rows,); None means that all count alike.

    >>> mean("x", weight="w")(None, {"x": [1.0, 4.0], "w": [2, 1]})
    2.0
    """
    return Mean(values, weight)


class Accuracy(Mean):
    def __init__(self, scores: Quantity, label: Quantity, threshold: float, weight: Quantity | None):
        self.scores, self.label, self.threshold, self.weight = scores, label, threshold, weight

    def of_rows(self, params: Any, batch: Any) -> Any:
        predicted, label = predicted_classes("metrics.accuracy", self, params, batch)
        return predicted == label


def accuracy(scores: Quantity, label: Quantity, *, threshold: float = 0.5, weight: Quantity | None = None) -> Metric:
    """The share of rows whose class is predicted.

    Args:
      scores: a column, or a function (params, batch) -> scores: (rows, classes), of which the largest is predicted;
        or (rows,) of floats, above `threshold` for class 1; or (rows,) of integers, which are the predicted classes.
        There may be more axes between, as (rows, positions, classes) for labels (rows, positions).
      label: a column or function that gives the classes, (rows,).
      threshold: of scores of two classes; 0 for logits.
      weight: a column or function that gives the rows' weights; None means that all count alike.

    >>> accuracy("score", "y")(None, {"score": [0.2, 0.9, 0.6], "y": [0, 1, 0]})
    0.6666666666666666
    """
    return Accuracy(scores, label, threshold, weight)


class TopK(Mean):
    def __init__(self, scores: Quantity, label: Quantity, k: int, weight: Quantity | None):
        self.scores, self.label, self.k, self.weight = scores, label, k, weight

    def of_rows(self, params: Any, batch: Any) -> Any:
        scores, label = taken(self.scores, params, batch), taken(self.label, params, batch)
        own, classes = score_of_label("metrics.top_k", scores, label)
        before = (scores > own) | ((scores == own) & (fnp.arange(scores.shape[-1]) < classes))
        return (fnp.sum(before.astype(fnp.int32), axis=-1) < self.k) & (own[..., 0] == own[..., 0])


def top_k(scores: Quantity, label: Quantity, k: int = 5, *, weight: Quantity | None = None) -> Metric:
    """The share of rows whose class has one of the k largest scores; of equal scores that of the lower class counts as
    the larger one, as `argmax` takes it.

    Args:
      scores: a column or function that gives the scores of all classes, (rows, classes).
      label: a column or function that gives the classes, (rows,).
      k: how many classes count.
      weight: a column or function that gives the rows' weights; None means that all count alike.

    >>> top_k("scores", "y", 2)(None, {"scores": [[0.1, 0.3, 0.6], [0.5, 0.3, 0.2]], "y": [1, 2]})
    0.5
    """
    check_whole("k", k, 1)
    return TopK(scores, label, k, weight)


def score_of_label(what: str, scores: Any, label: Any) -> tuple[Any, Any]:
    """The score of each row's class, and the class, both (rows, ..., 1); NaN for a class that there is not."""
    if label.ndim == scores.ndim and label.shape[-1] == 1:
        label = label[..., 0]
    if scores.ndim < 2 or scores.shape[:-1] != label.shape:
        raise ArgumentError(
            f"{what} takes scores of shape (rows, classes) and labels of shape (rows,); "
            f"they have {scores.shape} and {label.shape}"
        )
    classes = label.astype(fnp.int32)[..., None]
    count = scores.shape[-1]
    scores = scores.astype(fnp.float64)
    found = fnp.take_along_axis(scores, fnp.clip(classes, 0, count - 1), axis=-1)
    return fnp.where((classes >= 0) & (classes < count), found, fnp.nan), classes


class Errors(Mean):
    """The mean of a function of the difference of prediction and label."""

    def __init__(self, prediction: Quantity, label: Quantity, power: int, root: bool, weight: Quantity | None):
        self.prediction, self.label, self.power, self.root, self.weight = prediction, label, power, root, weight

    def of_rows(self, params: Any, batch: Any) -> Any:
        pair = taken(self.prediction, params, batch), taken(self.label, params, batch)
        prediction, label = aligned("predictions and labels", *pair)
        return prediction.astype(fnp.float64) - label.astype(fnp.float64)

    def finished(self, values: np.ndarray) -> np.ndarray:
        return np.abs(values) if self.power == 1 else values * values

    def result(self, gathered: tuple[Sum, Sum]) -> float:
        found = ratio(*gathered)
        return sqrt(found) if self.root else found


def mae(prediction: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The mean absolute error.

    Args:
      prediction: a column or a function (params, batch) -> array (rows, ...).
      label: a column or function that gives what was to be predicted, of the same shape.
      weight: a column or function that gives the rows' weights; None means that all count alike.

    >>> mae("p", "y")(None, {"p": [1.0, 3.0], "y": [2.0, 6.0]})
    2.0
    """
    return Errors(prediction, label, 1, False, weight)


def mse(prediction: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The mean squared error; arguments as of `mae`.

    >>> mse("p", "y")(None, {"p": [1.0, 3.0], "y": [2.0, 6.0]})
    5.0
    """
    return Errors(prediction, label, 2, False, weight)


def rmse(prediction: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The root of the mean squared error; arguments as of `mae`.

    >>> rmse("p", "y")(None, {"p": [1.0, 5.0], "y": [4.0, 2.0]})
    3.0
    """
    return Errors(prediction, label, 2, True, weight)


class R2(Metric):
    def __init__(self, prediction: Quantity, label: Quantity, weight: Quantity | None):
        self.prediction, self.label, self.weight = prediction, label, weight

    def statistics(self, params: Any, batch: Any) -> Any:
        pair = taken(self.prediction, params, batch), taken(self.label, params, batch)
        prediction, label = aligned("predictions and labels", *pair)
        return prediction, label, weighed(self.weight, params, batch, label)

    def gather(self, statistics: Any) -> tuple[tuple[Sum, ...], ...]:
        predictions, labels, weights = statistics
        outputs = int(np.prod(labels.shape[1:]))
        arrays = predictions, labels, flat_weights(weights, labels)
        columns = zip(*(array.astype(np.float64).reshape(-1, outputs).T for array in arrays), strict=True)
        return tuple(_moments(*column) for column in columns)

    def result(self, gathered: tuple[tuple[Sum, ...], ...]) -> float:
        found = [_r2(*moments) for moments in gathered]
        return sum(found) / len(found)


def _moments(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[Sum, ...]:
    """The sums of weights, weighted labels, their squares, and squared errors; of all but the last no bit is lost."""
    there = weights != 0
    predictions, labels, weights = predictions[there], labels[there], weights[there]
    weighted = product(weights, labels)
    squares = [part for factor in weighted for part in product(factor, labels)]
    return Sum.of(weights), Sum.of(*weighted), Sum.of(*squares), Sum.of(weights * (labels - predictions) ** 2)


def _r2(weights: Sum, labels: Sum, squares: Sum, errors: Sum) -> float:
    if any(moment.nonfinite for moment in (weights, labels, squares, errors)) or not weights.units:
        return float("nan")
    total = squares.units * weights.units - labels.units**2
    if total <= 0:  # all labels are equal
        return float(not errors.units)
    return float(1 - Fraction(errors.units * weights.units, total))


def r2(prediction: Quantity, label: Quantity, *, weight: Quantity | None = None) -> Metric:
    """The coefficient of determination; of several outputs a row the mean of theirs. Arguments as of `mae`.

    If all labels are equal it is 1 for predictions without error, else 0.

    >>> r2("p", "y")(None, {"p": [1.0, 2.0, 3.0, 5.0], "y": [1.0, 2.0, 3.0, 4.0]})
    0.8
    """
    return R2(prediction, label, weight)


class LogLoss(Mean):
    def __init__(self, scores: Quantity, label: Quantity, logits: bool, weight: Quantity | None):
        self.scores, self.label, self.logits, self.weight = scores, label, logits, weight

    def of_rows(self, params: Any, batch: Any) -> Any:
        scores, label = taken(self.scores, params, batch), taken(self.label, params, batch)
        least = float(np.finfo(np.dtype(scores.dtype)).eps) if scores.dtype in (fnp.float32, fnp.float64) else 1e-7
        if scores.shape[1:] == label.shape[1:] or scores.shape[-1] == 1:  # of class 1
            scores, label = aligned("scores and labels", scores, label)
            scores = scores.astype(fnp.float64)
            if self.logits:
                margin = fnp.where(label > 0, scores, -scores)
                return fnp.maximum(-margin, 0.0) + fnp.log1p(fnp.exp(-fnp.abs(margin)))
            own = fnp.where(label > 0, scores, 1 - scores)
        else:
            own = score_of_label("metrics.log_loss", scores, label)[0][..., 0]
            if self.logits:
                scores = scores.astype(fnp.float64)
                highest = fnp.max(scores, axis=-1)
                return highest + fnp.log(fnp.sum(fnp.exp(scores - highest[..., None]), axis=-1)) - own
        return -fnp.log(fnp.clip(own, least, 1 - least))


def log_loss(scores: Quantity, label: Quantity, *, logits: bool = False, weight: Quantity | None = None) -> Metric:
    """The mean of -log of the probability of each row's class.

    Args:
      scores: a column or function that gives probabilities: (rows, classes), or (rows,) of class 1. They are clipped to
        [eps, 1 - eps] of their type.
      label: a column or function that gives the classes, (rows,).
      logits: whether the scores are logits, whose softmax or sigmoid are the probabilities.
      weight: a column or function that gives the rows' weights; None means that all count alike.

    >>> round(log_loss("p", "y")(None, {"p": [0.5, 0.25], "y": [1, 0]}), 6)
    0.490415
    """
    return LogLoss(scores, label, logits, weight)
