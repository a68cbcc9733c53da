"""Counts of true and predicted classes, and what is made of them: confusion matrix, precision, recall, F1."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fdl_spark.arguments import check_choice
from fdl_spark.metrics.metric import Metric, Quantity, flat_weights, weighed, whole
from fdl_spark.metrics.predicted import predicted_classes
from fdl_spark.metrics.sums import Sum, ratio, sums_by

Average = Literal["binary", "macro", "micro", "weighted"]
AVERAGES = ("binary", "macro", "micro", "weighted")
Counts = Mapping[tuple[int, int], Sum]  # by true and predicted class


class Counting(Metric):
    """A metric of how often each pair of classes occurs."""

    name = ""

    def __init__(self, scores: Quantity, label: Quantity, threshold: float, weight: Quantity | None):
        self.scores, self.label, self.threshold, self.weight = scores, label, threshold, weight

    def statistics(self, params: Any, batch: Any) -> Any:
        predicted, label = predicted_classes(f"metrics.{self.name}", self, params, batch)
        return label, predicted, weighed(self.weight, params, batch, label)

    def gather(self, statistics: Any) -> Counts:
        label, predicted, weights = statistics
        weights = flat_weights(weights, label)
        there = weights != 0
        label, predicted = label.reshape(-1)[there], predicted.reshape(-1)[there]
        pairs = np.stack([whole(f"metrics.{self.name}", label), predicted.astype(np.int64)], axis=1)
        names, places = np.unique(pairs, axis=0, return_inverse=True)
        found = sums_by(places.reshape(-1), weights[there])
        return {(int(names[place, 0]), int(names[place, 1])): total for place, total in found.items()}

    @abstractmethod
    def result(self, gathered: Counts) -> Any: ...


class Confusion(Counting):
    name = "confusion_matrix"

    def result(self, gathered: Counts) -> dict[str, Any]:
        labels = _labels(gathered)
        rows = [[_count(gathered.get((true, predicted), Sum())) for predicted in labels] for true in labels]
        return {"labels": labels, "matrix": rows}


def _labels(counts: Counts) -> list[int]:
    """The classes that occur, as true or as predicted ones."""
    return sorted({name for pair in counts for name in pair})


def _count(total: Sum) -> int | float:
    found = float(total)
    return int(found) if found.is_integer() else found


class OfClasses(Counting):
    """A quotient of counts of each class, or a mean of these."""

    def __init__(
        self,
        name: str,
        average: Average | None,
        positive: int,
        scores: Quantity,
        label: Quantity,
        threshold: float,
        weight: Quantity | None,
    ):
        if average is not None:
            check_choice("average", average, AVERAGES)
        super().__init__(scores, label, threshold, weight)
        self.name, self.average, self.positive = name, average, positive

    def result(self, gathered: Counts) -> Any:
        hits, predicted, true = (dict[int, Sum]() for _ in range(3))
        for (label, found), total in gathered.items():
            true[label] = true.get(label, Sum()) + total
            predicted[found] = predicted.get(found, Sum()) + total
            if label == found:
                hits[label] = total
        labels = _labels(gathered)
        if self.average == "binary":
            return self._of(*(counts.get(self.positive, Sum()) for counts in (hits, predicted, true)))
        if self.average == "micro":
            return self._of(*(sum(counts.values(), Sum()) for counts in (hits, predicted, true)))
        each = {label: self._of(*(counts.get(label, Sum()) for counts in (hits, predicted, true))) for label in labels}
        if self.average is None:
            return {str(label): value for label, value in each.items()}
        shares = [float(true.get(label, Sum())) if self.average == "weighted" else 1.0 for label in labels]
        return ratio(Sum.of([each[n] * share for n, share in zip(labels, shares, strict=True)]), Sum.of(shares))

    def _of(self, hits: Sum, predicted: Sum, true: Sum) -> float:
        below = {"precision": predicted, "recall": true, "f1": predicted + true}[self.name]
        above = hits + hits if self.name == "f1" else hits
        return ratio(above, below) if below != Sum() else 0.0


def confusion_matrix(
    scores: Quantity, label: Quantity, *, threshold: float = 0.5, weight: Quantity | None = None
) -> Metric:
    """How many rows of each class are taken for which; arguments as of `accuracy`.

    Its result is a dict: "labels", the classes that occur, and "matrix", a list of rows, one for each true class.

    >>> confusion_matrix("p", "y")(None, {"p": [0, 1, 1, 2], "y": [0, 1, 0, 2]})
    {'labels': [0, 1, 2], 'matrix': [[1, 1, 0], [0, 1, 0], [0, 0, 1]]}
    """
    return Confusion(scores, label, threshold, weight)


def precision(
    scores: Quantity,
    label: Quantity,
    *,
    average: Average | None = "binary",
    positive: int = 1,
    threshold: float = 0.5,
    weight: Quantity | None = None,
) -> Metric:
    """The share of those predicted to be of a class that are; 0 where none is predicted.

    Args:
      scores, label, threshold, weight: as of `accuracy`.
      average: "binary" for class `positive` against all others; "macro" for the mean over the classes that occur as
        true or predicted ones; "weighted" for the mean weighted by their rows; "micro" for all rows together; None for
        a dict by class.
      positive: the class of "binary".

    >>> precision("p", "y", average=None)(None, {"p": [0, 1, 1, 2], "y": [0, 1, 0, 2]})
    {'0': 1.0, '1': 0.5, '2': 1.0}
    """
    return OfClasses("precision", average, positive, scores, label, threshold, weight)


def recall(
    scores: Quantity,
    label: Quantity,
    *,
    average: Average | None = "binary",
    positive: int = 1,
    threshold: float = 0.5,
    weight: Quantity | None = None,
) -> Metric:
    """The share of those of a class that are predicted to be; 0 where there are none. Arguments as of `precision`.

    >>> recall("p", "y", average="macro")(None, {"p": [0, 1, 1], "y": [0, 1, 0]})
    0.75
    """
    return OfClasses("recall", average, positive, scores, label, threshold, weight)


def f1(
    scores: Quantity,
    label: Quantity,
    *,
    average: Average | None = "binary",
    positive: int = 1,
    threshold: float = 0.5,
    weight: Quantity | None = None,
) -> Metric:
    """The harmonic mean of precision and recall, of each class. Arguments as of `precision`.

    >>> f1("p", "y")(None, {"p": [0, 1, 1, 1], "y": [0, 1, 0, 1]})
    0.8
    """
    return OfClasses("f1", average, positive, scores, label, threshold, weight)
