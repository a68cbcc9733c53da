"""The class that is predicted for each row."""

from typing import Any

import fdl.numpy as fnp
from fdl_spark.metrics.metric import aligned, taken


def predicted_classes(what: str, metric: Any, params: Any, batch: Any) -> tuple[Any, Any]:
    """Predicted and true classes, two arrays of the labels' shape.

    Args:
      what: the metric's name, for messages.
      metric: has `scores`, `label` and `threshold`.
    """
    scores, label = taken(metric.scores, params, batch), taken(metric.label, params, batch)
    if label.ndim == scores.ndim and label.ndim > 1 and label.shape[-1] == 1 < scores.shape[-1]:
        label = label[..., 0]
    if scores.ndim == label.ndim + 1 and scores.shape[-1] > 1:
        scores = fnp.argmax(scores, axis=-1)
    scores, label = aligned(f"{what}: predicted and true classes", scores, label)
    if fnp.issubdtype(scores.dtype, fnp.floating):
        scores = scores > metric.threshold
    return scores.astype(fnp.int32), label
