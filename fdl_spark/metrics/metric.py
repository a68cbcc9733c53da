"""What a metric is, and how it reads its quantities from a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl_spark.errors import ArgumentError, DataError

Quantity = str | Callable[[Any, Any], Any]  # a column, or a function of (params, batch)


class Metric(ABC):
    """A number, or several, of all rows of a data set, from statistics that are put together in any way.

    `statistics` of a batch is compiled, `gather` makes less of it on the executor, `merge` puts two of these together,
    and `result` is what the driver reads. A subclass of yours needs `statistics` and `result` only: sums over the
    batch's rows are added up along the fixed tree of shards. One that gives arrays with rows first, and makes sums of
    them in `gather`, works in `by_group` too.

    >>> class Largest(Metric):
    ...     def statistics(self, params, batch):
    ...         return batch["x"].max()
    ...     def merge(self, first, second):
    ...         return max(first, second)
    ...     def result(self, gathered):
    ...         return float(gathered)
    >>> Largest()(None, {"x": np.array([2.0, 5.0, 3.0])})
    5.0
    """

    @abstractmethod
    def statistics(self, params: Any, batch: Any) -> Any:
        """A pytree of arrays: a pure function of a batch's rows, traced as a loss is."""

    def gather(self, statistics: Any) -> Any:
        """What is kept of the statistics of a batch, of NumPy arrays."""
        return statistics

    def merge(self, first: Any, second: Any) -> Any:
        """What two sets of rows give together; associative, as sums and concatenations are."""
        return merged(first, second)

    @abstractmethod
    def result(self, gathered: Any) -> Any:
        """A number, or a dict of them with strings for keys."""

    def __call__(self, params: Any, batch: Any) -> Any:
        """The metric of one batch, here and now.

        Args:
          params: what functions of (params, batch) take.
          batch: pytree of arrays, rows first; usually a dict.
        """
        arrays = fdl.tree.map(np.asarray, batch)
        return self.result(self.gather(fdl.tree.map(np.asarray, self.statistics(params, arrays))))


def merged(first: Any, second: Any) -> Any:
    """The sum of two trees of dicts and tuples, of which dicts may have other keys.

    >>> merged(({"a": 1}, 2), ({"b": 3, "a": 4}, 5))
    ({'a': 5, 'b': 3}, 7)
    """
    if isinstance(first, dict):
        both = first | second
        return {
            name: merged(first[name], second[name]) if name in first and name in second else both[name] for name in both
        }
    if isinstance(first, tuple | list):
        return type(first)(merged(a, b) for a, b in zip(first, second, strict=True))
    return first + second


def taken(quantity: Quantity, params: Any, batch: Any) -> Any:
    """A quantity of a batch: its column of that name, or what a function of (params, batch) gives."""
    return fnp.asarray(quantity(params, batch) if callable(quantity) else batch[quantity])


def aligned(what: str, first: Any, second: Any) -> tuple[Any, Any]:
    """Two arrays of one shape, of which one may have a last axis of length 1 that the other lacks.

    Raises:
      ArgumentError: their shapes differ.
    """
    if first.ndim == second.ndim + 1 and first.shape[-1] == 1:
        first = first[..., 0]
    elif second.ndim == first.ndim + 1 and second.shape[-1] == 1:
        second = second[..., 0]
    if first.shape != second.shape:
        raise ArgumentError(f"{what} must have one shape; they have {first.shape} and {second.shape}")
    return first, second


def weighed(weight: Quantity | None, params: Any, batch: Any, like: Any) -> Any:
    """The weights of the rows as an array of a shape that starts with rows; None without weights."""
    if weight is None:
        return None
    found = taken(weight, params, batch)
    if found.ndim > like.ndim and found.shape[-1] == 1:
        found = found[..., 0]
    if found.shape != like.shape[: found.ndim]:
        raise ArgumentError(
            f"weights of rows of shape {like.shape} must have the shape of their first axes; it is {found.shape}"
        )
    return fnp.broadcast_to(fnp.reshape(found, found.shape + (1,) * (like.ndim - found.ndim)), like.shape)


def flat_weights(weights: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """The weights as doubles (n,); ones if there are none."""
    return np.ones(like.size) if weights is None else weights.reshape(-1).astype(np.float64)


def whole(what: str, labels: np.ndarray) -> np.ndarray:
    """Labels as int64 (n,), whatever type they came in.

    Raises:
      DataError: one is no whole number.
    """
    flat = labels.reshape(-1)
    if flat.dtype.kind == "f":
        bad = flat != np.rint(flat)  # NaN too
        if bad.any():
            raise DataError(f"{what}: classes must be whole numbers; there is {flat[bad][0]}")
    return flat.astype(np.int64)
