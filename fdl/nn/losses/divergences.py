"""Divergences of distributions from each other."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.numpy._operands import floating

_divergence = fill_docstring(
    {
        "log_predictions": "logarithms of probabilities [..., classes].",
        "targets": "probabilities, like them.",
        "axis": "of the classes.",
        "where": "bool, like them: which classes count; None is all.",
        **EXAMPLES,
    },
    "An array without the axis, unless reduced.",
    RAISES,
)


@_divergence
def kl_divergence(
    log_predictions: Any, targets: Any, axis: int = -1, where: Any = None, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Divergence of predicted distributions from target distributions. Source: Kullback, Leibler (1951).

    >>> p = fnp.array([0.25, 0.75])
    >>> round(kl_divergence(fnp.log(p / 2), p).item(), 3)
    0.693
    """
    log_predictions, targets = covered(mask, log_predictions, fnp.asarray(targets), axis=axis)
    logs = fnp.where(targets == 0, 0.0, fnp.log(fnp.where(targets == 0, 1.0, targets)))
    terms = targets * (logs - fnp.where(targets == 0, 0.0, log_predictions))
    return reduced(fnp.sum(terms, axis=axis, where=where), mask, weights, reduction)


@_divergence
def kl_divergence_with_log_targets(
    log_predictions: Any, log_targets: Any, axis: int = -1, where: Any = None, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """:func:`kl_divergence` with logarithms of the targets.

    Args:
        log_targets: logarithms of probabilities, like `log_predictions`.

    >>> p = fnp.log(fnp.array([0.25, 0.75]))
    >>> round(kl_divergence_with_log_targets(p - 1.0, p).item(), 3)
    1.0
    """
    log_predictions, logs = covered(mask, log_predictions, fnp.asarray(log_targets), axis=axis)
    none = logs == -math.inf
    terms = fnp.exp(logs) * (fnp.where(none, 0.0, logs) - fnp.where(none, 0.0, log_predictions))
    return reduced(fnp.sum(terms, axis=axis, where=where), mask, weights, reduction)


@_divergence
def generalized_kl_divergence(
    log_predictions: Any, targets: Any, axis: int = -1, where: Any = None, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """:func:`kl_divergence` plus the difference of the sums: at least 0 for measures too. Source: Csiszár (1975).

    >>> round(generalized_kl_divergence(fnp.log(fnp.array([1.0])), fnp.array([1.0])).item(), 3)
    0.0
    """
    divergence = kl_divergence(log_predictions, targets, axis, where, mask=mask)
    log_predictions, targets = covered(mask, log_predictions, targets, axis=axis)
    more = fnp.sum(fnp.exp(log_predictions) - targets, axis=axis, where=where)
    return reduced(divergence + more, mask, weights, reduction)


convex_kl_divergence = generalized_kl_divergence


@_divergence
def js_divergence(
    log_predictions: Any, targets: Any, axis: int = -1, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """The mean divergence of both distributions from their mean: from 0 to log 2. Source: Lin (1991).

    >>> round(js_divergence(fnp.log(fnp.array([1.0, 0.0])), fnp.array([0.0, 1.0])).item(), 3)
    0.693
    """
    log_predictions, targets = covered(mask, floating(log_predictions), targets, axis=axis)
    predicted = fnp.exp(log_predictions)
    total = (predicted + targets) / 2
    middle = fnp.where(total == 0, 0.0, fnp.log(fnp.where(total == 0, 1.0, total)))
    losses = (kl_divergence(middle, predicted, axis) + kl_divergence(middle, targets, axis)) / 2
    return reduced(losses, mask, weights, reduction)
