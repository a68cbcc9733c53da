"""What each row of a batch weighs: a column of the data, its class, or both multiplied."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl_spark.data.block import Block
from fdl_spark.data.sharded import Dataset
from fdl_spark.errors import ArgumentError, DataError, MissingColumnError
from fdl_spark.spark.wire import Payload, pack, unpack

MOST_CLASSES = 1 << 16  # more different labels than this are no classes


@dataclass(frozen=True)
class Weighting:
    """The weight of a row.

    Attributes:
      column: the column that has it; None for none.
      label: the column that has the row's class; None for none.
      classes: what each class weighs, by label; a row of another one weighs 1.
    """

    column: str | None = None
    label: str | None = None
    classes: tuple[tuple[float, float], ...] = ()

    def of(self, batch: Mapping[str, Any]) -> Any:
        """The weights of a batch's rows, float32 array (rows,)."""
        weights: Any = 1.0
        if self.column is not None:
            weights = fnp.asarray(batch[self.column]).astype(np.float32)
        if self.label is not None:
            given = fnp.asarray(batch[self.label])
            given = given if fnp.issubdtype(given.dtype, fnp.floating) else given.astype(np.float64)
            labels, values = (np.array(column) for column in zip(*sorted(self.classes), strict=True))
            known, weight = fnp.asarray(labels.astype(given.dtype)), fnp.asarray(values.astype(np.float32))
            place = fnp.clip(fnp.searchsorted(known, given), 0, known.shape[0] - 1)
            weights = weights * fnp.where(known[place] == given, weight[place], np.float32(1))
        return weights

    def check(self, dataset: Dataset) -> None:
        """Raise unless a data set has the columns, with one number in each row.

        Raises:
          ArgumentError, MissingColumnError: it does not.
        """
        names = {"weights": self.column, "label": self.label}
        for name, column in names.items():
            if column is None:
                continue
            if not isinstance(dataset.template, Mapping):
                raise ArgumentError(f"{name}={column!r} names a column, but those of the data have no names")
            if not isinstance(dataset.template.get(column), str):
                raise MissingColumnError(column, [str(n) for n in dataset.template], f"{name}=")
            dtype, shape = dataset.columns[dataset.template[column]]
            if shape or np.dtype(dtype).kind == "c":
                raise ArgumentError(
                    f"{name}={column!r} must have one real number in each row; it has {dtype}{list(shape)}"
                )

    def check_batch(self, batch: Any) -> None:
        """Raise if a row weighs less than nothing.

        Raises:
          DataError: one does.
        """
        if self.column is not None and (batch[self.column] < 0).any():
            least = batch[self.column].min()
            raise DataError(f"weights={self.column!r}: a weight must not be negative; one is {least}")


def balanced(dataset: Dataset, label: str) -> tuple[tuple[float, float], ...]:
    """The weight of each class that makes all classes weigh the same: rows / (classes * rows of the class).

    The formula is that of King and Zeng, "Logistic Regression in Rare Events Data" (2001), and of scikit-learn.

    Args:
      dataset: the data, of which all rows are counted.
      label: the column that has the row's class.

    Raises:
      ArgumentError: it has too many values to be classes.
    """
    counts: dict[float, int] = {}
    for payload in dataset.map(partial(_counted, dataset.schedule.shards, dataset.template[label])):
        found, array = unpack(payload)
        if array is None:
            raise ArgumentError(
                f"label={label!r} has more than {MOST_CLASSES} different values; is it a class? "
                f"Name another column, or give class_weights as a dict"
            )
        for one, count in zip(array.tolist(), found, strict=True):
            counts[float(one)] = counts.get(float(one), 0) + count
    total = sum(counts.values())
    return tuple((one, total / (len(counts) * count)) for one, count in sorted(counts.items()))


def _counted(shards: int, column: str, task: int, blocks: Iterable[Block]) -> Iterator[Payload]:
    """The labels of a task's shards, and how often each stands there."""
    (block,) = blocks
    for shard in block.shards:
        labels = block.batch(shard, slice(0, block.schedule.shard_rows(shard)), column)
        found, counts = np.unique(labels, return_counts=True)
        yield pack(counts.tolist(), None if found.size > MOST_CLASSES else found)
