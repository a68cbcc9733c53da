"""Losses of overlap, for segmentation: what predicted and true regions have in common."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.nn.activations import sigmoid
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.nn.softmax import softmax
from fdl.numpy._operands import floating

_regions = fill_docstring(
    {
        "predictions": "logits [batch, *space, classes] (probabilities, if not `apply_softmax`).",
        "targets": "one-hot vectors or probabilities, like them.",
        "class_weights": "factors of the classes, [classes]; None is 1.",
        "smooth": "added to both sides of the ratio, so that nothing predicted where nothing is costs nothing.",
        "alpha": "weight of what is predicted wrongly.",
        "beta": "weight of what is missed.",
        "apply_softmax": "whether predictions are logits: of the softmax, or of the sigmoid with one class.",
        "apply_sigmoid": "whether predictions are logits.",
        "ignore_background": "whether class 0 is left out.",
        "axis": "the axes of space; None is all but the first and the last.",
        **EXAMPLES,
        "mask": "bool [batch, *space]: which places count; None is all.",
        "reduction": 'over the classes: "mean", "sum" or "none".',
    },
    "An array [batch], or [batch, classes] if not reduced.",
    RAISES,
)


@_regions
def tversky_loss(
    predictions: Any, targets: Any, *, class_weights: Any = None, smooth: Any = 1.0, alpha: Any = 0.5, beta: Any = 0.5,
    apply_softmax: bool = True, reduction: str = "mean", ignore_background: bool = False, axis: Any = None,
    mask: Any = None,
) -> Array:  # fmt: skip
    """One minus the ratio of what is right to that plus what is wrong. Source: Salehi et al. (2017).

    >>> tversky_loss(fnp.array([[[0.5]]]), fnp.array([[[1.0]]]), smooth=0.0, apply_softmax=False).item()
    0.33333...
    """
    predictions, targets = floating(predictions), floating(targets)
    if predictions.ndim == targets.ndim - 1:
        predictions = predictions[..., None]
    if targets.ndim == predictions.ndim - 1:
        targets = targets[..., None]
    if predictions.shape != targets.shape or predictions.ndim < 2:
        raise ShapeError(
            f"predictions {predictions.type} and targets {targets.type} need one shape [batch, ..., classes]"
        )
    (predictions,) = covered(mask, predictions, axis=-1)
    if apply_softmax:
        predictions = sigmoid(predictions) if predictions.shape[-1] == 1 else softmax(predictions, axis=-1)
    if mask is not None:
        predictions, targets = covered(mask, predictions, targets, axis=-1)
    axes = tuple(range(1, predictions.ndim - 1)) if axis is None else axis
    common, found, true = (fnp.sum(x, axis=axes) for x in (predictions * targets, predictions, targets))
    below = common + alpha * (found - common) + beta * (true - common) + smooth
    losses = 1.0 - (common + smooth) / fnp.where(below == 0, 1.0, below)
    if class_weights is not None:
        losses = losses * fnp.asarray(class_weights)
    if ignore_background and losses.shape[-1] > 1:
        losses = losses[..., 1:]
    if reduction == "none":
        return losses
    return fnp.sum(losses, axis=-1) if reduction == "sum" else _mean(losses, reduction)


def _mean(losses: Array, reduction: str) -> Array:
    if reduction != "mean":
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return fnp.mean(losses, axis=-1)


@_regions
def dice_loss(
    predictions: Any, targets: Any, *, class_weights: Any = None, smooth: Any = 1.0, alpha: Any = 0.5, beta: Any = 0.5,
    apply_softmax: bool = True, reduction: str = "mean", ignore_background: bool = False, axis: Any = None,
    mask: Any = None,
) -> Array:  # fmt: skip
    """One minus twice what is common over the sum of both regions. Source: Milletari et al., "V-Net" (2016).

    >>> dice_loss(fnp.array([[[0.5]]]), fnp.array([[[1.0]]]), smooth=0.0, apply_softmax=False).item()
    0.33333...
    """
    return tversky_loss(
        predictions, targets, class_weights=class_weights, smooth=smooth, alpha=alpha, beta=beta,
        apply_softmax=apply_softmax, reduction=reduction, ignore_background=ignore_background, axis=axis, mask=mask,
    )  # fmt: skip


@_regions
def iou_loss(
    predictions: Any, targets: Any, *, class_weights: Any = None, smooth: Any = 1.0, apply_softmax: bool = True,
    reduction: str = "mean", ignore_background: bool = False, axis: Any = None, mask: Any = None,
) -> Array:  # fmt: skip
    """One minus what is common over the union of both regions. Source: Jaccard (1901); Rahman, Wang (2016).

    >>> iou_loss(fnp.array([[[0.5]]]), fnp.array([[[1.0]]]), smooth=0.0, apply_softmax=False).item()
    0.5
    """
    return tversky_loss(
        predictions, targets, class_weights=class_weights, smooth=smooth, alpha=1.0, beta=1.0,
        apply_softmax=apply_softmax, reduction=reduction, ignore_background=ignore_background, axis=axis, mask=mask,
    )  # fmt: skip


@_regions
def binary_dice_loss(
    predictions: Any, targets: Any, *, smooth: Any = 1.0, apply_sigmoid: bool = True, mask: Any = None
) -> Array:
    """:func:`dice_loss` of one region: [batch, *space], or with an axis of one class.

    >>> binary_dice_loss(fnp.array([[9.0, -9.0]]), fnp.array([[1.0, 0.0]])).item() < 0.01
    True
    """
    if fnp.shape(predictions)[-1:] != (1,):
        predictions, targets = fnp.asarray(predictions)[..., None], fnp.asarray(targets)[..., None]
    return dice_loss(predictions, targets, smooth=smooth, apply_softmax=apply_sigmoid, mask=mask)


@_regions
def multiclass_generalized_dice_loss(
    predictions: Any, targets: Any, *, smooth: Any = 1.0, apply_softmax: bool = True, ignore_background: bool = False
) -> Array:
    """:func:`dice_loss` in which rare classes count more; the mean over all. Source: Sudre et al. (2017).

    >>> logits = fnp.array([[[9.0, -9.0], [-9.0, 9.0]]])
    >>> multiclass_generalized_dice_loss(logits, fnp.array([[[1.0, 0.0], [0.0, 1.0]]])).item() < 0.01
    True
    """
    counts = fnp.sum(floating(targets), axis=tuple(range(fnp.ndim(targets) - 1)))
    factors = 1.0 / (counts**2 + 1e-7)
    factors = factors / fnp.sum(factors) * factors.size
    losses = dice_loss(
        predictions, targets, class_weights=factors, smooth=smooth, apply_softmax=apply_softmax, reduction="none",
        ignore_background=ignore_background,
    )  # fmt: skip
    return reduced(losses, None, None, "mean")
