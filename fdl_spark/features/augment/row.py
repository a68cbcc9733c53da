"""What augmentations are: functions (key, row) -> row, most of which change one array of the row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl_spark.errors import MissingColumnError
from fdl_spark.features.params import Params

Row = Mapping[str, Any]
Augmentation = Callable[[Any, Row], Row]


@dataclass(frozen=True, repr=False)
class RowAugmentation(Params):
    """Changes one array of a row."""

    column: str

    def __call__(self, key: Any, row: Row) -> dict[str, Any]:
        changed = self.changed(key, taken(row, self.column, self.kind))
        return {**row, self.column: changed}

    def changed(self, key: Any, x: Any) -> Any:
        """The array that stands in place of x."""
        raise NotImplementedError

    def image(self, x: Any) -> tuple[int, int]:
        """Height and width of an image [height, width, channels]."""
        self.require(x.ndim == 3, f"{self.column!r} must be an image [height, width, channels]; its shape is {x.shape}")
        return x.shape[0], x.shape[1]

    def floating(self, x: Any) -> None:
        """Raise ArgumentError unless an array is of floating-point numbers."""
        self.require(
            fnp.issubdtype(x.dtype, fnp.floating), f"{self.column!r} must be floating-point numbers, not {x.dtype}"
        )


def taken(row: Row, column: str, asked_by: str) -> Any:
    """An array of a row."""
    if column not in row:
        raise MissingColumnError(column, list(row), f"features.augment.{asked_by}")
    return row[column]


@dataclass(frozen=True, repr=False)
class Ranged(RowAugmentation):
    """Changes an array of floating-point numbers by a number that is even from low to high."""

    low: float
    high: float

    def check(self) -> None:
        self.require(self.low <= self.high, f"low must be at most high, not {self.low} and {self.high}")

    def drawn(self, key: Any, x: Any) -> Any:
        """The number, of the dtype of x."""
        self.floating(x)
        return random.uniform(key, (), x.dtype, self.low, self.high)
