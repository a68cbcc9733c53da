"""Metrics of all rows of a data set, exact wherever the rows are: for `train`, `evaluate` and `search`.

Each is made of quantities: names of columns, or functions of (params, batch). Its value depends on the quantities of
the rows alone, not on how they are cut into batches, shards, partitions and tasks: counts are whole numbers, sums of
doubles are rounded once (`sums.py`), and what needs all rows sees them sorted (`rows.py`).

>>> import numpy as np
>>> found = f1(lambda w, batch: batch["x"] * w > 1, label="y")
>>> found(2.0, {"x": np.array([0.2, 0.7, 0.9]), "y": np.array([0, 1, 0])})
0.6666666666666666
"""

from fdl_spark.metrics.classes import confusion_matrix, f1, precision, recall
from fdl_spark.metrics.correlation import pearson
from fdl_spark.metrics.curves import auc, pr_auc
from fdl_spark.metrics.detection import detection_map
from fdl_spark.metrics.groups import by_group
from fdl_spark.metrics.means import accuracy, log_loss, mae, mean, mse, r2, rmse, top_k
from fdl_spark.metrics.metric import Metric
from fdl_spark.metrics.ranges import input_ranges
from fdl_spark.metrics.ranking import hit_ratio, mean_average_precision, ndcg

__all__ = [
    "Metric",
    "accuracy",
    "auc",
    "by_group",
    "confusion_matrix",
    "detection_map",
    "f1",
    "hit_ratio",
    "input_ranges",
    "log_loss",
    "mae",
    "mean",
    "mean_average_precision",
    "mse",
    "ndcg",
    "pearson",
    "pr_auc",
    "precision",
    "r2",
    "recall",
    "rmse",
    "top_k",
]


def __dir__() -> list[str]:
    return __all__
