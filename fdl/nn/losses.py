"""Losses: one number per example (or per element), to be averaged by the caller."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.errors import DtypeError, ShapeError
from fdl.nn.activations import log_sigmoid, log_softmax, logsumexp

Array = Any


def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1) -> Array:
    """Cross entropy between distributions and the softmax of logits.

    Args:
        logits: [..., classes].
        labels: probabilities, like `logits`; one-hot vectors for certain labels.
        axis: of the classes.

    Returns:
        An array without the axis.
    """
    logits = fnp.asarray(logits)
    return -fnp.sum(labels * log_softmax(logits, axis=axis), axis=axis)


def softmax_cross_entropy_with_integer_labels(logits: Any, labels: Any, axis: int = -1) -> Array:
    """Cross entropy between certain labels and the softmax of logits.

    Args:
        logits: [..., classes].
        labels: integers, of the shape of `logits` without the axis; NaN results for those out of range.
        axis: of the classes.

    Returns:
        An array like `labels`.

    >>> softmax_cross_entropy_with_integer_labels(fnp.zeros((1, 4)), fnp.array([2])).tolist()
    [1.386...]
    """
    logits, labels = fnp.asarray(logits), fnp.asarray(labels)
    axis %= logits.ndim
    if not fnp.issubdtype(labels.dtype, fnp.integer):
        raise DtypeError(f"labels are integers, got {labels.type}; use softmax_cross_entropy for probabilities")
    if labels.shape != logits.shape[:axis] + logits.shape[axis + 1 :]:
        raise ShapeError(f"labels {labels.type} do not fit logits {logits.type} without axis {axis}")
    shape = [1] * logits.ndim
    shape[axis] = -1
    classes = fnp.arange(logits.shape[axis], dtype=labels.dtype).reshape(shape)
    chosen = fnp.sum(fnp.where(fnp.expand_dims(labels, axis) == classes, logits, 0.0), axis=axis)
    valid = (labels >= 0) & (labels < logits.shape[axis])
    return fnp.where(valid, logsumexp(logits, axis=axis) - chosen, math.nan)


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Array:
    """Cross entropy between probabilities and the sigmoid of logits, elementwise.

    Args:
        logits: array.
        labels: probabilities that broadcast with `logits`; 0 or 1 for certain labels.
    """
    logits = fnp.asarray(logits)
    return -labels * log_sigmoid(logits) - (1.0 - labels) * log_sigmoid(-logits)


def squared_error(predictions: Any, targets: Any = None) -> Array:
    """Squared differences, elementwise; None stands for zeros."""
    return fnp.square(_errors(predictions, targets))


def l2_loss(predictions: Any, targets: Any = None) -> Array:
    """Half the squared differences, elementwise."""
    return 0.5 * squared_error(predictions, targets)


def absolute_error(predictions: Any, targets: Any = None) -> Array:
    """Absolute differences, elementwise."""
    return fnp.abs(_errors(predictions, targets))


def huber_loss(predictions: Any, targets: Any = None, delta: float = 1.0) -> Array:
    """Half the squared difference where it is below delta, linear beyond, elementwise. Source: Huber (1964)."""
    error = fnp.abs(_errors(predictions, targets))
    square = fnp.minimum(error, delta)
    return 0.5 * square**2 + delta * (error - square)


def log_cosh(predictions: Any, targets: Any = None) -> Array:
    """log(cosh(difference)), elementwise, without overflow."""
    error = _errors(predictions, targets)
    return fnp.logaddexp(error, -error) - math.log(2.0)


def hinge_loss(predictor_outputs: Any, targets: Any) -> Array:
    """max(0, 1 - output * target) for targets -1 and 1, elementwise."""
    return fnp.maximum(0, 1 - fnp.asarray(predictor_outputs) * targets)


def kl_divergence(log_predictions: Any, targets: Any, axis: int = -1) -> Array:
    """Divergence of predicted distributions from target distributions.

    Args:
        log_predictions: logarithms of probabilities [..., classes].
        targets: probabilities, like them.
        axis: of the classes.

    Returns:
        An array without the axis.
    """
    targets = fnp.asarray(targets)
    logs = fnp.where(targets == 0, 0.0, fnp.log(fnp.where(targets == 0, 1.0, targets)))
    return fnp.sum(targets * (logs - log_predictions), axis=axis)


def cosine_similarity(predictions: Any, targets: Any, epsilon: float = 0.0, axis: int = -1) -> Array:
    """Cosine of the angle between vectors along an axis; norms are at least `epsilon`."""
    predictions, targets = fnp.asarray(predictions), fnp.asarray(targets)

    def unit(x: Array) -> Array:
        square = fnp.sum(x * x, axis=axis, keepdims=True)
        zero = square <= epsilon**2
        norm = fnp.where(zero, epsilon, fnp.sqrt(fnp.where(zero, 1.0, square)))
        return x / norm

    return fnp.sum(unit(predictions) * unit(targets), axis=axis)


def smooth_labels(labels: Any, alpha: float) -> Array:
    """Mix distributions [..., classes] with the uniform one, of weight `alpha`. Source: Szegedy et al. (2016)."""
    labels = fnp.asarray(labels)
    return (1.0 - alpha) * labels + alpha / labels.shape[-1]


def _errors(predictions: Any, targets: Any) -> Array:
    predictions = fnp.asarray(predictions)
    if targets is None:
        return predictions
    targets = fnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise ShapeError(f"predictions {predictions.type} and targets {targets.type} need the same shape")
    return predictions - targets
