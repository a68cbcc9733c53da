"""The loss, the metrics and the hyperparameters."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import fdl.numpy as fnp
from fdl import nn
from fdl.models import neumf
from fdl_spark import metrics

AMONG = (1000, 100)  # the lengths of the lists: the held-out item with 999 (MLPerf) and with 99 others (He et al.)
BEST = 10  # places at the top of a list that count


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters.

    Attributes:
      factors, layers: of `neumf.Config`.
      samples: of a batch, positive and negative.
      rate: of Adam.
      epochs: how many.
      negatives: for each positive.
    """

    factors: int
    layers: tuple[int, ...]
    samples: int
    rate: float
    epochs: int
    negatives: int = 4

    @property
    def rows(self) -> int:
        """Positives of a batch."""
        return max(1, self.samples // (1 + self.negatives))


#: MovieLens-20M: those of MLPerf 0.5. The others: widths of He et al., and batches that suit a cluster better than 256.
RECIPES = {
    "movielens-100k": Recipe(factors=16, layers=(64, 32, 16, 8), samples=1024, rate=1e-3, epochs=20),
    "movielens-1m": Recipe(factors=64, layers=(256, 128, 64), samples=2048, rate=1e-3, epochs=20),
    "movielens-20m": Recipe(factors=64, layers=(256, 256, 128, 64), samples=2048, rate=5e-4, epochs=7),
}


def labels(items: Any) -> Any:
    """1 for the first item of each list, 0 for the others, -1 for what fills it up."""
    first = (fnp.arange(items.shape[-1]) == 0).astype(fnp.int32)
    return fnp.where(items < 0, -1, first)


def lists(batch: Any, among: int | None = None) -> tuple[Any, Any]:
    """Users (n, 1) and items (n, k) of a batch: of training rows, or of lists that are held out."""
    items = batch["item"].reshape(len(batch["user"]), -1)
    return batch["user"][:, None], items if among is None else items[:, :among]


def loss(params: Any, batch: Any, *, config: neumf.Config) -> Any:
    """The mean cross-entropy of the items in a batch's lists."""
    users, items = lists(batch)
    label = labels(items)
    logits = neumf.apply(params, users, fnp.maximum(items, 0), config=config)
    losses = nn.sigmoid_binary_cross_entropy(logits, fnp.maximum(label, 0))
    there = (label >= 0).astype(losses.dtype)
    return fnp.mean(fnp.sum(losses * there, axis=1) / fnp.sum(there, axis=1))


def scores(params: Any, batch: Any, *, config: neumf.Config, among: int) -> Any:
    """Logits of the first items of each list."""
    users, items = lists(batch, among)
    return neumf.apply(params, users, fnp.maximum(items, 0), config=config)


def popularity(counts: Any, batch: Any, *, among: int) -> Any:
    """How often the items of each list were rated in training: the baseline ItemPop of He et al."""
    return counts[fnp.maximum(lists(batch, among)[1], 0)]


def measured(score: Any) -> dict[str, metrics.Metric]:
    """HR@10 and NDCG@10 in lists of either length, of a function (params, batch, among=) -> scores."""
    found: dict[str, metrics.Metric] = {}
    for among in AMONG:

        def relevant(params: Any, batch: Any, among: int = among) -> Any:
            return labels(lists(batch, among)[1])

        of_lists = partial(score, among=among)
        found[f"HR@{BEST} of {among}"] = metrics.hit_ratio(of_lists, relevant, BEST)
        found[f"NDCG@{BEST} of {among}"] = metrics.ndcg(of_lists, relevant, BEST)
    return found
