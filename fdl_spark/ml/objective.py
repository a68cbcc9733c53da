"""The loss that `train` minimises, from a model's function and a loss of each row."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import nn
from fdl_spark.compute.program import takes_key
from fdl_spark.errors import LossError
from fdl_spark.ml.inputs import Inputs


def objective(
    apply: Callable[..., Any], loss: Callable[[Any, Any], Any], inputs: Inputs, label: str, weighed: bool
) -> Callable[..., Any]:
    """The loss that `train` takes.

    Args:
      apply: (params, x) or (params, x, key) -> output.
      loss: (output, labels) -> losses, float array (rows,).
      inputs: what x is made of.
      label: the column of labels.
      weighed: whether `train` weighs the rows' losses; else this is their mean.
    """

    def of_rows(params: Any, batch: Any, *key: Any) -> Any:
        losses = loss(apply(params, inputs.of(batch), *key), batch[label])
        rows = batch[label].shape[:1]
        if getattr(losses, "shape", None) != rows:
            found = getattr(losses, "shape", type(losses).__name__)
            raise LossError(f"loss must return a loss for each row, of shape {rows}; it returned {found}")
        return losses if weighed else losses.mean()

    if takes_key(apply):
        return lambda params, batch, key: of_rows(params, batch, key)
    return lambda params, batch: of_rows(params, batch)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Of the softmax of logits (rows, classes); of the sigmoid of one logit a row, that of label 1."""
    if logits.ndim == 1 or logits.shape[1:] == (1,):
        return nn.sigmoid_binary_cross_entropy(logits.reshape(-1), labels.astype(logits.dtype))
    return nn.softmax_cross_entropy_with_integer_labels(logits, labels)


def squared_error(outputs: Any, labels: Any) -> Any:
    """The squared difference of a row's numbers, summed over them."""
    rows = labels.shape[0]
    difference = outputs.reshape(rows, -1) - labels.reshape(rows, -1).astype(outputs.dtype)
    return fnp.square(difference).sum(axis=1)


def accuracy(apply: Callable[..., Any], inputs: Inputs, label: str) -> Callable[[Any, Any], Any]:
    """The share of rows whose largest logit is that of their label, as a metric."""

    def share(params: Any, batch: Any) -> Any:
        logits = apply(params, inputs.of(batch))
        one = logits.ndim == 1 or logits.shape[1:] == (1,)
        chosen = logits.reshape(-1) > 0 if one else logits.argmax(axis=1)
        return (chosen.astype(batch[label].dtype) == batch[label]).mean()

    return share
