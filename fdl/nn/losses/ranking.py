"""Losses of order: of pairs and of lists."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.nn.activations import log_sigmoid
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.nn.softmax import log_softmax
from fdl.numpy._operands import floating

_orders = fill_docstring(
    {
        "positives": "scores of what was chosen.",
        "negatives": "scores of what was not, which broadcast with them.",
        "logits": "scores [..., items].",
        "labels": "relevance, like `logits`; larger is better.",
        "where": "bool, like `logits`: which items there are; None is all.",
        **EXAMPLES,
    },
    "An array of the common shape (of a list: without the last axis), unless reduced.",
    RAISES,
)


@_orders
def bpr_loss(
    positives: Any, negatives: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Minus the log probability that what was chosen scores higher. Source: Rendle et al., "BPR" (2009).

    >>> round(bpr_loss(fnp.array(0.0), fnp.array(0.0)).item(), 3)
    0.693
    """
    positives, negatives = covered(mask, floating(positives), floating(negatives))
    return reduced(-log_sigmoid(positives - negatives), mask, weights, reduction)


@_orders
def margin_ranking_loss(
    first: Any, second: Any, targets: Any, margin: float = 0.0, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """max(0, margin - target * (first - second)): targets of 1 want the first to be larger, of -1 the second.

    Args:
        first: scores.
        second: scores, like them.
        targets: 1 and -1, like them.
        margin: the difference that is large enough.

    >>> margin_ranking_loss(fnp.array([1.0, 1.0]), fnp.array([3.0, 3.0]), fnp.array([1, -1])).tolist()
    [2.0, 0.0]
    """
    first, second, targets = covered(mask, floating(first), floating(second), targets)
    return reduced(fnp.maximum(margin - targets * (first - second), 0.0), mask, weights, reduction)


def ranking_softmax_loss(
    logits: Any, labels: Any, *, where: Any = None, weights: Any = None,
    reduce_fn: Callable[..., Array] | None = fnp.mean,
) -> Array:  # fmt: skip
    """Cross entropy of relevance and the softmax over a list. Source: Cao et al., "ListNet" (2007).

    Args:
        logits: scores [..., items].
        labels: relevance, like `logits`.
        where: bool, like `logits`: which items there are; None is all.
        weights: factors of the items.
        reduce_fn: what is made of the lists, such as ``fnp.mean``, with the argument `where`; None keeps them.

    Returns:
        A number, or an array [...] if `reduce_fn` is None.

    Raises:
        ShapeError: the shapes differ.

    >>> round(ranking_softmax_loss(fnp.zeros(2), fnp.array([1.0, 0.0])).item(), 3)
    0.693
    """
    logits = floating(logits)
    labels = _like(logits, labels).astype(logits.dtype)
    if where is not None:
        labels, logits = fnp.where(where, labels, 0.0), fnp.where(where, logits, -fnp.inf)
        empty = ~fnp.any(where, axis=-1, keepdims=True)
        logits = fnp.where(empty, 0.0, logits)
    if weights is not None:
        labels = labels * weights
    logs = log_softmax(logits, axis=-1)
    losses = -fnp.sum(fnp.where(labels == 0, 0.0, labels * fnp.where(labels == 0, 0.0, logs)), axis=-1)
    if reduce_fn is None:
        return losses
    if where is None:
        return reduce_fn(losses)
    lists = fnp.any(where, axis=-1)
    found = reduce_fn(losses, where=lists)
    return fnp.where(fnp.any(lists), found, 0.0)


@_orders
def pairwise_logistic_loss(
    logits: Any, labels: Any, where: Any = None, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """The mean of log(1 + exp(score of the worse - score of the better)) over a list's pairs. Source: Burges (2005).

    >>> round(pairwise_logistic_loss(fnp.zeros(3), fnp.array([2, 1, 1])).item(), 3)
    0.693
    """
    logits, labels = covered(mask, floating(logits), _like(logits, labels), axis=-1)
    better = labels[..., :, None] > labels[..., None, :]
    if where is not None:
        logits = fnp.where(where, logits, 0.0)
        better = better & fnp.asarray(where)[..., :, None] & fnp.asarray(where)[..., None, :]
    losses = -log_sigmoid(logits[..., :, None] - logits[..., None, :])
    count = fnp.sum(better, axis=(-2, -1))
    total = fnp.sum(fnp.where(better, losses, 0.0), axis=(-2, -1))
    return reduced(total / fnp.where(count == 0, 1, count).astype(total.dtype), mask, weights, reduction)


@_orders
def list_mle_loss(
    logits: Any, labels: Any, where: Any = None, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Minus the log likelihood of the order of the labels, drawn without replacement. Source: Xia et al. (2008).

    >>> round(list_mle_loss(fnp.zeros(3), fnp.array([2, 1, 0])).item(), 3)  # log(3!)
    1.792
    """
    logits, labels = covered(mask, floating(logits), _like(logits, labels), axis=-1)
    labels = labels.astype(logits.dtype)
    there = fnp.ones(logits.shape, bool) if where is None else fnp.broadcast_to(fnp.asarray(where), logits.shape)
    order = fnp.argsort(fnp.where(there, -labels, fnp.inf), axis=-1)
    scores = fnp.take_along_axis(fnp.where(there, logits, -fnp.inf), order, axis=-1)
    there = fnp.take_along_axis(there, order, axis=-1)
    known = fnp.where(there, scores, -1e30)
    rest = _log_sums_of_the_rest(known)
    return reduced(fnp.sum(fnp.where(there, rest - known, 0.0), axis=-1), mask, weights, reduction)


def _log_sums_of_the_rest(x: Array) -> Array:
    """The logsumexp of each element and all after it."""
    step, size = 1, x.shape[-1]
    while step < size:
        later = fnp.concatenate([x[..., step:], fnp.full((*x.shape[:-1], step), -1e30, x.dtype)], axis=-1)
        x, step = fnp.logaddexp(x, later), 2 * step
    return x


def _like(logits: Any, labels: Any) -> Array:
    labels = fnp.asarray(labels)
    if labels.shape != fnp.shape(logits):
        raise ShapeError(f"labels {labels.type} need the shape of scores {list(fnp.shape(logits))}")
    return labels
