"""What all losses have in common: examples that are left out, weights, and the mean or sum of what is left."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import floating, wide

#: For docstrings: what the arguments that all losses take mean.
EXAMPLES = {
    "mask": "bool, broadcasts to the losses: false ones count as zero, whatever the example holds, as do gradients.",
    "weights": "factors of the losses, broadcast to them.",
    "reduction": '"none" keeps the losses; "sum" adds them up; "mean" divides by the sum of weights that count.',
}
RAISES = {"ShapeError": "the shapes do not fit.", "ValueError": "the reduction is unknown."}


def reduced(losses: Array, mask: Any, weights: Any, reduction: str) -> Array:
    """Losses, their sum or their weighted mean; the mean of no losses is zero."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    if mask is not None:
        losses = fnp.where(_fitting("mask", as_mask(mask), losses), losses, 0.0)
    if weights is not None:
        losses = losses * _fitting("weights", fnp.asarray(weights), losses).astype(losses.dtype)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return fnp.sum(losses)
    total = fnp.sum(wide(losses))  # of 16-bit floats sums, and numbers of losses, may be infinite
    if mask is None and weights is None:
        return (total / max(losses.size, 1)).astype(losses.dtype)
    counted = fnp.ones(losses.shape, total.dtype) if weights is None else fnp.broadcast_to(
        fnp.asarray(weights).astype(total.dtype), losses.shape
    )  # fmt: skip
    count = fnp.sum(counted if mask is None else fnp.where(as_mask(mask), counted, 0.0))
    return (total / fnp.where(count == 0, 1.0, count)).astype(losses.dtype)


def as_mask(mask: Any) -> Array:
    """A boolean array."""
    mask = fnp.asarray(mask)
    if mask.dtype != bool:
        raise DtypeError(f"a mask of losses is boolean, got {mask.type}; use weights for numbers")
    return mask


def _fitting(name: str, given: Array, losses: Array) -> Array:
    try:
        fits = fnp.broadcast_shapes(given.shape, losses.shape) == losses.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{name} {given.type} of losses do not broadcast to their shape {list(losses.shape)}")
    return given


def covered(mask: Any, *arrays: Any, axis: int | None = None, fill: Any = 0) -> tuple[Any, ...]:
    """Arrays whose examples outside of the mask are replaced, so that no NaN of theirs reaches a gradient.

    Args:
        mask: bool, of the losses; None covers nothing.
        *arrays: what the losses are computed from.
        axis: what the arrays have more than the losses.
        fill: the number in their place.
    """
    if mask is None:
        return tuple(map(fnp.asarray, arrays))
    mask = as_mask(mask)
    if axis is not None and mask.ndim:
        mask = fnp.expand_dims(mask, axis if axis < 0 or mask.ndim == fnp.ndim(arrays[0]) - 1 else -1)
    return tuple(fnp.where(mask, x, fnp.asarray(fill).astype(x.dtype)) for x in map(fnp.asarray, arrays))


def differences(predictions: Any, targets: Any, mask: Any = None) -> Array:
    """Predictions minus targets of the same shape; None stands for zeros."""
    predictions = floating(predictions)
    if targets is not None:
        targets = fnp.asarray(targets)
        if predictions.shape != targets.shape:
            raise ShapeError(f"predictions {predictions.type} and targets {targets.type} need the same shape")
        predictions, targets = covered(mask, predictions, targets)
        return predictions - targets
    return covered(mask, predictions)[0]
