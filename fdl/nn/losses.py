"""Losses: one number per example (or per element), to be averaged by the caller."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.api.custom import custom_jvp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import DtypeError, ShapeError
from fdl.nn.activations import log_sigmoid
from fdl.nn.softmax import log_softmax, logsumexp
from fdl.numpy._index import signed_places
from fdl.numpy._operands import floating, wide

#: A decorator of the losses of differences, each element of them alone.
_elementwise = fill_docstring(
    {"predictions": "floating array.", "targets": "array of the same shape; None stands for zeros."},
    "An array like `predictions`.",
    {"ShapeError": "the shapes differ."},
)


def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1) -> Array:
    """Cross entropy between distributions and the softmax of logits.

    Args:
        logits: [..., classes].
        labels: probabilities, like `logits`; one-hot vectors for certain labels.
        axis: of the classes.

    Returns:
        An array without the axis.

    >>> loss = softmax_cross_entropy(fnp.zeros((1, 2)), fnp.array([[0.5, 0.5]]))
    >>> round(loss.item(), 3)
    0.693
    """
    logits = floating(logits)
    return -fnp.sum(labels * log_softmax(logits, axis=axis), axis=axis)


def softmax_cross_entropy_with_integer_labels(logits: Any, labels: Any, axis: int = -1) -> Array:
    """Cross entropy between certain labels and the softmax of logits.

    Args:
        logits: [..., classes].
        labels: integers, of the shape of `logits` without the axis; NaN results for those out of range.
        axis: of the classes.

    Returns:
        An array like `labels`.

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
    labels = signed_places(labels, logits.shape[axis])  # in a short dtype the numbers of many classes would wrap around
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

    Returns:
        An array of the common shape.

    >>> round(sigmoid_binary_cross_entropy(0.0, 1.0).item(), 3)
    0.693
    """
    logits = floating(logits)
    return -labels * log_sigmoid(logits) - (1.0 - labels) * log_sigmoid(-logits)


@_elementwise
def squared_error(predictions: Any, targets: Any = None) -> Array:
    """Squared differences, elementwise; None stands for zeros.

    >>> squared_error(fnp.array([1.0, 3.0]), fnp.array([1.0, 1.0])).tolist()
    [0.0, 4.0]
    """
    return fnp.square(_errors(predictions, targets))


@_elementwise
def l2_loss(predictions: Any, targets: Any = None) -> Array:
    """Half the squared differences, elementwise.

    >>> l2_loss(fnp.array([1.0, 3.0]), fnp.array([1.0, 1.0])).tolist()
    [0.0, 2.0]
    """
    return 0.5 * squared_error(predictions, targets)


@_elementwise
def absolute_error(predictions: Any, targets: Any = None) -> Array:
    """Absolute differences, elementwise.

    >>> absolute_error(fnp.array([1.0, 3.0]), fnp.array([2.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    return fnp.abs(_errors(predictions, targets))


@_elementwise
def huber_loss(predictions: Any, targets: Any = None, delta: float = 1.0) -> Array:
    """Half the squared difference where it is below delta, linear beyond, elementwise. Source: Huber (1964).

    Args:
        delta: where the parabola becomes a line, positive.

    >>> huber_loss(fnp.array([0.5, 3.0])).tolist()
    [0.125, 2.5]
    """
    error = fnp.abs(_errors(predictions, targets))
    inside = error <= delta
    small = fnp.where(inside, error, 0.0)  # so that no square overflows
    return fnp.where(inside, 0.5 * small**2, delta * (error - 0.5 * delta))


@_elementwise
def log_cosh(predictions: Any, targets: Any = None) -> Array:
    """log(cosh(difference)), elementwise, without overflow.

    >>> round(log_cosh(fnp.array([1000.0])).item(), 2)
    999.31
    """
    return _log_cosh(_errors(predictions, targets) * 1.0)


@custom_jvp
def _log_cosh(x: Array) -> Array:
    size = fnp.abs(x)
    near = size < 1.0
    # cosh(x) - 1 is 2 sinh(x / 2)**2; far from zero exp(-x) is small instead.
    excess = fnp.where(near, 2.0 * fnp.square(fnp.sinh(0.5 * fnp.where(near, x, 0.0))), fnp.exp(-2.0 * size))
    return fnp.log1p(excess) + fnp.where(near, 0.0, size - math.log(2.0))


@_log_cosh.defjvp
def _log_cosh_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _log_cosh(x), dx * fnp.tanh(x)


def hinge_loss(predictor_outputs: Any, targets: Any) -> Array:
    """max(0, 1 - output * target) for targets -1 and 1, elementwise.

    Args:
        predictor_outputs: floating array.
        targets: array of -1 and 1 that broadcasts with it.

    Returns:
        An array of the common shape.

    >>> hinge_loss(fnp.array([0.5, -2.0]), fnp.array([1, -1])).tolist()
    [0.5, 0.0]
    """
    return fnp.maximum(0, 1 - floating(predictor_outputs) * targets)


def kl_divergence(log_predictions: Any, targets: Any, axis: int = -1) -> Array:
    """Divergence of predicted distributions from target distributions. Source: Kullback, Leibler (1951).

    Args:
        log_predictions: logarithms of probabilities [..., classes].
        targets: probabilities, like them.
        axis: of the classes.

    Returns:
        An array without the axis.

    >>> p = fnp.array([0.25, 0.75])
    >>> round(kl_divergence(fnp.log(p / 2), p).item(), 3)
    0.693
    """
    targets = fnp.asarray(targets)
    logs = fnp.where(targets == 0, 0.0, fnp.log(fnp.where(targets == 0, 1.0, targets)))
    return fnp.sum(targets * (logs - log_predictions), axis=axis)


def cosine_similarity(predictions: Any, targets: Any, epsilon: float = 0.0, axis: int = -1) -> Array:
    """Cosine of the angle between vectors along an axis; norms are at least `epsilon`.

    Args:
        predictions: floating array [..., n].
        targets: like `predictions`.
        epsilon: the smallest norm that counts.
        axis: of the vectors.

    Returns:
        An array without the axis.

    >>> round(cosine_similarity(fnp.array([1.0, 1.0]), fnp.array([1.0, 0.0])).item(), 3)
    0.707
    """
    predictions, targets = floating(predictions), floating(targets)

    def unit(x: Array) -> Array:
        x = wide(x)
        square = fnp.sum(x * x, axis=axis, keepdims=True)
        zero = square <= epsilon**2
        norm = fnp.where(zero, epsilon, fnp.sqrt(fnp.where(zero, 1.0, square)))
        return x / norm

    return fnp.sum(unit(predictions) * unit(targets), axis=axis).astype(fnp.result_type(predictions, targets, 1.0))


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


def _errors(predictions: Any, targets: Any) -> Array:
    predictions = floating(predictions)
    if targets is None:
        return predictions
    targets = fnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise ShapeError(f"predictions {predictions.type} and targets {targets.type} need the same shape")
    return predictions - targets
