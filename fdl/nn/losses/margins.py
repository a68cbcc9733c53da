"""Losses of margins: the hinge family, perceptrons and sparsemax."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.nn.activations import sparse_plus
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.numpy._operands import floating
from fdl.ops.arithmetic import stop_gradient

_signs = fill_docstring(
    {
        "predictor_outputs": "floating array.",
        "targets": "array of -1 and 1 that broadcasts with it.",
        "scores": "[..., classes].",
        "labels": "integers, of the shape of `scores` without the last axis.",
        **EXAMPLES,
    },
    "An array of the common shape, unless reduced.",
    RAISES,
)


@_signs
def hinge_loss(
    predictor_outputs: Any, targets: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """max(0, 1 - output * target) for targets -1 and 1, elementwise.

    >>> hinge_loss(fnp.array([0.5, -2.0]), fnp.array([1, -1])).tolist()
    [0.5, 0.0]
    """
    outputs, targets = covered(mask, floating(predictor_outputs), targets)
    return reduced(fnp.maximum(0, 1 - outputs * targets), mask, weights, reduction)


@_signs
def squared_hinge_loss(
    predictor_outputs: Any, targets: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """The square of :func:`hinge_loss`, elementwise.

    >>> squared_hinge_loss(fnp.array([0.5, -2.0]), fnp.array([1, -1])).tolist()
    [0.25, 0.0]
    """
    return reduced(fnp.square(hinge_loss(predictor_outputs, targets, mask=mask)), mask, weights, reduction)


@_signs
def perceptron_loss(
    predictor_outputs: Any, targets: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """max(0, -output * target) for targets -1 and 1, elementwise. Source: Rosenblatt (1958).

    >>> perceptron_loss(fnp.array([0.5, 2.0]), fnp.array([1, -1])).tolist()
    [0.0, 2.0]
    """
    outputs, targets = covered(mask, floating(predictor_outputs), targets)
    return reduced(fnp.maximum(0, -outputs * targets), mask, weights, reduction)


@_signs
def sparsemax_loss(
    logits: Any, labels: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Binary loss that is exactly zero beyond a margin of 1, elementwise. Source: Blondel et al. (2019).

    Args:
        logits: floating array.
        labels: 0 and 1, or booleans, of the same shape.

    >>> sparsemax_loss(fnp.array([0.0, 2.0]), fnp.array([1, 1])).tolist()
    [0.25, 0.0]
    """
    logits, labels = covered(mask, floating(logits), labels)
    chosen = fnp.asarray(labels) != 0
    return reduced(sparse_plus(fnp.where(chosen, -logits, logits)), mask, weights, reduction)


@_signs
def multiclass_hinge_loss(
    scores: Any, labels: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """By how much the best score of another class, plus 1, exceeds that of the label. Source: Crammer, Singer (2001).

    >>> multiclass_hinge_loss(fnp.array([1.0, 1.5, 0.0]), fnp.array(0)).item()
    1.5
    """
    scores, labels, right = _of_labels(scores, labels, mask)
    classes = fnp.arange(scores.shape[-1]) == labels[..., None]
    return reduced(fnp.max(fnp.where(classes, scores, scores + 1.0), axis=-1) - right, mask, weights, reduction)


@_signs
def multiclass_perceptron_loss(
    scores: Any, labels: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """By how much the best score exceeds that of the label. Source: Collins (2002).

    >>> multiclass_perceptron_loss(fnp.array([1.0, 1.5, 0.0]), fnp.array(0)).item()
    0.5
    """
    scores, _, right = _of_labels(scores, labels, mask)
    return reduced(fnp.max(scores, axis=-1) - right, mask, weights, reduction)


@_signs
def multiclass_sparsemax_loss(
    scores: Any, labels: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """The loss whose probabilities are :func:`sparsemax`. Source: Martins, Astudillo (2016), eq. 15.

    >>> multiclass_sparsemax_loss(fnp.array([0.0, 0.0]), fnp.array(0)).item()
    0.25
    """
    scores, _, right = _of_labels(scores, labels, mask)
    shares = stop_gradient(sparsemax(scores))
    # The conjugate of half the squared norm, whose gradient is the projection (Danskin's theorem).
    best = fnp.sum(fnp.where(shares > 0, shares * scores, 0.0), axis=-1) - 0.5 * fnp.sum(shares * shares, axis=-1)
    return reduced(best + 0.5 - right, mask, weights, reduction)


def sparsemax(logits: Any) -> Array:
    """The nearest distribution to logits [..., classes]: many probabilities are 0. Source: Martins, Astudillo (2016).

    Args:
        logits: [..., classes].

    Returns:
        An array like them.

    >>> sparsemax(fnp.array([1.0, 0.5, -1.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    logits = floating(logits)
    logits = logits - stop_gradient(fnp.max(logits, axis=-1, keepdims=True))
    falling = -fnp.sort(-logits, axis=-1)
    number = fnp.arange(1, logits.shape[-1] + 1, dtype=logits.dtype)
    excess = fnp.cumsum(falling, axis=-1) - 1.0
    kept = stop_gradient(falling - excess / number > 0).astype(logits.dtype)
    count = fnp.sum(kept, axis=-1, keepdims=True)
    threshold = (fnp.sum(fnp.where(kept > 0, falling, 0.0), axis=-1, keepdims=True) - 1.0) / count
    return fnp.maximum(logits - threshold, 0.0)


def make_fenchel_young_loss(max_fun: Callable[..., Any]) -> Callable[..., Array]:
    """The loss ``max_fun(scores) - <targets, scores>`` of a convex function. Source: Blondel, Martins, Niculae (2020).

    Args:
        max_fun: from scores [classes] to a number, such as :func:`logsumexp`.

    Returns:
        A function from (scores [..., classes], targets like them) to losses.

    >>> from fdl import nn
    >>> loss = make_fenchel_young_loss(nn.logsumexp)
    >>> round(loss(fnp.zeros(2), fnp.array([1.0, 0.0])).item(), 3)
    0.693
    """

    def loss(scores: Any, targets: Any, *args: Any, **kwargs: Any) -> Array:
        scores = floating(scores)
        best = fnp.vectorize(lambda s: max_fun(s, *args, **kwargs), signature="(n)->()")(scores)
        return best - fnp.sum(fnp.asarray(targets) * scores, axis=-1)

    return loss


def _of_labels(scores: Any, labels: Any, mask: Any) -> tuple[Array, Array, Array]:
    """Scores, labels, and the scores of the labels."""
    scores, labels = floating(scores), fnp.asarray(labels)
    if labels.shape != scores.shape[:-1]:
        raise ShapeError(f"labels {labels.type} do not fit scores {scores.type} without the last axis")
    (scores,), (labels,) = covered(mask, scores, axis=-1), covered(mask, labels)
    classes = fnp.arange(scores.shape[-1]) == labels[..., None]
    return scores, labels, fnp.sum(fnp.where(classes, scores, 0.0), axis=-1)
