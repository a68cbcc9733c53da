"""Metrics as pure functions of arrays, under jit too. Those of whole DataFrames, exact, are in `fdl_spark.metrics`."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.dtypes import float32, int32
from fdl.errors import ShapeError
from fdl.numpy._operands import floating, root, wide

_metric = fill_docstring(
    {
        "scores": "[..., classes], of which the largest is predicted; or [...] of floats, above `threshold` for class "
        "1; or [...] of integers, which are the predicted classes.",
        "labels": "integers [...], the classes.",
        "threshold": "of scores of two classes; 0 for logits.",
        "weights": "of the examples, [...]; None is 1. What has weight 0 does not count.",
        "predictions": "numbers [...].",
        "targets": "numbers [...].",
        "classes": "how many classes there are.",
        "positive": 'the class of "binary".',
        "average": '"binary" for class `positive` against all others, "macro" for the mean over the classes that '
        'occur, "weighted" for that by their examples, "micro" for all together, None for one number a class.',
        "k": "how many places at the top count.",
    },
    "A number.",
    {"ShapeError": "the shapes do not fit."},
)
_list = fill_docstring(
    {
        "scores": "[..., items].",
        "labels": "relevance, like `scores`: above zero is relevant; negative ones fill up lists and do not count.",
        "k": "how many places at the top count; None is all.",
        "exponential": "whether the gain of a label is ``2 ** label - 1``.",
        "weights": "of the lists, [...]; None is 1.",
    },
    "A number, the mean over lists.",
    {"ShapeError": "the shapes differ."},
)


@_metric
def accuracy(scores: Any, labels: Any, *, threshold: float = 0.5, weights: Any = None) -> Array:
    """The share of examples whose class is predicted.

    >>> round(accuracy(fnp.array([0.2, 0.9, 0.6]), fnp.array([0, 1, 0])).item(), 3)
    0.667
    """
    predicted, labels = _predicted(scores, labels, threshold)
    return _mean(predicted == labels, weights)


@_metric
def top_k_accuracy(scores: Any, labels: Any, k: int = 5, *, weights: Any = None) -> Array:
    """The share of examples whose class has one of the k largest scores; of equal scores the lower class counts first.

    Args:
        scores: [..., classes].

    >>> top_k_accuracy(fnp.array([[0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]), fnp.array([1, 2]), 2).item()
    0.5
    """
    scores, labels = fnp.asarray(scores), fnp.asarray(labels)
    if scores.ndim < 1 or scores.shape[:-1] != labels.shape:
        raise ShapeError(
            f"top_k_accuracy needs scores [..., classes] and labels [...], got {scores.type}, {labels.type}"
        )
    classes = fnp.arange(scores.shape[-1], dtype=int32)
    chosen = classes == labels[..., None]
    own = fnp.sum(fnp.where(chosen, scores, 0), axis=-1, keepdims=True)
    before = (scores > own) | ((scores == own) & (classes < labels[..., None]))
    found = fnp.any(chosen, axis=-1) & (own[..., 0] == own[..., 0]) & (fnp.sum(before, axis=-1) < k)
    return _mean(found, weights)


@_metric
def confusion_matrix(scores: Any, labels: Any, classes: int, *, threshold: float = 0.5, weights: Any = None) -> Array:
    """How many examples of each class are taken for which; those of other classes do not count.

    Returns:
        [classes, classes], a row for each true class; integers without weights.

    >>> confusion_matrix(fnp.array([0, 1, 1, 2]), fnp.array([0, 1, 0, 2]), 3).tolist()
    [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    """
    predicted, labels = (x.ravel() for x in _predicted(scores, labels, threshold))
    each = (
        fnp.ones(labels.shape, int32)
        if weights is None
        else fnp.broadcast_to(wide(floating(weights)).ravel(), labels.shape)
    )
    known = (predicted >= 0) & (predicted < classes) & (labels >= 0) & (labels < classes)
    place = fnp.where(known, labels * classes + predicted, 0)
    counts = fnp.zeros(classes * classes, each.dtype).at[place].add(fnp.where(known, each, 0))
    return counts.reshape(classes, classes)


def _of_classes(below: Callable[[Array, Array], Array], factor: float) -> Callable[..., Array]:
    def measure(
        scores: Any, labels: Any, classes: int, average: str | None, positive: int, threshold: float, weights: Any
    ) -> Array:
        if average not in ("binary", "macro", "weighted", "micro", None):
            raise ValueError(f"average must be 'binary', 'macro', 'weighted', 'micro' or None, got {average!r}")
        if average == "binary":  # one class against all others, however many there are
            scores, labels = (fnp.equal(x, positive).astype(int32) for x in _predicted(scores, labels, threshold))
            classes = 2
        counts = confusion_matrix(scores, labels, classes, threshold=threshold, weights=weights)
        hits, predicted, true = fnp.diagonal(counts), fnp.sum(counts, axis=0), fnp.sum(counts, axis=1)
        if average == "micro":
            hits, predicted, true = (fnp.sum(x) for x in (hits, predicted, true))
        divisor = below(predicted, true)
        found = factor * hits / fnp.where(divisor == 0, 1, divisor)
        if average in ("micro", None):
            return found
        if average == "binary":
            return found[1]
        share = (predicted + true > 0).astype(found.dtype) if average == "macro" else true.astype(found.dtype)
        total = fnp.sum(share)
        return fnp.sum(found * share) / fnp.where(total == 0, 1.0, total)

    return measure


_PRECISION = _of_classes(lambda predicted, true: predicted, 1.0)
_RECALL = _of_classes(lambda predicted, true: true, 1.0)
_F1 = _of_classes(lambda predicted, true: predicted + true, 2.0)


@_metric
def precision(
    scores: Any, labels: Any, *, classes: int = 2, average: str | None = "binary", positive: int = 1,
    threshold: float = 0.5, weights: Any = None,
) -> Array:  # fmt: skip
    """The share of those predicted to be of a class that are; 0 where none is predicted.

    >>> precision(fnp.array([0, 1, 1, 2]), fnp.array([0, 1, 0, 2]), classes=3, average=None).tolist()
    [1.0, 0.5, 1.0]
    """
    return _PRECISION(scores, labels, classes, average, positive, threshold, weights)


@_metric
def recall(
    scores: Any, labels: Any, *, classes: int = 2, average: str | None = "binary", positive: int = 1,
    threshold: float = 0.5, weights: Any = None,
) -> Array:  # fmt: skip
    """The share of those of a class that are predicted to be; 0 where there are none.

    >>> recall(fnp.array([0, 1, 1]), fnp.array([0, 1, 0]), average="macro").item()
    0.75
    """
    return _RECALL(scores, labels, classes, average, positive, threshold, weights)


@_metric
def f1(
    scores: Any, labels: Any, *, classes: int = 2, average: str | None = "binary", positive: int = 1,
    threshold: float = 0.5, weights: Any = None,
) -> Array:  # fmt: skip
    """The harmonic mean of precision and recall, of each class.

    >>> round(f1(fnp.array([0, 1, 1, 1]), fnp.array([0, 1, 0, 1])).item(), 3)
    0.8
    """
    return _F1(scores, labels, classes, average, positive, threshold, weights)


@_metric
def auc(scores: Any, labels: Any, *, weights: Any = None) -> Array:
    """The area under the ROC curve: how probably a positive example scores higher than a negative one; ties count half.

    NaN if there are examples of one kind only.

    Args:
        scores: one number an example.
        labels: above zero for positive examples.

    >>> auc(fnp.array([0.1, 0.4, 0.35, 0.8]), fnp.array([0, 0, 1, 1])).item()
    0.75
    """
    scores, positive, negative = _kinds(scores, labels, weights)
    below = fnp.concatenate([fnp.zeros(1, negative.dtype), fnp.cumsum(negative)])
    first, last = (fnp.searchsorted(scores, scores, side) for side in ("left", "right"))
    pairs = fnp.sum(positive * (below[first] + below[last])) / 2
    return pairs / (fnp.sum(positive) * fnp.sum(negative))


@_metric
def pr_auc(scores: Any, labels: Any, *, weights: Any = None) -> Array:
    """The average precision: the mean of precisions at all thresholds, by the growth of recall there.

    NaN if no example is positive. Source: scikit-learn's ``average_precision_score``.

    Args:
        scores: one number an example.
        labels: above zero for positive examples.

    >>> round(pr_auc(fnp.array([0.1, 0.4, 0.35, 0.8]), fnp.array([0, 0, 1, 1])).item(), 3)
    0.833
    """
    scores, positive, negative = _kinds(scores, labels, weights)
    first = fnp.searchsorted(scores, scores, "left")

    def from_here(x: Array) -> Array:
        return (fnp.sum(x) - fnp.concatenate([fnp.zeros(1, x.dtype), fnp.cumsum(x)]))[first]

    hits, misses = from_here(positive), from_here(negative)
    there = hits + misses
    return fnp.sum(positive * hits / fnp.where(there == 0, 1.0, there)) / fnp.sum(positive)


@_metric
def mean_absolute_error(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """The mean of absolute differences.

    >>> mean_absolute_error(fnp.array([1.0, 3.0]), fnp.array([2.0, 1.0])).item()
    1.5
    """
    return _mean(fnp.abs(_difference(predictions, targets)), weights)


@_metric
def mean_squared_error(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """The mean of squared differences.

    >>> mean_squared_error(fnp.array([1.0, 3.0]), fnp.array([2.0, 1.0])).item()
    2.5
    """
    return _mean(fnp.square(_difference(predictions, targets)), weights)


@_metric
def root_mean_squared_error(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """The root of the mean of squared differences.

    >>> root_mean_squared_error(fnp.array([1.0, 4.0]), fnp.array([2.0, -3.0])).item()
    5.0
    """
    return root(mean_squared_error(predictions, targets, weights=weights))


@_metric
def r2(predictions: Any, targets: Any, *, weights: Any = None) -> Array:
    """One minus the squared differences over those from the targets' mean: 1 for perfect predictions.

    >>> r2(fnp.array([1.0, 2.0]), fnp.array([1.0, 3.0])).item()
    0.5
    """
    targets = floating(targets)
    spread = _mean(fnp.square(targets - _mean(targets, weights)), weights)
    return 1.0 - _mean(fnp.square(_difference(predictions, targets)), weights) / spread


@_list
def hit_ratio(scores: Any, labels: Any, k: int = 10, *, weights: Any = None) -> Array:
    """The share of lists with a relevant item among the k with the highest scores, in expectation over ties.

    >>> hit_ratio(fnp.array([[3.0, 2.0], [1.0, 4.0]]), fnp.array([[1, 0], [1, 0]]), 1).item()
    0.5
    """

    def one(scores: Array, labels: Array) -> Array:
        begin, size = _places(scores, labels >= 0)
        relevant = labels > 0
        inside = fnp.any(relevant & (begin + size <= k))
        split = (labels >= 0) & (begin < k) & (begin + size > k)
        there = fnp.max(fnp.where(split, size, 0.0))
        right, chosen = fnp.sum(split & relevant).astype(size.dtype), k - fnp.max(fnp.where(split, begin, 0.0))
        others = there - right
        logs = lax.lgamma(others + 1) + lax.lgamma(there - chosen + 1)
        logs = logs - lax.lgamma(fnp.maximum(others - chosen, 0.0) + 1) - lax.lgamma(there + 1)
        missed = fnp.where((right == 0) | (there == 0), 1.0, fnp.where(chosen > others, 0.0, fnp.exp(logs)))
        return fnp.where(inside, 1.0, 1.0 - missed)

    return _of_lists(one, scores, labels, weights)


@_list
def ndcg(scores: Any, labels: Any, k: int | None = None, *, exponential: bool = False, weights: Any = None) -> Array:
    """The discounted cumulative gain of the k highest scores by that of the best order. Source: Jarvelin (2002).

    Ties share their discounts; a list without gains counts 0.

    >>> round(ndcg(fnp.array([[3.0, 2.0, 1.0]]), fnp.array([[0, 1, 0]])).item(), 5)
    0.63093
    """

    def one(scores: Array, labels: Array) -> Array:
        begin, size = _places(scores, labels >= 0)
        gains = fnp.where(labels >= 0, fnp.exp2(labels) - 1 if exponential else labels, 0.0)
        place = fnp.arange(labels.shape[0])
        discounts = 1 / fnp.log2(place.astype(gains.dtype) + 2)
        discounts = discounts if k is None else fnp.where(place < k, discounts, 0.0)
        sums = fnp.concatenate([fnp.zeros(1, discounts.dtype), fnp.cumsum(discounts)])
        ends = (begin + size).astype(int32)
        share = (sums[ends] - sums[begin.astype(int32)]) / fnp.maximum(size, 1.0)
        ideal = fnp.sum(-fnp.sort(-gains) * discounts)
        return fnp.where(ideal == 0, 0.0, fnp.sum(gains * share) / fnp.where(ideal == 0, 1.0, ideal))

    return _of_lists(one, scores, labels, weights)


@_list
def mean_average_precision(scores: Any, labels: Any, *, weights: Any = None) -> Array:
    """The mean over lists of the average precision of their relevant items; a list without any counts 0.

    >>> mean_average_precision(fnp.array([[4.0, 3.0, 2.0, 1.0]]), fnp.array([[1, 0, 0, 1]])).item()
    0.75
    """

    def one(scores: Array, labels: Array) -> Array:
        begin, size = _places(scores, labels >= 0)
        hits_before, hits = _places(scores, labels > 0)
        relevant = labels > 0
        precisions = (hits_before + hits) / fnp.maximum(begin + size, 1.0)
        count = fnp.sum(relevant)
        return fnp.sum(fnp.where(relevant, precisions, 0.0)) / fnp.maximum(count, 1).astype(precisions.dtype)

    return _of_lists(one, scores, labels, weights)


def _places(scores: Array, counted: Array) -> tuple[Array, Array]:
    """How many of those that count score higher than each item, and how many the same."""
    known = fnp.where(counted, scores, -fnp.inf)
    ordered = fnp.sort(known)
    absent = fnp.sum(~counted)
    first, last = (fnp.searchsorted(ordered, scores, side) for side in ("left", "right"))
    first, last = fnp.maximum(first, absent), fnp.maximum(last, absent)
    dtype = fnp.promote_types(scores.dtype, float32)
    return (scores.shape[0] - last).astype(dtype), (last - first).astype(dtype)


def _of_lists(one: Callable[[Array, Array], Array], scores: Any, labels: Any, weights: Any) -> Array:
    scores, labels = floating(scores), floating(labels)
    if scores.shape != labels.shape or scores.ndim < 1:
        raise ShapeError(f"scores {scores.type} and labels {labels.type} of lists need one shape [..., items]")
    return _mean(fnp.vectorize(one, signature="(n),(n)->()")(scores, labels), weights)


def _predicted(scores: Any, labels: Any, threshold: float) -> tuple[Array, Array]:
    scores, labels = fnp.asarray(scores), fnp.asarray(labels)
    if scores.ndim == labels.ndim + 1:
        scores = fnp.argmax(scores, axis=-1)
    if scores.shape != labels.shape:
        raise ShapeError(
            f"scores {scores.type} and labels {labels.type} need shapes [..., classes] or [...], and [...]"
        )
    if fnp.issubdtype(scores.dtype, fnp.floating):
        scores = scores > threshold
    return scores.astype(int32), labels.astype(int32)


def _kinds(scores: Any, labels: Any, weights: Any) -> tuple[Array, Array, Array]:
    """Scores in rising order, and the weights of positive and of negative examples."""
    scores, labels = floating(scores).ravel(), fnp.asarray(labels).ravel()
    if scores.shape != labels.shape:
        raise ShapeError(f"scores {scores.type} and labels {labels.type} need one number an example")
    order = fnp.argsort(scores)
    if weights is None:
        each = fnp.ones(scores.shape, fnp.promote_types(scores.dtype, float32))
    else:
        each = fnp.broadcast_to(wide(floating(weights)).ravel(), scores.shape)
    positive = (labels > 0)[order]
    return scores[order], fnp.where(positive, each[order], 0.0), fnp.where(positive, 0.0, each[order])


def _difference(predictions: Any, targets: Any) -> Array:
    predictions, targets = floating(predictions), floating(targets)
    if predictions.shape != targets.shape:
        raise ShapeError(f"predictions {predictions.type} and targets {targets.type} need the same shape")
    return predictions - targets


def _mean(values: Array, weights: Any) -> Array:
    values = values if fnp.issubdtype(values.dtype, fnp.floating) else values.astype(float32)
    if weights is None:
        return fnp.mean(values)
    factors = fnp.broadcast_to(floating(weights), values.shape)
    dtype, values, factors = fnp.result_type(values, factors), wide(values), wide(factors)
    return (fnp.sum(fnp.where(factors == 0, 0.0, values * factors)) / fnp.sum(factors)).astype(dtype)
