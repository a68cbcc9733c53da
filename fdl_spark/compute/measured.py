"""What the loss and the metrics give of rows: sums of means, and what Metrics keep, put together along the tree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fdl_spark.compute.tree_sum import Node, add_up, root
from fdl_spark.history.outcome import means


@dataclass(frozen=True)
class Measured:
    """What is known of some rows.

    Attributes:
      sums: sums over rows by name, and "rows".
      statistics: what each Metric keeps, by name; nothing where there are no rows.
    """

    sums: dict[str, float] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def adding(metrics: Mapping[str, Any]) -> Callable[["Measured", "Measured"], "Measured"]:
        """What puts two together, with these metrics."""

        def add(first: Measured, second: Measured) -> Measured:
            if not first.sums or not second.sums:
                return first if first.sums else second
            sums = {name: value + second.sums[name] for name, value in first.sums.items()}
            pairs = {name: (kept, second.statistics[name]) for name, kept in first.statistics.items()}
            return Measured(sums, {name: metrics[name].merge(*pair) for name, pair in pairs.items()})

        return add

    @staticmethod
    def results(parts: Mapping[Node, "Measured"], shards: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The means and the metrics' results, from what is known at nodes that cover all shards.

        Args:
          parts: by node.
          shards: number of shards.
          metrics: all of them by name, in the order of the results after the loss.
        """
        whole = add_up(root(shards), shards, parts.get, Measured.adding(metrics)) or Measured()
        found = means(whole.sums)
        ordered = {name: value for name, value in found.items() if name not in metrics}
        for name, metric in metrics.items():
            ordered[name] = found[name] if name in found else metric.result(whole.statistics[name])
        return ordered
