"""Metrics of ranked lists: the rows of a query, or the items of a user, in the order of their scores.

Equal scores have no order. Hit ratio and NDCG are their means over all orders of such rows (McSherry and Najork,
"Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008); average
precision takes them at one threshold, as the curve of precision and recall does.
"""

from abc import abstractmethod
from typing import Any

import numpy as np

from fdl_spark.arguments import check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric, Quantity, flat_weights, taken, weighed
from fdl_spark.metrics.rows import Rows, starts
from fdl_spark.metrics.sums import Sum, ratio

Means = tuple[Sum, Sum]


class Ranking(Metric):
    """The mean over lists of a value of each list."""

    name = ""

    def __init__(self, scores: Quantity, label: Quantity, group: Quantity | None, weight: Quantity | None):
        self.scores, self.label, self.group, self.weight = scores, label, group, weight

    def statistics(self, params: Any, batch: Any) -> Any:
        scores, label = taken(self.scores, params, batch), taken(self.label, params, batch)
        lists = 2 if self.group is None else 1
        if scores.ndim == lists + 1 and scores.shape[-1] == 1:
            scores = scores[..., 0]
        if scores.shape != label.shape or scores.ndim != lists:
            expected = "(rows, items), or group= must say which rows belong together" if lists == 2 else "(rows,)"
            raise ArgumentError(
                f"metrics.{self.name}: scores and labels must have the shape {expected}; "
                f"they have {scores.shape} and {label.shape}"
            )
        group = () if self.group is None else taken(self.group, params, batch)
        return scores, label, group, weighed(self.weight, params, batch, scores)

    def gather(self, statistics: Any) -> Rows | Means:
        scores, label, group, weights = statistics
        if self.group is None:
            group = np.repeat(np.arange(len(scores)), scores.shape[1])
        columns = [np.reshape(group, -1), scores.reshape(-1) + 0, label.reshape(-1), flat_weights(weights, scores)]
        there = (columns[2] >= 0) & (columns[3] != 0)
        columns = [column[there] for column in columns]
        if self.group is None:
            return self._means(*columns)
        return Rows.of(*columns[: 3 if weights is None else 4])

    def result(self, gathered: Rows | Means) -> float:
        if isinstance(gathered, Rows):
            *distinct, counts = gathered.columns
            gathered = self._means(*(np.repeat(column, counts) for column in distinct))
        return ratio(*gathered)

    def _means(self, group: np.ndarray, scores: np.ndarray, label: np.ndarray, *weight: np.ndarray) -> Means:
        """The sums of the lists' weighted values and of their weights."""
        if not group.size:
            return Sum(), Sum()
        order = np.lexsort((label, -scores.astype(np.float64), group))
        group, scores = group[order], scores[order]
        first = starts(group)
        of_list = np.maximum.reduceat(weight[0][order] if weight else np.ones(len(group)), first)
        values = self.values(Lists(group, scores, label[order].astype(np.float64)))
        return Sum.of(values * of_list), Sum.of(of_list)

    @abstractmethod
    def values(self, lists: "Lists") -> np.ndarray:
        """The value of each list."""


class Lists:
    """Lists that follow each other, the highest score first, in ties: runs of rows of one list with one score.

    Attributes:
      labels: of each row.
      first: the first row of each list.
      ties: the first row of each tie.
      ties_of: the first tie of each list.
      begin, size: how many rows of its list come before each tie, and how many it has.
    """

    def __init__(self, group: np.ndarray, scores: np.ndarray, labels: np.ndarray):
        self.labels, self.first, self.ties = labels, starts(group), starts(group, scores)
        self.lengths = np.diff(np.append(self.first, len(group)))
        self.ties_of = np.searchsorted(self.ties, self.first)
        ties_in = np.diff(np.append(self.ties_of, len(self.ties)))
        self.begin = self.ties - np.repeat(self.first, ties_in)
        self.size = np.diff(np.append(self.ties, len(group)))

    def per_tie(self, values: np.ndarray) -> np.ndarray:
        """The sum over each tie of a value of each row."""
        return np.add.reduceat(values, self.ties)

    def per_list(self, values: np.ndarray) -> np.ndarray:
        """The sum over each list of a value of each tie."""
        return np.add.reduceat(values, self.ties_of)


class HitRatio(Ranking):
    name = "hit_ratio"

    def __init__(self, scores: Quantity, label: Quantity, k: int, group: Quantity | None, weight: Quantity | None):
        super().__init__(scores, label, group, weight)
        self.k = k

    def values(self, lists: Lists) -> np.ndarray:
        relevant = lists.per_tie((lists.labels > 0).astype(np.int64))
        chosen = np.clip(self.k - lists.begin, 0, lists.size)
        return 1 - np.multiply.reduceat(_misses(lists.size, relevant, chosen), lists.ties_of)


def _misses(size: np.ndarray, relevant: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The probability that none of the relevant rows of a tie is among as many as are chosen of it."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size.max() + 1)))])  # of factorials
    others = size - relevant
    left = np.maximum(others - chosen, 0)
    found = np.exp(logs[others] - logs[left] - logs[size] + logs[size - chosen])
    found = np.where(chosen == 1, others / size, found)  # the usual cases, without rounding
    found = np.where(relevant == 1, (size - chosen) / size, found)
    found = np.where((relevant == 0) | (chosen == 0), 1.0, found)
    return np.where(chosen > others, 0.0, found)


class Ndcg(Ranking):
    name = "ndcg"

    def __init__(
        self,
        scores: Quantity,
        label: Quantity,
        k: int | None,
        exponential: bool,
        group: Quantity | None,
        weight: Quantity | None,
    ):
        super().__init__(scores, label, group, weight)
        self.k, self.exponential = k, exponential

    def values(self, lists: Lists) -> np.ndarray:
        gains = np.exp2(lists.labels) - 1 if self.exponential else lists.labels
        longest = int(lists.lengths.max())
        discounts = 1 / np.log2(np.arange(2, longest + 2))
        discounts[longest if self.k is None else self.k :] = 0
        below = np.concatenate([[0.0], np.cumsum(discounts)])
        share = (below[lists.begin + lists.size] - below[lists.begin]) / lists.size
        single = lists.size == 1
        share[single] = discounts[lists.begin[single]]
        found = lists.per_list(lists.per_tie(gains) * share)
        places = np.arange(len(gains)) - np.repeat(lists.first, lists.lengths)
        of_list = np.repeat(np.arange(len(lists.first)), lists.lengths)
        best = gains[np.lexsort((-gains, of_list))] * discounts[places]
        ideal = np.add.reduceat(best, lists.first)
        return np.divide(found, ideal, out=np.zeros_like(found), where=ideal != 0)


class MeanAveragePrecision(Ranking):
    name = "mean_average_precision"

    def values(self, lists: Lists) -> np.ndarray:
        relevant = lists.per_tie((lists.labels > 0).astype(np.float64))
        hits = np.cumsum(relevant)
        before = hits[lists.ties_of] - relevant[lists.ties_of]
        hits -= np.repeat(before, np.diff(np.append(lists.ties_of, len(hits))))
        found = lists.per_list(relevant * (hits / (lists.begin + lists.size)))
        count = lists.per_list(relevant)
        return np.divide(found, count, out=np.zeros_like(found), where=count != 0)


def hit_ratio(
    scores: Quantity, label: Quantity, k: int = 10, *, group: Quantity | None = None, weight: Quantity | None = None
) -> Metric:
    """The share of lists with a relevant row among the k with the highest scores.

    Args:
      scores: a column or function that gives the scores: (rows,) with `group`, else (rows, items), a list a row.
      label: a column or function of the same shape: relevant is what is above zero. Negative ones fill up lists that
        have fewer items, and do not count.
      k: how many rows of a list are looked at.
      group: a column or function that gives the number of each row's list, (rows,). The rows of a list may be
        anywhere in the data; all rows, with about 24 bytes each, come to the driver.
      weight: a column or function that gives the rows' weights; that of a list is the largest of its rows.

    >>> hit_ratio("s", "y", 1, group="user")(None, {"user": [7, 8, 8, 7], "s": [3, 2, 1, 4], "y": [0, 0, 1, 1]})
    0.5
    """
    check_whole("k", k, 1)
    return HitRatio(scores, label, k, group, weight)


def ndcg(
    scores: Quantity,
    label: Quantity,
    k: int | None = None,
    *,
    exponential: bool = False,
    group: Quantity | None = None,
    weight: Quantity | None = None,
) -> Metric:
    """The discounted cumulative gain of the k highest scores by that of the best order, a mean over lists.

    Source: Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002. A list without
    gains counts 0.

    Args:
      scores, label, group, weight: as of `hit_ratio`; labels are gains.
      k: how many rows of a list are looked at; None means all.
      exponential: whether the gain of a label is 2**label - 1.

    >>> round(ndcg("s", "y")(None, {"s": [[3.0, 2.0, 1.0]], "y": [[0, 1, 0]]}), 6)
    0.63093
    """
    check_whole("k", k, 1)
    return Ndcg(scores, label, k, exponential, group, weight)


def mean_average_precision(
    scores: Quantity, label: Quantity, *, group: Quantity | None = None, weight: Quantity | None = None
) -> Metric:
    """The mean over lists of the average precision of their relevant rows; a list without any counts 0.

    Arguments as of `hit_ratio`.

    >>> mean_average_precision("s", "y")(None, {"s": [[4.0, 3.0, 2.0, 1.0]], "y": [[1, 0, 0, 1]]})
    0.75
    """
    return MeanAveragePrecision(scores, label, group, weight)
