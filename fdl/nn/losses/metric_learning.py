"""Losses of embeddings: near for what belongs together, far for what does not."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.nn.losses.regression import cosine_similarity
from fdl.nn.softmax import log_softmax, logsumexp
from fdl.numpy._operands import floating, wide

_pairs = fill_docstring(
    {
        "anchors": "embeddings [..., n].",
        "positives": "what belongs to them, like them.",
        "negatives": "what does not, like them.",
        "first": "embeddings [..., n].",
        "second": "like `first`.",
        "axis": "of the embeddings.",
        "margin": "the distance that is far enough.",
        "temperature": "divides the similarities.",
        **EXAMPLES,
    },
    "An array without the axis, unless reduced.",
    RAISES,
)


@_pairs
def triplet_margin_loss(
    anchors: Any, positives: Any, negatives: Any, axis: int = -1, norm_degree: float = 2, margin: float = 1.0,
    eps: float = 1e-6, *, mask: Any = None, weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """By how much positives are not nearer than negatives by the margin. Source: Schroff et al., "FaceNet" (2015).

    Args:
        norm_degree: of the distance.
        eps: added under its root.

    >>> triplet_margin_loss(fnp.zeros(1), fnp.array([1.0]), fnp.array([3.0]), margin=2.5, eps=0.0).item()
    0.5
    """
    anchors, positives, negatives = covered(mask, *map(floating, (anchors, positives, negatives)), axis=axis)

    def distance(other: Array) -> Array:
        return (fnp.sum(fnp.abs(anchors - other) ** norm_degree, axis=axis) + eps) ** (1 / norm_degree)

    losses = fnp.maximum(distance(positives) - distance(negatives) + margin, 0.0)
    return reduced(losses, mask, weights, reduction)


@_pairs
def contrastive_loss(
    first: Any, second: Any, same: Any, margin: float = 1.0, axis: int = -1, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Squared distances of what is the same; squared lack of margin of what is not. Source: Hadsell et al. (2006).

    Args:
        same: bool or 0 and 1, of the shape of the losses.

    >>> contrastive_loss(fnp.zeros((2, 1)), fnp.full((2, 1), 0.5), fnp.array([1, 0])).tolist()
    [0.25, 0.25]
    """
    first, second = covered(mask, floating(first), floating(second), axis=axis)
    square = fnp.sum(fnp.square(first - second), axis=axis)
    zero = square == 0  # where the distance has no derivative
    distance = fnp.where(zero, 0.0, fnp.sqrt(fnp.where(zero, 1.0, square)))
    apart = fnp.square(fnp.maximum(margin - distance, 0.0))
    return reduced(fnp.where(fnp.asarray(same) != 0, square, apart), mask, weights, reduction)


@_pairs
def cosine_embedding_loss(
    first: Any, second: Any, targets: Any, margin: float = 0.0, axis: int = -1, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """One minus the cosine for targets of 1; the cosine above the margin for targets of -1.

    Args:
        targets: 1 and -1, of the shape of the losses.
        margin: the cosine that is small enough.

    >>> cosine_embedding_loss(fnp.ones((2, 1)), fnp.ones((2, 1)), fnp.array([1, -1])).tolist()
    [0.0, 1.0]
    """
    cosine = cosine_similarity(first, second, 1e-12, axis, mask=mask)
    losses = fnp.where(fnp.asarray(targets) > 0, 1.0 - cosine, fnp.maximum(cosine - margin, 0.0))
    return reduced(losses, mask, weights, reduction)


@_pairs
def info_nce(
    anchors: Any, positives: Any, temperature: Any = 0.1, negatives: Any = None, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """Cross entropy of finding the own positive among those of all anchors. Source: van den Oord et al. (2018).

    Args:
        anchors: embeddings [batch, n].
        positives: what belongs to them, [batch, n].
        negatives: more candidates [m, n] for all anchors; None has the other positives only.
        mask: bool[batch]; false ones are no candidates either.

    Returns:
        An array [batch], unless reduced.

    >>> [round(x, 4) for x in info_nce(fnp.eye(2), fnp.eye(2), temperature=1.0).tolist()]
    [0.3133, 0.3133]
    """
    if fnp.shape(anchors) != fnp.shape(positives) or fnp.ndim(anchors) != 2:
        raise ShapeError(
            f"info_nce needs anchors and positives [batch, n], got {fnp.asarray(anchors).type} and "
            f"{fnp.asarray(positives).type}"
        )
    anchors, positives = covered(mask, floating(anchors), floating(positives), axis=-1)
    candidates = positives if negatives is None else fnp.concatenate([positives, floating(negatives)])
    logits = fnp.matmul(_units(anchors), _units(candidates).T) / temperature
    if mask is not None:
        known = fnp.concatenate([fnp.asarray(mask), fnp.ones(candidates.shape[0] - anchors.shape[0], bool)])
        own = fnp.arange(candidates.shape[0]) == fnp.arange(anchors.shape[0])[:, None]
        logits = fnp.where(known | own, logits, -fnp.inf)
    return reduced(-fnp.diagonal(log_softmax(logits, axis=-1)), mask, weights, reduction)


def ntxent(embeddings: Any, labels: Any, temperature: Any = 0.07) -> Array:
    """Cross entropy of finding a vector with the same label among those of other labels. Source: Chen et al. (2020).

    Args:
        embeddings: [batch, n].
        labels: integers [batch]; two or more of each.
        temperature: divides the cosines.

    Returns:
        The mean over all pairs of the same label; 0 if there are none.

    Raises:
        ShapeError: the shapes do not fit.

    >>> x = fnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(ntxent(x, fnp.array([0, 0, 1]), temperature=1.0).item(), 4)
    0.3133
    """
    embeddings, labels = floating(embeddings), fnp.asarray(labels)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ShapeError(f"ntxent needs embeddings [batch, n] and labels [batch], got {embeddings.type}, {labels.type}")
    units = _units(embeddings)
    cosines = fnp.matmul(units, units.T) / temperature
    same = labels[:, None] == labels[None, :]
    pairs = same & ~fnp.eye(labels.shape[0], dtype=bool)
    others = fnp.any(~same, axis=1, keepdims=True)
    far = logsumexp(fnp.where(same, -fnp.inf, fnp.where(others, cosines, -fnp.inf)), axis=1, keepdims=True)
    losses = fnp.where(others, fnp.logaddexp(cosines, fnp.where(others, far, 0.0)) - cosines, 0.0)
    count = fnp.sum(pairs)
    return fnp.sum(fnp.where(pairs, losses, 0.0)) / fnp.where(count == 0, 1, count).astype(losses.dtype)


def _units(x: Array) -> Array:
    """Vectors of length one along the last axis; zeros stay."""
    numbers = wide(x)
    square = fnp.sum(numbers * numbers, axis=-1, keepdims=True)
    return (numbers / fnp.sqrt(fnp.where(square == 0, 1.0, square))).astype(x.dtype)
