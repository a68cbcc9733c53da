"""Losses of classes: one for each example, or for each element."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.composite import composite
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import DtypeError, ShapeError
from fdl.nn.activations import log_sigmoid
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.nn.softmax import log_softmax, logsumexp
from fdl.numpy._index import signed_places
from fdl.numpy._operands import floating

_ARGUMENTS = {
    "logits": "[..., classes].",
    "labels": "probabilities, like `logits`; one-hot vectors for certain labels.",
    "axis": "of the classes.",
    "where": "bool, like `logits`: which classes count; None is all.",
    **EXAMPLES,
}
_distributions = fill_docstring(_ARGUMENTS, "An array without the axis, unless reduced.", RAISES)
_binary = fill_docstring(
    _ARGUMENTS
    | {"logits": "array.", "labels": "probabilities that broadcast with `logits`; 0 or 1 for certain labels."},
    "An array of the common shape, unless reduced.",
    RAISES,
)


@_distributions
@composite
def softmax_cross_entropy(
    logits: Any, labels: Any, axis: int = -1, where: Any = None, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Cross entropy between distributions and the softmax of logits.

    >>> loss = softmax_cross_entropy(fnp.zeros((1, 2)), fnp.array([[0.5, 0.5]]))
    >>> round(loss.item(), 3)
    0.693
    """
    logits, labels = covered(mask, floating(logits), labels, axis=axis)
    terms = labels * _log_probabilities(logits, axis, where)
    return reduced(-fnp.sum(terms, axis=axis, where=where), mask, weights, reduction)


@_distributions
def safe_softmax_cross_entropy(
    logits: Any, labels: Any, axis: int = -1, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """:func:`softmax_cross_entropy` in which a class of probability 0 costs nothing, even with a logit of -inf.

    >>> safe_softmax_cross_entropy(fnp.array([0.0, -fnp.inf]), fnp.array([1.0, 0.0])).item() == 0
    True
    """
    logits, labels = covered(mask, floating(logits), fnp.asarray(labels), axis=axis)
    logs = log_softmax(logits, axis=axis)
    terms = labels * fnp.where(labels == 0, 0.0, logs)
    return reduced(-fnp.sum(terms, axis=axis), mask, weights, reduction)


@composite
def softmax_cross_entropy_with_integer_labels(
    logits: Any, labels: Any, axis: int = -1, where: Any = None, *, label_smoothing: float = 0.0, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """Cross entropy between certain labels and the softmax of logits.

    Args:
        logits: [..., classes].
        labels: integers, of the shape of `logits` without the axis; NaN results for those out of range.
        axis: of the classes.
        where: bool, like `logits`: which classes count; None is all.
        label_smoothing: weight of the uniform distribution that labels are mixed with, see :func:`smooth_labels`.
        mask: bool, broadcasts to the losses: false ones count as zero, whatever the example holds.
        weights: factors of the losses, broadcast to them.
        reduction: "none" keeps the losses, "sum" adds them up, "mean" divides by the sum of weights that count.

    Returns:
        An array like `labels`, unless reduced.

    Raises:
        DtypeError: the labels are not integers.
        ShapeError: their shape does not fit.

    >>> round(softmax_cross_entropy_with_integer_labels(fnp.zeros((1, 4)), fnp.array([2])).item(), 3)
    1.386
    """
    logits, labels = floating(logits), fnp.asarray(labels)
    axis %= logits.ndim
    if not fnp.issubdtype(labels.dtype, fnp.integer):
        raise DtypeError(f"labels are integers, got {labels.type}; use softmax_cross_entropy for probabilities")
    if labels.shape != logits.shape[:axis] + logits.shape[axis + 1 :]:
        raise ShapeError(f"labels {labels.type} do not fit logits {logits.type} without axis {axis}")
    (logits,), (labels,) = covered(mask, logits, axis=axis), covered(mask, labels)
    labels = signed_places(labels, logits.shape[axis])  # in a short dtype the numbers of many classes would wrap around
    shape = [1] * logits.ndim
    shape[axis] = -1
    classes = fnp.arange(logits.shape[axis], dtype=labels.dtype).reshape(shape)
    chosen = fnp.sum(fnp.where(fnp.expand_dims(labels, axis) == classes, logits, 0.0), axis=axis)
    valid = (labels >= 0) & (labels < logits.shape[axis])
    total = logsumexp(logits if where is None else fnp.where(where, logits, -math.inf), axis=axis)
    losses = total - chosen
    if not (isinstance(label_smoothing, (int, float)) and label_smoothing == 0):
        losses = total - (1 - label_smoothing) * chosen - label_smoothing * fnp.mean(logits, axis=axis, where=where)
    return reduced(fnp.where(valid, losses, math.nan), mask, weights, reduction)


@_distributions
def poly_loss_cross_entropy(
    logits: Any, labels: Any, epsilon: Any = 2.0, axis: int = -1, where: Any = None, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """Cross entropy plus a multiple of the probability given to other classes. Source: Leng et al., "PolyLoss" (2022).

    Args:
        epsilon: the factor.

    >>> round(poly_loss_cross_entropy(fnp.zeros(2), fnp.array([1.0, 0.0])).item(), 3)
    1.693
    """
    logits, labels = covered(mask, floating(logits), labels, axis=axis)
    logs = _log_probabilities(logits, axis, where)
    terms = labels * (epsilon * -fnp.expm1(logs) - logs)
    return reduced(fnp.sum(terms, axis=axis, where=where), mask, weights, reduction)


@_distributions
def softmax_focal_loss(
    logits: Any, labels: Any, gamma: Any = 2.0, axis: int = -1, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Cross entropy in which classes that are predicted well count less. Source: Lin et al. (2017).

    Args:
        gamma: how much less; 0 is cross entropy.

    >>> round(softmax_focal_loss(fnp.zeros(2), fnp.array([1.0, 0.0])).item(), 3)
    0.173
    """
    logits, labels = covered(mask, floating(logits), labels, axis=axis)
    logs = log_softmax(logits, axis=axis)
    return reduced(-fnp.sum(labels * _power(-fnp.expm1(logs), gamma) * logs, axis=axis), mask, weights, reduction)


@_binary
@composite
def sigmoid_binary_cross_entropy(
    logits: Any, labels: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Cross entropy between probabilities and the sigmoid of logits, elementwise.

    >>> round(sigmoid_binary_cross_entropy(0.0, 1.0).item(), 3)
    0.693
    """
    logits, labels = covered(mask, floating(logits), labels)
    labels = labels if fnp.issubdtype(labels.dtype, fnp.floating) else labels.astype(logits.dtype)
    losses = -labels * log_sigmoid(logits) - (1.0 - labels) * log_sigmoid(-logits)
    return reduced(losses, mask, weights, reduction)


@_binary
def sigmoid_focal_loss(
    logits: Any, labels: Any, alpha: Any = None, gamma: Any = 2.0, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Binary cross entropy in which what is predicted well counts less. Source: Lin et al. (2017).

    Args:
        alpha: weight of label 1, that of label 0 being one minus it; None does not weigh.
        gamma: how much less; 0 is cross entropy.

    >>> round(sigmoid_focal_loss(0.0, 1.0).item(), 3)
    0.173
    """
    logits, labels = covered(mask, floating(logits), labels)
    labels = fnp.asarray(labels).astype(logits.dtype)
    losses = sigmoid_binary_cross_entropy(logits, labels)
    missing = (1 - labels) * fnp.exp(log_sigmoid(logits)) + labels * fnp.exp(log_sigmoid(-logits))
    losses = losses * _power(missing, gamma)
    if alpha is not None:
        losses = losses * (alpha * labels + (1 - alpha) * (1 - labels))
    return reduced(losses, mask, weights, reduction)


def smooth_labels(labels: Any, alpha: float) -> Array:
    """Mix distributions [..., classes] with the uniform one, of weight `alpha`. Source: Szegedy et al. (2016).

    Args:
        labels: probabilities [..., classes].
        alpha: weight of the uniform distribution, in [0, 1].

    Returns:
        An array like `labels`.

    >>> smooth_labels(fnp.array([1.0, 0.0]), 0.5).tolist()
    [0.75, 0.25]
    """
    labels = fnp.asarray(labels)
    return (1.0 - alpha) * labels + alpha / labels.shape[-1]


def _log_probabilities(logits: Array, axis: int, where: Any) -> Array:
    """Logarithms of the softmax over the classes that count; zero for the others."""
    if where is None:
        return log_softmax(logits, axis=axis)
    return fnp.where(where, log_softmax(fnp.where(where, logits, -math.inf), axis=axis), 0.0)


def _power(base: Array, exponent: Any) -> Array:
    """A power of a number from 0 to 1 whose derivative at 0 is finite for exponents of 1 and more."""
    zero = base <= 0
    return fnp.where(zero, 0.0 if isinstance(exponent, (int, float)) and exponent > 0 else 0.0**exponent,
                     fnp.where(zero, 1.0, base) ** exponent)  # fmt: skip
