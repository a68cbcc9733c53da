"""A metric of each group of rows."""

from typing import Any

import numpy as np

import fdl
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric, Quantity, taken


class ByGroup(Metric):
    def __init__(self, metric: Metric, group: Quantity):
        self.metric, self.group = metric, group

    def statistics(self, params: Any, batch: Any) -> Any:
        group, rows = taken(self.group, params, batch), self.metric.statistics(params, batch)
        if group.ndim == 2 and group.shape[1] == 1:
            group = group[:, 0]
        if group.ndim != 1:
            raise ArgumentError(f"metrics.by_group: the group must be one number a row; it has the shape {group.shape}")
        for leaf in fdl.tree.leaves(rows):
            if leaf.shape[:1] != group.shape:
                raise ArgumentError(
                    f"metrics.by_group takes metrics whose statistics have rows first; "
                    f"one of {type(self.metric).__name__} has the shape {leaf.shape} for {group.shape[0]} rows"
                )
        return group, rows

    def gather(self, statistics: Any) -> dict[Any, Any]:
        groups, rows = statistics
        names, places = np.unique(groups, return_inverse=True)
        order = np.argsort(places, kind="stable")
        ends = np.cumsum(np.bincount(places, minlength=len(names)))
        return {
            name: self.metric.gather(fdl.tree.map(lambda leaf, chosen=chosen: leaf[chosen], rows))
            for name, chosen in zip(names.tolist(), np.split(order, ends)[: len(names)], strict=True)
        }

    def merge(self, first: dict[Any, Any], second: dict[Any, Any]) -> dict[Any, Any]:
        both = first | second
        for name in first.keys() & second.keys():
            both[name] = self.metric.merge(first[name], second[name])
        return both

    def result(self, gathered: dict[Any, Any]) -> dict[str, Any]:
        return {str(name): self.metric.result(gathered[name]) for name in sorted(gathered)}


def by_group(metric: Metric, group: Quantity) -> Metric:
    """A metric of each group of rows, as a dict by group.

    Args:
      metric: a metric of this module; or one of yours whose statistics have rows first.
      group: a column, or a function (params, batch) -> array (rows,), that says which group a row is of.

    >>> from fdl_spark.metrics import accuracy
    >>> by_group(accuracy("p", "y"), "country")(None, {"p": [1, 0, 1], "y": [1, 1, 1], "country": [49, 1, 1]})
    {'1': 0.5, '49': 1.0}
    """
    if not isinstance(metric, Metric):
        raise ArgumentError(f"metrics.by_group takes a metric of fdl_spark.metrics, not {metric!r}; see metrics.mean")
    return ByGroup(metric, group)
