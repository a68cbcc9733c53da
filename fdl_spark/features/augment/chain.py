"""Augmentations one after the other."""

from dataclasses import dataclass
from typing import Any

from fdl import random
from fdl_spark.errors import ArgumentError
from fdl_spark.features.augment.row import Augmentation, Row


def chain(*augmentations: Augmentation) -> "Chain":
    """Augmentations one after the other, each with a key of its own.

    Args:
      *augmentations: functions (key, row) -> row.

    >>> import fdl.numpy as fnp
    >>> from fdl_spark.features.augment import flip, noise
    >>> both = chain(flip("x"), noise("x", scale=0.1))
    >>> both(random.key(0), {"x": fnp.zeros((2, 2, 1))})["x"].shape
    (2, 2, 1)
    """
    for augmentation in augmentations:
        if not callable(augmentation):
            raise ArgumentError(f"chain takes functions (key, row) -> row, not {augmentation!r}")
    return Chain(augmentations)


@dataclass(frozen=True)
class Chain:
    augmentations: tuple[Augmentation, ...]

    def __call__(self, key: Any, row: Row) -> Row:
        for number, augmentation in enumerate(self.augmentations):
            row = augmentation(random.fold_in(key, number), row)
        return row
